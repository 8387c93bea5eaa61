package batcher_test

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
)

// settle takes the answer to a request. retained says that refused rows made no dead letter.
func (m *simModel) settle(s *simRun, q *simRequest, r contactsync.Result, throttled, retained bool) {
	st, set := q.stream, q.set
	st.requests--
	st.account.requests--
	st.account.countApart(q, -1)
	all := m.refusesAll(q, r)
	for i, c := range q.cells {
		if (r.Kind != contactsync.Answered || all) && r.Kind != contactsync.Canceled && c.firstFail.IsZero() {
			c.firstFail = m.now
		}
		aboutRows := r.Kind == contactsync.Answered || r.Kind == contactsync.BadRequest || r.Kind == contactsync.TooLarge
		if aboutRows && c.refusedAt.IsZero() && simOutcome(r, i).Verdict != contactsync.Delivered {
			c.refusedAt = m.now
		}
	}
	apart := m.doubt && q.req.Reason == batcher.BatchRetry // these rows may be suspect: then they say nothing of the credentials
	if apart && st.refused == simYes {
		st.refused = simUnsure
	} else if !apart {
		st.refused = simNo
	}
	m.throttle(st.account, s.apis[st.account.name].until)
	for _, c := range q.cells {
		switch {
		case r.Kind == contactsync.Answered, len(r.Rows) > 0 && r.Rows[0].Verdict == contactsync.Delivered:
			c.throttled = 0
		case throttled:
			c.throttled++
		}
	}
	switch r.Kind {
	case contactsync.Answered:
		m.rowsAnswered(st)
		for i, c := range q.cells {
			c.maybe = c.maybe || simOutcome(r, i).Verdict == contactsync.Unresolved
		}
		if all {
			st.refuse()
			m.settleRefused(s, q, r, "", retained)
			break
		}
		st.accept(m.now)
		m.settleRows(s, q, r, retained)
	case contactsync.BadRequest:
		m.rowsAnswered(st)
		st.refuse()
		m.settleRefused(s, q, r, contactsync.ReasonBadRequest, retained)
	case contactsync.TooLarge:
		m.rowsAnswered(st)
		if q.trial && len(q.cells) > 1 { // larger than ever passed: that is no fault of the rows
			m.again(q, r)
			return
		}
		m.settleRefused(s, q, r, contactsync.ReasonTooLarge, retained)
	case contactsync.Throttled:
		if n := len(r.Rows); n > 0 { // these were applied
			m.rowsAnswered(st)
			st.accept(m.now)
			m.answered(s, st, n, 0, false)
			for _, c := range q.cells[:n] {
				m.delivered(c)
			}
			st.calm()
			q.cells = q.cells[n:]
		}
		m.again(q, r)
	case contactsync.Canceled:
		m.again(q, r)
	case contactsync.Unauthorized:
		st.refuse()
		if st.refused = simYes; apart {
			st.refused = simUnsure
		}
		const kind = "unauthorized"
		warned := q.warned
		if st.account.held {
			warned = simYes
		}
		if apart && warned == simYes {
			warned = simUnsure
		}
		switch {
		case warned == simYes, warned == simUnsure && s.held(st.name) == kind && (st.hold == nil || st.hold.kind != kind):
			m.putOnHold(st, kind, r.Status)
		case warned == simUnsure && st.hold != nil: // it may have been a probe in vain
			st.wait.extend(m.now, m.cfg, m.cfg.HoldProbeMax)
		}
		m.again(q, r)
	case contactsync.StreamGone:
		if !m.searches(s, q) {
			st.refuse()
			m.putOnHold(st, "stream_gone", r.Status)
			m.again(q, r)
			break
		}
		if len(q.cells) > 1 {
			m.settleRefused(s, q, r, "", retained)
			break
		}
		of, c := q.search(), q.cells[0]
		if of != nil && (of.rows < simAlike || of.taken != st.taken) {
			of = nil // it is the row, which is not searched for any more
		}
		if of != nil && !c.dead && c.deleted == "" {
			st.alone.note(c.key, st.share)
		}
		m.freeHalf(set, false)
		if m.land(c) {
			m.count["retried "+r.Kind.String()]++
			m.apart([]*simCell{c}, &simSet{limit: 1, halves: true, from: m.now, by: m.now.Add(m.cfg.BackoffMax), of: of})
		}
	default:
		if c := q.cells[0]; r.MayBeRows && len(q.cells) == 1 && !retained { // convicted
			if c.sends < m.cfg.UnansweredAttempts || m.now.Sub(c.firstFail) < m.cfg.UnansweredAfter {
				s.fail("I5", "%v was set aside after %d requests, %v after the first that failed", c, c.sends, m.now.Sub(c.firstFail))
			}
			m.answered(s, st, 0, 1, false)
			m.letterOf(c, contactsync.ReasonUnanswered, r.Status)
			return
		}
		st.account.strangers.failing(m.now, m.cfg.BackoffMax)
		if set == nil && !q.trial {
			st.account.passed = 0
		}
		st.wait.begin(m.now, m.cfg, m.cfg.BackoffMax)
		st.failed++
		st.doubted = st.doubted || r.MayBeRows || r.Status != 0
		m.again(q, r)
	}
}

