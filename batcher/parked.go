package batcher

import (
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// parked is a stream of which a partition's events are not kept, from one of them on: what is
// on hold took more than its part of the window. They stay open, and are read again, in the
// order of the log. Whatever comes of the stream in the partition until then is left to be
// read again as well, so that its order holds: all of it, or of a stream that is not on hold only what is
// of the contacts that were kept alone.
type parked struct {
	all    bool
	only   idSet // the contacts of which something is left, where that is not all of them
	behind idSet // those of which something was left since the latest reading began and that it has passed

	read  time.Time // when it took part in a reading last, or else when something was left first
	from  int64     // from which offset on contacts that were kept alone are read again, because before it there was no room for more
	short bool      // there was none behind that either

	events int       // that were left and are not handed over again yet
	due    int       // of these, what the reading is still to come to, if the log has it yet
	oldest time.Time // Kafka timestamp of the oldest that was left
	pass   int       // the latest reading that it took part in
	// whole is true while nothing was left since that reading began but what it will still
	// come to.
	whole bool
	// sample is how many in 1<<32 of its contacts the reading brings, where the stream stalls: see sample.go.
	sample uint64

	aside      *hold // for which an operator has decided that its events become dead letters
	asideBelow int64 // those below this offset
	asideLeft  bool  // some of those were left since the reading began, and so are all behind them: an older one must not follow a newer
}

// What the window charges for what is left: a stream in a partition, and the part of the
// consumer's offset tracker that an event lies in.
const (
	parkedOverhead = 300
	parkedRange    = 512 // offsets
	parkedCharge   = 200
	idCharge       = 64 // a contact in an idSet, besides its id
)

// idSet is a set of contacts of a stream, by their folded ids.
type idSet map[string]struct{}

func (s idSet) has(id string) bool { _, ok := s[id]; return ok }

// has reports whether something of a contact may be left.
func (p *parked) has(id string) bool { return p.all || p.only.has(id) || p.behind.has(id) }

// Parking is the part of a Window by which events are left to be read again.
type Parking struct{ *Window }

// admission is how an event is taken.
type admission uint8

const (
	asUsual admission = iota
	asAside           // to become a dead letter
	asAlone           // to be tried alone
	asNext            // to be tried before others of its stream
)

// leaves reports whether an event is not taken now but left to be read again, which has been
// noted then. as says how it is taken.
func (w Parking) leaves(cl *claim, ev *event.Event, src source) (left bool, as admission) {
	if ev.Kind != event.Update && ev.Kind != event.Delete {
		return false, asUsual
	}
	key := keyOf(ev)
	st := w.schedule.streams[key.stream]
	p := cl.parked[key.stream]
	if p != nil && ev.Again {
		if p.events--; src.offset < cl.began {
			p.due--
		}
	}
	if p != nil && ev.Again && !w.takes(key.stream) {
		p.whole, p.sample = false, 0
	}
	of := key.id // the contact, where it is left for itself, and not with its stream
	switch {
	case p == nil:
		left, of = w.full() && w.withholds(key.stream) && !st.tells(), ""
	case p.all && (!ev.Again || p.pass != cl.pass):
		left, of = true, ""
	case !ev.Again && p.has(key.id), ev.Again && (p.pass != cl.pass || p.behind.has(key.id)):
		left = true
	case !ev.Again:
		left, of = w.full() && w.withholds(key.stream), ""
	case p.givenUp(st) && !p.asideLeft && src.offset < p.asideBelow && !w.stuffed(st):
		as = asAside
	case p.samples(cl.pass, key.id):
		as = asNext
	case !p.whole:
		left, of = true, ""
	case p.only.has(key.id):
		left, as = w.waits(p, src.offset), asAlone
	}
	if !left {
		if p != nil && ev.Again { // what follows it in the log is hardly older
			p.oldest = later(p.oldest, src.time())
		}
		return false, as
	}
	w.leave(key.stream, of, src)
	switch c := w.pending.find(key); {
	case ev.Kind == event.Delete && !ev.Again: // what waits of it needs no answer any more
		if newest, known := w.seen.newest(c, ev); w.seen.judge(ev, newest, known, cl.first) == accepted {
			w.pending.remove(key, ev.Again, src, w.m.skippedDelete)
		}
	case c != nil && cl.catching && !c.inFlight() && !c.maybeApplied && !st.setsAside():
		w.giveBack(c, of) // an earlier owner may have sent what is left, and this is older
	}
	return true, asUsual
}

// waits reports whether a contact that was kept alone is left once more, because there is no room for it. Those
// behind it have their turn first then, or only the first ones would ever be tried.
func (w Parking) waits(p *parked, offset int64) bool {
	switch {
	case offset < p.from:
		return true
	case w.full() && !p.short:
		p.short, p.from = true, offset
	}
	return w.full()
}

// leavesTombstone reports the same of a tombstone, which has ended what is pending: where
// events that it may mean are still to be read again, so must it be, behind them.
func (w Parking) leavesTombstone(cl *claim, ev *event.Event, src source) bool {
	for key, p := range cl.parked {
		id := keyOf(ev).id
		if ev.Contact.Stream != "" && key.name != ev.Contact.Stream || !p.has(id) || ev.Again && p.pass == cl.pass && p.whole && !p.behind.has(id) {
			continue
		}
		w.note(src)
		return true
	}
	return false
}

// leave has an event of a stream read again later: of a contact that is kept alone, and where that is
// empty of the stream as a whole.
func (w Parking) leave(key streamKey, of string, src source) {
	cl := src.claim
	p := cl.parked[key]
	if p == nil {
		p = &parked{pass: -1, read: w.now}
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
	passed := p.pass == cl.pass && src.offset < cl.next // the reading may be past it
	p.asideLeft = p.asideLeft || passed && src.offset < p.asideBelow
	switch {
	case of == "":
		p.all, p.whole = true, p.whole && !passed
	case passed:
		w.unmark(cl, &p.only, of)
		w.mark(cl, &p.behind, of)
	case !p.all:
		w.mark(cl, &p.only, of)
	}
	w.note(src)
}

// mark takes a contact into a set, unmark takes it out, and clearMarks does so with all.
func (w Parking) mark(cl *claim, set *idSet, id string) {
	if *set == nil {
		*set = idSet{}
	}
	if !set.has(id) {
		(*set)[id] = struct{}{}
		w.charge(cl, idCharge+int64(len(id)))
	}
}

func (w Parking) unmark(cl *claim, set *idSet, id string) {
	if set.has(id) {
		delete(*set, id)
		w.charge(cl, -idCharge-int64(len(id)))
	}
}

func (w Parking) clearMarks(cl *claim, set *idSet) {
	for id := range *set {
		w.unmark(cl, set, id)
	}
	*set = nil
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
			if !w.takes(key) {
				p.whole, p.sample = false, 0
			}
			going = going || p.whole || p.sample > 0 || p.givenUp(st) && !p.asideLeft && !w.stuffed(st)
		}
	}
	if going {
		return cl.pass
	}
	begin, rest := reading{w, cl}.begins()
	if len(begin) == 0 {
		return 0
	}
	cl.pass, cl.little, cl.began, cl.beganAt = cl.pass+1, rest, cl.next, w.now
	var sampled []streamKey
	for _, key := range begin {
		p := cl.parked[key]
		p.pass, p.whole, p.sample, p.asideLeft, p.short, p.read = cl.pass, true, 0, false, false, w.now
		if p.all && w.stalls(key) {
			sampled = append(sampled, key)
		}
		for id := range p.behind { // of a reading that did not come to its end
			w.mark(cl, &p.only, id)
		}
		w.clearMarks(cl, &p.behind)
	}
	for _, key := range sampled {
		cl.parked[key].beginSample(w, w.schedule.streams[key], len(sampled))
	}
	for _, p := range cl.parked {
		p.due = p.events
	}
	return cl.pass
}

