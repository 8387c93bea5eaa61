package batcher

import (
	"cmp"
	"container/heap"
	"slices"
)

// holdPart is what all streams on hold together may take of the window: half, so that the
// others always have as much.
func (c *Config) holdPart() int64 { return int64(c.WindowBytes) / 2 }

// room is what contacts of streams on hold may take of the window: what is left of their part by what
// is charged for events to be read again, and a quarter of it at least, so that something can
// always be probed with.
func (w Parking) room() int64 {
	part := w.cfg.holdPart()
	return max(part-w.claims.parkedBytes, part/4)
}

// full reports whether what is on hold has its part of the window.
func (w Parking) full() bool { return w.schedule.held >= w.room() }

// over is what is on hold beyond its part and cannot be given back, as one contact of each stream that was refused. It does
// not count as what fills the window, or that many streams on hold would stop the reading of all others; up to half of
// the window, which bounds the memory.
func (w Parking) over() int64 {
	return min(max(0, w.schedule.held-w.room()), w.cfg.holdPart())
}

// shed leaves contacts to be read again until what is on hold takes no more than its part:
// those that came last, in the streams that take most. Of streams on hold one contact of each stays, to be probed with;
// of streams that were not refused themselves, and are many, only as long as there is room. What can give nothing back is looked
// at again only when something of it has changed: such streams may be many as well.
func (w Parking) shed() {
	g := &w.schedule.givers
	for w.schedule.held > w.room() && len(g.most.streams) > 0 {
		st := g.most.streams[0]
		w.schedule.visits++
		switch {
		case st.setsAside():
		case st.withheld():
			w.shedOf(st, 1, w.room())
		default:
			w.shedKept(st, w.room())
		}
		if w.schedule.held > w.room() {
			g.exhausted(st)
		}
	}
	for w.schedule.held > w.room() && len(g.last) > 0 {
		st := g.last[0]
		w.schedule.visits++
		if g.last, st.isLast = g.last[1:], false; st.lends() && st.signer.waiting > probedWith {
			w.shedOf(st, 0, w.room())
		}
	}
}

// givers are the streams that may give something back.
type givers struct {
	most streamHeap // those first that take most
	last []*stream  // those with one contact, on hold only with what signs for them
}

func newGivers() givers {
	return givers{most: streamHeap{
		compare: func(a, b *stream) int { return cmp.Or(cmp.Compare(b.held, a.held), compareNames(a, b)) },
		seat:    func(st *stream) *seat { return &st.gives },
	}}
}

// count sets what of a stream counts as on hold.
func (g *givers) count(st *stream, held int64) {
	g.remove(st)
	st.held = held
	g.changed(st)
}

// changed notes that something of a stream has, so that it may give something back.
func (g *givers) changed(st *stream) {
	if st.held > 0 && st.gives.heap == nil {
		heap.Push(&g.most, st)
	}
}

func (g *givers) remove(st *stream) {
	if st.gives.heap != nil {
		heap.Remove(&g.most, st.gives.index)
	}
}

// exhausted notes that a stream gives nothing back but its last contact, if that.
func (g *givers) exhausted(st *stream) {
	if g.remove(st); st.lends() && !st.isLast {
		st.isLast = true
		g.last = append(g.last, st)
	}
}

// lends reports whether a stream is on hold only with what signs for it, and has one contact, with which that may be probed.
func (st *stream) lends() bool {
	return st.onHold() && st.health.hold == nil && len(st.contacts) == 1
}

// probedWith is how many streams of a credential on hold have a contact at least, to probe it with.
const probedWith = 3

// shedOf does so for the contacts of one stream on hold, but for some, until what is on hold takes so much.
func (w Parking) shedOf(st *stream, but int, most int64) {
	const atOnce = 16
	over := func() bool { return w.schedule.held > most && len(st.contacts) > but }
	for over() {
		var some []*contact
		for c := range st.waiting {
			if c.sheds() {
				some = append(some, c)
			}
			if len(some) == atOnce {
				break
			}
		}
		if len(some) == 0 {
			return
		}
		for _, c := range some {
			if over() {
				w.giveBack(c, "")
			}
		}
	}
}

// sheds reports whether a contact may be given back for want of room. What the API may have applied must not be followed by
// an older state of the contact: there is none where it came as one event.
func (c *contact) sheds() bool { return c.newer == nil && (!c.maybeApplied || c.sources.n == 1) }

// shedKept does so for the contacts of a stream that are kept alone, until what is on hold takes so much.
func (w Parking) shedKept(st *stream, most int64) {
	var kept []*contact
	for c := range st.waiting {
		if c.kept {
			kept = append(kept, c)
		}
	}
	slices.SortFunc(kept, func(a, b *contact) int { return b.rank.compare(a.rank) })
	for _, c := range kept {
		if w.schedule.held <= most {
			return
		}
		if c.sheds() {
			w.giveBack(c, c.folded)
		}
	}
}

// makeRoom has some of the contacts that are kept alone, or that wait in streams that stall, give way to others that were left: an
// eighth of the room, so that each reading tries some. Of the latter those go first that failed alone last.
func (w Parking) makeRoom() {
	streams := w.schedule.holding(func(st *stream) bool { return !st.onHold() })
	slices.SortStableFunc(streams, func(a, b *stream) int { return cmp.Compare(b.held, a.held) })
	for _, st := range streams {
		if most := w.room() / 8 * 7; st.stalls() {
			w.shedOf(st, 1, most)
		} else {
			w.shedKept(st, most)
		}
	}
}

// giveBack leaves a contact that is not in flight, and what waits behind it, to be read again.
func (w Parking) giveBack(c *contact, of string) {
	w.pending.left(c)
	w.pending.unlink(c)
	w.pending.index.drop(c)
	for _, cl := range w.claims.owned { // what follows it in the log must not come without it
		if p := cl.parked[c.stream.key()]; p != nil {
			p.sample = 0
		}
	}
	for state := c; state != nil; state = c.pop() {
		for _, src := range state.sources.all() {
			w.leave(c.stream.key(), of, src)
		}
		w.pending.free(state)
	}
}