// searches reports whether rows are at fault, perhaps, where the API says that it does not know their stream: it was accepted
// before. Of one row the Window may say so or not.
func (m *simModel) searches(s *simRun, q *simRequest) bool {
	st, held := q.stream, s.held(q.stream.name) != ""
	known := st.account.strangers.accepted[st.name] && st.hold == nil
	if known && len(q.cells) > 1 == held || !known && !held {
		if len(q.cells) > 1 || !known {
			s.fail("hold", "%s is unknown with %d rows, accepted before and not on hold %v, and on hold %v then", st.name, len(q.cells), known, held)
		}
	}
	return !held
}

// settleRows settles each row by what the answer says of it.
func (m *simModel) settleRows(s *simRun, q *simRequest, r contactsync.Result, retained bool) {
	st := q.stream
	verdict := func(i int) contactsync.Outcome {
		if i < len(r.Rows) {
			return r.Rows[i]
		}
		return contactsync.Outcome{}
	}
	// An answer that settles only the first rows of a request that is larger than any that was
	// answered for says nothing of the others.
	settled, beginning := 0, true
	for i := range q.cells {
		if verdict(i).Verdict != contactsync.Unresolved {
			beginning = beginning && settled == i
			settled++
		}
	}
	cut := beginning && settled > 0 && settled < len(q.cells) && q.unproven
	final := func(c *simCell, o contactsync.Outcome) bool {
		switch {
		case o.Verdict == contactsync.Failed && o.Reason != "" && !o.Transient:
			return true
		case cut && o.Verdict == contactsync.Unresolved:
			return false
		}
		return c.attempts+1 >= m.cfg.RowAttempts
	}
	taken, refused := 0, 0
	for i := range q.cells {
		if verdict(i).Verdict == contactsync.Delivered {
			taken++
		}
	}
	// What is refused beside rows that are taken has one more chance.
	again := func(o contactsync.Outcome) bool {
		return o.Verdict == contactsync.Failed && o.Reason != "" && !o.Transient && taken > 0
	}
	for i, c := range q.cells {
		switch o := verdict(i); {
		case o.Verdict == contactsync.Delivered, again(o):
		case final(c, o) && !c.dead && c.deleted == "":
			refused++
		}
	}
	if c := q.cells[0]; len(q.cells) == 1 && refused == 1 && !c.beside && m.keepAlone(s, q, r, retained) {
		return
	}
	keep := m.answered(s, st, taken, refused, retained)
	st.alike = false
	var left, more []*simCell
	for i, c := range q.cells {
		switch o := verdict(i); {
		case o.Verdict == contactsync.Delivered:
			m.delivered(c)
		case again(o):
			more = append(more, c)
		case final(c, o):
			reason := contactsync.ReasonUnresolved
			if o.Verdict == contactsync.Failed {
				reason = contactsync.ReasonRejected
			}
			m.refuse(c, reason, r.Status, keep)
		default:
			left = append(left, c)
		}
	}
	for _, c := range left {
		if !cut {
			c.attempts++
		}
	}
	together := func(cells []*simCell, again bool) *simSet {
		var rest []*simCell
		for _, c := range cells {
			if c.firstFail.IsZero() {
				c.firstFail = m.now
			}
			switch {
			case !m.land(c):
			case c.sends == 0: // a delete came, and then a new state
				m.place(c)
			default:
				rest = append(rest, c)
			}
		}
		if len(rest) == 0 {
			return nil
		}
		m.count["retried answered"] += float64(len(rest))
		if again && m.joins(st, rest) {
			return st.again
		}
		attempts := 1
		for _, c := range rest {
			attempts = max(attempts, c.attempts)
		}
		if again {
			attempts = 5
		}
		wait := backoff(m.cfg, attempts, m.cfg.BackoffMax)
		set := &simSet{limit: len(rest), again: again || !cut, from: m.now.Add(wait / 2), by: m.now.Add(wait), loose: st.hold != nil}
		m.apart(rest, set)
		return set
	}
	if set := together(left, false); set != nil && cut {
		set.tooLarge, set.parts = q, 1
	}
	slices.Reverse(more)
	for _, c := range more {
		c.beside, st.account.misfits[c.key] = true, true
	}
	if set := together(more, true); set != nil {
		st.again = set
	}
	switch {
	case keep:
		m.putOnHold(st, "rejecting", r.Status)
	case taken+refused > 0:
		st.calm()
	default:
		m.inVain(st, r.Status)
	}
	m.freeHalf(q.set, taken > 0)
}

