package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// Settle takes the result of a flight: rows that are done end, rows that were
// refused become dead letters, and the others wait to be sent again. It is the
// one place that knows what each kind of answer leads to.
func (w *Window) Settle(now time.Time, f *Request, r contactsync.Result) {
	w.clock(now)
	f.report(w.now, r)
	delete(w.flights, f)
	l := f.lane
	l.flights--
	l.account.inFlight--
	w.settle(f, r)
	if len(l.contacts) == 0 && l.hold != nil && l.hold.kind == holdRejecting {
		w.endHold(l, endedEmpty)
	}
	w.reschedule(l)
	w.dropEmpty(l)
}

func (w *Window) settle(f *Request, r contactsync.Result) {
	l := f.lane
	for _, c := range f.rows {
		if r.Kind != contactsync.Answered && r.Kind != contactsync.Canceled && c.firstFail.IsZero() {
			c.firstFail = w.now
		}
	}
	l.refused = r.Kind == contactsync.Unauthorized
	//exhaustive:enforce
	switch r.Kind {
	case contactsync.Answered:
		w.heard(f)
		w.answered(f, r)
		w.other(f, true)
		return
	case contactsync.BadRequest:
		w.heard(f)
		w.refused(f, r)
		return
	case contactsync.TooLarge:
		w.heard(f)
		w.tooLarge(f, r)
		return
	case contactsync.Throttled, contactsync.Canceled:
		w.again(f, r, w.now) // the gate makes the account wait; a stop sends nothing more
	case contactsync.Unauthorized:
		// The first refusal may be an expired token, which has been dropped: one
		// more try at once.
		if f.warned || l.account.held {
			w.hold(l, holdUnauthorized, r)
		}
		w.again(f, r, w.now)
	case contactsync.StreamGone:
		w.hold(l, holdGone, r)
		w.again(f, r, w.now)
	case contactsync.Unavailable, contactsync.Unknown:
		fallthrough
	default:
		w.delay(l, w.cfg.BackoffMax)
		due := w.now
		if r.Ambiguous {
			due = w.now.Add(w.cfg.AmbiguousRetryDelay)
		}
		w.again(f, r, due)
	}
}

// heard says that the API has looked at the rows of a flight: the stream's
// credentials and name are good, and it need not wait.
func (w *Window) heard(f *Request) {
	l := f.lane
	switch {
	case l.hold == nil:
		l.calm()
	case l.hold.kind != holdRejecting: // whose waits end with a row that is taken
		w.endHold(l, endedAnswer)
	}
	w.accountWorks(l.account)
}

// answered settles each row by its own outcome.
func (w *Window) answered(f *Request, r contactsync.Result) {
	r.Rows = append(slices.Clip(r.Rows), make([]contactsync.Outcome, max(0, len(f.rows)-len(r.Rows)))...)
	taken, refused := 0, 0
	for i, c := range f.rows {
		switch o := r.Rows[i]; {
		case o.Verdict == contactsync.Delivered:
			taken++
		case w.final(c, o) && c.awaited():
			refused++
		}
		if r.Rows[i].Verdict == contactsync.Unresolved {
			c.applied = true
		}
	}
	l := f.lane
	w.sized(f, true)
	if taken > 0 {
		l.calm()
	}
	keep := w.judge(l, taken, refused) // as a whole: not even the first of a thousand refusals
	var open []*contact
	for i, c := range f.rows {
		switch o := r.Rows[i]; {
		case o.Verdict == contactsync.Delivered:
			w.delivered(c)
		case w.final(c, o):
			reason := contactsync.ReasonUnresolved
			if o.Verdict == contactsync.Failed {
				reason = contactsync.ReasonRejected
			}
			w.fail(c, reason, o.Reason, r.Status, keep)
		default:
			open = append(open, c)
		}
	}
	w.tryAgain(open, r)
	if keep {
		r.Detail = firstReason(r.Rows)
		w.hold(l, holdRejecting, r)
	} else if refused > 0 {
		l.calm()
	}
}

// final reports whether a row that was not delivered is not to be tried again.
func (w *Window) final(c *contact, o contactsync.Outcome) bool {
	if o.Verdict == contactsync.Failed && o.Reason != "" && !o.Transient {
		return true
	}
	return c.attempts+1 >= w.cfg.RowAttempts
}

func firstReason(rows []contactsync.Outcome) string {
	for _, o := range rows {
		if o.Verdict == contactsync.Failed {
			return o.Reason
		}
	}
	return "the answer does not account for the rows"
}

// tryAgain sends rows once more, apart from the others of their stream: the
// remainder that an answer left open, or whose reasons pass.
func (w *Window) tryAgain(rows []*contact, r contactsync.Result) {
	var rest []*contact
	attempts := 0
	for _, c := range rows {
		c.attempts++
		if c.firstFail.IsZero() {
			c.firstFail = w.now
		}
		switch {
		case !w.land(c):
		case c.attempts == 0: // a delete came after it, and then something new
			w.requeue(c)
		default:
			rest = append(rest, c)
			attempts = max(attempts, c.attempts)
		}
	}
	if len(rest) > 0 {
		w.m.retried[r.Kind].Add(float64(len(rest)))
		w.addGroup(rest[0].lane, newGroup(rest, w.now.Add(w.wait(attempts, w.cfg.BackoffMax))))
	}
}

