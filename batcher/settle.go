package batcher

import (
	"slices"
	"time"

	"contactsync"
)

// Settle takes the result of a flight: rows that are done end, rows that were
// refused become dead letters, and the others wait to be sent again. It is the
// one place that knows what each kind of answer leads to.
func (w *Window) Settle(now time.Time, f *Flight, r contactsync.Result) {
	w.clock(now)
	f.report(w.now, r)
	delete(w.flights, f)
	l := f.lane
	l.flights--
	l.account.inFlight--
	w.inRows -= len(f.rows)
	forClaims(f.rows, func(cl *claim) { cl.flights-- })
	w.settle(f, r)
	w.reschedule(l)
	if l.empty(w.now) {
		l.account.drop(l)
		delete(w.lanes, l.stream)
	}
}

func (w *Window) settle(f *Flight, r contactsync.Result) {
	l := f.lane
	for _, c := range f.rows {
		if r.Kind != contactsync.Answered && r.Kind != contactsync.Canceled && c.firstFail.IsZero() {
			c.firstFail = w.now
		}
	}
	if r.Kind != contactsync.Unauthorized {
		l.refused = 0
	}
	//exhaustive:enforce
	switch r.Kind {
	case contactsync.Answered:
		w.answered(f, r)
		l.calm()
		w.other(f, true)
		return
	case contactsync.TooLarge, contactsync.BadRequest:
		w.refused(f, r)
		l.calm()
		return
	case contactsync.Throttled, contactsync.Canceled:
		w.again(f, r, w.now) // the gate makes the account wait; a stop sends nothing more
	case contactsync.Unauthorized:
		// The first refusal may be an expired token, which has been dropped: one
		// more try at once. After that the stream is held, and probed.
		if l.refused++; l.refused > 1 {
			w.backOff(l)
		}
		w.again(f, r, w.now)
	case contactsync.StreamGone:
		w.backOff(l)
		w.again(f, r, w.now)
	case contactsync.Unavailable, contactsync.Unknown:
		fallthrough
	default:
		w.backOff(l)
		due := w.now
		if r.Ambiguous {
			due = w.now.Add(w.cfg.AmbiguityHold)
		}
		w.again(f, r, due)
	}
}

// answered settles each row by its own outcome.
func (w *Window) answered(f *Flight, r contactsync.Result) {
	for i, c := range f.rows {
		o := contactsync.Outcome{}
		if i < len(r.Rows) {
			o = r.Rows[i]
		}
		switch {
		case o.Verdict == contactsync.Delivered:
			w.delivered(c)
		case o.Verdict == contactsync.Failed && o.Reason != "" && !o.Transient:
			w.fail(c, contactsync.ReasonRejected, o.Reason, r.Status)
		default:
			w.tryAlone(c, o, r)
		}
	}
}

// tryAlone sends a row again by itself, a bounded number of times.
func (w *Window) tryAlone(c *contact, o contactsync.Outcome, r contactsync.Result) {
	c.attempts++
	if c.firstFail.IsZero() {
		c.firstFail = w.now
	}
	if c.attempts >= w.cfg.RowAttempts {
		reason := contactsync.ReasonUnresolved
		if o.Verdict == contactsync.Failed {
			reason = contactsync.ReasonRejected
		}
		w.fail(c, reason, o.Reason, r.Status)
		return
	}
	if !w.land(c) {
		return
	}
	if c.attempts == 0 { // a delete came after it, and then something new
		w.requeue(c)
		return
	}
	w.m.retried[r.Kind].Inc()
	w.addGroup(c.lane, newGroup([]*contact{c}, w.now.Add(w.wait(c.attempts))))
}

// refused handles an answer that refuses a request as a whole because of what
// its rows hold: halves are tried apart, down to the row that is at fault.
func (w *Window) refused(f *Flight, r contactsync.Result) {
	if len(f.rows) == 1 {
		reason := contactsync.ReasonBadRequest
		if r.Kind == contactsync.TooLarge {
			reason = contactsync.ReasonTooLarge
		}
		w.fail(f.rows[0], reason, r.Detail, r.Status)
		w.other(f, false)
		return
	}
	rows := w.landAll(f, r)
	w.other(f, false)
	left, right := halve(rows, w.now)
	if r.Kind == contactsync.TooLarge {
		w.addGroup(f.lane, left)
		w.addGroup(f.lane, right)
		return
	}
	left.then = right
	w.addGroup(f.lane, left)
}

