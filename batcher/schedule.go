package batcher

import (
	"cmp"
	"slices"
	"time"
)

// never is later than anything that is waited for.
var never = time.Unix(1<<40, 0)

// stream is all that is known of one stream of one account.
type stream struct {
	name    string
	account *account
	signer  *credential // that signs its requests

	// Of pending.
	contacts map[string]*contact // every contact that has not ended
	queue    list                // those to be sent, oldest first
	retries  retries             // those that are sent apart

	health streamHealth

	bytes, kept, held int64 // what the window charges for its contacts, for those that are kept alone, and of all, what counts as on hold

	// Of the schedule.
	holding  int  // its place among those on hold, from 1 on; 0 for none
	counted  bool // in credential.waiting
	inFlight int  // requests
	changed  bool // since it was last placed
	released bool // by an operator, and no request of it was made since
	place
	waits, ready seat // in account.waiting and account.ready
	gives        seat // in schedule.givers
	isLast       bool // in givers.last
}

// full reports whether the queue makes a request of the largest size.
func (st *stream) full() bool {
	size := &st.account.health.size
	return int64(st.queue.rows) >= size.rows.limit || st.queue.bytes >= size.bytes.limit
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

	streams    map[streamKey]*stream // each is the only one to walk over them
	accounts   []*account
	touched    []*stream
	onHold     []*stream            // by themselves, or by what signs for them, or with contacts that are kept alone
	quiet      map[*stream]struct{} // those that may be empty: no contact of theirs was pending lately
	deciding   []*stream            // of these, those whose contacts become dead letters as an operator has decided, and perhaps others
	givers     givers               // of these, those that may give something back
	held       int64                // what the window charges for streams on hold, and for contacts that are kept alone
	collecting bool                 // a partition catches up: its contacts may share a request, so only full ones are sent
	visits     int                  // streams looked at so far: nothing that happens for each event may look at many
}

// mostPlaced bounds the streams that are placed in one go, which takes a few milliseconds: the loop has others to attend to.
const mostPlaced = 4096

