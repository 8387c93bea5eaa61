package batcher

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// never is later than anything that is waited for.
var never = time.Unix(1<<40, 0)

// stream is all that is known of one stream of one account.
type stream struct {
	name       string
	account    *account
	credential string // that signs its requests; empty for the account's own

	// Of pending.
	contacts map[string]*contact // every contact that has not ended
	queue    list                // those to be sent, oldest first
	retries  retries             // those that are sent apart

	health streamHealth

	// Of the schedule.
	inFlight int  // requests
	changed  bool // since it was last placed
	due      time.Time
	rank     rank // of the oldest event that it could send: the first one goes first
	ready    bool // in account.ready, else in account.waiting where index >= 0
	index    int  // in its heap; -1 in none
}

// full reports whether the queue makes a request of the largest size.
func (st *stream) full() bool {
	size := &st.account.health.size
	return st.queue.rows >= size.rows || st.queue.bytes >= size.bytes
}

// idle reports whether nothing of the stream is pending and it waits for nothing.
func (st *stream) idle(now time.Time) bool {
	return len(st.contacts) == 0 && st.inFlight == 0 && !st.health.backoff.After(now)
}

// empty reports whether the stream can be dropped: it is idle, and what is known of it
// no longer matters.
func (st *stream) empty(now time.Time) bool {
	return st.idle(now) && st.health.hold == nil && st.health.answered.at(now) == tally{}
}

// events is how many events are behind the stream's contacts.
func (st *stream) events() (n int) {
	for _, c := range st.contacts {
		n += c.events()
	}
	return n
}

// account is the streams that share one gate.
type account struct {
	id     string
	gate   Gate
	health accountHealth

	strangers strangers

	ready     streamHeap // oldest pending event first
	waiting   streamHeap // soonest due first
	again     time.Time  // the gate refused until then
	inFlight  int        // requests
	others    int        // requests of regular streams since one of another
	newcomers int        // requests of streams that were never accepted since one of a stream on hold
}

// streamKey names a queue: a stream that lies in two accounts has one for each, because
// nothing may be sent with the other's credentials.
type streamKey struct{ account, name string }

func (st *stream) key() streamKey { return streamKey{st.account.id, st.name} }

// schedule decides which stream sends next, and when. Whoever changes a stream calls
// touch; the stream is placed anew before the next decision.
type schedule struct {
	cfg   *Config
	gates func(account string) (Gate, bool)
	// credential names what signs for a stream; nil where accounts have one each.
	credential func(account, stream string) string
	m          *series

	streams    map[streamKey]*stream
	accounts   []*account
	touched    []*stream
	collecting bool // a partition catches up: its contacts may share a request, so only full ones are sent
}

// stream returns the stream of a name in an account, which is made where it is new.
func (s *schedule) stream(name, accountID string) *stream {
	key := streamKey{accountID, name}
	st := s.streams[key]
	if st == nil {
		st = &stream{
			name: name, account: s.account(accountID), contacts: map[string]*contact{},
			index: -1, due: never, rank: lastRank,
		}
		st.health.accepted = st.account.strangers.accepted.Contains(name)
		if s.credential != nil {
			st.credential = s.credential(accountID, name)
		}
		s.streams[key] = st
	}
	return st
}

func (s *schedule) account(id string) *account {
	for _, a := range s.accounts {
		if a.id == id {
			return a
		}
	}
	gate, ok := s.gates(id)
	if !ok {
		gate = noGate{}
	}
	a := &account{id: id, gate: gate, strangers: newStrangers(), ready: streamHeap{ready: true}, health: accountHealth{size: newRequestSize(s.cfg)}}
	s.m.account(id)
	s.accounts = append(s.accounts, a)
	return a
}

// sorted returns the streams that match by name: what is decided must not depend on the
// order of a map, or a seed would not replay.
func (s *schedule) sorted(match func(*stream) bool) []*stream {
	var found []*stream
	for _, st := range s.streams {
		if match(st) {
			found = append(found, st)
		}
	}
	slices.SortFunc(found, func(a, b *stream) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.account.id, b.account.id))
	})
	return found
}

// drop forgets a stream that is empty.
func (s *schedule) drop(st *stream) {
	st.retries = retries{} // whose rows have ended: it may still be touched, and must not be placed
	st.account.remove(st)
	delete(s.streams, st.key())
}

// dropEmpty forgets every stream that is empty.
func (s *schedule) dropEmpty(now time.Time) {
	for _, st := range s.streams {
		if st.empty(now) {
			s.drop(st)
		}
	}
}

// touch notes that something of a stream has changed that its turn depends on.
func (s *schedule) touch(st *stream) {
	if !st.changed {
		st.changed = true
		s.touched = append(s.touched, st)
	}
}

// touchAll notes that the size of an account's requests has changed, which decides
// whether its streams are full.
func (s *schedule) touchAll(a *account) {
	for _, st := range s.streams {
		if st.account == a {
			s.touch(st)
		}
	}
}

// collect says whether a partition catches up.
func (s *schedule) collect(collecting bool) {
	if s.collecting == collecting {
		return
	}
	s.collecting = collecting
	for _, st := range s.streams {
		s.touch(st)
	}
}