// joins lets rows that are sent once more wait with others of their stream, if these
// are not in flight and all fit into a request.
func (m *simModel) joins(st *simStream, rows []*simCell) bool {
	size, waiting := 0, slices.Clone(rows)
	for _, c := range m.of(st) {
		if st.again != nil && c.set == st.again && !slices.Contains(rows, c) {
			waiting = append(waiting, c)
		}
		if c.request != nil && c.set == st.again {
			return false
		}
	}
	for _, c := range waiting {
		text, _ := json.Marshal(c.body)
		size += len(text) + 1
	}
	if len(waiting) == len(rows) || len(waiting) > m.cfg.MaxRows || size > int(m.cfg.MaxBytes) {
		return false
	}
	st.again.limit = len(waiting)
	m.apart(rows, st.again)
	return true
}

// refuse makes a dead letter of a row that the API refused for good, or retains it.
func (m *simModel) refuse(c *simCell, reason contactsync.Reason, status int, keep bool) {
	if c.firstFail.IsZero() {
		c.firstFail = m.now
	}
	if c.deleted == "" && !keep {
		if a := m.byName[c.key.stream].account; !c.refusedAt.IsZero() && !a.takenAt.Before(c.refusedAt) {
			a.misfits[c.key] = true
		}
		if st := m.byName[c.key.stream]; c.alone == 0 && st.account.strangers.accepted[st.name] {
			st.share.add(1, 1)
		}
		m.letterOf(c, reason, status)
		return
	}
	if c.deleted == "" {
		m.count["retained"]++
	}
	if m.land(c) {
		m.place(c)
	}
}

// settleRefused settles a request that was refused as a whole: rows are tried in halves,
// and one alone is refused for good.
func (m *simModel) settleRefused(s *simRun, q *simRequest, r contactsync.Result, reason contactsync.Reason, retained bool) {
	st := q.stream
	if len(q.cells) == 1 {
		c, refused := q.cells[0], 0
		if !c.dead && c.deleted == "" {
			refused = 1
		}
		if refused == 1 && !c.beside && m.keepAlone(s, q, r, retained) {
			return
		}
		keep := m.answered(s, st, 0, refused, retained)
		st.alike = false
		m.refuse(c, reason, r.Status, keep)
		m.freeHalf(q.set, false)
		switch {
		case keep:
			m.putOnHold(st, "rejecting", r.Status)
		case refused > 0:
			st.calm()
		default:
			m.inVain(st, r.Status)
		}
		return
	}
	var rows []*simCell
	for _, c := range q.cells {
		if m.land(c) {
			rows = append(rows, c)
		}
	}
	m.count["retried "+r.Kind.String()] += float64(len(rows))
	m.freeHalf(q.set, false)
	set := &simSet{limit: (len(rows) + 1) / 2, from: m.now, by: m.now, loose: st.hold != nil}
	if set.of = q.search(); set.of == nil {
		set.of = &simSearch{rows: len(q.cells), taken: st.taken}
	}
	searched := q.set != nil && q.set.halves && q.req.Reason == batcher.BatchRetry
	if set.halves = r.Kind != contactsync.TooLarge || searched; !set.halves {
		set.tooLarge, set.parts, set.again = q, 2, !q.unproven
	}
	m.apart(rows, set)
}

