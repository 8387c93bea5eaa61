package batcher_test

import (
	"encoding/json"
	"slices"
	"time"
)

// nothingToSend checks that nothing had to be sent, and when the Window wakes.
func (s *simRun) nothingToSend() {
	s.wake, s.still = s.window.Wake(), true
	if !s.wake.IsZero() && !s.wake.After(s.now) {
		s.fail("I9", "nothing may start, and the Window wakes at once")
	}
	s.reconcile()
	pending := false
	for _, c := range s.model.cells {
		pending = pending || c.deferred == nil
	}
	if pending && s.wake.IsZero() && len(s.requests) == 0 && !s.model.catching() && !s.model.drain {
		s.fail("I9", "contacts are pending, nothing is in flight, and the Window never wakes")
	}
	for _, st := range s.model.streams {
		if at := s.starts(st); !at.After(s.now) {
			s.fail("I9", "%s is ready since %v, and is not sent", st.name, at)
		}
	}
	s.checkWake()
}

// checkWake checks that the Window wakes when a stream is ready.
func (s *simRun) checkWake() {
	wake := s.window.Wake()
	for _, st := range s.model.streams {
		if at := s.starts(st); !at.Equal(never) && (wake.IsZero() || wake.After(later(at, s.now))) {
			s.fail("I9", "%s is ready at %v, and the Window wakes at %v", st.name, at, wake)
		}
	}
}

// starts returns when a request of a stream surely starts, if nothing else happens.
func (s *simRun) starts(st *simStream) time.Time {
	a := st.account
	if s.plan.doubt || a.requests >= s.mostInFlight() || a.held && a.requests > 0 {
		return never
	}
	if !a.held && a.maybe > 0 && (st.hold != nil || st.fails() != simNo || s.model.hasSets(st)) {
		return never // what is no regular work may have to wait for what is out
	}
	at, _ := s.ready(st)
	api := s.apis[a.name]
	if at = later(later(at, api.again), api.spare); a.held {
		at = later(at, a.probe.by)
	}
	return at
}

// ready returns when a stream is surely ready to be sent, if nothing else happens, and
// the youngest of the contacts that make it so.
func (s *simRun) ready(st *simStream) (at, newest time.Time) {
	at = never
	if s.model.drain || (st.hold != nil || st.fails() != simNo) && st.requests > 0 {
		return never, never
	}
	sets, rows, size := map[*simSet]bool{}, 0, 0
	var queue time.Time
	var lingered []time.Time // when rows come back to the queue
	for _, c := range s.model.of(st) {
		if c.request == nil && c.deferred == nil && loose(c.set) {
			queue = later(queue, c.since) // whichever is the first, its time counts
		}
		switch {
		case c.set != nil && c.request != nil:
			sets[c.set] = false
		case c.request != nil || c.deferred != nil:
		case c.set == nil && c.notBefore.IsZero():
			rows++
			text, _ := json.Marshal(c.body)
			size += len(text) + 1
			newest = later(newest, c.rank)
		case c.set == nil:
			lingered = append(lingered, later(c.notBefore, c.by))
			newest = later(newest, c.rank)
		case !c.set.loose:
			if _, busy := sets[c.set]; !busy {
				sets[c.set] = true
			}
			if newest = later(newest, c.rank); c.set.halves || c.set.again {
				newest = never // what can wait, or waits for the other half, gives its stream no turn
			}
		}
	}
	for set, idle := range sets {
		if idle {
			at = earlier(at, set.by)
		}
	}
	switch {
	case rows == 0:
	case rows >= s.cfg.MaxRows, size >= int(s.cfg.MaxBytes):
		at = earlier(at, queue)
	case !s.model.catching():
		at = earlier(at, queue.Add(s.cfg.Linger))
	}
	for _, t := range lingered {
		if !s.model.catching() {
			at = earlier(at, later(t, queue.Add(s.cfg.Linger)))
		}
	}
	return later(at, st.wait.by), newest
}

// first returns the cells that a stream's queue begins with, and false where it is not
// known which they are.
func (m *simModel) first(st *simStream, n int) ([]*simCell, bool) {
	var queue []*simCell
	for _, c := range m.of(st) {
		switch {
		case c.request != nil, c.deferred != nil, c.set != nil && !c.set.loose:
		case c.set != nil, !c.notBefore.IsZero(), c.next: // it may be back in the queue or not
			return nil, false
		default:
			queue = append(queue, c)
		}
	}
	slices.SortFunc(queue, func(a, b *simCell) int { return a.turn - b.turn })
	switch newest := len(queue) - 1; {
	case newest < 0 || queue[newest].sends > 0:
	case st.hold != nil && st.hold.kind == "rejecting", st.hold == nil && st.failed >= simAlike:
		return nil, false // it may be the one that came last
	case st.hold != nil:
		return queue[newest:], n == 1
	}
	return queue[:min(n, len(queue))], true
}

// never is later than anything that is waited for.
var never = time.Unix(1<<40, 0)

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
