package batcher_test

import (
	"slices"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
)

// What the documentation promises of rows that are refused together, and of one that is alone.

// refusesAll reports whether an answer takes none of several rows and would have one refused, which was not so beside others before.
func (m *simModel) refusesAll(q *simRequest, r contactsync.Result) bool {
	if r.Kind != contactsync.Answered || len(q.cells) == 1 {
		return false
	}
	refused := false
	for i, c := range q.cells {
		o := simOutcome(r, i)
		if o.Verdict == contactsync.Delivered {
			return false
		}
		final := o.Verdict == contactsync.Failed && o.Reason != "" && !o.Transient
		refused = refused || (final || c.attempts+1 >= m.cfg.RowAttempts) && !c.beside
	}
	return refused
}

// simOutcome is what an answer says of the i-th row.
func simOutcome(r contactsync.Result, i int) contactsync.Outcome {
	if i < len(r.Rows) {
		return r.Rows[i]
	}
	return contactsync.Outcome{}
}

// simAlone is what comes of a row that is refused alone.
type simAlone uint8

const (
	simRefused  simAlone = iota // a dead letter, within the budget
	simOthers                   // it is kept until others of its stream are tried
	simLater                    // it is kept until others of its account may be taken
	simStreams                  // it is kept, and its stream is on hold
	simAccounts                 // likewise, for it may be the account
	simHeld                     // it is kept, on a hold that is for all of its account
)

// alone says what must come of the only row of a request, which is refused.
func (m *simModel) alone(s *simRun, q *simRequest) simAlone {
	c, st, of := q.cells[0], q.stream, q.search()
	if of != nil && q.taken > of.taken {
		return simRefused
	}
	undecided := of != nil && of.rows >= simAlike && st.hold == nil
	misfit := st.account.misfits[c.key]
	known := misfit || st.alone.seen[c.key]
	if m.wasAlone(q) {
		return simRefused
	}
	accepted := c.refusedAt.Before(m.now) && !st.account.takenAt.Before(c.refusedAt)
	if q.taken == st.taken && !misfit {
		st.alone.note(c.key, st.share)
		if !accepted {
			st.account.alone.note(c.key, st.share)
		}
	}
	others := slices.ContainsFunc(s.requests, func(other *simRequest) bool { return other != q && other.search() == of })
	switch {
	case misfit && m.now.Sub(c.refusedAt) >= simGrace:
		return simRefused
	case st.hold != nil && st.hold.kind == "rejecting" && st.account.alone.enough() && m.now.Sub(st.hold.since) < simByChance:
		return simHeld
	case st.hold != nil:
		return simRefused
	case st.alone.enough():
		return simStreams
	case undecided && (!known || others):
		return simOthers
	case accepted:
		return simRefused
	case m.now.Sub(c.refusedAt) < simGrace:
		return simLater
	case st.account.alone.enough():
		return simAccounts
	}
	return simRefused
}

// keepAlone keeps a row that is refused alone, where it must, and reports whether it has. It says of the stream whether the refusal may be about more than the row.
func (m *simModel) keepAlone(s *simRun, q *simRequest, r contactsync.Result, retained bool) bool {
	c, st, sure := q.cells[0], q.stream, !loose(q.set) && !m.doubt
	must := m.alone(s, q)
	kept := retained && s.held(st.name) != "rejecting"
	switch {
	case (must == simOthers || must == simLater) != kept && sure, must >= simStreams && !retained && (sure || must == simHeld && !m.doubt):
		s.fail("I6", "%v was refused alone: retained %v, and %s is on hold %q; want %d, %d of the stream and %d of the account were so, %d rows taken", c, retained, st.name, s.held(st.name), must, len(st.alone.seen), len(st.account.alone.seen), st.taken)
	case !kept:
		st.alike = must >= simStreams || !sure
		return false
	}
	m.count["retained"]++
	set := &simSet{limit: 1, halves: must == simOthers, again: must != simOthers, from: m.now, by: m.now.Add(m.cfg.BackoffMax), of: q.search(), loose: !sure}
	if must == simLater && q.req.Reason == batcher.BatchRetry && q.set != nil {
		set.tries = q.set.tries + 1
	}
	if must == simLater {
		wait := backoff(m.cfg, simOnceMore+set.tries, m.cfg.BackoffMax)
		set.of, set.by = nil, m.now.Add(wait)
		if sure {
			set.from = m.now.Add(wait / 2)
		}
	}
	m.freeHalf(q.set, false)
	if m.land(c) {
		m.count["retried "+r.Kind.String()]++
		m.apart([]*simCell{c}, set)
	}
	return true
}

// simOnceMore is the wait, in failures, of rows that others go before.
const simOnceMore = 5

// inVain notes a probe of a stream whose rows are refused that settles nothing.
func (m *simModel) inVain(st *simStream, status int) {
	if h := st.hold; h != nil && h.kind == "rejecting" {
		h.tried = append(h.tried, true)
		h.tried = h.tried[max(0, len(h.tried)-simTrials):]
		m.putOnHold(st, "rejecting", status)
	}
}
