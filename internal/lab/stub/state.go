package stub

import "sync"

// contact is the state of one contact, guarded by its stream's mutex.
type contact struct {
	id       string
	last     int64 // the seq applied last; -1 before the first
	applied  int64
	inFlight int
}

// streamState is the contacts of one stream.
type streamState struct {
	mu sync.Mutex

	contacts map[string]*contact
}

// tally counts what applying the rows of one call did.
type tally struct {
	order      int64 // see Call.Order
	rows       int64
	fresh      int64 // contacts applied for the first time
	backwards  int64
	duplicates int64
}

// enter marks the rows of a call as in flight and returns how many of their
// contacts were in flight already.
func (s *streamState) enter(rows []row) (overlaps, again int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range rows {
		r := &rows[i]
		if len(r.id) == 0 {
			continue
		}
		c := s.contacts[string(r.id)]
		if c == nil {
			c = &contact{id: string(r.id), last: -1}
			s.contacts[c.id] = c
		}
		r.contact = c
		c.inFlight++
		if c.inFlight > 1 {
			overlaps++
		}
	}
	if overlaps > 0 { // an array that names a contact twice only overlaps with itself
		seen := make(map[*contact]bool, len(rows))
		for i := range rows {
			if c := rows[i].contact; c != nil && seen[c] {
				rows[i].again = true
				again++
			} else {
				seen[c] = true
			}
		}
	}
	return overlaps - again, again
}

func (s *streamState) leave(rows []row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range rows {
		if c := rows[i].contact; c != nil {
			c.inFlight--
		}
	}
}

// apply applies every row that is not to be skipped. next numbers the call. It is
// called while the stream is locked, so that numbers follow the order in which a
// contact's states are applied.
func (s *streamState) apply(rows []row, next func() int64) tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := tally{order: next()}
	for i := range rows {
		r := &rows[i]
		c := r.contact
		if c == nil || r.skip {
			continue
		}
		t.rows++
		if c.applied == 0 {
			t.fresh++
		}
		c.applied++
		r.applied = true
		if r.seq >= 0 {
			switch {
			case r.seq < c.last:
				t.backwards++
			case r.seq == c.last:
				t.duplicates++
			}
			c.last = r.seq
		}
	}
	return t
}
