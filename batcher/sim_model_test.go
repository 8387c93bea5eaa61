package batcher_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/event"
)

// simModel says what a Window must do with the events that it is given: which state of
// a contact a request carries, which events end with an answer and how, which dead
// letters there are. It knows nothing of how the Window does it.
type simModel struct {
	cfg    batcher.Config
	now    time.Time
	cells  map[simKey]*simCell
	claims map[contactsync.Claim]*simClaim
	seen   map[simKey]simOrder // the newest accepted state of contacts
	gone   map[simKey]simOrder // the newest tombstones, by id alone too
	drain  bool
	turns  int  // given so far
	noted  int  // states that became known so far
	doubt  bool // see simPlan

	ids      []string // of all contacts
	streams  []*simStream
	byName   map[string]*simStream
	accounts []*simAccount

	unwritten map[simKey]*simLetter      // of dead letters that Kafka does not have yet, and that may have been applied
	late      map[simKey]time.Time       // until when requests of contacts may be applied that a delete has removed
	ended     map[contactsync.Ended]bool // to come out of the Window
	letters   []*simLetter               // not acknowledged
	count     map[string]float64         // what the metrics must say
}

// simClaim is a claim of the present generation.
type simClaim struct {
	contactsync.Claim
	catching bool
	first    int64 // offset of the first event read; -1 before it
	open     int   // events not ended
	assigned time.Time
	ranked   time.Time // the latest of what was read while it catches up

	parked map[string]*simParked // by stream
}

// rank is the arrival of an event, but in catch-up its time, as far as that is not before
// what stands in front of it in the log, or in the future.
func (cl *simClaim) rank(now, at time.Time) time.Time {
	if !cl.catching {
		return now
	}
	if at.After(cl.assigned) {
		at = cl.assigned
	}
	if at.After(cl.ranked) {
		cl.ranked = at
	}
	return cl.ranked
}

// simRead is one event of a claim.
type simRead struct {
	claim *simClaim
	event *simEvent
}

func (r simRead) ended() contactsync.Ended {
	return contactsync.Ended{Claim: r.claim.Claim, Offset: r.event.record.Offset}
}

// simCell is what is pending of one contact.
type simCell struct {
	key    simKey
	events []simRead // that it carries, oldest first
	body   map[string]any
	order  simOrder // of its newest event
	oldest time.Time

	rank      time.Time // by which it goes before others
	since     time.Time // from when it waits
	sends     int
	attempts  int // answers that left it open
	throttled int // requests in a row
	firstFail time.Time
	maybe     bool // the API may hold this state or an older one, without having said so
	beside    bool // it was refused beside rows that were taken
	refusedAt time.Time
	alone     int // one more than the rows of its stream that were taken before it was refused alone; 0 where it was not

	request *simRequest // that carries it
	behind  *simCell    // what came while a request carried it
	deleted string      // a delete came while a request carried it: the reason to skip it
	dead    bool        // its generation ended while a request carried it
	refused bool        // and Kafka did not have a dead letter of an older state then

	deferred  *simClaim     // that it waits for to catch up
	set       *simSet       // nil: in the queue of its stream
	notBefore time.Time     // after an ambiguous answer, or where it was throttled again; zero where it was not since it was sent
	by        time.Time     // when that is over at the latest
	yields    time.Duration // how long it waits after its account was throttled, where it was so again itself
	late      time.Time     // until when requests of it may be applied
	next      bool          // it came of a reading that brings some contacts, and goes before others of its stream, perhaps
	turn      int           // in its queue, or among those that wait for catch-up: the least goes first
}

func (c *simCell) newest() *simEvent { return c.events[len(c.events)-1].event }

// simLetter is a dead letter that is due.
type simLetter struct {
	row      bool // of a row, and not of an event that is not sent at all
	maybe    bool // the API may have applied it
	order    simOrder
	reads    []simRead
	event    *simEvent
	body     map[string]any // of an update
	reason   contactsync.Reason
	status   int
	attempts int
	first    time.Time
	last     time.Time
	deferred bool                // its partition catches up
	dead     bool                // its generation is over
	found    *batcher.DeadLetter // of the Window
	taken    bool                // by Kafka's client
}

