package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// A request can fail for one of its rows: a gateway dislikes a word, the API breaks at a
// character. So a row that is in failing requests again and again while others of its
// stream are answered is tried apart from these, in sets that are halved. That takes
// little evidence, because it costs calls only. To set a row aside takes much.
const (
	// suspectAfter is how many failed requests make a row suspect.
	suspectAfter = 3
	// byChance is how small the chance must be that a row has failed each time although the API fails whatever the rows.
	byChance = 1e-6
	// acquitAfter is how many suspect rows of an account must pass alone, one after the other and
	// none of them fail, for all that were suspect before to be believed: what failed was the API.
	acquitAfter = 6
)

// mayBeRows reports whether a row may be the cause of an answer, whatever it says. Only some answers are evidence
// enough to set a row aside: see contactsync.Result.MayBeRows.
func mayBeRows(r contactsync.Result) bool { return r.MayBeRows || r.Status != 0 }

// doubtful reports whether a stream may fail, or be on hold, for the contacts that failed alone: these are too few to tell of
// it, it was accepted before, and others that it shares a credential with were answered meanwhile.
func (st *stream) doubtful() bool {
	h := &st.health
	since := h.failingSince
	if h.hold != nil {
		since = h.hold.since
	}
	return st.troubled() && !h.onHold(holdRejecting) && h.accepted && len(h.alone) > 0 && !h.alone.enough() && st.signer.answered.After(since)
}

// untried is the first contact in the queue of a doubtful stream that has not failed alone, which tells more than those
// that have; nil where there is none.
func (st *stream) untried() *contact {
	if !st.doubtful() {
		return nil
	}
	for c := st.queue.head; c != nil; c = c.next { // those that have are fewer than aloneAlike
		if !slices.Contains(st.health.alone, c.folded) {
			return c
		}
	}
	return nil
}

// waitsUntil is when the wait of a stream is over that fails or is on hold. What may end it need not wait.
func (st *stream) waitsUntil() time.Time {
	if st.untried() != nil {
		return time.Time{}
	}
	return st.health.backoff
}

// suspicion is what speaks for a row being the cause of requests that failed. It is of
// one body: another one is not suspect.
type suspicion struct {
	failures int       // requests that a row may have made fail, and that had this one
	since    time.Time // the first of them

	// Of requests that had this row alone, each after other rows of the stream were settled.
	alone      int
	aloneSince time.Time
	aloneLast  time.Time
	others     lapse // the stream's requests without suspects, when the first of them had failed
}

// lapse counts requests and those that failed.
type lapse struct{ requests, failed int }

// failed notes a failed request with the row, of which a row may be the cause.
func (s *suspicion) failed(now time.Time) {
	if s.failures == 0 {
		s.since = now
	}
	s.failures++
}

// suspect reports whether a row is to be tried apart from others of its stream, of which
// some were settled at a time.
func (s *suspicion) suspect(settled time.Time) bool {
	return s.failures >= suspectAfter && settled.After(s.since)
}

// suspectsAnswered notes what came of a request of suspect rows, for all that are suspect in the account.
func (h *accountHealth) suspectsAnswered(now time.Time, rows []*contact, r contactsync.Result, failed bool) {
	switch {
	case failed && mayBeRows(r):
		h.suspectsPassed = 0
	case len(rows) == 1 && rows[0].suspicion.failures >= suspectAfter && slices.ContainsFunc(r.Rows, delivered):
		if h.suspectsPassed++; h.suspectsPassed >= acquitAfter {
			h.acquitted = now
		}
	}
}

// acquitted reports whether a group is of suspect rows, none of which made a request fail after a time when it
// became known that the API had failed whatever the rows.
func (g *group) acquitted(at time.Time) bool {
	return g.suspect && g.head.suspicion.failures >= suspectAfter && !g.since.After(at)
}

// failedAlone notes that a request with this row alone failed.
func (s *suspicion) failedAlone(now time.Time, h *streamHealth) {
	switch {
	case s.alone == 0:
		s.aloneSince, s.others = now, h.ordinary
	case !h.settled.After(s.aloneLast):
		return // nothing shows that the stream worked meanwhile
	}
	s.alone++
	s.aloneLast = now
}

