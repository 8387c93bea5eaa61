package batcher

import "time"

// drainPatience is how far ahead a draining window looks: a lane that may be sent
// within it is waited for, one that waits longer is left to the next owner.
const drainPatience = 500 * time.Millisecond

// Drain makes every lane ready that may be sent, full or not: what is delivered
// before the partitions are given back is not sent a second time by their next
// owner. Contacts of partitions that still catch up stay where they are.
func (w *Window) Drain(now time.Time) {
	w.clock(now)
	w.draining = true
	w.rescheduleAll()
}

// Drained reports whether nothing is on its way any more that somebody waits for,
// and nothing could soon be. Call it when Next has returned nil.
func (w *Window) Drained(now time.Time) bool {
	w.clock(now)
	if len(w.flights) > 0 || len(w.letters)+w.buried > w.staleInFlight {
		return false
	}
	wake := w.Wake()
	return wake.IsZero() || wake.After(w.now.Add(drainPatience))
}

// Forget drops everything that has not ended, and every claim. Nobody commits it,
// so the next owner reads it again. Results that come later end nothing. It is
// all or nothing because a generation ends as a whole: were one claim dropped
// alone, contacts would be left with events of some claims and not of others.
func (w *Window) Forget(now time.Time) {
	w.clock(now)
	for _, cl := range w.claims {
		cl.live = false
		w.m.released.Add(float64(cl.open))
		w.letters = append(w.letters, cl.deferredLetters...)
	}
	clear(w.claims)
	w.last, w.catchingUp, w.draining = nil, 0, false
	for _, b := range w.letters {
		w.bytes -= b.charge
	}
	w.letters, w.staleInFlight = nil, w.buried
	for _, l := range w.lanes {
		for id, c := range l.contacts {
			if c.newer != nil {
				w.free(c.newer)
				c.newer = nil
			}
			if c.at == inFlight {
				continue // dropped when its request comes back
			}
			c.group = nil // which may wait for the answer to its other half
			w.free(c)
			delete(l.contacts, id)
		}
		l.queue, l.groups = list{}, nil
		w.reschedule(l)
		w.dropEmpty(l)
	}
}
