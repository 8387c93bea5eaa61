package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// search is the search for the bad rows of a request that was refused as a whole: some of the rows are
// sent, and the others wait for the answer.
type search struct {
	rows     int
	since    time.Time
	accepts  int // rows of the stream that were accepted before
	flight   int // its requests in flight
	refusals int // requests of several rows that were refused, the first included
}

const (
	wholeAndHalves = 3
	aloneAlike     = 3
)

// undecided reports whether what was refused may be about the stream as a whole: none of its rows was accepted
// since, and there are enough of them to tell.
func (s *search) undecided(h *streamHealth) bool { return s.undecidedAt(h, h.accepts) }

// undecidedAt is undecided when so many rows of the stream were accepted.
func (s *search) undecidedAt(h *streamHealth, accepts int) bool {
	return s != nil && s.rows >= aloneAlike && h.hold == nil && accepts == s.accepts
}

// piece is how many rows a request of the search has at most.
func (s *search) piece(h *streamHealth) int {
	if s.refusals >= wholeAndHalves && s.flight == 0 && s.undecided(h) {
		return 1 // single contacts tell more than quarters
	}
	return h.bad.piece()
}

// ofSearch is the search that the rows of the request are part of; nil where there is none.
func (s *settlement) ofSearch() *search {
	if s.request.group == nil {
		return nil
	}
	return s.request.group.of()
}

// of is the search that a group is part of. That of parts of a request that was too large is for their size first.
func (g *group) of() *search {
	if g.search == nil && g.split != nil {
		return g.split.of
	}
	return g.search
}

// alike is the contacts of which each got the same answer alone, one after the other: the first aloneAlike of them, which are
// enough to tell that it was not for what they hold.
type alike[K comparable] []K

func (a *alike[K]) note(id K) {
	if !a.enough() && !slices.Contains(*a, id) {
		*a = append(*a, id)
	}
}

func (a alike[K]) enough() bool { return len(a) >= aloneAlike }

// scope is what a refusal may be about.
type scope uint8

const (
	aboutRow    scope = iota
	aboutItself       // the row, beyond doubt
	aboutStream
	aboutAccount
)

// refusesAll reports whether an answer accepts none of several rows and would have one of them refused. It may be for that one, for another, or
// for the stream. What was refused beside accepted rows was so for itself.
func (r *Request) refusesAll(result contactsync.Result, attempts int) bool {
	if result.Kind != contactsync.Answered || len(r.rows) == 1 || slices.ContainsFunc(result.Rows, delivered) {
		return false
	}
	for i, c := range r.rows {
		if d := decideRow(outcomeOf(result, i), circumstances{last: c.attempts+1 >= attempts}); d.action == rowRefused && !c.besideAccepted() {
			return true
		}
	}
	return false
}

// outcomeOf is what an answer says of the i-th row.
func outcomeOf(r contactsync.Result, i int) contactsync.Outcome {
	if i < len(r.Rows) {
		return r.Rows[i]
	}
	return contactsync.Outcome{}
}

// refusedAlone notes that a row was refused alone, and says what that is about. It is the row where others of its request, or of its account since it
// was refused first, were accepted; it is the stream where so many contacts of it were refused alone, and no row of it was accepted in between, that chance is
// no explanation (streak.go). Until that is known it is kept, and others are tried. Where nothing else is accepted for a minute it is the row, or the account if
// there were as many. What was sent before the first row of a search was accepted says no more than that, whenever the answer comes: the API may have been set right in between.
func (s *settlement) refusedAlone() (kept bool, about scope) {
	c, of, st := s.request.rows[0], s.ofSearch(), s.stream
	h, account := &st.health, &st.account.health
	if of != nil && s.request.accepts > of.accepts {
		return false, aboutRow
	}
	first := c.refusal
	if first.again(s.request.accepts, h) {
		return false, aboutItself
	}
	// What an older state of it was refused for, it may well hold still, which says nothing of the others.
	misfit := st.account.strangers.misfits.Contains(c.key())
	undecided, known := of.undecidedAt(h, s.request.accepts), misfit || h.refused.has(c.key())
	others := first.at.Before(s.now) && !st.account.delivered.Before(first.at)
	if s.request.accepts == h.accepts && !misfit { // else the API may have refused it before it took the others
		h.refused.note(c.key(), h.share)
		if !others {
			account.refused.note(c.key(), h.share)
		}
	}
	st.account.strangers.remember(st)
	switch {
	case misfit && s.now.Sub(first.at) >= holdGrace:
		return false, aboutItself
	case h.hold != nil: // it has a rule of its own
		return false, aboutRow
	case h.refused.enough():
		return false, aboutStream
	case undecided && (!known || of.flight > 0): // else there are no others to try
		return s.keepSearching(of), aboutRow
	case others:
		return false, aboutRow
	case s.now.Sub(first.at) < holdGrace:
		return s.keepForOthers(), aboutRow
	case account.refused.enough():
		return false, aboutAccount
	}
	return false, aboutRow
}