func newSimModel(cfg batcher.Config, w *simWorld) *simModel {
	m := &simModel{
		cfg: cfg, now: w.now, doubt: w.plan.doubt, cells: map[simKey]*simCell{}, claims: map[contactsync.Claim]*simClaim{}, unwritten: map[simKey]*simLetter{}, late: map[simKey]time.Time{}, seen: map[simKey]simOrder{}, gone: map[simKey]simOrder{},
		ids: w.ids, byName: map[string]*simStream{}, ended: map[contactsync.Ended]bool{}, count: map[string]float64{},
	}
	for i := range w.plan.accounts {
		m.accounts = append(m.accounts, &simAccount{
			strangers: simStrangers{accepted: map[string]bool{}}, misfits: map[simKey]bool{},
			name: fmt.Sprint("a", i), rows: cfg.MaxRows, bytes: int(cfg.MaxBytes), leastRows: cfg.MaxRows, leastBytes: int(cfg.MaxBytes),
		})
	}
	for i, name := range w.streams {
		m.byName[name] = &simStream{name: name, account: m.accounts[i%len(m.accounts)]}
		m.streams = append(m.streams, m.byName[name])
	}
	return m
}

func (m *simModel) assign(claims []contactsync.Claim, catchUp bool) {
	for _, c := range claims {
		m.claims[c] = &simClaim{Claim: c, catching: catchUp, first: -1, assigned: m.now, parked: map[string]*simParked{}}
	}
}

func (m *simModel) catching() bool {
	for _, c := range m.claims {
		if c.catching {
			return true
		}
	}
	return false
}

func (m *simModel) caughtUp(c contactsync.Claim) {
	cl := m.claims[c]
	if cl == nil || !cl.catching {
		return
	}
	cl.catching = false
	for _, l := range m.letters {
		if !l.dead && l.reads[0].claim == cl {
			l.deferred = false
		}
	}
	cells := slices.DeleteFunc(m.sorted(), func(c *simCell) bool { return c.deferred != cl })
	slices.SortFunc(cells, func(a, b *simCell) int { return a.turn - b.turn })
	for _, c := range cells {
		c.since = m.now
		if m.place(c); c.late.After(m.now) {
			c.notBefore = c.late
		}
	}
}

// add takes an event; fate is what has become of an update or a delete.
func (m *simModel) add(e *simEvent, claim contactsync.Claim, fate string, again bool) {
	cl := m.claims[claim]
	if cl == nil {
		m.count["released"]++
		return
	}
	if !again {
		cl.open++
	}
	r := simRead{cl, e}
	switch {
	case e.kind == event.Broken:
		m.letter(&simLetter{reads: []simRead{r}, event: e, reason: e.reason, first: m.now})
	case e.kind == event.Tombstone:
		if e.key.id == "" {
			m.skip("unnamed_tombstone", r)
			break
		}
		m.tombstone(r, again)
		m.skip("tombstone", r)
	case fate == simStale:
		m.skip("stale", r)
	case fate == simUnverifiable:
		m.letter(&simLetter{reads: []simRead{r}, event: e, body: e.body, reason: contactsync.ReasonUnverifiable, first: m.now})
	case e.kind == event.Delete:
		m.removeNamed(r, again, "delete")
		m.remember(e.key, e.order)
		m.skip("delete", r)
	default:
		m.update(r)
	}
}

