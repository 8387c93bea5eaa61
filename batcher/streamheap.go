package batcher

import (
	"cmp"
	"container/heap"
	"time"
)

// place is what decides where a stream stands among the others of its account, as of when it was last placed.
type place struct {
	due     time.Time // when it may be sent
	regular time.Time // when it has rows to send that are not tried apart
	rank    rank      // of the oldest event that it could send: the first one goes first
	open    int       // contacts
	class   class
}

func (a *account) move(st *stream, to place, now time.Time) {
	if to == st.place {
		return
	}
	a.remove(st)
	st.place = to
	a.put(st, now)
}

// put lets a stream wait until it falls due. A ready one goes to those of its class, and waits for the time when it is of
// another one.
func (a *account) put(st *stream, now time.Time) {
	if !st.due.After(now) {
		c := st.class
		c.lingers = st.regular.After(now)
		if a.ready[c] == nil {
			a.ready[c] = &streamHeap{compare: c.compare, seat: func(st *stream) *seat { return &st.ready }}
		}
		heap.Push(a.ready[c], st)
	}
	if changes := st.changes(); changes.After(now) && !changes.Equal(never) {
		heap.Push(&a.waiting, st)
	}
}

// changes is when a stream falls due, or when it is ready, of another class.
func (st *stream) changes() time.Time {
	if st.ready.heap == nil {
		return st.due
	}
	return st.regular
}

func (a *account) remove(st *stream) {
	for _, at := range []seat{st.waits, st.ready} {
		if at.heap != nil {
			heap.Remove(at.heap, at.index)
		}
	}
}

// promote moves the streams that time has changed to where they belong.
func (a *account) promote(now time.Time) {
	for len(a.waiting.streams) > 0 && !a.waiting.streams[0].changes().After(now) {
		st := a.waiting.streams[0]
		a.remove(st)
		a.put(st, now)
	}
}

// compareChanges compares streams by when time changes them.
func compareChanges(a, b *stream) int { return a.changes().Compare(b.changes()) }

// compareRanks compares streams by the age of their events. No two are equal, so that
// what is decided does not depend on how a heap is laid out.
func compareRanks(a, b *stream) int { return a.rank.compare(b.rank) }

// compareNames compares streams by what an operator knows them by.
func compareNames(a, b *stream) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.account.id, b.account.id))
}

// streamHeap has the first of its streams in front. What it compares changes only while they are in no heap.
type streamHeap struct {
	streams []*stream
	compare func(a, b *stream) int
	seat    func(*stream) *seat // of a stream in heaps of this use
}

// seat is where a stream is in a heap; the zero seat is in none.
type seat struct {
	heap  *streamHeap
	index int
}

func (h *streamHeap) Len() int { return len(h.streams) }

func (h *streamHeap) Less(i, j int) bool { return h.compare(h.streams[i], h.streams[j]) < 0 }

func (h *streamHeap) Swap(i, j int) {
	h.streams[i], h.streams[j] = h.streams[j], h.streams[i]
	h.seat(h.streams[i]).index, h.seat(h.streams[j]).index = i, j
}

// Push implements heap.Interface.
func (h *streamHeap) Push(x any) {
	st := x.(*stream)
	*h.seat(st) = seat{h, len(h.streams)}
	h.streams = append(h.streams, st)
}

// Pop implements heap.Interface.
func (h *streamHeap) Pop() any {
	last := len(h.streams) - 1
	st := h.streams[last]
	h.streams[last] = nil
	h.streams = h.streams[:last]
	*h.seat(st) = seat{}
	return st
}