// convicted reports whether the row is the cause beyond reasonable doubt. Where the API fails whatever the rows, each set of requests is as
// likely to be the one that failed: of the tries of the row and the stream's other requests, the chance that all tries are in
// it is a matter of counting. So nobody has to know how often the API fails, and where there were few others it is large.
func (s *suspicion) convicted(now time.Time, h *streamHealth, c *Config) bool {
	requests, failed := h.ordinary.requests-s.others.requests, h.ordinary.failed-s.others.failed
	chance := 1.0
	for n := range s.alone {
		chance *= float64(failed+n+1) / float64(requests+n+1)
	}
	return s.alone >= c.UnansweredAttempts && now.Sub(s.aloneSince) >= c.UnansweredAfter && chance < byChance
}

// suspect puts the rows of a request that failed back, but for those that are suspect:
// these are tried apart, and the others need not wait for what they are not the cause of.
func (s *settlement) suspect(rows []*contact, due time.Time) {
	h := &s.stream.health
	h.doubted = h.accepted
	h.ordinary.requests++
	h.ordinary.failed++
	var suspects, others []*contact
	for _, c := range rows {
		if h.hold == nil && c.suspicion.suspect(h.settled) {
			suspects = append(suspects, c)
		} else {
			others = append(others, c)
		}
	}
	switch alone := len(s.request.rows) == 1 && len(others) == 1; len(suspects) {
	case 0:
		if !alone {
			break
		}
		h.alone.note(others[0].folded)
		if !due.After(s.now) {
			s.pending.enqueue(others[0]) // another row is tried next
			return
		}
	case 1:
		s.health.resetBackoff(s.stream)
		s.setApart(suspects, later(due, s.now.Add(s.health.wait(1, s.cfg.BackoffMax))))
	default:
		s.health.resetBackoff(s.stream)
		s.log.halved(s.now, s.request.Batch, s.result)
		s.halveApart(suspects, due)
	}
	if len(others) > 0 {
		s.putBack(others, due)
	}
}

// keepApart keeps rows that are tried apart and whose request failed. They are halved if
// others of their stream were settled meanwhile: then it is not the API that fails.
func (s *settlement) keepApart(own *group, rows []*contact, due time.Time) {
	if own.split != nil {
		own.split.answered(false)
	}
	s.pending.sendApart(s.stream, own.then)
	switch {
	case len(rows) > 1 && s.stream.health.settled.After(own.since):
		s.halveApart(rows, due)
	case len(rows) > 0:
		s.keepTrying(rows, own.tries+1, due)
	}
}

// convict sets the row of a request aside that is suspect and was sent alone, if it is the
// cause beyond doubt, and reports whether it has.
func (s *settlement) convict() bool {
	c, h := s.request.rows[0], &s.stream.health
	if !s.result.MayBeRows || s.request.group == nil || !s.request.group.suspect || len(s.request.rows) > 1 || !c.owed() || c.newer != nil {
		return false
	}
	c.suspicion.failedAlone(s.now, h)
	if !c.suspicion.convicted(s.now, h, &s.cfg) || !s.health.withinBudget(s.now, s.stream, tally{refused: 1}, aboutRow) {
		return false
	}
	s.pending.alone.put(c.key(), s.now.Add(aloneFor))
	s.pending.deadLetter(s.now, c, contactsync.ReasonUnanswered, said{s.result.Detail, s.result.Text}, s.result.Status)
	return true
}

// setApart lets suspect rows wait as a set.
func (s *settlement) setApart(rows []*contact, due time.Time) *group {
	g := newGroup(rows, due)
	g.apart, g.suspect, g.since = true, true, s.now
	s.pending.sendApart(s.stream, g)
	return g
}

// halveApart lets the halves of suspect rows wait. If both pass, there were too many.
func (s *settlement) halveApart(rows []*contact, due time.Time) {
	both := &split{rows: len(rows), open: 2}
	for _, c := range rows {
		both.bytes += rowBytes(c)
	}
	half := len(rows) / 2
	s.setApart(rows[:half], due).split = both
	s.setApart(rows[half:], due).split = both
}
