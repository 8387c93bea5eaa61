package batcher_test

import (
	"time"

	"github.com/contactsync/contactsync"
)

// assign begins a generation with some of the partitions, or all.
func (s *simRun) assign() {
	s.generation++
	s.owned = nil
	clear(s.again)
	for p := range s.logs {
		if s.quiet || s.generation == 1 || !s.chance(4) {
			s.owned = append(s.owned, p)
		}
	}
	var claims []contactsync.Claim
	for _, p := range s.owned {
		claims = append(claims, s.claim(p))
		s.catchEnd[p], s.read[p] = len(s.logs[p]), s.committed[p]
		for o := range s.ended[p] {
			if o >= s.committed[p] {
				delete(s.ended[p], o)
			}
		}
	}
	s.overlap, s.still = false, false
	s.logf("generation %d: %v", s.generation, s.owned)
	s.window.Assign(s.now, claims, true)
	s.model.assign(claims, true)
	for _, p := range s.owned {
		s.caughtUp(p, false)
	}
}

// caughtUp tells that a partition has caught up, if it has or by force.
func (s *simRun) caughtUp(p int, force bool) {
	cl := s.model.claims[s.claim(p)]
	if cl == nil || !cl.catching || !force && s.read[p] < s.catchEnd[p] {
		return
	}
	if s.read[p] < s.catchEnd[p] {
		s.overlap = true
	}
	s.logf("caught up: %d", p)
	s.still = false
	s.window.CaughtUp(s.now, cl.Claim)
	s.model.caughtUp(cl.Claim)
	s.sync()
}

// takeover ends the generation: in order, after a deadline, or because the membership or
// the process is lost. Then the next one begins.
func (s *simRun) takeover() {
	how := s.rand.IntN(4) // 0: in order, 1: to a deadline, 2: the membership is lost, 3: the process, where it restarts
	if s.plan.theme == "takeovers" && s.chance(2) {
		how = 2
	}
	crash := how == 3 && s.plan.restarts
	s.logf("takeover: %d, crash %v", how, crash)
	if how < 2 {
		s.drain(how == 0)
		s.commit()
	}
	s.endLate()
	if crash {
		for _, q := range s.requests {
			if s.chance(2) {
				s.applyAll(q)
			}
		}
		s.requests = nil
		s.process()
	} else {
		s.forget()
		if how < 2 { // what was given up comes back before the next generation, or during it
			s.giveUp()
		}
		if how == 0 && s.plan.restarts && s.chance(2) {
			s.process()
		}
	}
	s.assign()
}

// drain waits for what is in flight, to the end or for a while.
func (s *simRun) drain(patient bool) {
	s.still = false
	s.window.Drain(s.now)
	s.model.drain = true
	for range 60 {
		s.send(true)
		s.acknowledge()
		if s.checkDrained() {
			return
		}
		switch {
		case !patient && s.chance(6):
			return
		case len(s.requests) > 0:
			i := s.rand.IntN(len(s.requests))
			s.settle(i, s.answer(s.requests[i]))
		default:
			s.pass(100 * time.Millisecond)
		}
	}
}

// checkDrained returns whether the Window is drained, and checks that it is when nothing
// is in flight of this generation, and only then.
func (s *simRun) checkDrained() bool {
	drained, letters := s.window.Drained(), 0
	for _, l := range s.model.letters {
		if !l.dead && !l.deferred {
			letters++
		}
	}
	if done := len(s.requests) == 0 && letters == 0; drained && !done {
		s.fail("I4", "drained, and %d requests are in flight, %d dead letters not acknowledged", len(s.requests), letters)
	} else if !drained && done {
		s.fail("I9", "nothing is in flight, and the Window is not drained")
	}
	return drained
}

func (s *simRun) forget() {
	s.still = false
	s.window.Forget(s.now)
	s.model.forget()
	s.owned = nil
	s.sync()
}

// giveUp cancels the requests in flight.
func (s *simRun) giveUp() {
	for len(s.requests) > 0 {
		if s.chance(4) {
			s.applyAll(s.requests[0])
		}
		s.settle(0, contactsync.Result{Kind: contactsync.Canceled})
	}
}

// endLate applies some of what was not answered, and never the rest: the delay is not
// kept over the end of a generation.
func (s *simRun) endLate() {
	for _, l := range s.late {
		if s.chance(2) {
			s.applyLate(l.at)
		}
	}
	s.late = nil
}
