package batcher

import (
	"cmp"
	"container/heap"
	"time"
)

func (a *account) move(st *stream, due time.Time, first rank, now time.Time) {
	same := st.index >= 0 && due.Equal(st.due) && first == st.rank
	if same {
		return
	}
	stays := st.index >= 0 && !due.Equal(never) && (!st.ready || !due.After(now))
	if !stays {
		a.remove(st)
	}
	st.due, st.rank = due, first
	switch {
	case stays && st.ready:
		heap.Fix(&a.ready, st.index)
	case stays:
		heap.Fix(&a.waiting, st.index)
	case !due.Equal(never):
		heap.Push(&a.waiting, st)
	}
}

func (a *account) remove(st *stream) {
	switch {
	case st.index < 0:
	case st.ready:
		heap.Remove(&a.ready, st.index)
	default:
		heap.Remove(&a.waiting, st.index)
	}
}

// promote moves the streams that have fallen due to the ready ones.
func (a *account) promote(now time.Time) {
	for len(a.waiting.streams) > 0 && !a.waiting.streams[0].due.After(now) {
		heap.Push(&a.ready, heap.Pop(&a.waiting))
	}
}

// compareRanks compares streams by the age of their events. No two are equal, so that
// what is decided does not depend on how a heap is laid out.
func compareRanks(a, b *stream) int { return a.rank.compare(b.rank) }

// compareNames compares streams by what an operator knows them by.
func compareNames(a, b *stream) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.account.id, b.account.id))
}

// streamHeap orders streams by rank (ready) or by due (waiting).
type streamHeap struct {
	streams []*stream
	ready   bool
}

func (h *streamHeap) Len() int { return len(h.streams) }

func (h *streamHeap) Less(i, j int) bool {
	a, b := h.streams[i], h.streams[j]
	if h.ready {
		return compareRanks(a, b) < 0
	}
	return a.due.Before(b.due)
}

func (h *streamHeap) Swap(i, j int) {
	h.streams[i], h.streams[j] = h.streams[j], h.streams[i]
	h.streams[i].index, h.streams[j].index = i, j
}

// Push implements heap.Interface.
func (h *streamHeap) Push(x any) {
	st := x.(*stream)
	st.index, st.ready = len(h.streams), h.ready
	h.streams = append(h.streams, st)
}

// Pop implements heap.Interface.
func (h *streamHeap) Pop() any {
	last := len(h.streams) - 1
	st := h.streams[last]
	h.streams[last] = nil
	h.streams = h.streams[:last]
	st.index = -1
	return st
}
