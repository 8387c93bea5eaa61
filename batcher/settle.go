package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// settlement applies a decision to the rows of a request.
type settlement struct {
	*Window
	request  *Request
	stream   *stream
	decision *Decision
	result   contactsync.Result
	behind   time.Duration // see group
}

func (s *settlement) settle() {
	if of := s.ofSearch(); of != nil {
		of.flight--
	}
	if s.request.group == nil && s.decision.rowsAnswered {
		s.stream.health.ordinary.requests++
		s.stream.health.doubted = false
	}
	refused := s.decision.rowsAnswered && s.result.Kind != contactsync.Throttled
	for i, c := range s.request.rows {
		if s.decision.failure {
			c.failed(s.now)
		}
		if refused && c.refusal == nil && !delivered(outcomeOf(s.result, i)) {
			c.refusal = &refusal{at: s.now}
		}
		unknown := s.decision.outcomeUnknown && s.result.Status != 0 || s.result.Kind == contactsync.Answered && unsettled(outcomeOf(s.result, i))
		c.maybeApplied = c.maybeApplied || unknown
	}
	//exhaustive:enforce
	switch s.decision.rows {
	case settleEach, refuseOnly:
		s.each()
	case halveInTurn, halveBoth:
		s.halve()
	case keepRows:
		s.keep()
	case keepAlone:
		s.keepAlone()
	}
}

