package batcher

import (
	"cmp"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// parked is a stream of which a partition's events are not kept, from one of them on: streams
// on hold took more than their part of the window. They stay open, and are read again, in the
// order of the log. Whatever comes of the stream in the partition until then is left to be
// read again as well, so that its order holds.
type parked struct {
	events int       // that were left and are not handed over again yet
	due    int       // of these, what the reading is still to come to, if the log has it yet
	oldest time.Time // Kafka timestamp of the oldest that was left
	pass   int       // the latest reading that it took part in
	// whole is true while nothing was left since that reading began but what it will still
	// come to.
	whole bool

	aside      *hold // for which an operator has decided that its events become dead letters
	asideBelow int64 // those below this offset
	asideLeft  bool  // some of those were left since the reading began
}

// What the window charges for what is left: a stream in a partition, and the part of the
// consumer's offset tracker that an event lies in.
const (
	parkedOverhead = 300
	parkedRange    = 512 // offsets
	parkedCharge   = 200
)

// holdPart is what all streams on hold together may take of the window: half, so that the
// others always have as much.
func (c *Config) holdPart() int64 { return int64(c.WindowBytes) / 2 }

// Parking is the part of a Window by which events are left to be read again.
type Parking struct{ *Window }

// room is what contacts of streams on hold may take of the window: what is left of their part by what
// is charged for events to be read again, and a quarter of it at least, so that something can
// always be probed with.
func (w Parking) room() int64 {
	part := w.cfg.holdPart()
	return max(part-w.claims.parkedBytes, part/4)
}

// full reports whether streams on hold have their part of the window.
func (w Parking) full() bool { return w.schedule.held >= w.room() }

// leaves reports whether an event is not taken now but left to be read again, which has been
// noted then. aside says that what is taken becomes a dead letter.
func (w Parking) leaves(cl *claim, ev *event.Event, src source) (left, aside bool) {
	if ev.Kind != event.Update && ev.Kind != event.Delete {
		return false, false
	}
	key := streamKey{ev.Contact.Account, ev.Contact.Stream}
	st := w.schedule.streams[key]
	p := cl.parked[key]
	if p != nil && ev.Again {
		if p.events--; src.offset < cl.began {
			p.due--
		}
	}
	switch {
	case p == nil:
		left = w.full() && w.onHold(key)
	case !ev.Again || p.pass != cl.pass:
		left = true
	case p.givenUp(st) && src.offset < p.asideBelow && !w.stuffed(st):
		aside = true
	default:
		left = !p.whole || !w.takes(key)
	}
	if !left {
		if p != nil { // what follows it in the log is hardly older
			p.oldest = later(p.oldest, src.time())
		}
		return false, aside
	}
	w.leave(key, src)
	switch c := w.pending.find(keyOf(ev)); {
	case ev.Kind == event.Delete && !ev.Again: // what waits of it needs no answer any more
		if newest, known := w.seen.newest(c, ev); w.seen.judge(ev, newest, known, cl.first) == accepted {
			w.pending.remove(keyOf(ev), ev.Again, src, w.m.skippedDelete)
		}
	case c != nil && cl.catching && !c.inFlight() && !c.maybeApplied && !st.setsAside():
		w.giveBack(c) // an earlier owner may have sent what is left, and this is older
	}
	return true, false
}

// leavesTombstone reports the same of a tombstone, which has ended what is pending: where
// events that it may mean are still to be read again, so must it be, behind them.
func (w Parking) leavesTombstone(cl *claim, ev *event.Event, src source) bool {
	for key, p := range cl.parked {
		if ev.Contact.Stream != "" && key.name != ev.Contact.Stream || ev.Again && p.pass == cl.pass && p.whole {
			continue
		}
		w.note(src)
		return true
	}
	return false
}

// leave has an event of a stream read again later.
func (w Parking) leave(key streamKey, src source) {
	cl := src.claim
	p := cl.parked[key]
	if p == nil {
		p = &parked{pass: -1}
		if cl.parked == nil {
			cl.parked = map[streamKey]*parked{}
		}
		cl.parked[key] = p
		w.charge(cl, parkedOverhead)
		w.log.parked(w.now, key, src)
	}
	if p.events++; p.events == 1 || src.time().Before(p.oldest) {
		p.oldest = src.time()
	}
	if p.pass == cl.pass && src.offset < cl.next { // the reading may be past it
		p.whole = false
		p.asideLeft = p.asideLeft || src.offset < p.asideBelow
	}
	w.note(src)
}

// note tells the consumer of an event that is left.
func (w Parking) note(src source) {
	cl, at := src.claim, src.offset/parkedRange
	if cl.parkedIn == nil {
		cl.parkedIn = map[int64]int{}
	}
	if _, ok := cl.parkedIn[at]; !ok {
		w.charge(cl, parkedCharge)
	}
	cl.parkedIn[at] = cl.pass
	w.outbox.parked = append(w.outbox.parked, contactsync.Parked{Claim: cl.Claim, Offset: src.offset})
	w.m.EventsParked.Inc()
}

func (w Parking) charge(cl *claim, bytes int64) {
	cl.parkedBytes += bytes
	w.claims.parkedBytes += bytes
}

// shed leaves contacts to be read again until streams on hold take no more than their part:
// those that came last, in the streams that take most. One contact of each stays, to be probed with;
// of streams that were not refused themselves, and are many, only as long as there is room.
func (w Parking) shed() {
	if w.schedule.held <= w.room() {
		return
	}
	streams := w.schedule.holding(func(st *stream) bool { return !st.setsAside() })
	slices.SortStableFunc(streams, func(a, b *stream) int { return cmp.Compare(b.bytes, a.bytes) })
	kept := map[*credential]int{}
	for _, st := range streams {
		w.shedOf(st, 1)
		kept[st.signer] += min(1, len(st.contacts))
	}
	for _, st := range streams {
		if st.health.hold == nil && len(st.contacts) == 1 && kept[st.signer] > probedWith {
			w.shedOf(st, 0)
			kept[st.signer] -= 1 - len(st.contacts)
		}
	}
}

// probedWith is how many streams of a credential on hold have a contact at least, to probe it with.
const probedWith = 3

// shedOf does so for the contacts of one stream, but for some.
func (w Parking) shedOf(st *stream, but int) {
	for c, before := st.queue.tail, (*contact)(nil); c != nil && w.schedule.held > w.room() && len(st.contacts) > but; c = before {
		before = c.prev
		// What the API may have applied must not be followed by an older state of the contact.
		if c.maybeApplied || c.newer != nil {
			continue
		}
		w.giveBack(c)
	}
}

// giveBack leaves a contact that is not in flight, and what waits behind it, to be read again.
func (w Parking) giveBack(c *contact) {
	w.pending.unlink(c)
	w.pending.index.drop(c)
	for state := c; state != nil; state = c.pop() {
		for _, src := range state.sources {
			w.leave(c.stream.key(), src)
		}
		w.pending.free(state)
	}
}

// ReadAgain says whether events of a claim that were left may be handed over again now, each
// with Again set: there is room, and streams are no longer on hold. It returns a number that
// is another one where that has to begin from the first of them; 0 is no.
func (w Parking) ReadAgain(now time.Time, c contactsync.Claim) (pass int) {
	w.clock(now)
	cl := w.claims.of(c)
	if cl == nil || len(cl.parked) == 0 || w.draining {
		return 0 // a full window does not matter: what is handed over waits as new events do
	}
	going := false
	for key, p := range cl.parked {
		if p.pass == cl.pass {
			st := w.schedule.streams[key]
			p.whole = p.whole && w.takes(key)
			going = going || p.whole || p.givenUp(st) && !w.stuffed(st)
		}
	}
	if going {
		return cl.pass
	}
	next := cl.pass + 1
	for key, p := range cl.parked {
		if w.mayBegin(key, p) {
			p.pass, p.whole, p.asideLeft, going = next, true, false, true
		}
	}
	if !going {
		return 0
	}
	cl.pass, cl.began = next, cl.next
	for _, p := range cl.parked {
		p.due = p.events
	}
	return cl.pass
}

// mayBegin reports whether events of a stream may be read again: it is not on hold, or given
// up, and most of what it has in the window has ended.
func (w Parking) mayBegin(key streamKey, p *parked) bool {
	st := w.schedule.streams[key]
	return (!w.onHold(key) || p.givenUp(st)) && (st == nil || st.bytes < w.cfg.holdPart()/2)
}

// takes reports whether the window takes more of a stream that is read again, and stuffed
// whether it has as much of it as of all streams on hold.
func (w Parking) takes(key streamKey) bool {
	return !w.stuffed(w.schedule.streams[key]) && (!w.full() || !w.onHold(key))
}

func (w Parking) stuffed(st *stream) bool { return st != nil && st.bytes >= w.cfg.holdPart() }

// givenUp reports whether an operator has decided so of the present hold of the stream.
func (p *parked) givenUp(st *stream) bool {
	return p.aside != nil && st != nil && p.aside == st.health.hold
}

// onHold reports whether a stream is on hold, by itself or by what signs for it; one of which
// nothing is known may be by the latter.
func (w Parking) onHold(key streamKey) bool {
	if st := w.schedule.streams[key]; st != nil {
		return st.onHold()
	}
	signer := w.schedule.signer(key)
	return signer != nil && signer.held
}

// ReadAgainDone says that everything of a claim that had been left when it was asked last
// was handed over, up to the read position of new events, but for so many offsets that the log does
// not have any more.
func (w Parking) ReadAgainDone(now time.Time, c contactsync.Claim, pass, gone int) {
	w.clock(now)
	cl := w.claims.of(c)
	if cl == nil {
		return
	}
	cl.open -= gone
	w.outbox.released(gone)
	for key, p := range cl.parked {
		if pass != cl.pass {
			break
		}
		if p.events -= max(0, p.due); p.pass != pass { // what it did not come to is gone
			continue
		}
		if !p.asideLeft {
			p.aside = nil
		}
		if p.whole {
			delete(cl.parked, key)
			w.charge(cl, -parkedOverhead)
			w.log.unparked(w.now, key, cl)
		}
	}
	if pass == cl.pass { // whatever is still left was left in this reading
		for at, last := range cl.parkedIn {
			if last != pass {
				delete(cl.parkedIn, at)
				w.charge(cl, -parkedCharge)
			}
		}
	}
	cl.pass++ // the next one begins with what is left
	if len(cl.parked) == 0 {
		w.charge(cl, -cl.parkedBytes)
		cl.parkedIn = nil
	}
}

// setAside has what was left of a stream become dead letters, as an operator has decided.
func (w Parking) setAside(st *stream) {
	for _, cl := range w.claims.owned {
		if p := cl.parked[st.key()]; p != nil {
			p.aside, p.asideBelow = st.health.hold, cl.next
			cl.pass++ // a reading that goes on may have passed some of it
		}
	}
}

// asides reports whether some of that is still to be read.
func (w Parking) asides(on *hold) bool {
	for _, cl := range w.claims.owned {
		for _, p := range cl.parked {
			if p.aside == on {
				return true
			}
		}
	}
	return false
}

// events is how many events of a stream wait to be read again.
func (w Parking) events(st *stream) (n int) {
	for _, cl := range w.claims.owned {
		if p := cl.parked[st.key()]; p != nil {
			n += p.events
		}
	}
	return n
}

// TakeParked returns the events that were left since the last call.
func (w Parking) TakeParked() []contactsync.Parked {
	left := w.outbox.parked
	w.outbox.parked = nil
	return left
}
