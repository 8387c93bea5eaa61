package batcher

import (
	"slices"

	"github.com/contactsync/contactsync"
)

// settlement applies a decision to the rows of a request.
type settlement struct {
	*Window
	request  *Request
	stream   *stream
	decision *Decision
	result   contactsync.Result
}

func (s *settlement) settle() {
	if s.decision.failure {
		for _, c := range s.request.rows {
			c.failed(s.now)
		}
	}
	//exhaustive:enforce
	switch s.decision.rows {
	case settleEach, refuseOnly:
		s.each()
	case halveInTurn, halveBoth:
		s.halve()
	case keepRows:
		s.keep()
	}
}

// each settles each row by its own outcome.
func (s *settlement) each() {
	rows := s.request.rows
	outcomes := append(slices.Clip(s.result.Rows), make([]contactsync.Outcome, max(0, len(rows)-len(s.result.Rows)))...)
	if s.decision.rows == refuseOnly {
		outcomes[0] = contactsync.Outcome{Verdict: contactsync.Failed, Reason: s.result.Detail}
	}
	decision := func(i int) *RowDecision {
		return s.decision.row(outcomes[i], rows[i].attempts+1 >= s.cfg.RowAttempts)
	}

	var t tally
	for i, c := range rows {
		switch action := decision(i).action; {
		case action == rowDelivered:
			t.accepted++
		case action == rowRefused && c.owed():
			t.refused++
		}
	}
	// As a whole: of a thousand refusals not even the first becomes a dead letter.
	retain := !s.health.withinBudget(s.now, s.stream, t)

	var open []*contact
	for i, c := range rows {
		d := decision(i)
		c.maybeApplied = c.maybeApplied || d.maybeApplied
		switch d.action {
		case rowDelivered:
			s.pending.deliver(c)
		case rowRefused:
			s.refuse(c, d.reason, outcomes[i].Reason, retain)
		case rowRetried:
			open = append(open, c)
		}
	}
	s.retry(open)
	switch {
	case retain:
		s.result.Detail = firstReason(outcomes)
		s.health.putOnHold(s.now, s.stream, holdRejecting, s.result)
	case t != tally{}:
		s.health.resetBackoff(s.stream)
	}
	s.releaseHalf(s.decision.rows == settleEach)
}

func firstReason(outcomes []contactsync.Outcome) string {
	for _, o := range outcomes {
		if o.Verdict != contactsync.Delivered && o.Reason != "" {
			return o.Reason
		}
	}
	return "the answer does not account for the rows"
}

// refuse makes a dead letter of a row that cannot be delivered. With retain it is kept
// instead, behind the others, so that the stream tries another one first.
func (s *settlement) refuse(c *contact, reason contactsync.Reason, detail string, retain bool) {
	c.failed(s.now)
	if c.deleted == nil && !retain {
		if on := s.stream.health.hold; on != nil {
			on.deadLetters++
		}
		s.pending.deadLetter(s.now, c, reason, detail, s.result.Status)
		return
	}
	if c.deleted == nil { // else there is nothing to set aside
		s.m.RejectedRowsRetained.Inc()
	}
	if s.pending.reclaim(s.now, c) {
		s.pending.enqueue(c)
	}
}

// retry sends rows once more, apart from the others of their stream: the remainder that
// an answer left open, or whose reasons are transient.
func (s *settlement) retry(open []*contact) {
	var rows []*contact
	attempts := 0
	for _, c := range open {
		c.failed(s.now)
		c.attempts++
		switch {
		case !s.pending.reclaim(s.now, c):
		case c.attempts == 0: // a delete came after it, and then a new state
			s.pending.enqueue(c)
		default:
			rows = append(rows, c)
			attempts = max(attempts, c.attempts)
		}
	}
	if len(rows) > 0 {
		s.countRetried(rows)
		s.pending.sendApart(s.stream, newGroup(rows, s.now.Add(s.health.wait(attempts, s.cfg.BackoffMax))))
	}
}

// keep puts the rows back: a set of their own stays one, others return to the front of
// the queue, at once or when the API can be done with this request.
func (s *settlement) keep() {
	d, ambiguous := s.decision, s.result.Ambiguous
	for _, c := range s.request.rows {
		c.maybeApplied = c.maybeApplied || ambiguous || d.outcomeUnknown && s.result.Status != 0
	}
	due := s.now
	if d.outcomeUnknown && ambiguous {
		due = due.Add(s.cfg.AmbiguousRetryDelay)
		s.mayApply(due)
		for _, c := range s.request.rows {
			c.lateUntil = due
		}
	}
	g := newGroup(s.reclaim(), due)
	switch own := s.request.group; {
	case own != nil:
		g.then, g.split = own.then, own.split
		s.pending.sendApart(s.stream, g)
	case due.After(s.now):
		g.loose = true
		s.pending.sendApart(s.stream, g)
	default:
		s.pending.putBack(s.stream, g)
	}
}

// halve sends the halves of a request that was refused as a whole.
func (s *settlement) halve() {
	inTurn := s.decision.rows == halveInTurn
	if inTurn {
		s.log.halved(s.now, s.request.Batch, s.result)
	}
	left, right := halve(s.reclaim(), s.now)
	s.releaseHalf(false)
	if inTurn {
		left.then = right
		s.pending.sendApart(s.stream, left)
		return
	}
	both := &split{rows: len(s.request.rows), bytes: s.request.bytes, open: 2}
	left.split, right.split = both, both
	s.pending.sendApart(s.stream, left)
	s.pending.sendApart(s.stream, right)
}

// releaseHalf frees the half that waited for the answer to this one. Where this half
// was fine, the other one is at fault, so it is halved without being sent.
func (s *settlement) releaseHalf(fine bool) {
	if s.request.group == nil || s.request.group.then == nil {
		return
	}
	g := s.request.group.then
	if fine && g.rows > 1 {
		left, right := halve(g.takeAll(), s.now)
		left.then, g = right, left
	}
	s.pending.sendApart(s.stream, g)
}

// reclaim brings the rows back and returns those that are sent again.
func (s *settlement) reclaim() []*contact {
	rows := make([]*contact, 0, len(s.request.rows))
	for _, c := range s.request.rows {
		if s.pending.reclaim(s.now, c) {
			rows = append(rows, c)
		}
	}
	s.countRetried(rows)
	return rows
}

func (s *settlement) countRetried(rows []*contact) {
	s.m.retried[s.result.Kind].Add(float64(len(rows)))
}
