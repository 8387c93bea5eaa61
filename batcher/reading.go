package batcher

import (
	"cmp"
	"slices"
	"time"
)

// Each reading of what was left is of the whole log, for however few streams it is. So it begins where it brings much, which depends on how many
// streams are no longer on hold and on the room for them, and is for those only that there is room for, each as a whole: one
// request may carry it then. So what is left is read a few times, however long it was, and however often the streams change.

// reading is how what was left of a partition is read again.
type reading struct {
	Parking
	cl *claim
}

// begins chooses of which streams events are read again in the next reading, and reports whether readings that bring little rest after it.
func (r reading) begins() (begin []streamKey, rest bool) {
	var waits, inTurn []streamKey
	events, due := 0, 0 // of those in turn
	for key, p := range r.cl.parked {
		switch may, turns := r.mayBegin(key, p); {
		case may && turns:
			inTurn = append(inTurn, key)
			if events += p.events; !r.due(key, p).After(r.now) {
				due += p.events
			}
		case may:
			waits = append(waits, key)
		}
	}
	rested := !r.cl.rests.After(r.now)
	turn := rested && due > 0 && due >= events/4
	if turn {
		r.makeRoom()
	}
	begin, worth := r.fitting(waits)
	switch {
	case turn: // all that wait for their turn have it at once
		begin, rest = append(begin, inTurn...), true
	case worth, r.now.Sub(r.cl.readAt) >= r.cfg.HoldProbeMax/2:
	case rested && slices.ContainsFunc(begin, r.isBack) && !slices.ContainsFunc(waits[len(begin):], r.isBack): // there is room for all
		rest = true
	default:
		return nil, false
	}
	if len(begin) > 0 {
		r.cl.readAt = r.now
	}
	return begin, rest
}

// isBack reports whether a stream is no longer on hold that was for long, and was not read again since.
func (r reading) isBack(key streamKey) bool {
	var back time.Time
	if signer := r.schedule.signer(key); signer != nil {
		back = signer.back
	}
	if st := r.schedule.streams[key]; st != nil {
		back = later(back, st.health.back)
	}
	return back.After(r.cl.parked[key].read)
}

// fitting returns those of the streams for which there is room, of which one may be too large, and reports whether a reading is worth it: it brings half of what
// is left, or of what streams on hold may take. Those that send next go first, and what an operator has decided about.
func (r reading) fitting(keys []streamKey) (fit []streamKey, worth bool) {
	turn := func(key streamKey) time.Time {
		switch st := r.schedule.streams[key]; {
		case r.cl.parked[key].givenUp(st):
			return time.Time{}
		case st != nil:
			return st.rank.at
		}
		return never
	}
	slices.SortFunc(keys, func(a, b streamKey) int {
		return cmp.Or(turn(a).Compare(turn(b)), r.cl.parked[a].oldest.Compare(r.cl.parked[b].oldest), cmp.Compare(a.name, b.name), cmp.Compare(a.account, b.account))
	})
	each := max(contactOverhead, r.pending.bytes/int64(max(1, r.pending.contacts)))
	room, all, brings := free(r.Window), int64(0), int64(0)
	for _, p := range r.cl.parked {
		all += int64(p.events) * each
	}
	for len(fit) < len(keys) && (len(fit) == 0 || brings < room) {
		key := keys[len(fit)]
		fit, brings = keys[:len(fit)+1], brings+int64(r.cl.parked[key].events)*each
	}
	return fit, len(fit) > 0 && turn(fit[0]).IsZero() || min(brings, room) >= min(all, r.cfg.holdPart())/2
}

// due is when a stream that stalls, or contacts that were kept alone, have their turn: of the former when it has stalled for twice as long as the last time,
// so that an outage costs a few readings, however long it lasts.
func (r reading) due(key streamKey, p *parked) time.Time {
	since, rest := p.read, r.cfg.HoldProbeMax
	if st := r.schedule.streams[key]; p.all && st != nil {
		since, rest = later(since, st.health.failingSince), max(rest, p.read.Sub(st.health.failingSince))
	}
	return since.Add(rest)
}
