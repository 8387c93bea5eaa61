package batcher

// A request that was refused as a whole is searched for its bad rows: some of the rows are sent, and the others
// wait for the answer.

// badRate is how many of the last rows of a stream made the API refuse whole requests.
type badRate struct{ rows, bad int }

const (
	badRateRows  = 256 // rows that are remembered; half as many at least
	badRateLeast = 3   // bad rows, of fewer nothing is made
)

func (r *badRate) add(rows, bad int) {
	r.rows, r.bad = r.rows+rows, r.bad+bad
	for r.rows > badRateRows {
		r.rows, r.bad = r.rows/2, r.bad/2
	}
}

// piece is how many rows a request of the search has at most: 0.7 of as many as have one bad row among
// them, so that it passes about as often as not. Larger ones tell less, and with many bad
// rows single ones cost less than halving.
func (r *badRate) piece() int {
	if r.bad < badRateLeast {
		return badRateRows
	}
	return max(1, (14*r.rows+10*r.bad)/(20*r.bad))
}

// searchApart lets rows wait for the search. They are guilty where one of them is known to be bad.
func (s *settlement) searchApart(rows []*contact, guilty bool) {
	due := s.now
	if of := s.request.group; of != nil && of.search {
		due = of.due // one search after the other: what the first ones find makes the others cheaper
	}
	g := newGroup(rows, due)
	g.apart, g.search, g.guilty = true, true, guilty
	s.pending.sendApart(s.stream, g)
}

// cut leaves the rows in a group of a search that are sent next, most at most, and half of them where one is
// known to be bad. The others wait for the answer.
func (g *group) cut(most int) {
	n := min(g.rows, most)
	if g.guilty && g.rows > 1 {
		n = min(n, g.rows/2)
	}
	if n == g.rows || g.then != nil { // what comes back is the same set
		return
	}
	rows, due := g.takeAll(), g.due
	g.fill(rows[:n], due)
	g.then = newGroup(rows[n:], due)
	g.then.apart, g.then.search, g.then.guilty = true, true, g.guilty
}

// releaseRest frees the rows that waited for the answer to these. Where these were fine, a fault that was
// known to be among all of them must be in the others, of which half is sent then: that saves a call.
func (s *settlement) releaseRest(fine bool) {
	if s.request.group == nil || s.request.group.then == nil {
		return
	}
	rest := s.request.group.then
	rest.guilty = rest.guilty && fine
	s.pending.sendApart(s.stream, rest)
}
