package group

import (
	"container/heap"
	"time"
)

// play lives through the world: replicas start, events come, faults happen; then the
// faults end, and everything must drain.
func (w *world) play() {
	w.group.accepted = w.checkCommit
	for n := range 2 + w.rand.IntN(2) {
		w.after(w.between(0, 3*time.Second), func() { w.start(len(w.replicas)) })
		_ = n
	}
	busy := w.between(40*time.Second, 70*time.Second)
	for range 100 + w.rand.IntN(150) {
		w.after(w.between(0, busy), func() {
			c := w.contacts[w.rand.IntN(len(w.contacts))]
			c.log.produce(c)
		})
	}
	for range 1 + w.rand.IntN(4) {
		kind := worldFaults()[w.rand.IntN(len(worldFaults()))]
		w.after(w.between(8*time.Second, busy), func() {
			if worldDo[kind](w) {
				w.faults[kind]++
			}
		})
	}
	// Two rebalances at least: one to begin, and one by somebody who joins later.
	w.after(w.between(8*time.Second, busy), func() { w.start(len(w.replicas)) })
	w.until(w.begin.Add(busy), func() bool { return false })
	w.quiet = true
	w.logf("all faults are over")
	w.api.down, w.api.silent, w.api.rejects = false, false, false
	if end := w.now.Add(5 * time.Minute); !w.until(end, w.settled) {
		w.checkSettled()
	}
	w.checkEnd()
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
	for _, l := range w.logs {
		if l.committed < l.end {
			return false
		}
	}
	return true
}

// worldDo are the faults by name. Each reports whether it has happened.
var worldDo = map[string]func(w *world) bool{
	"kill and restart": func(w *world) bool {
		r := w.any()
		if r == nil {
			return false
		}
		w.logf("%s is killed", r)
		r.kill()
		w.after(w.between(100*time.Millisecond, 20*time.Second), func() { w.start(r.number) })
		return true
	},
	"restart in order": func(w *world) bool {
		r := w.any()
		if r == nil {
			return false
		}
		w.logf("%s is stopped", r)
		r.stop(func() { w.after(w.between(100*time.Millisecond, 10*time.Second), func() { w.start(r.number) }) })
		return true
	},
	"freeze": func(w *world) bool {
		r := w.any()
		if r == nil {
			return false
		}
		d := w.between(time.Second, 25*time.Second)
		w.logf("%s is frozen for %v", r, d)
		r.freeze()
		w.after(d, func() {
			w.logf("%s goes on", r)
			r.thaw()
		})
		return true
	},
}

// worldFaults are the names, in their order.
func worldFaults() []string { return []string{"kill and restart", "restart in order", "freeze"} }

// any returns a replica that works, or nil.
func (w *world) any() *replica {
	var alive []*replica
	for _, r := range w.replicas {
		if !r.member.dead && !r.member.frozen && !r.stopping {
			alive = append(alive, r)
		}
	}
	if len(alive) == 0 {
		return nil
	}
	return alive[w.rand.IntN(len(alive))]
}
