package batcher

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// Window holds every pending contact of every lane, from fetch to outcome. It
// decides what is sent, and when; it does nothing itself: it has no goroutine,
// clock or lock, every method takes the time, and the same calls with the same
// seed give the same answers. Not safe for concurrent use.
type Window struct {
	cfg      Config
	gates    func(account string) (Gate, bool)
	rand     *rand.Rand
	m        series
	now      time.Time // the latest time that any call brought
	lanes    map[string]*lane
	accounts []*account
	claims   map[contactsync.Claim]*claim
	last     *claim // of the latest event: most come in runs of one partition

	bytes      int64
	pending    int // contacts not yet ended, those in flight and what arrived behind them included
	catchingUp int // claims that are only read so far
	draining   bool
	flights    map[*Request]struct{}

	memory memory // what was accepted of contacts that are not pending any more

	notes         []LogEvent          // to be told, since TakeLogEvents
	ended         []contactsync.Ended // since TakeEnded
	letters       []*DeadLetter       // to be published, since TakeDeadLetters
	buried        int                 // letters taken and not yet buried
	staleInFlight int                 // of these, those of generations that are over
}

// claim is one owned partition.
type claim struct {
	contactsync.Claim
	live            bool // its generation is not over: requests and letters can outlive it
	catching        bool
	deferred        list          // contacts that wait for the end of catch-up
	deferredLetters []*DeadLetter // and dead letters
	open            int           // events not yet ended
	first           int64         // offset of the first event that was added; -1 before it
}

// Gate admits the requests of one account: its budget and the breaker of its
// host. Admit takes what one request costs and returns the function to call once
// with its result; or nil and the time to ask again, and then it took nothing.
type Gate interface {
	Admit(now time.Time) (report func(now time.Time, r contactsync.Result), again time.Time)
}

// noGate is the gate of an account that is not configured. Its requests cost no call:
// the sender refuses them.
type noGate struct{}

// Admit implements Gate.
func (noGate) Admit(time.Time) (func(time.Time, contactsync.Result), time.Time) {
	return func(time.Time, contactsync.Result) {}, time.Time{}
}

// NewWindow returns an empty window. gates is asked once for each account.
func NewWindow(cfg Config, gates func(account string) (Gate, bool), m *metrics.Batcher, seed uint64) *Window {
	m.BytesLimit.Set(float64(cfg.WindowBytes))
	return &Window{
		cfg: cfg, gates: gates, m: newSeries(m),
		rand:    rand.New(rand.NewPCG(seed, seed)),
		lanes:   map[string]*lane{},
		claims:  map[contactsync.Claim]*claim{},
		flights: map[*Request]struct{}{},
		memory:  newMemory(cfg.RememberContacts),
	}
}

// Full reports whether the window holds what it may. Fetching pauses then.
func (w *Window) Full() bool { return w.bytes >= int64(w.cfg.WindowBytes) }

// Assign makes claims known, all of one generation: what came before it has been
// dropped by Forget. With catchUp their contacts are only gathered until
// CaughtUp, so that what the previous owner had sent is not followed by an older
// state. Events of unknown claims are not taken.
func (w *Window) Assign(now time.Time, claims []contactsync.Claim, catchUp bool) {
	w.clock(now)
	for _, c := range claims {
		w.claims[c] = &claim{Claim: c, live: true, catching: catchUp, first: -1}
		if catchUp {
			w.catchingUp++
		}
	}
}

// CaughtUp says that a claim's read position has passed the end seen at
// assignment, or that it must not be waited for any longer.
func (w *Window) CaughtUp(now time.Time, c contactsync.Claim) {
	w.clock(now)
	cl := w.claims[c]
	if cl == nil || !cl.catching {
		return
	}
	cl.catching = false
	w.catchingUp--
	w.letters = append(w.letters, cl.deferredLetters...)
	cl.deferredLetters = nil
	for cl.deferred.head != nil {
		c := cl.deferred.head
		cl.deferred.remove(c)
		c.at, c.since = inQueue, w.now // it begins to linger now, not when it was read
		c.lane.queue.pushBack(c)
	}
	w.rescheduleAll()
}

// StopCatchingUp ends catch-up for all claims: the window is full, and only
// sending makes room.
func (w *Window) StopCatchingUp(now time.Time) {
	for _, c := range slices.SortedFunc(maps.Keys(w.claims), compareClaims) {
		w.CaughtUp(now, c)
	}
}

