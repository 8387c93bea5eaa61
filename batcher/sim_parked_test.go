package batcher_test

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/event"
)

// simAgain is what a partition's consumer knows of events that the Window has left.
type simAgain struct {
	parked map[int]bool
	pass   int
	next   int // offset to read again
	gone   int // that the log does not have any more, of which the Window was not told yet
}

// simParked is a stream in a partition of which events were left.
type simParked struct {
	oldest time.Time // of all that were
	left   bool      // an event in the present reading: so must all be that follow
	over   bool      // nothing is left of it any more: it is normal again, or will be with a reading that it takes part in
	some   bool      // perhaps only of contacts that are tried alone
	// tried is that its stream stalled when the present reading began, which brings some contacts then, and ids are those of which
	// an event was left in it.
	tried bool
	ids   map[string]bool
}

func (s *simRun) parking() batcher.Parking { return batcher.Parking{Window: s.window} }

// fullOfHolds reports whether streams on hold have their part of the window: surely half of it,
// perhaps an eighth, where what is charged for events that were left takes the rest.
func (s *simRun) fullOfHolds() simMaybe {
	switch held := s.heldBytes(); {
	case held >= int64(s.cfg.WindowBytes)/2:
		return simYes
	case held >= int64(s.cfg.WindowBytes)/8 && slices.ContainsFunc(s.owned, func(p int) bool {
		return s.model.claims[s.claim(p)] != nil && len(s.model.claims[s.claim(p)].parked) > 0
	}):
		return simUnsure
	}
	return simNo
}

func (s *simRun) heldBytes() (n int64) {
	for _, a := range s.window.Status(s.now).Accounts {
		n += a.HeldBytes
	}
	return n
}

// isParked notes what the Window has left, and reports whether an event is among it. What
// else is must be contacts that it has given back.
func (s *simRun) isParked(e *simEvent) (left bool) {
	shed := map[*simCell][]int64{}
	for _, p := range s.parking().TakeParked() {
		a := &s.again[p.Partition]
		if a.parked == nil {
			a.parked = map[int]bool{}
		}
		if a.parked[int(p.Offset)] {
			s.fail("parking", "%v@%d is left twice", p.TopicPartition, p.Offset)
		}
		a.parked[int(p.Offset)] = true
		if e != nil && e.record.Partition == p.Partition && e.record.Offset == p.Offset {
			left = true
			continue
		}
		shed[s.model.cellOf(s, p)] = append(shed[s.model.cellOf(s, p)], p.Offset)
	}
	for c, offsets := range shed {
		s.logf("%v is given back: %v", c, offsets)
		st := s.model.byName[c.key.stream]
		older := e != nil && e.key == c.key && s.model.claims[s.claim(int(e.record.Partition))].catching // than what is left
		switch {
		case len(offsets) != len(c.events):
			s.fail("I3", "%v is given back in part: %v", c, offsets)
		case c.request != nil || s.model.withheld(st) == simNo && !older && !st.doubted:
			s.fail("parking", "%v is given back, and its stream is not on hold, or a request has it: %+v, account on hold %v; %+v", c, st, st.account.held, s.window.Status(s.now).Holds)
		case c.maybe && len(offsets) > 1:
			s.fail("I3", "%v is given back, although the API may hold it, and an older state would follow", c)
		}
		for _, r := range c.events {
			r.claim.park(r.event, true)
			r.claim.parked[r.event.key.stream].some = st.doubted
		}
		if delete(s.model.cells, c.key); !c.late.IsZero() {
			s.model.late[c.key] = c.late
		}
	}
	return left
}

// cellOf returns what is pending with an event.
func (m *simModel) cellOf(s *simRun, p contactsync.Parked) *simCell {
	for _, c := range m.cells {
		for _, r := range c.events {
			if r.claim.Claim == p.Claim && r.event.record.Offset == p.Offset {
				return c
			}
		}
	}
	s.fail("I1", "%v@%d is to be read again, and is not pending", p.TopicPartition, p.Offset)
	return nil
}

// park notes that an event of a stream was left, and whether it was read before.
func (cl *simClaim) park(e *simEvent, before bool) {
	p := cl.parked[e.key.stream]
	if p == nil {
		p = &simParked{oldest: e.record.Time, ids: map[string]bool{}}
		cl.parked[e.key.stream] = p
	}
	p.oldest = earlier(p.oldest, e.record.Time)
	if p.left, p.over = p.left || before, false; before {
		p.ids[e.key.id] = true
	}
}

