package batcher

import (
	"hash/fnv"
	"math/bits"
	"strconv"
)

// Of a stream that stalls only what is in memory is tried, and that may be what fails
// for itself. So now and then a few contacts of what was left of it are read again, which are tried next, and what was tried gives way to
// them. Which ones is by chance, for what fails may be all that lies in front; and each of them comes with all of its
// events, so their order holds whatever is left.

// beginSample chooses as many contacts as can be tried until the next reading, or as there is room for, about: with more of them those in
// front would have it. The room is for as many streams as take part in the reading, by chance where it is not for one contact of each.
func (p *parked) beginSample(w Parking, st *stream, streams int) {
	tries := max(aloneAlike, int64(w.cfg.HoldProbeMax/w.cfg.BackoffMax))
	each := max(contactOverhead, st.bytes/int64(max(1, len(st.contacts))))
	room := max(each, w.room()-w.schedule.held) / int64(streams)
	p.whole, p.sample = false, max(1, min(1<<32, uint64(min(tries<<16, room<<16/each))<<16/uint64(max(1, p.events))))
}

// samples reports whether a contact is among those that a reading brings. They are others each time.
func (p *parked) samples(pass int, id string) bool {
	if p.sample == 0 {
		return false
	}
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendInt(nil, int64(pass), 10)) // it does not fail
	_, _ = h.Write([]byte(id))
	hi, lo := bits.Mul64(h.Sum64(), 0x9e3779b97f4a7c15)
	return (hi^lo)>>32 < p.sample
}

// stalls reports whether a stream stalls, and is not on hold.
func (w Parking) stalls(key streamKey) bool {
	st := w.schedule.streams[key]
	return st != nil && st.stalls() && !st.onHold()
}

// mayBegin reports whether events of a stream may be read again: it is not on hold, or given
// up, and most of what it has in the window has ended. Of one that stalls a few are, in turn: now and then. So are contacts that were kept alone.
func (w Parking) mayBegin(key streamKey, p *parked) (may, inTurn bool) {
	st := w.schedule.streams[key]
	switch {
	case p.givenUp(st):
		return st.bytes-st.kept < w.cfg.holdPart()/2, false
	case w.stalls(key):
		return p.all, true
	}
	return !w.withholds(key) && (st == nil || st.bytes-st.kept < w.cfg.holdPart()/2), !p.all
}
