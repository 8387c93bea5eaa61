package batcher

import (
	"container/heap"
	"time"
)

// lane is all pending work of one stream.
type lane struct {
	stream   string
	account  *account
	contacts map[string]*contact // every contact of the stream that has not ended
	queue    list
	groups   []*group // due at any time, in no order; rarely more than a few
	flights  int

	failures int       // requests in a row that did not settle anything
	backoff  time.Time // nothing is sent before it
	refused  bool      // the last answer refused the credentials
	hold     *hold     // nil where the stream is not on hold
	verdicts verdicts

	due   time.Time // when it becomes ready; far for never
	order time.Time // the oldest arrival among what it could send: earliest goes first
	ready bool      // in account.ready, else in account.waiting when index >= 0
	index int       // in its heap; -1 when in none
}

// far is later than anything that is waited for.
var far = time.Unix(1<<40, 0)

// account is the scheduling of one account's lanes.
type account struct {
	id       string
	gate     Gate
	ready    laneHeap  // oldest pending event first
	waiting  laneHeap  // soonest due first
	again    time.Time // the gate refused until then
	inFlight int
	ceiling  ceiling
	verdicts verdicts
	letters  verdicts // of the refused ones those that became dead letters

	sinceProbe int // requests since one of a stream on hold

	struck    []string // streams put on hold since the API last looked at rows
	held      bool
	heldSince time.Time
	probes    int       // in vain, while held
	probe     time.Time // the next one, while held
}

// empty reports whether the lane can be forgotten: nothing is left of it, and what
// is known of it says nothing any more.
func (l *lane) empty(now time.Time) bool {
	taken, refused := l.verdicts.lastMinute(now)
	return len(l.contacts) == 0 && l.flights == 0 && !l.backoff.After(now) && l.hold == nil && taken+refused == 0
}

// events is how many events the lane's contacts stand for.
func (l *lane) events() (n int) {
	for _, c := range l.contacts {
		if n += len(c.marks); c.newer != nil {
			n += len(c.newer.marks)
		}
	}
	return n
}

// dropEmpty forgets a lane of which nothing is left.
func (w *Window) dropEmpty(l *lane) bool {
	if !l.empty(w.now) {
		return false
	}
	l.account.drop(l)
	delete(w.lanes, l.stream)
	return true
}

// full reports whether the queue makes a request of the largest size.
func (w *Window) full(l *lane) bool {
	c := &l.account.ceiling
	return l.queue.rows >= c.rows || l.queue.bytes >= c.bytes
}

// reschedule works out when the lane is due and moves it to the right place. It
// is called after every change of a lane.
func (w *Window) reschedule(l *lane) {
	due, order := far, far
	if l.queue.head != nil {
		order = l.queue.head.since
		switch {
		case w.full(l), w.draining:
			due = order
		case w.catchingUp > 0:
			// A request that is not full waits for the partitions that still
			// catch up: their contacts may share it. catchup_max bounds this.
		default:
			due = order.Add(w.cfg.Linger)
		}
	}
	for _, g := range l.groups {
		if g.due.Before(due) {
			due = g.due
		}
		if g.rows[0].since.Before(order) {
			order = g.rows[0].since
		}
	}
	if due.Before(l.backoff) {
		due = l.backoff
	}
	if l.hold != nil && l.flights > 0 {
		due = far // one probe at a time
	}
	l.due, l.order = due, order
	a := l.account
	switch {
	case due.Equal(far):
		a.drop(l)
	case l.index >= 0 && l.ready:
		if due.After(w.now) {
			a.drop(l)
			heap.Push(&a.waiting, l)
		} else {
			heap.Fix(&a.ready, l.index)
		}
	case l.index >= 0:
		heap.Fix(&a.waiting, l.index)
	default:
		heap.Push(&a.waiting, l)
	}
}

func (a *account) drop(l *lane) {
	if l.index < 0 {
		return
	}
	if l.ready {
		heap.Remove(&a.ready, l.index)
	} else {
		heap.Remove(&a.waiting, l.index)
	}
}

// promote moves the lanes that have fallen due to the ready ones.
func (a *account) promote(now time.Time) {
	for len(a.waiting.lanes) > 0 && !a.waiting.lanes[0].due.After(now) {
		l := heap.Pop(&a.waiting).(*lane)
		heap.Push(&a.ready, l)
	}
}

// laneHeap orders lanes by order (ready) or by due (waiting).
type laneHeap struct {
	lanes []*lane
	ready bool
}

func (h *laneHeap) Len() int { return len(h.lanes) }

func (h *laneHeap) Less(i, j int) bool {
	a, b := h.lanes[i], h.lanes[j]
	if h.ready {
		return a.order.Before(b.order)
	}
	return a.due.Before(b.due)
}

func (h *laneHeap) Swap(i, j int) {
	h.lanes[i], h.lanes[j] = h.lanes[j], h.lanes[i]
	h.lanes[i].index, h.lanes[j].index = i, j
}

// Push implements heap.Interface.
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.index, l.ready = len(h.lanes), h.ready
	h.lanes = append(h.lanes, l)
}

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	last := len(h.lanes) - 1
	l := h.lanes[last]
	h.lanes[last] = nil
	h.lanes = h.lanes[:last]
	l.index = -1
	return l
}