// other frees the half that waited for the answer to this one. Where this half
// was fine, the other one is at fault, so it is halved without being asked.
func (w *Window) other(f *Flight, fine bool) {
	if f.group == nil || f.group.then == nil {
		return
	}
	g := f.group.then
	g.compact()
	if !fine || len(g.rows) < 2 {
		w.addGroup(f.lane, g)
		return
	}
	left, right := halve(g.rows, w.now)
	left.then = right
	w.addGroup(f.lane, left)
}

func halve(rows []*contact, due time.Time) (left, right *group) {
	half := len(rows) / 2
	return newGroup(rows[:half:half], due), newGroup(rows[half:], due)
}

// again puts the rows of a flight back: a fixed set stays one, others return to
// the front of the queue, at once or when due.
func (w *Window) again(f *Flight, r contactsync.Result, due time.Time) {
	rows := w.landAll(f, r)
	switch {
	case f.group != nil:
		g := newGroup(rows, due)
		g.then = f.group.then
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
func (w *Window) landAll(f *Flight, r contactsync.Result) []*contact {
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
// send; the caller then puts the contact somewhere.
func (w *Window) land(c *contact) bool {
	newer := c.newer
	c.newer = nil
	if c.deleted {
		for _, m := range c.marks {
			w.skip(m, w.m.skippedDelete)
		}
		c.marks = nil
	}
	c.marks = liveMarks(c.marks)
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
	return true
}

// absorb lays a newer pending contact over the one that came back.
func (w *Window) absorb(c, newer *contact) {
	if len(c.marks) == 0 {
		c.body, c.shape, c.merged = newer.body, newer.shape, newer.merged
		c.since, c.oldest, c.attempts, c.firstFail = newer.since, newer.oldest, 0, time.Time{}
	} else if c.shape == newer.shape {
		c.body, c.merged = newer.body, newer.merged
	} else {
		w.compose(c, newer.body, newer.shape)
	}
	c.record, c.origin = newer.record, newer.origin
	c.marks = append(c.marks, newer.marks...)
	w.free(newer)
}

// delivered ends a row that the API has taken, and lets in what arrived meanwhile.
func (w *Window) delivered(c *contact) {
	late := true
	for i, m := range c.marks {
		if !w.end(m) {
			continue
		}
		late = false
		if i == len(c.marks)-1 {
			w.m.ended[endedDelivered].Inc()
		} else {
			w.m.ended[endedSuperseded].Inc()
		}
	}
	if late {
		w.m.late.Inc()
	}
	w.release(c)
}

// fail makes a dead letter of a row that cannot be delivered.
func (w *Window) fail(c *contact, reason contactsync.Reason, detail string, status int) {
	if c.deleted {
		w.land(c) // a delete came after it: there is nothing to set aside
		if len(c.marks) > 0 {
			w.requeue(c)
		}
		return
	}
	c.attempts++
	w.bury(c, reason, detail, status)
	w.release(c)
}

// release ends a contact that was in flight. What arrived behind it takes its place.
func (w *Window) release(c *contact) {
	l := c.lane
	delete(l.contacts, c.id)
	if newer := c.newer; newer != nil {
		c.newer = nil
		l.contacts[newer.id] = newer
		w.requeue(newer)
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

// backOff makes a lane wait, longer each time.
func (w *Window) backOff(l *lane) {
	l.failures++
	l.backoff = w.now.Add(w.wait(l.failures))
}

// wait is the n-th wait of a row of failures: doubled each time up to the
// largest, and between half and all of that, so that lanes do not come in step.
func (w *Window) wait(n int) time.Duration {
	d := w.cfg.BackoffMin << min(n-1, 30)
	if d <= 0 || d > w.cfg.BackoffMax {
		d = w.cfg.BackoffMax
	}
	return d/2 + time.Duration(w.rand.Int64N(int64(d/2)+1))
}

func liveMarks(marks []mark) []mark {
	kept := marks[:0]
	for _, m := range marks {
		if m.claim.live {
			kept = append(kept, m)
		}
	}
	return kept
}