// again puts the rows of a flight back: a fixed set stays one, others return to
// the front of the queue, at once or when due.
func (w *Window) again(f *Request, r contactsync.Result, due time.Time) {
	came := r.Status != 0 && (r.Kind == contactsync.Unavailable || r.Kind == contactsync.Unknown)
	for _, c := range f.rows {
		c.applied = c.applied || r.Ambiguous || came
	}
	rows := w.landAll(f, r)
	switch {
	case f.group != nil:
		g := newGroup(rows, due)
		g.then, g.split = f.group.then, f.group.split
		w.addGroup(f.lane, g)
	case due.After(w.now):
		g := newGroup(rows, due)
		g.loose = true
		w.addGroup(f.lane, g)
	default:
		for _, row := range slices.Backward(rows) {
			w.enqueueFront(row)
		}
	}
}

// landAll lands every row of a flight and returns those that are still to be sent.
func (w *Window) landAll(f *Request, r contactsync.Result) []*contact {
	rows := make([]*contact, 0, len(f.rows))
	for _, c := range f.rows {
		if w.land(c) {
			rows = append(rows, c)
		}
	}
	w.m.retried[r.Kind].Add(float64(len(rows)))
	return rows
}

// land brings a row back from a request that did not settle it: what arrived
// meanwhile is merged into it. It reports whether there is still something to
// send now; the caller then puts the contact somewhere.
func (w *Window) land(c *contact) bool {
	newer := c.newer
	c.newer = nil
	if c.deleted {
		for _, m := range c.marks {
			w.skip(m, c.removed)
		}
		c.marks = nil
	}
	if !live(c.marks) {
		c.marks = nil
	}
	if newer != nil {
		w.absorb(c, newer)
	}
	c.deleted = false
	if len(c.marks) == 0 {
		delete(c.lane.contacts, c.id)
		w.free(c)
		return false
	}
	w.recharge(c)
	return !w.deferForCatchUp(c)
}

// absorb lays a newer pending contact over the one that came back.
func (w *Window) absorb(c, newer *contact) {
	if len(c.marks) == 0 {
		c.body, c.shape, c.merged = newer.body, newer.shape, newer.merged
		c.since, c.oldest, c.attempts, c.sends, c.firstFail = newer.since, newer.oldest, 0, 0, time.Time{}
	} else if c.shape == newer.shape {
		c.body, c.merged = newer.body, newer.merged
	} else {
		w.compose(c, newer.body, newer.shape)
	}
	c.record, c.account, c.standing = newer.record, newer.account, newer.standing
	c.marks = append(c.marks, newer.marks...)
	w.free(newer)
}

// delivered ends a row that the API has taken, and lets in what arrived meanwhile.
func (w *Window) delivered(c *contact) {
	if !live(c.marks) {
		w.m.late.Inc()
	}
	for i, m := range c.marks {
		switch {
		case !w.end(m):
		case i == len(c.marks)-1:
			w.m.ended[endedDelivered].Inc()
		default:
			w.m.ended[endedSuperseded].Inc()
		}
	}
	if !c.deleted { // else what came after it is known already
		w.memory.note(c.lane.stream, c.id, c.standing)
	}
	w.endContact(c)
}

// fail makes a dead letter of a row that cannot be delivered. With keep it is
// kept instead, behind the others, so that the stream tries another one first.
func (w *Window) fail(c *contact, reason contactsync.Reason, detail string, status int, keep bool) {
	if c.firstFail.IsZero() {
		c.firstFail = w.now
	}
	if c.deleted || keep { // a delete came after it: there is nothing to set aside
		if keep && !c.deleted {
			w.m.RejectedRowsRetained.Inc()
		}
		if w.land(c) {
			w.requeue(c)
		}
		return
	}
	c.attempts++
	if h := c.lane.hold; h != nil {
		h.letters++
	}
	w.bury(c, reason, detail, status)
	w.endContact(c)
}

// endContact ends a contact that waits nowhere any more. What arrived behind it
// while it was in flight takes its place.
func (w *Window) endContact(c *contact) {
	l := c.lane
	delete(l.contacts, c.id)
	if newer := c.newer; newer != nil {
		c.newer = nil
		l.contacts[newer.id] = newer
		if !w.deferForCatchUp(newer) {
			w.requeue(newer)
		}
	}
	w.free(c)
}

// requeue puts a contact at the end of its lane's queue.
func (w *Window) requeue(c *contact) {
	c.at = inQueue
	c.lane.queue.pushBack(c)
}

// calm ends a lane's back-off: the API has answered for its rows.
func (l *lane) calm() {
	l.failures, l.backoff = 0, time.Time{}
}

// delay makes a lane wait once more. What was out already when the wait began
// says nothing new and does not make it longer.
func (w *Window) delay(l *lane, longest time.Duration) {
	if l.backoff.After(w.now) {
		return
	}
	l.failures++
	l.backoff = w.now.Add(w.wait(l.failures, longest))
}

// wait is the n-th wait of a row of failures: doubled each time up to the
// longest, and between half and all of that, so that lanes do not come in step.
func (w *Window) wait(n int, longest time.Duration) time.Duration {
	d := w.cfg.BackoffMin << min(n-1, 30)
	if d <= 0 || d > longest {
		d = longest
	}
	return d/2 + time.Duration(w.rand.Int64N(int64(d/2)+1))
}