// keepSearching keeps the row of a request that was refused alone, and lets others of its search go first.
func (s *settlement) keepSearching(of *search) (kept bool) {
	s.m.RejectedRowsRetained.Inc()
	if rows := s.reclaim(); len(rows) > 0 {
		s.searchApart(of, rows, true).due = s.now.Add(s.health.wait(1, s.cfg.BackoffMax))
	}
	s.releaseRest(false)
	return true
}

// keepForOthers keeps it until others of its account may have been answered.
func (s *settlement) keepForOthers() (kept bool) {
	s.m.RejectedRowsRetained.Inc()
	tries := 0
	if own := s.request.group; own != nil {
		tries = own.tries + 1
	}
	s.releaseRest(false)
	if rows := s.reclaim(); len(rows) > 0 {
		g := newGroup(rows, s.now.Add(s.health.wait(onceMoreWait+tries, s.cfg.BackoffMax)))
		g.apart, g.tries = true, tries
		s.pending.sendApart(s.stream, g)
	}
	return true
}

// suspected reports whether the rows of a request are tried apart because they make requests fail, and others of their
// stream were answered lately.
func (r *Request) suspected(now time.Time, lately time.Duration) bool {
	h := &r.stream.health
	return r.group != nil && r.group.suspect && h.accepted && h.hold == nil && now.Sub(h.settled) < lately
}

// blame tells what may be at fault where the API says that it does not know the stream of a request. An API may say so of
// a contact that it does not know. It does not speak of a stream that was accepted lately, or before some rows of a
// request and then for the others.
func (r *Request) blame(now time.Time, lately time.Duration) blame {
	h := &r.stream.health
	switch own := r.group; {
	case !h.accepted, h.hold != nil:
	case len(r.rows) > 1:
		return blameRows
	case own == nil:
		tried := r.rows[0].suspicion
		if tried.failed(now); tried.suspect(h.settled) && now.Sub(h.settled) < lately {
			return blameRow
		}
	case own.of().undecided(h):
		if key := r.rows[0].key(); !h.refused.has(key) && !h.refused.completes(key, h.share) {
			return blameRow
		}
	case own.search != nil && h.accepts > own.search.accepts, own.search == nil && r.suspected(now, lately):
		return blameRow
	}
	return blameStream
}

// keepAlone keeps the only row of a request that the API says to be of no stream that it knows, or about which it contradicts
// itself. While the former may be about the stream others are tried; otherwise it is the row, which is never set aside for such an answer.
func (s *settlement) keepAlone() {
	c, of, tries := s.request.rows[0], s.ofSearch(), 1
	undecided := s.result.Kind == contactsync.StreamGone && of.undecided(&s.stream.health)
	if undecided && c.owed() {
		s.stream.health.refused.note(c.key(), s.stream.health.share)
		s.stream.account.strangers.remember(s.stream)
	}
	if own := s.request.group; own != nil {
		tries += own.tries
	}
	s.releaseRest(false)
	rows := s.reclaim()
	switch {
	case len(rows) == 0:
	case undecided:
		s.searchApart(of, rows, true).due = s.now.Add(s.health.wait(1, s.cfg.BackoffMax))
	default:
		s.keepTrying(rows, tries, s.now)
		if s.result.Kind != contactsync.StreamGone {
			c.gone = nil // it is known
			return
		}
		if c.gone == nil {
			c.gone = &gone{since: s.now}
		}
		c.gone.status, c.gone.last = s.result.Status, said{s.result.Detail, s.result.Text}
	}
}

// keepTrying lets rows that were refused, or failed, so many times wait for another try, longer each time.
func (s *settlement) keepTrying(rows []*contact, tries int, due time.Time) {
	g := s.setApart(rows, later(due, s.now.Add(s.health.wait(tries, s.cfg.BackoffMax))))
	if g.tries = tries; len(rows) == 1 {
		s.log.alone(s.now, rows[0], s.result)
	}
}

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
func (s *settlement) searchApart(of *search, rows []*contact, guilty bool) *group {
	g := newGroup(rows, of.since) // one search after the other: what the first ones find makes the others cheaper
	g.apart, g.search, g.guilty = true, of, guilty
	s.pending.sendApart(s.stream, g)
	return g
}

// cut leaves the rows in a group that are sent next. Of a search these are most at most, and half of them where
// one is known to be bad. The others wait for the answer.
func (g *group) cut(most int, h *streamHealth) {
	of := g.of()
	if of == nil {
		return
	}
	n := min(g.rows, most, of.piece(h))
	if of.flight++; g.search == nil { // parts of a request that was too large tell its size
		return
	}
	if g.guilty && g.rows > 1 {
		n = min(n, g.rows/2)
	}
	if n == g.rows || g.then != nil { // what comes back is the same set
		return
	}
	rows, due := g.takeAll(), g.due
	g.fill(rows[:n], due)
	g.then = newGroup(rows[n:], due)
	g.then.apart, g.then.search, g.then.guilty = true, g.search, g.guilty
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