// tombstone ends what is pending of the contacts that one names.
func (m *simModel) tombstone(r simRead, again bool) {
	e := r.event
	m.removeNamed(r, again, "tombstone")
	order := e.order
	order.deleted = true
	known := m.gone[e.key].origin
	behind := again && known.TopicPartition == order.origin.TopicPartition && known.Offset > order.origin.Offset
	if m.cfg.RememberContacts > 0 && !behind {
		m.gone[e.key] = order
	}
	if !again {
		m.noted++
	}
	deleted := func(k simKey, known simOrder) simOrder { // what comes after it is a new contact
		same := known.read.TopicPartition == e.record.TopicPartition
		if k != e.key && (e.key.stream != "" || k.id != e.key.id) || again && (!same || known.read.Offset > e.record.Offset) {
			return known // it is of another one, or came before
		}
		order.before, order.noted = known.before, known.noted
		if !known.deleted {
			order.before = &known
		}
		if !again {
			order.noted = m.noted
		}
		return order
	}
	for k, known := range m.seen {
		m.seen[k] = deleted(k, known)
	}
	for _, l := range m.letters {
		if l.maybe && !l.dead {
			l.order = deleted(l.event.key, l.order)
		}
	}
}

// named returns what is pending of the contacts that a key names.
func (m *simModel) named(k simKey) []*simCell {
	var cells []*simCell
	for _, c := range m.sorted() {
		if c.key == k || k.stream == "" && c.key.id == k.id {
			cells = append(cells, c)
		}
	}
	return cells
}

// sorted returns all cells in an order that does not change from run to run.
func (m *simModel) sorted() []*simCell {
	var cells []*simCell
	for _, st := range m.streams {
		cells = append(cells, m.of(st)...)
	}
	return cells
}

func (m *simModel) update(r simRead) {
	k := r.event.key
	fresh := &simCell{
		key: k, events: []simRead{r}, body: r.event.body, order: r.event.order, rank: r.claim.rank(m.now, r.event.record.Time), since: m.now, oldest: r.event.record.Time,
	}
	switch c := m.cells[k]; {
	case c == nil:
		m.place(fresh)
		if until := m.late[k]; until.After(m.now) {
			if fresh.late = until; fresh.deferred == nil {
				fresh.notBefore = until
			}
		}
		delete(m.late, k)
	case c.request != nil && c.behind == nil:
		c.behind = fresh
	case c.request != nil:
		c.behind.lay(fresh)
	default:
		c.lay(fresh)
	}
}

// place makes a cell that of its contact, and lets it wait behind the others of its
// stream, or for its partition to catch up.
func (m *simModel) place(c *simCell) {
	m.cells[c.key] = c
	m.turns++
	c.turn, c.deferred, c.set, c.notBefore, c.yields = m.turns, nil, nil, time.Time{}, 0
	if cl := c.events[0].claim; cl.catching {
		c.deferred = cl
	}
}

// lay puts newer events over a cell.
func (c *simCell) lay(newer *simCell) {
	c.body, c.order, c.events, c.beside = merged(c.body, newer.body), newer.order, append(c.events, newer.events...), false
}

// remove drops what is pending of a contact because a delete came after it.
func (m *simModel) remove(c *simCell, reason string) {
	if c.request == nil {
		delete(m.cells, c.key)
		m.late[c.key] = c.late
		m.skip(reason, c.events...)
		return
	}
	c.deleted = reason
	if c.behind != nil {
		m.skip(reason, c.behind.events...)
		c.behind = nil
	}
}

func (m *simModel) skip(reason string, reads ...simRead) {
	m.end("skipped", reads...)
	m.count["skipped "+reason] += float64(len(reads))
}

func (m *simModel) end(outcome string, reads ...simRead) {
	for _, r := range reads {
		r.claim.open--
		e := r.ended()
		e.SetAside = outcome == "dead_letter"
		m.ended[e] = true
		m.count["ended "+outcome]++
	}
}

// delivered ends a row that the API has taken.
func (m *simModel) delivered(c *simCell) {
	if c.dead {
		m.count["late"]++
	} else {
		last := len(c.events) - 1
		m.end("superseded", c.events[:last]...)
		m.end("delivered", c.events[last])
	}
	if c.deleted == "" && (!c.dead || !c.refused) {
		m.remember(c.key, c.order)
	}
	delete(m.byName[c.key.stream].account.misfits, c.key)
	m.replace(c)
}

