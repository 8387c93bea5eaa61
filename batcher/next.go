package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// BatchReason says what made a request ready.
type BatchReason uint8

// The reasons for which a request is cut.
const (
	BatchRows   BatchReason = iota // the most rows that one may carry
	BatchBytes                     // the most bytes
	BatchLinger                    // its oldest event has waited long enough
	BatchDrain                     // the partition is about to be given back
	BatchRetry                     // a fixed set of rows that is tried again
)

// String names the reason as metrics do.
func (c BatchReason) String() string {
	return [...]string{"rows", "bytes", "linger", "drain", "retry"}[c]
}

// Request is one request on its way. Its batch may be read by others; the rest
// belongs to the window.
type Request struct {
	Batch  contactsync.Batch
	Reason BatchReason

	cancel func() // set by the loop; gives the request up
	lane   *lane
	rows   []*contact
	warned bool   // cut after a refusal of the lane's credentials
	group  *group // where the rows were a fixed set
	report func(now time.Time, r contactsync.Result)
}

// Next returns the best request that may start now, and nil where none may.
// Among the ready lanes the one with the oldest pending event goes first. The
// caller must hand every flight back through Settle exactly once.
func (w *Window) Next(now time.Time) *Request {
	w.clock(now)
	for {
		a := w.best()
		if a == nil {
			return nil
		}
		l := a.nextLane()
		if w.prepare(l); l.due.After(w.now) {
			continue // it had only fallen due to dissolve a group
		}
		report, again := a.gate.Admit(w.now)
		if report == nil {
			a.again = later(again, w.now.Add(time.Millisecond))
			continue
		}
		return w.cut(l, report)
	}
}

// best returns the account whose oldest ready lane is the oldest of all that may send.
func (w *Window) best() *account {
	var best *account
	for _, a := range w.accounts {
		a.promote(w.now)
		if a.mayStart(w.cfg.MaxInFlight, w.now).After(w.now) || len(a.ready.lanes) == 0 {
			continue
		}
		if best == nil || a.ready.lanes[0].order.Before(best.ready.lanes[0].order) {
			best = a
		}
	}
	return best
}

// othersFirst is how many requests of other streams go before a stream on hold
// may probe, where they are ready: however many streams are on hold, three
// quarters of the account's calls are for the others.
const othersFirst = 3

// nextLane is the ready lane of an account that goes first: the one with the
// oldest event. Streams on hold have old events, so they take turns with the
// others. While the account is held it is one that was not refused yet, because
// that can tell more, and of those the one with the youngest event: streams that
// work have young ones.
func (a *account) nextLane() *lane {
	first := a.ready.lanes[0]
	if !a.held && (first.hold == nil || a.sinceProbe >= othersFirst) {
		return first
	}
	var others []*lane
	for _, l := range a.ready.lanes {
		if l.hold == nil {
			others = append(others, l)
		}
	}
	switch {
	case len(others) == 0:
		return first
	case a.held:
		return slices.MaxFunc(others, func(a, b *lane) int { return a.order.Compare(b.order) })
	}
	return slices.MinFunc(others, func(a, b *lane) int { return a.order.Compare(b.order) })
}

// mayStart is when the account as a whole lets a request start, but for its gate:
// now, a time, or far where only a result can change it.
func (a *account) mayStart(most int, now time.Time) time.Time {
	switch {
	case a.inFlight >= most, a.held && a.inFlight > 0:
		return far
	case a.again.After(now):
		return a.again
	case a.held && a.probe.After(now):
		return a.probe
	}
	return now
}

// Wake returns when Next may answer differently although nothing else happens,
// and the zero time where only an event or a result can change it.
func (w *Window) Wake() time.Time {
	wake := far
	for _, a := range w.accounts {
		next := far
		if len(a.ready.lanes) > 0 {
			next = w.now
		} else if len(a.waiting.lanes) > 0 {
			next = a.waiting.lanes[0].due
		}
		wake = earlier(wake, later(next, a.mayStart(w.cfg.MaxInFlight, w.now)))
	}
	if wake.Equal(far) {
		return time.Time{}
	}
	return wake
}