// each settles each row by its own outcome.
func (s *settlement) each() {
	rows := s.request.rows
	outcomes := make([]contactsync.Outcome, len(rows))
	for i := range rows {
		outcomes[i] = outcomeOf(s.result, i)
	}
	cut := s.cutShort(outcomes)
	others := slices.ContainsFunc(outcomes, delivered)
	decision := func(i int) *RowDecision {
		left := cut && outcomes[i].Verdict == contactsync.Unresolved
		return decideRow(outcomes[i], circumstances{last: !left && rows[i].attempts+1 >= s.cfg.RowAttempts, others: others})
	}
	if s.decision.rows == refuseOnly {
		outcomes[0] = contactsync.Outcome{Verdict: contactsync.Failed, Reason: s.result.Detail, Text: s.result.Text}
		decision = func(int) *RowDecision { return &RowDecision{action: rowRefused, reason: s.decision.reason} }
	}
	alone := len(rows) == 1 && rows[0].owed() && decision(0).action == rowRefused
	kept, about := false, aboutRow
	switch {
	case alone && rows[0].besideAccepted():
		alone, about = false, aboutItself
	case alone:
		if kept, about = s.refusedAlone(); kept {
			return
		}
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
	retain := !s.health.withinBudget(s.now, s.stream, t, about)

	vain := t == (tally{}) && s.stream.health.onHold(holdRejecting) // a probe that leaves its row open, which is not taken for it
	if vain {
		s.stream.health.hold.tried.add(tally{refused: 1})
	}
	if retain || vain {
		first := firstReason(outcomes)
		s.result.Detail, s.result.Text = first.detail, first.text
		s.health.putOnHold(s.now, s.stream, holdRejecting, s.result)
		s.stream.health.hold.whole = s.stream.health.hold.whole || about == aboutStream
	}
	var open, onceMore []*contact
	for i, c := range rows {
		d := decision(i)
		switch d.action {
		case rowDelivered:
			s.pending.deliver(c)
		case rowRefused:
			s.refuse(c, d.reason, said{outcomes[i].Reason, outcomes[i].Text}, retain)
		case rowRetried:
			if !cut && !contradicted(outcomes[i]) {
				c.attempts++
			}
			open = append(open, c)
		case rowOnceMore:
			onceMore = append(onceMore, c)
		}
	}
	s.retry(open, cut)
	s.onceMore(onceMore)
	if t != (tally{}) {
		s.stream.health.settled = s.now
	}
	s.stream.health.accepts += t.accepted
	bad := 0
	if alone {
		bad = t.refused
	}
	s.stream.health.bad.add(t.accepted+t.refused, bad)
	if t != (tally{}) && !retain {
		s.health.resetBackoff(s.stream)
	}
	s.releaseRest(others)
}

// cutShort reports whether an answer settles the first rows and leaves all others open, of a
// request that was larger than any that was answered for: the API may have read only its
// beginning.
func (s *settlement) cutShort(outcomes []contactsync.Outcome) bool {
	first := slices.IndexFunc(outcomes, unresolved)
	return first > 0 && !slices.ContainsFunc(outcomes[first:], told) && !slices.ContainsFunc(outcomes, contradicted) &&
		s.stream.account.health.size.unproven(int64(len(outcomes)), s.request.bytes)
}

// told reports whether an answer says what became of a row, or contradicts itself about it.
func told(o contactsync.Outcome) bool { return !unresolved(o) }

func delivered(o contactsync.Outcome) bool { return o.Verdict == contactsync.Delivered }

func firstReason(outcomes []contactsync.Outcome) said {
	for _, o := range outcomes {
		if o.Verdict != contactsync.Delivered && o.Reason != "" {
			return said{o.Reason, o.Text}
		}
	}
	return said{detail: "the answer does not account for the rows"}
}

// refuse makes a dead letter of a row that cannot be delivered. With retain it is kept
// instead, and others are tried first.
func (s *settlement) refuse(c *contact, reason contactsync.Reason, why said, retain bool) {
	c.failed(s.now)
	if c.deleted == nil && !retain {
		h := &s.stream.health
		if on := h.hold; on != nil {
			on.deadLetters++
		}
		if h.accepted && (c.refusal == nil || c.refusal.alone == 0) {
			h.share.add(1, 1)
			s.stream.account.strangers.remember(s.stream)
		}
		if account := s.stream.account; c.refusal != nil && !account.delivered.Before(c.refusal.at) {
			account.strangers.misfits.Add(c.key(), struct{}{})
		}
		s.pending.deadLetter(s.now, c, reason, why, s.result.Status)
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
// an answer left open, or whose reasons are transient. They are the cause of these calls, which have their part only.
// Where the answer was cut short, that is no attempt, and if the remainder passes, the request was too large, which
// is learned at once.
func (s *settlement) retry(open []*contact, cut bool) {
	g := s.together(open)
	if g == nil {
		return
	}
	attempts := 1
	for c := g.head; c != nil; c = c.next {
		attempts = max(attempts, c.attempts)
	}
	g.due = s.now.Add(s.health.wait(attempts, s.cfg.BackoffMax))
	g.apart = !cut
	if cut {
		g.split = &split{rows: len(s.request.rows), bytes: s.request.bytes, first: g.head.rank, open: 1}
	}
	s.pending.sendApart(s.stream, g)
}

// onceMore sends rows again that were refused while others of their request were accepted: these may
// have been in their way. As long as some of them are accepted, the others have one more
// chance. They go in reverse: what was refused for a row behind it comes after it then. A feed of which
// one row in a hundred is bad has one in most requests, so they wait for those of the next
// requests, and a call is made for all of them, which has its part of the calls only: most of them are refused again.
func (s *settlement) onceMore(refused []*contact) {
	slices.Reverse(refused)
	for _, c := range refused {
		c.beside = true
		s.stream.account.strangers.misfits.Add(c.key(), struct{}{})
	}
	g := s.together(refused)
	if g == nil {
		return
	}
	if waiting := s.stream.retries.onceMore(); waiting != nil && waiting.rows+g.rows <= s.cfg.MaxRows && waiting.bytes+g.bytes <= int64(s.cfg.MaxBytes) {
		for _, c := range g.takeAll() {
			waiting.pushBack(c)
		}
		s.pending.schedule.touch(s.stream)
		return
	}
	g.onceMore, g.apart, g.due = true, true, s.now.Add(s.health.wait(onceMoreWait, s.cfg.BackoffMax))
	s.pending.sendApart(s.stream, g)
}

// onceMoreWait is the number of failures after which others wait as long as rows that are sent once more.
const onceMoreWait = 5

// together brings rows back to be sent again as a set of their own; nil where none of them is.
func (s *settlement) together(back []*contact) *group {
	var rows []*contact
	for _, c := range back {
		c.failed(s.now)
		switch {
		case !s.pending.reclaim(s.now, c):
		case c.sends == 0: // a delete came after it, and then a new state
			s.pending.enqueue(c)
		default:
			rows = append(rows, c)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	s.countRetried(rows)
	return newGroup(rows, s.now)
}

// keep puts the rows back: a set of their own stays one, others return to the front of
// the queue, at once or when the API can be done with this request. Rows that make requests
// fail are tried apart from then on.
func (s *settlement) keep() {
	s.endApplied()
	ambiguous, doubt := s.result.Ambiguous, s.decision.suspects && mayBeRows(s.result)
	due := s.now
	if ambiguous {
		due = due.Add(s.cfg.AmbiguousRetryDelay)
		s.mayApply(due)
	}
	if s.result.Kind == contactsync.Throttled {
		until := s.stream.account.throttledUntil
		if others := s.request.goesBehind(until.Sub(s.now)); others > 0 {
			due, s.behind = later(due, until.Add(others)), s.stream.account.throttledFor
		}
	}
	for _, c := range s.request.rows {
		c.maybeApplied = c.maybeApplied || ambiguous
		if ambiguous {
			c.lateUntil = due
		}
		if doubt {
			c.suspicion.failed(s.now)
		}
	}
	if doubt && s.convict() {
		return
	}
	rows := s.reclaim()
	switch own := s.request.group; {
	case own == nil && doubt:
		s.suspect(rows, due)
	case own == nil && len(rows) == 1 && s.stream.health.hold != nil && !due.After(s.now):
		s.pending.enqueue(rows[0]) // the next probe is another row
	case own == nil:
		s.putBack(rows, due)
	case doubt && (s.decision.backOff || own.suspect):
		s.keepApart(own, rows, due)
	default:
		own.fill(rows, due)
		own.behind = s.behind
		s.pending.sendApart(s.stream, own)
	}
}

// endApplied ends the rows that an answer lists as applied although the request was refused, and leaves the others
// in it.
func (s *settlement) endApplied() {
	var rest []*contact
	for i, c := range s.request.rows {
		if i < len(s.result.Rows) && delivered(s.result.Rows[i]) {
			s.pending.deliver(c)
		} else {
			rest = append(rest, c)
		}
	}
	n := len(s.request.rows) - len(rest)
	if s.request.rows = rest; n == 0 {
		return
	}
	s.health.withinBudget(s.now, s.stream, tally{accepted: n}, aboutRow)
	s.stream.health.settled = s.now
	s.stream.health.accepts += n
	s.stream.health.bad.add(n, 0)
	s.health.resetBackoff(s.stream)
}

// putBack lets rows wait in front of the others of their stream, at once or when due.
func (s *settlement) putBack(rows []*contact, due time.Time) {
	g := newGroup(rows, due)
	if due.After(s.now) {
		g.loose, g.behind = true, s.behind
		s.pending.sendApart(s.stream, g)
		return
	}
	s.pending.putBack(s.stream, g)
}

// halve tries the rows of a request that was refused as a whole with fewer beside them.
func (s *settlement) halve() {
	of := s.ofSearch()
	if of == nil {
		of = &search{rows: len(s.request.rows), since: s.now, accepts: s.stream.health.accepts}
	}
	of.refusals++
	if s.decision.rows == halveInTurn {
		if !contradicts(s.result) {
			s.log.halved(s.now, s.request.Batch, s.result)
		}
		if of.undecided(&s.stream.health) { // the other half tells more than parts of this one
			s.releaseRest(false)
			s.searchApart(of, s.reclaim(), true)
			return
		}
		s.searchApart(of, s.reclaim(), true)
		s.releaseRest(false)
		return
	}
	rows := s.reclaim()
	s.releaseRest(false)
	left, right := halve(rows, s.now)
	both := &split{rows: len(s.request.rows), bytes: s.request.bytes, first: s.request.rows[0].rank, open: 2, of: of}
	if own := s.request.group; own != nil && own.split != nil {
		both.first = own.split.first
	}
	left.split, right.split = both, both
	// Of a size that is known to pass a row is the cause, and its search has its part of the calls only.
	proven := !s.stream.account.health.size.unproven(int64(both.rows), both.bytes)
	left.apart, right.apart = proven, proven
	s.pending.sendApart(s.stream, left)
	s.pending.sendApart(s.stream, right)
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