// replace puts what came behind a cell in its place.
func (m *simModel) replace(c *simCell) {
	delete(m.cells, c.key)
	if c.behind != nil {
		m.place(c.behind)
	}
}

// dead makes a dead letter of a cell.
func (m *simModel) letterOf(c *simCell, reason contactsync.Reason, status int) {
	if c.firstFail.IsZero() {
		c.firstFail = m.now
	}
	if c.dead {
		m.count["late"]++
	} else {
		m.noted++
		l := &simLetter{
			row: true, maybe: c.maybe, order: c.order, reads: c.events, event: c.newest(), body: c.body, reason: reason, status: status,
			attempts: c.sends, first: c.firstFail,
		}
		if l.order.noted = m.noted; c.maybe && m.cfg.RememberContacts > 0 {
			m.unwritten[c.key] = l
		}
		m.letter(l)
	}
	m.replace(c)
}

func (m *simModel) letter(l *simLetter) {
	l.last, l.deferred = m.now, l.reads[0].claim.catching
	m.letters = append(m.letters, l)
}

func (m *simModel) acked(l *simLetter) {
	m.letters = slices.DeleteFunc(m.letters, func(o *simLetter) bool { return o == l })
	if !l.dead {
		if k := l.event.key; l.maybe {
			if m.unwritten[k] == l {
				delete(m.unwritten, k)
			}
			if known, ok := m.seen[k]; m.cfg.RememberContacts > 0 && (!ok || known.noted < l.order.noted) {
				m.seen[k] = l.order
			}
		}
		m.end("dead_letter", l.reads...)
	}
}

// land brings a row back that was not settled, and reports whether it may be sent now.
func (m *simModel) land(c *simCell) bool {
	behind := c.behind
	c.request, c.behind = nil, nil
	if c.deleted != "" && !c.dead {
		m.skip(c.deleted, c.events...)
	}
	if c.deleted != "" || c.dead {
		c.events = nil
	}
	c.deleted, c.dead = "", false
	if behind != nil {
		if len(c.events) == 0 {
			c.body, c.rank, c.since, c.oldest = map[string]any{}, behind.rank, behind.since, behind.oldest
			c.attempts, c.sends, c.throttled, c.firstFail, c.refusedAt, c.alone = 0, 0, 0, time.Time{}, time.Time{}, 0
		}
		c.lay(behind)
	}
	if len(c.events) == 0 {
		delete(m.cells, c.key)
		m.late[c.key] = c.late
		return false
	}
	if c.events[0].claim.catching {
		m.place(c)
		return false
	}
	return true
}

// forget ends the generation.
func (m *simModel) forget() {
	for _, cl := range m.claims {
		m.count["released"] += float64(cl.open)
	}
	clear(m.claims)
	m.drain = false
	for _, l := range m.letters { // what came behind such a one makes it not stale when it is read again
		if l.dead || !l.row {
			continue
		}
		k, at := l.event.key, l.reads[0].event.record.Position
		known := m.seen[k]
		if known.deleted && known.before != nil {
			known = *known.before
		}
		if known.read.TopicPartition != at.TopicPartition || known.read.Offset > at.Offset {
			delete(m.seen, k)
		}
		if c := m.cells[k]; c != nil {
			c.refused = true
		}
	}
	clear(m.unwritten)
	clear(m.late)
	m.letters = slices.DeleteFunc(m.letters, func(l *simLetter) bool { return !l.taken })
	for _, l := range m.letters {
		l.dead = true
	}
	for k, c := range m.cells {
		if c.behind = nil; c.request == nil {
			delete(m.cells, k)
		}
		c.dead, c.events = true, nil
	}
}

func (c *simCell) String() string {
	return fmt.Sprintf("%s/%s of %d events", c.key.stream, c.key.id, len(c.events))
}