// checkLeft reports whether the Window has left an event, and checks whether it may, and
// must.
func (s *simRun) checkLeft(e *simEvent, cl *simClaim, again bool, full simMaybe) bool {
	left := s.isParked(e)
	must, may := false, false
	switch e.kind {
	case event.Update, event.Delete:
		p := cl.parked[e.key.stream]
		must = p != nil && !p.over && !p.some && (!again || p.left && (!p.tried || p.ids[e.key.id]))
		may = must || p != nil
		if p == nil || p.over {
			st := s.model.byName[e.key.stream]
			is := s.model.withheld(st)
			must, may = is == simYes && full == simYes && !again, may || is != simNo && full != simNo
		}
	case event.Tombstone:
		for stream, p := range cl.parked {
			if e.key.id != "" && (e.key.stream == "" || e.key.stream == stream) {
				must, may = must || !p.over && !p.some && (!again || p.left), true
			}
		}
	}
	if left && !may || !left && must {
		s.fail("parking", "%v is left to be read again: %v, must be %v, may be %v; holds are full: %v", e, left, must, may, full)
	}
	return left
}

// leave notes that an event was left; fate is what had become of an update or a delete otherwise.
func (m *simModel) leave(e *simEvent, cl *simClaim, fate string, again bool) {
	if !again {
		cl.open++
	}
	r := simRead{cl, e}
	if e.kind == event.Tombstone {
		m.tombstone(r, again)
		return
	}
	if cl.park(e, again); e.kind == event.Delete && fate == simTaken && !again {
		m.removeNamed(r, false, "delete")
	}
}

// removeNamed drops what is pending of the contacts that an event names. One that is read
// again is not about what came after it.
func (m *simModel) removeNamed(r simRead, again bool, reason string) {
	for _, c := range m.named(r.event.key) {
		last := c
		if c.behind != nil {
			last = c.behind
		}
		if again {
			if len(last.events) == 0 {
				continue
			}
			if newest := last.events[len(last.events)-1]; newest.claim != r.claim || newest.event.record.Offset > r.event.record.Offset {
				continue
			}
		}
		m.remove(c, reason)
	}
}

// readAgain reads so many events of a partition again, if the Window wants them.
func (s *simRun) readAgain(p, n int) {
	cl := s.model.claims[s.claim(p)]
	if cl == nil {
		return
	}
	for a := &s.again[p]; n > 0; n-- {
		pass := s.parking().ReadAgain(s.now, cl.Claim)
		if pass == 0 {
			return
		}
		if pass != a.pass {
			a.pass, a.next = pass, s.read[p]
			for o := range a.parked {
				a.next = min(a.next, o)
			}
			for stream, parked := range cl.parked {
				parked.left, parked.tried = false, s.model.withheld(s.model.byName[stream]) != simNo
				clear(parked.ids)
			}
		}
		if a.next >= s.read[p] {
			s.logf("everything was read again in %d", p)
			s.parking().ReadAgainDone(s.now, cl.Claim, pass, a.gone)
			cl.open -= a.gone
			s.model.count["released"] += float64(a.gone)
			a.gone = 0
			s.readAgainDone(p, cl)
			continue
		}
		o := a.next
		if a.parked[o] && s.window.Full() {
			return // as it waits with new events
		}
		a.next++
		if a.parked[o] && s.plan.gone && s.chance(8) {
			s.logf("gone: %v", s.logs[p][o])
			s.gone[p][o], s.ended[p][o] = true, true
			a.gone++
			delete(a.parked, o)
		}
		if a.parked[o] {
			delete(a.parked, o)
			s.add(s.logs[p][o], cl.Claim, true)
		}
	}
}

// readAgainDone takes streams out of which nothing is left to be read again.
func (s *simRun) readAgainDone(p int, cl *simClaim) {
	for stream := range cl.parked {
		of := func(o int) bool { e := s.logs[p][o]; return e.key.stream == stream && e.kind != event.Tombstone }
		cl.parked[stream].over = !slices.ContainsFunc(keys(s.again[p].parked), of)
	}
	if n := len(s.again[p].parked); n > 0 && len(cl.parked) == 0 {
		s.fail("I1", "%d events of %d are left, and no stream is", n, p)
	}
}

func keys(m map[int]bool) (all []int) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// checkShed checks that streams on hold have given back what they have too much.
func (s *simRun) checkShed() {
	if s.heldBytes() <= int64(s.cfg.WindowBytes)/2 {
		return
	}
	for _, st := range s.model.streams {
		cells := s.model.of(st)
		if s.model.withheld(st) != simYes || len(cells) < 2 {
			continue
		}
		for _, c := range cells {
			if c.request == nil && c.deferred == nil && c.set == nil && c.notBefore.IsZero() && !c.maybe && c.sends == 0 && !s.plan.doubt {
				s.fail("parking", "streams on hold have too much of the window, and %s keeps %v", st.name, c)
			}
		}
	}
}

// empty reports whether nothing of an account is pending.
func (m *simModel) empty(a *simAccount) bool {
	return a.requests == 0 && !slices.ContainsFunc(m.streams, func(st *simStream) bool { return st.account == a && len(m.of(st)) > 0 })
}