// prepare dissolves the loose groups that are due, leaves out the rows that
// ended meanwhile, and works out anew when the lane is due.
func (w *Window) prepare(l *lane) {
	w.review(l)
	l.account.ceiling.recover(w.now)
	if len(l.groups) == 0 {
		return
	}
	for i := 0; i < len(l.groups); i++ {
		g := l.groups[i]
		g.compact()
		// While the stream is on hold nothing is bisected: all sets dissolve.
		if stays := g.due.After(w.now) || !g.loose && l.hold == nil; stays && len(g.rows) > 0 {
			continue
		}
		l.groups = slices.Delete(l.groups, i, i+1)
		i--
		for _, c := range slices.Backward(g.rows) {
			w.enqueueFront(c)
		}
		if g.then != nil {
			w.addGroup(l, g.then)
		}
	}
	w.reschedule(l)
}

func (w *Window) enqueueFront(c *contact) {
	c.group, c.at = nil, inQueue
	c.lane.queue.pushFront(c)
}

// addGroup makes a group ready to be sent; an empty one hands on to the next.
func (w *Window) addGroup(l *lane, g *group) {
	for g != nil {
		if g.compact(); len(g.rows) > 0 {
			l.groups = append(l.groups, g)
			return
		}
		g = g.then
	}
}

func newGroup(rows []*contact, due time.Time) *group {
	g := &group{rows: rows, due: due}
	for _, c := range rows {
		c.at, c.group = inGroup, g
	}
	return g
}

// cut takes the rows of one request out of the lane.
func (w *Window) cut(l *lane, report func(time.Time, contactsync.Result)) *Request {
	f := &Request{lane: l, report: report, warned: l.refused}
	if i := w.dueGroup(l); i >= 0 {
		f.group, f.Reason = l.groups[i], BatchRetry
		f.rows = f.group.rows
		l.groups = slices.Delete(l.groups, i, i+1)
	} else {
		f.rows, f.Reason = w.cutQueue(l)
	}
	f.Batch = contactsync.Batch{Stream: l.stream, Account: l.account.id, Rows: make([]contactsync.Row, len(f.rows))}
	for i, c := range f.rows {
		c.at, c.group = inFlight, nil
		c.sends++
		f.Batch.Rows[i] = contactsync.Row{ID: c.id, Body: c.body}
	}
	l.flights++
	l.account.inFlight++
	l.account.sinceProbe++
	if l.hold != nil {
		l.account.sinceProbe = 0
	}
	w.flights[f] = struct{}{}
	w.m.batches[f.Reason].Inc()
	w.m.rows.Observe(float64(len(f.rows)))
	w.reschedule(l)
	return f
}

// dueGroup returns the index of the group that fell due first, or -1.
func (w *Window) dueGroup(l *lane) int {
	best := -1
	for i, g := range l.groups {
		if !g.due.After(w.now) && (best < 0 || g.due.Before(l.groups[best].due)) {
			best = i
		}
	}
	return best
}

// cutQueue takes rows from the front of the queue up to the limits; one row that
// is larger than the limit by itself goes alone.
func (w *Window) cutQueue(l *lane) ([]*contact, BatchReason) {
	most, mostBytes := l.account.ceiling.rows, l.account.ceiling.bytes
	if l.hold != nil && l.hold.kind == holdRejecting {
		most = 1
	}
	rows := make([]*contact, 0, min(most, l.queue.rows))
	var bytes int64
	reason := BatchLinger
	if w.draining {
		reason = BatchDrain
	}
	for c := l.queue.head; c != nil; c = l.queue.head {
		if len(rows) == most {
			return rows, BatchRows
		}
		if bytes += rowBytes(c); bytes > mostBytes && len(rows) > 0 {
			return rows, BatchBytes
		}
		l.queue.remove(c)
		rows = append(rows, c)
	}
	if len(rows) == most {
		reason = BatchRows
	}
	return rows, reason
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