// Add takes one event. The event's slices are the window's from then on. An
// event of a claim that is not known is counted as released and left out.
func (w *Window) Add(now time.Time, ev *event.Event) {
	w.clock(now)
	cl := w.claimOf(ev.Record.Claim())
	if cl == nil {
		w.m.released.Inc()
		return
	}
	cl.open++
	if cl.first < 0 {
		cl.first = ev.Record.Offset
	}
	m := mark{cl, ev.Record.Offset}
	switch ev.Kind {
	case event.Update:
		if w.inOrder(ev, m) {
			w.update(ev, m)
		}
	case event.Delete:
		if w.inOrder(ev, m) {
			w.forgetContact(ev.Contact.Stream, ev.Contact.ID, w.m.skippedDelete)
			w.memory.note(ev.Contact.Stream, ev.Contact.ID, standingOf(ev))
			w.skip(m, w.m.skippedDelete)
		}
	case event.Tombstone:
		w.tombstone(ev)
		w.skip(m, w.m.skippedTombstone)
	default:
		w.refuse(ev, m, ev.Err)
	}
}

func (w *Window) claimOf(c contactsync.Claim) *claim {
	if w.last == nil || w.last.Claim != c {
		w.last = w.claims[c]
	}
	return w.last
}

func (w *Window) update(ev *event.Event, m mark) {
	l := w.laneOf(ev.Contact.Stream, ev.Contact.Account)
	c := l.contacts[ev.Contact.ID]
	switch {
	case c == nil:
		c = w.newContact(l, ev, m)
		l.contacts[c.id] = c
		if w.deferForCatchUp(c) {
			return
		}
		l.queue.pushBack(c)
		if l.queue.rows == 1 || w.full(l) && l.due.After(w.now) {
			w.reschedule(l)
		}
	case c.at == inFlight && c.newer == nil:
		c.newer = w.newContact(l, ev, m)
		c.newer.at = behind
	case c.at == inFlight:
		w.merge(c.newer, ev, m)
	default:
		w.merge(c, ev, m)
	}
}

// deferForCatchUp keeps a contact until the partition of its oldest event has caught
// up, and reports whether it has to: the partition's previous owner may have sent what
// comes after that event. The contact must not wait anywhere else.
func (w *Window) deferForCatchUp(c *contact) bool {
	cl := c.marks[0].claim
	if !cl.catching {
		return false
	}
	c.at, c.holder = deferred, cl
	cl.deferred.pushBack(c)
	return true
}

func (w *Window) newContact(l *lane, ev *event.Event, m mark) *contact {
	c := &contact{
		id: ev.Contact.ID, lane: l, record: ev.Record, body: ev.Contact.Body, shape: ev.Contact.Shape,
		account: ev.Contact.Account, standing: standingOf(ev), marks: []mark{m}, since: w.now, oldest: ev.Record.Time,
	}
	c.bytes = c.charge()
	w.bytes += c.bytes
	w.pending++
	return c
}

// merge lays a newer event over a pending contact, which keeps its place.
func (w *Window) merge(c *contact, ev *event.Event, m mark) {
	w.resize(c, func() {
		if c.shape == ev.Contact.Shape { // every member is set anew: the newer event says it all
			c.body, c.merged = ev.Contact.Body, false
		} else {
			w.compose(c, ev.Contact.Body, ev.Contact.Shape)
		}
		c.record, c.account, c.standing = ev.Record, ev.Contact.Account, standingOf(ev)
		c.marks = append(c.marks, m)
	})
}

// resize changes a contact's bytes and keeps the sums right.
func (w *Window) resize(c *contact, change func()) {
	before := rowBytes(c)
	change()
	delta := rowBytes(c) - before
	switch c.at {
	case inQueue:
		wasFull := w.full(c.lane)
		c.lane.queue.bytes += delta
		if full := w.full(c.lane); full != wasFull || full && c.lane.due.After(w.now) {
			w.reschedule(c.lane)
		}
	case deferred:
		c.holder.deferred.bytes += delta
	case inGroup, inFlight, behind, gone:
	}
	w.recharge(c)
}

func (w *Window) skip(m mark, reason counter) {
	if w.end(m) {
		reason.Inc()
		w.m.ended[endedSkipped].Inc()
	}
}

