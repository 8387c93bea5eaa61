package batcher_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSim lives through random days: events, faults of every kind, deletes, dead letters,
// takeovers. A model says what must come of each event; what the Window does otherwise,
// too early or too late is a failure. Where a world has failed, rapid prints the
// flag that plays it again, and the world itself, reduced, as a trace of steps.
func TestSim(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		s := newSimRun(t, p, drawConfig(t, p))
		n := rapid.SampledFrom([]int{250, 500, 750}).Draw(t, "steps")
		for i, seed := range rapid.SliceOfN(rapid.Uint64(), n, n).Draw(t, "choices") {
			if seed != 0 { // a step that rapid has taken out
				s.pcg.Seed(seed, uint64(i))
				s.step()
			}
		}
		s.finish()
	})
}

// step does one thing.
func (s *simRun) step() {
	p := s.plan
	weight := func(has bool, n int) int {
		if has {
			return n
		}
		return 0
	}
	actions := []struct {
		weight int
		do     func()
	}{
		{12, func() {
			for range 1 + s.rand.IntN(4) {
				s.produce()
			}
		}},
		{13, func() {
			p := s.rand.IntN(len(s.logs))
			for range 1 + s.rand.IntN(6) {
				s.fetch(p)
			}
		}},
		{8, func() { s.send(s.chance(2)) }},
		{weight(p.smallWindow, 6) + weight(p.theme == "parking", 8), func() { s.readAgain(s.rand.IntN(len(s.logs)), 1+s.rand.IntN(12)) }},
		{weight(!p.slow, 14) + 8, s.answerOne},
		{14, s.wait},
		{5, s.acknowledge},
		{3, s.tick},
		{5, s.commit},
		{weight(p.moods || p.faults, 3) + weight(p.theme == "holds" || p.theme == "strangers" || p.theme == "parking", 5), s.setMood},
		{weight(p.limits, 3), s.setLimits},
		{weight(p.budget, 3), s.setBudget},
		{weight(p.kafkaAway, 2), func() { s.kafkaDown = s.chance(2) }},
		{weight(p.slowCatchUp, 2), func() { s.caughtUp(s.rand.IntN(len(s.logs)), true) }},
		{weight(p.takeovers, 2) + weight(p.theme == "takeovers", 4), s.takeover},
		{weight(p.replays, 3) + weight(p.theme == "replays", 9), s.replayOne},
	}
	sum := 0
	for _, a := range actions {
		sum += a.weight
	}
	n := s.rand.IntN(sum)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			a.do()
			break
		}
	}
	if p.eager {
		s.round()
	}
}

func (s *simRun) answerOne() {
	if len(s.requests) > 0 {
		i := s.rand.IntN(len(s.requests))
		s.settle(i, s.answer(s.requests[i]))
	}
}

func (s *simRun) replayOne() {
	if e := s.replay(); e != nil {
		s.logf("replay %v", e)
	}
}

// wait lets time pass: to the moment that the Window named and to just before it, or
// for any time.
func (s *simRun) wait() {
	d := time.Duration(s.rand.IntN(2000)) * time.Millisecond
	switch s.rand.IntN(5) {
	case 0, 1:
		if s.still && s.wake.After(s.now) && s.wake.Before(s.now.Add(time.Hour)) {
			if before := s.wake.Sub(s.now) - 1; before > 0 {
				s.pass(before)
				s.send(true)
			}
			d = max(0, s.wake.Sub(s.now))
		}
	case 2:
		d = time.Duration(s.rand.IntN(100)) * time.Second
	}
	s.pass(d)
	if s.plan.eager || s.chance(2) {
		s.send(true)
	}
	if s.chance(2) {
		s.tick()
	}
}

// finish ends all faults and lets everything drain.
func (s *simRun) finish() {
	s.pcg.Seed(0, 0)
	s.logf("all faults are over")
	s.quiet, s.kafkaDown = true, false
	for _, a := range s.apis {
		a.mood, a.calls, a.rows, a.bytes = simFine, 1<<30, 0, 0
		clear(a.streams)
	}
	if len(s.owned) < len(s.logs) {
		s.drain(true)
		s.commit()
		s.endLate()
		s.forget()
		s.giveUp()
		s.assign()
	}
	end := s.now.Add(time.Hour)
	for !s.settled() || len(s.model.cells) > 0 {
		for p := range s.logs {
			for s.read[p] < len(s.logs[p]) && !s.window.Full() {
				s.fetch(p)
			}
			s.caughtUp(p, false)
			s.readAgain(p, 1000)
		}
		s.round()
		for len(s.requests) > 0 {
			s.settle(0, s.answer(s.requests[0]))
			s.round()
		}
		s.tick()
		s.acknowledge()
		s.commit()
		if s.send(true); len(s.requests) > 0 {
			continue
		}
		if s.now.After(end) {
			s.fail("I9", "an hour after all faults %d contacts are pending; committed %v, the Window wakes at %v", len(s.model.cells), s.committed, s.wake)
		}
		s.pass(10 * time.Millisecond)
		if s.wake.After(s.now) {
			s.pass(s.wake.Sub(s.now))
		}
	}
	s.checkState()
	s.pass(24 * time.Hour)
	s.tick()
	for _, a := range s.model.accounts {
		if a.rows != s.cfg.MaxRows || a.bytes != int(s.cfg.MaxBytes) {
			s.fail("size", "the request size of %s is %d rows, %d bytes a day later", a.name, a.rows, a.bytes)
		}
	}
	if n := s.window.RememberedStreams(); n != 0 {
		s.fail("I8", "%v streams are remembered a day after the last of their contacts", n)
	}
}