func (m *simModel) apart(rows []*simCell, set *simSet) {
	for _, c := range rows {
		c.set = set
	}
}

// freeHalf lets the rows go that waited for the answer to others of their set. As long as these were all fine, the
// fault must be in the rest, of which half is sent without asking then; once some of them were refused, nothing is
// known of it.
func (m *simModel) freeHalf(set *simSet, fine bool) {
	if set == nil || !set.halves {
		return
	}
	if set.refused = set.refused || !fine; set.refused {
		return
	}
	n := 0
	for _, c := range m.cells {
		if c.set == set {
			n++
		}
	}
	set.limit = min(set.limit, max(1, (n+1)/2))
}

// again puts the rows of a request back whose answer says nothing about them.
func (m *simModel) again(q *simRequest, r contactsync.Result) {
	var due time.Time
	var yields time.Duration
	if r.Ambiguous && m.cfg.AmbiguousRetryDelay > 0 {
		due = m.now.Add(m.cfg.AmbiguousRetryDelay)
	}
	for _, c := range q.cells {
		if wait := q.stream.account.until.Sub(m.now); r.Kind == contactsync.Throttled && c.throttled > 1 && wait > 0 {
			yields = max(yields, min(wait, wait/4<<min(c.throttled-2, 2)))
		}
	}
	if yields > 0 {
		due = later(due, q.stream.account.until.Add(yields))
	}
	came := r.Status != 0 && (r.Kind == contactsync.Unavailable || r.Kind == contactsync.Unknown)
	var rows []*simCell
	for _, c := range q.cells {
		c.maybe = c.maybe || r.Ambiguous || came
		if r.Ambiguous && !due.IsZero() {
			c.late = due
		}
		if m.land(c) {
			rows = append(rows, c)
			c.notBefore, c.by, c.yields = due, due, yields
		}
	}
	m.count["retried "+r.Kind.String()] += float64(len(rows))
	if st := q.stream; len(rows) == 1 && q.set == nil && due.IsZero() && st.hold != nil {
		m.place(rows[0]) // the next probe is another row
		return
	}
	m.turns += len(rows)
	for i, c := range rows { // in front of the others, in their order
		c.turn = i - m.turns
	}
	if q.set != nil {
		q.set.by = later(q.set.by, later(m.now, due))
	}
}

// throttle has rows wait on, perhaps, that were throttled again and again, where their account is throttled once more: not where
// they are back in the queue.
func (m *simModel) throttle(a *simAccount, until time.Time) {
	a.until = until
	for _, c := range m.sorted() {
		if c.yields == 0 || m.byName[c.key.stream].account != a || c.request != nil {
			continue
		}
		if c.by = later(c.by, until.Add(c.yields)); c.set != nil {
			c.set.by = later(c.set.by, c.by)
		}
	}
}

// expired ends contacts that have waited in a hold for longer than holds may last. gone
// reports whether the Window has made a dead letter of a contact.
func (m *simModel) expired(gone func(*simCell) bool) {
	if m.cfg.HoldMax == 0 {
		return
	}
	for _, c := range m.sorted() {
		h := m.byName[c.key.stream].hold
		if h == nil && c.request == nil && c.deferred == nil && c.sends > 0 && !c.firstFail.IsZero() && m.now.Sub(c.firstFail) >= m.cfg.HoldMax && gone(c) {
			m.letterOf(c, contactsync.ReasonStreamGone, 404) // it was kept alone, because the API does not know it
			continue
		}
		if h == nil || h.kind == "rejecting" || c.request != nil || c.deferred != nil ||
			m.now.Sub(h.since) < m.cfg.HoldMax || m.now.Sub(c.since) < m.cfg.HoldMax {
			continue
		}
		small := m.cfg.WindowBytes < 1<<20 // it has room for a few dead letters only
		if sure := c.set == nil && c.notBefore.IsZero() && !m.doubt && !small; !sure && !gone(c) {
			continue
		}
		if c.firstFail.IsZero() {
			c.firstFail = later(h.since, c.since)
		}
		m.letterOf(c, contactsync.Reason(h.kind), h.status)
	}
}
