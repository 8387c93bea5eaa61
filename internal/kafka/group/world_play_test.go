package group

import (
	"container/heap"
	"slices"
	"time"
)

// play lives through the world: replicas start, events come, faults happen; then the
// faults end, and everything must drain.
func (w *world) play() {
	w.group.accepted, w.before = w.checkCommit, w.onCall
	for range 2 + w.rand.IntN(2) {
		w.after(w.between(0, 3*time.Second), func() { w.start(len(w.replicas)) })
	}
	busy := w.between(40*time.Second, 70*time.Second)
	for range 100 + w.rand.IntN(150) {
		w.after(w.between(0, busy), func() {
			c := w.contacts[w.rand.IntN(len(w.contacts))]
			c.log.produce(c, false)
		})
	}
	for range 1 + w.rand.IntN(4) {
		w.after(w.between(8*time.Second, busy), func() {
			for !w.quiet {
				f := worldFaultList[w.rand.IntN(len(worldFaultList))]
				if w.do(f) && !f.asks {
					break
				} // else it cannot happen now, or may not in the end: another one
			}
		})
	}
	// Two rebalances at least: one to begin, and one by somebody who joins later.
	w.after(w.between(8*time.Second, busy), func() { w.start(len(w.replicas)) })
	w.until(w.begin.Add(busy), func() bool { return false })
	w.endFaults()
	w.writes = true
	w.after(12*time.Second, func() {
		w.writes = false
		for _, l := range w.logs {
			l.writeOn()
		}
	})
	// A join whose answer is lost, while its connection stands, is waited for that long.
	if end := w.now.Add(2 * w.replicas[0].member.m.cfg.wait()); !w.until(end, w.settled) {
		w.checkSettled()
	}
	w.checkEnd()
}

// writeOn writes past where a log that was cut off may have been read before: who reads there
// notices it with the next event.
func (l *worldLog) writeOn() {
	i := slices.IndexFunc(l.w.contacts, func(c *worldContact) bool { return c.log == l })
	for range 21 * l.epoch {
		if i >= 0 {
			l.produce(l.w.contacts[i], false)
		}
	}
}

// until lets time pass until something has happened, or to an end. It reports which.
func (w *world) until(end time.Time, ok func() bool) bool {
	for len(w.events) > 0 && !w.events[0].at.After(end) {
		e := heap.Pop(&w.events).(simEvent)
		w.now = e.at
		e.run()
		if ok() {
			return true
		}
	}
	w.now = end
	return false
}

// settled reports whether everything that was written is committed.
func (w *world) settled() bool {
	if w.writes {
		return false
	}
	for _, l := range w.logs {
		if l.committed < l.end {
			return false
		}
	}
	return true
}