// tells reports whether a stream has nothing to try, and what is tried of it next would tell whether its requests fail like those of
// others.
func (st *stream) tells() bool {
	return st != nil && !st.onHold() && !st.stalls() && len(st.contacts) == 0
}

// takes reports whether the window takes more of a stream that is read again, and stuffed
// whether it has as much of it as of all streams on hold.
func (w Parking) takes(key streamKey) bool {
	return !w.stuffed(w.schedule.streams[key]) && (!w.full() || !w.withholds(key))
}

func (w Parking) stuffed(st *stream) bool { return st != nil && st.bytes-st.kept >= w.cfg.holdPart() }

// givenUp reports whether an operator has decided so of the present hold of the stream.
func (p *parked) givenUp(st *stream) bool {
	return p.aside != nil && st != nil && p.aside == st.health.hold
}

// withholds reports whether a stream withholds what comes of it; one of which nothing is known may be on hold by what signs for it.
func (w Parking) withholds(key streamKey) bool {
	if st := w.schedule.streams[key]; st != nil {
		return st.withheld()
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
		w.clearMarks(cl, &p.only)
		switch {
		case !p.whole:
			w.clearMarks(cl, &p.behind)
			p.all = true
			w.tryLater(p)
		case len(p.behind) > 0:
			p.only, p.behind, p.all = p.behind, nil, false
			w.tryLater(p)
		default:
			delete(cl.parked, key)
			w.charge(cl, -parkedOverhead)
			w.log.unparked(w.now, key, cl)
		}
	}
	if cl.little {
		cl.rests = w.now.Add(readingShare * w.now.Sub(cl.beganAt))
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

// readingShare is how many times as long as a reading took that may bring little there is no other one: what
// comes of it is not worth more of Kafka's time.
const readingShare = 9

// tryLater has contacts that were kept alone wait after a reading, which goes on next time where it had no room.
func (w Parking) tryLater(p *parked) {
	if !p.short {
		p.from = 0
	}
	p.read = w.now
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
			if p.aside == on && p.events > 0 {
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