// started and settled count a request of a stream.
func (s *schedule) started(st *stream) {
	a, held := st.account, st.health.hold != nil
	st.inFlight++
	a.inFlight++
	if a.others++; st.standing() != regular {
		a.others = 0
	}
	if held {
		a.newcomers = 0
	} else if !st.health.accepted {
		a.newcomers++
	}
	s.touch(st)
}

func (s *schedule) settled(st *stream) {
	st.inFlight--
	st.account.inFlight--
	s.touch(st)
}

// next returns the stream that sends next, or nil where none may. It stays where it is
// until it is touched.
func (s *schedule) next(now time.Time) *stream {
	s.place(now)
	var best *account
	for _, a := range s.accounts {
		a.promote(now)
		if s.mayStart(a, now).After(now) || len(a.ready.streams) == 0 {
			continue
		}
		if best == nil || a.ready.streams[0].rank.compare(best.ready.streams[0].rank) < 0 {
			best = a
		}
	}
	if best == nil {
		return nil
	}
	return best.turn()
}

// refused notes that an account's gate lets nothing through before again.
func (a *account) refused(now, again time.Time) { a.again = later(again, now.Add(time.Millisecond)) }

// mayStart is when the account as a whole lets a request start, but for its gate:
// now, a time, or never where only a result can change it.
func (s *schedule) mayStart(a *account, now time.Time) time.Time {
	switch {
	case a.inFlight >= s.cfg.MaxInFlight, a.health.held && a.inFlight > 0:
		return never
	case a.again.After(now):
		return a.again
	case a.health.held && a.health.probe.After(now):
		return a.health.probe
	}
	return now
}

// wake returns when next may answer differently although nothing else happens, and
// the zero time where only an event or a result can change it.
func (s *schedule) wake(now time.Time) time.Time {
	s.place(now)
	wake := never
	for _, a := range s.accounts {
		next := never
		if len(a.ready.streams) > 0 {
			next = now
		} else if len(a.waiting.streams) > 0 {
			next = a.waiting.streams[0].due
		}
		wake = earlier(wake, later(next, s.mayStart(a, now)))
	}
	if wake.Equal(never) {
		return time.Time{}
	}
	return wake
}

// place moves the streams that were touched to where they belong.
func (s *schedule) place(now time.Time) {
	for _, st := range s.touched {
		st.changed = false
		due, first := s.timing(st)
		st.account.move(st, due, first, now)
	}
	clear(s.touched)
	s.touched = s.touched[:0]
}

// timing works out when a stream may be sent, and the rank of the oldest event that it
// could send.
func (s *schedule) timing(st *stream) (due time.Time, first rank) {
	due, first = st.retries.soonest()
	if head := st.queue.head; head != nil {
		if head.rank.compare(first) < 0 {
			first = head.rank
		}
		switch {
		case st.full():
			due = earlier(due, head.since)
		case s.collecting:
		default:
			due = earlier(due, head.since.Add(s.cfg.Linger))
		}
	}
	if st.health.hold != nil && st.inFlight > 0 {
		return never, first // one probe at a time
	}
	return later(due, st.health.backoff), first
}

func (a *account) move(st *stream, due time.Time, first rank, now time.Time) {
	same := st.index >= 0 && due.Equal(st.due) && first == st.rank
	if same {
		return
	}
	stays := st.index >= 0 && !due.Equal(never) && (!st.ready || !due.After(now))
	if !stays {
		a.remove(st)
	}
	st.due, st.rank = due, first
	switch {
	case stays && st.ready:
		heap.Fix(&a.ready, st.index)
	case stays:
		heap.Fix(&a.waiting, st.index)
	case !due.Equal(never):
		heap.Push(&a.waiting, st)
	}
}

func (a *account) remove(st *stream) {
	switch {
	case st.index < 0:
	case st.ready:
		heap.Remove(&a.ready, st.index)
	default:
		heap.Remove(&a.waiting, st.index)
	}
}

// promote moves the streams that have fallen due to the ready ones.
func (a *account) promote(now time.Time) {
	for len(a.waiting.streams) > 0 && !a.waiting.streams[0].due.After(now) {
		heap.Push(&a.ready, heap.Pop(&a.waiting))
	}
}

// compareRanks compares streams by the age of their events. No two are equal, so that
// what is decided does not depend on how a heap is laid out.
func compareRanks(a, b *stream) int { return a.rank.compare(b.rank) }

// streamHeap orders streams by rank (ready) or by due (waiting).
type streamHeap struct {
	streams []*stream
	ready   bool
}

func (h *streamHeap) Len() int { return len(h.streams) }

func (h *streamHeap) Less(i, j int) bool {
	a, b := h.streams[i], h.streams[j]
	if h.ready {
		return compareRanks(a, b) < 0
	}
	return a.due.Before(b.due)
}

func (h *streamHeap) Swap(i, j int) {
	h.streams[i], h.streams[j] = h.streams[j], h.streams[i]
	h.streams[i].index, h.streams[j].index = i, j
}

// Push implements heap.Interface.
func (h *streamHeap) Push(x any) {
	st := x.(*stream)
	st.index, st.ready = len(h.streams), h.ready
	h.streams = append(h.streams, st)
}

// Pop implements heap.Interface.
func (h *streamHeap) Pop() any {
	last := len(h.streams) - 1
	st := h.streams[last]
	h.streams[last] = nil
	h.streams = h.streams[:last]
	st.index = -1
	return st
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
