package batcher

import "slices"

// holding returns the streams on hold that match, by name: what is decided must not depend on the
// order of a map, or a seed would not replay.
func (s *schedule) holding(match func(*stream) bool) (found []*stream) {
	s.visits += len(s.onHold)
	for _, st := range s.onHold {
		if match(st) {
			found = append(found, st)
		}
	}
	slices.SortFunc(found, compareNames)
	return found
}

// charge sets what the window charges for a contact, and returns how much more that is.
func (s *schedule) charge(c *contact, n int64) (more int64) {
	st, before := c.stream, c.stream.bytes
	if before == 0 {
		st.bytes = streamOverhead
	}
	st.bytes += n - c.charge
	if c.kept {
		st.kept += n - c.charge
	}
	if c.charge = n; st.bytes == streamOverhead {
		st.bytes = 0
	}
	s.countHeld(st)
	return st.bytes - before
}

// keep has a contact, with what waits behind it, count as on hold, or not.
func (s *schedule) keep(c *contact, kept bool) {
	st := c.stream
	for ; c != nil; c = c.newer {
		switch {
		case kept && !c.kept:
			st.kept += c.charge
		case !kept && c.kept:
			st.kept -= c.charge
		}
		c.kept = kept
	}
	s.countHeld(st)
}

// countHeld counts a stream among those on hold, and what it takes of the window among what these take. It is called
// whenever a contact comes or goes, and which stream a credential on hold is probed with depends on how many there are.
func (s *schedule) countHeld(st *stream) {
	held, on := st.kept, st.withheld()
	if on {
		held = st.bytes
	}
	s.held += held - st.held
	s.givers.count(st, held)
	s.list(st, on || held > 0)
	if waits := st.onHold() && st.bytes > 0; waits != st.counted {
		if st.counted = waits; waits {
			st.signer.waiting++
		} else {
			st.signer.waiting--
		}
	}
	s.touch(st)
}

// list has a stream among those on hold, or not.
func (s *schedule) list(st *stream, on bool) {
	switch {
	case on && st.holding == 0:
		s.onHold = append(s.onHold, st)
		st.holding = len(s.onHold)
	case !on && st.holding > 0:
		last := s.onHold[len(s.onHold)-1]
		s.onHold[st.holding-1], last.holding = last, st.holding
		s.onHold, st.holding = slices.Delete(s.onHold, len(s.onHold)-1, len(s.onHold)), 0
	}
}

// waiting walks over the contacts that wait to be sent, those that are tried apart first, and then those
// that came last. None may be removed meanwhile.
func (st *stream) waiting(yield func(*contact) bool) {
	for g := range st.retries.all() {
		for ; g != nil; g = g.then {
			if !g.backward(yield) {
				return
			}
		}
	}
	st.queue.backward(yield)
}