// stream returns the stream of a name in an account, which is made where it is new.
func (s *schedule) stream(name, accountID string) *stream {
	key := streamKey{accountID, name}
	st := s.streams[key]
	if st == nil {
		st = &stream{
			name: name, account: s.account(accountID), contacts: map[string]*contact{},
			place: place{due: never, rank: lastRank},
		}
		st.health.recall(&st.account.strangers, name)
		st.signer = s.signer(key)
		s.streams[key] = st
		s.quiet[st] = struct{}{}
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
	a := &account{
		id: id, gate: gate, credentials: map[string]*credential{}, strangers: newStrangers(), busy: s.m.SlotsBusySeconds.WithLabelValues(id), health: accountHealth{size: newRequestSize(s.cfg)},
		ready: map[class]*streamHeap{}, waiting: streamHeap{compare: compareChanges, seat: func(st *stream) *seat { return &st.waits }},
	}
	s.m.account(id)
	s.accounts = append(s.accounts, a)
	return a
}

// each visits every stream. It is for what happens rarely, or once a second.
func (s *schedule) each(visit func(*stream)) {
	s.visits += len(s.streams)
	for _, st := range s.streams {
		visit(st)
	}
}

// drop forgets a stream that is empty.
func (s *schedule) drop(st *stream) {
	st.retries = retries{} // whose rows have ended: it may still be touched, and must not be placed
	st.account.remove(st)
	delete(s.streams, st.key())
	delete(s.quiet, st)
	s.list(st, false)
	s.givers.remove(st)
}

// dropEmpty forgets every stream that is empty, and returns those on hold of which nothing is left, by name.
func (s *schedule) dropEmpty(now time.Time) (idle []*stream) {
	s.visits += len(s.quiet)
	for st := range s.quiet {
		switch {
		case len(st.contacts) > 0:
			delete(s.quiet, st)
		case st.empty(now):
			s.drop(st)
		case st.health.hold != nil && st.health.hold.asideBelow == 0 && st.idle(now):
			idle = append(idle, st)
		}
	}
	slices.SortFunc(idle, compareNames)
	return idle
}

// touch notes that something of a stream has changed that its turn depends on.
func (s *schedule) touch(st *stream) {
	if s.givers.changed(st); !st.changed {
		st.changed = true
		s.touched = append(s.touched, st)
	}
}

// touchAll notes that the size of an account's requests has changed, which decides
// whether its streams are full, or whether they are doubted.
func (s *schedule) touchAll(a *account) {
	s.each(func(st *stream) {
		if st.account == a {
			s.countHeld(st)
		}
	})
}

// collect says whether a partition catches up.
func (s *schedule) collect(collecting bool) {
	if s.collecting == collecting {
		return
	}
	s.collecting = collecting
	s.each(func(st *stream) {
		if st.queue.rows > 0 {
			s.touch(st)
		}
	})
}

// started and settled count a request of a stream, which had a standing before it.
func (s *schedule) started(req *Request, as standing) {
	st, a := req.stream, req.stream.account
	req.apart = req.group != nil && req.group.apart || st.troubled()
	st.released = false
	st.inFlight++
	st.signer.inFlight++
	a.inFlight++
	if req.apart || as == stranger {
		if req.spare {
			a.ahead = min(a.ahead+othersFirst, mostAhead)
		}
		a.others = 0
	} else {
		a.others++
		a.ahead = max(0, a.ahead-1)
	}
	if req.apart {
		a.apart++
		a.newcomers = 0
	} else if as == stranger || !st.health.accepted {
		a.newcomers++
	}
	s.touch(st)
}

func (s *schedule) settled(req *Request) {
	st, a := req.stream, req.stream.account
	st.inFlight--
	st.signer.inFlight--
	a.inFlight--
	if req.apart {
		a.apart--
	}
	if req.group != nil && req.group.suspect {
		st.retries.inFlight--
	}
	s.touch(st)
}

// next returns the stream that sends next, or nil where none may. It stays where it is
// until it is touched.
func (s *schedule) next(now time.Time) *stream {
	if !s.place(now) {
		return nil // which goes first is not known yet
	}
	var best *stream
	var of standing
	for _, a := range s.accounts {
		a.countBusy(now, s.mayStart(a, now).Equal(never) && s.turn(a, now) != nil)
		if s.mayStart(a, now).After(now) {
			continue
		}
		st := s.turn(a, now)
		if st == nil {
			continue
		}
		// Accounts share a host, and its breaker may let one request through to see whether
		// it is back: a stream that has not failed says more.
		if is := s.standing(st, now); best == nil || cmp.Or(cmp.Compare(is, of), compareRanks(st, best)) < 0 {
			best, of = st, is
		}
	}
	return best
}

// mayStart is when the account as a whole lets a request start, but for its gate:
// now, a time, or never where only a result can change it.
func (s *schedule) mayStart(a *account, now time.Time) time.Time {
	switch {
	case a.inFlight >= s.mostInFlight(a):
		return never
	case a.again.After(now):
		return a.again
	}
	return now
}

// wake returns when next may answer differently although nothing else happens, and
// the zero time where only an event or a result can change it.
func (s *schedule) wake(now time.Time) time.Time {
	if !s.place(now) {
		return now
	}
	wake := never
	for _, a := range s.accounts {
		next := never
		if s.turn(a, now) != nil {
			next = now
		} else {
			if len(a.waiting.streams) > 0 {
				next = a.waiting.streams[0].changes()
			}
			for st := range s.heads(a) { // what is no regular work has to wait
				if a.spareAgain.After(now) {
					next = earlier(next, a.spareAgain)
				}
				if c := st.signer; c.held && c.inFlight == 0 && c.probe.After(now) {
					next = earlier(next, c.probe)
				}
			}
		}
		wake = earlier(wake, later(next, s.mayStart(a, now)))
	}
	if wake.Equal(never) {
		return time.Time{}
	}
	return wake
}

// place moves the streams that were touched, or that time has changed, to where they belong, and reports whether that
// was done for all of them.
func (s *schedule) place(now time.Time) bool {
	for _, a := range s.accounts {
		if a.strangers.trouble.over(now, s.cfg.BackoffMax) {
			s.touchAll(a)
		}
	}
	n := min(len(s.touched), mostPlaced)
	s.visits += n
	for _, st := range s.touched[:n] {
		st.changed = false
		st.account.move(st, s.timing(st), now)
	}
	clear(s.touched[:n])
	if s.touched = s.touched[n:]; len(s.touched) > 0 {
		return false
	}
	s.touched = s.touched[:0]
	for _, a := range s.accounts {
		a.promote(now)
	}
	return true
}

// timing works out when a stream may be sent, and where it stands among others then.
func (s *schedule) timing(st *stream) place {
	due, first := st.retries.soonest(false)
	due = earlier(due, s.queueDue(st))
	to := place{regular: due, open: len(st.contacts), class: st.classNow()}
	if head := st.queue.head; head != nil && head.rank.compare(first) < 0 {
		first = head.rank
	}
	apart, rank := st.retries.soonest(true)
	if due = earlier(due, apart); first == lastRank { // else rows that are tried apart, which are old, win it no turn
		first = rank
	}
	to.due, to.rank = later(due, st.waitsUntil()), first
	if st.troubled() && st.inFlight > 0 {
		to.due = never // one request at a time
	}
	return to
}

// regularDue is when a stream has rows to send that are not tried apart.
func (s *schedule) regularDue(st *stream) time.Time {
	due, _ := st.retries.soonest(false)
	return earlier(due, s.queueDue(st))
}

// queueDue is when the rows in a stream's queue may be sent; never where only an event can
// make them a request.
func (s *schedule) queueDue(st *stream) time.Time {
	switch head := st.queue.head; {
	case head == nil:
		return never
	case st.full():
		return head.since
	case s.collecting:
		return never
	default:
		return head.since.Add(s.cfg.Linger)
	}
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