// end says that an event has ended.
func (w *Window) end(m mark) bool {
	if !m.claim.live {
		return false
	}
	m.claim.open--
	w.ended = append(w.ended, contactsync.Ended{Claim: m.claim.Claim, Offset: m.offset})
	return true
}

// tombstone drops the older pending update of the contact that the key names. A
// key that names a contact without its stream can mean one in any stream.
func (w *Window) tombstone(ev *event.Event) {
	stream, id := event.TombstoneKey(ev.Record.Key)
	if id == "" {
		return
	}
	if stream != "" {
		w.forgetContact(stream, id, w.m.skippedTombstone)
		w.memory.note(stream, id, standingOf(ev))
		return
	}
	w.memory.note("", id, standingOf(ev)) // for the streams in which it was forgotten
	var streams []string
	for _, l := range w.lanes {
		if l.contacts[id] != nil {
			streams = append(streams, l.stream)
		}
	}
	slices.Sort(streams)
	for _, stream := range streams {
		w.forgetContact(stream, id, w.m.skippedTombstone)
		w.memory.note(stream, id, standingOf(ev))
	}
}

// forgetContact ends what is pending of a contact, because a delete came after it.
func (w *Window) forgetContact(stream, id string, reason counter) {
	l := w.lanes[stream]
	if l == nil {
		return
	}
	c := l.contacts[id]
	if c == nil {
		return
	}
	if c.at == inFlight {
		if c.deleted, c.removed = true, reason; c.newer == nil {
			return
		}
		c, c.newer = c.newer, nil
	} else {
		w.unlink(c)
		delete(l.contacts, id)
		defer w.reschedule(l)
	}
	for _, m := range c.marks {
		w.skip(m, reason)
	}
	w.free(c)
}

// unlink takes a contact that is not in flight out of where it waits.
func (w *Window) unlink(c *contact) {
	switch c.at {
	case inQueue:
		c.lane.queue.remove(c)
	case deferred:
		c.holder.deferred.remove(c)
	case inGroup:
		c.group = nil // the group leaves it out when it is next looked at
	case inFlight, behind, gone:
	}
}

// recharge brings what the window charges for a contact up to date.
func (w *Window) recharge(c *contact) {
	n := c.charge()
	w.bytes += n - c.bytes
	c.bytes = n
}

func (w *Window) free(c *contact) {
	c.at = gone
	w.bytes -= c.bytes
	w.pending--
}

func (w *Window) laneOf(stream, accountID string) *lane {
	l := w.lanes[stream]
	if l == nil {
		l = &lane{stream: stream, account: w.accountOf(accountID), contacts: map[string]*contact{}, index: -1, due: far, order: far}
		w.lanes[stream] = l
	}
	return l
}

func (w *Window) accountOf(id string) *account {
	for _, a := range w.accounts {
		if a.id == id {
			return a
		}
	}
	gate, ok := w.gates(id)
	if !ok {
		gate = noGate{}
	}
	a := &account{id: id, gate: gate, ready: laneHeap{ready: true}, ceiling: newCeiling(w.cfg)}
	w.accounts = append(w.accounts, a)
	for k := range holdKinds { // its series are there before anything is held
		w.m.StreamsOnHold.WithLabelValues(id, k.String())
		w.m.ContactsOnHold.WithLabelValues(id, k.String())
		w.m.OldestHoldAge.WithLabelValues(id, k.String())
	}
	return a
}

// clock keeps the latest time: a caller's clock never turns decisions back.
func (w *Window) clock(now time.Time) {
	if now.After(w.now) {
		w.now = now
	}
}

func (w *Window) rescheduleAll() {
	for _, l := range w.inOrderOfName() {
		w.reschedule(l)
	}
}

// inOrderOfName returns every lane, always in the same order: what is decided
// must not depend on that of a map, or a seed would not replay.
func (w *Window) inOrderOfName() []*lane {
	return slices.SortedFunc(maps.Values(w.lanes), func(a, b *lane) int { return cmp.Compare(a.stream, b.stream) })
}

func compareClaims(a, b contactsync.Claim) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Generation, b.Generation))
}

// TakeEnded returns the positions that ended since the last call. The slice is
// the caller's until the next call.
func (w *Window) TakeEnded() []contactsync.Ended {
	ended := w.ended
	w.ended = nil
	return ended
}
