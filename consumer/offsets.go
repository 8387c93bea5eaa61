package consumer

import (
	"math/bits"
	"sort"
	"sync"

	"github.com/contactsync/contactsync"
)

// tracker knows which positions of one claim are open: read, and not yet ended.
// It takes one bit a position where offsets are dense, and at most one chunk
// where they are not, so millions may be open.
type tracker struct {
	mu     sync.Mutex
	chunks []chunk // by base; the first has an open position
	open   int
	next   int64 // the offset to read next
	ended  int   // events ended since the last commit
	last   int64 // the offset committed last; -1 before the first
}

const chunkOffsets = 512

// chunk holds the open positions of chunkOffsets offsets from base.
type chunk struct {
	base int64
	n    int
	bits [chunkOffsets / 64]uint64
}

func newTracker() *tracker { return &tracker{last: -1} }

// start sets the offset to read next, where nothing is open yet.
func (t *tracker) start(next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = next
}

// opened notes that positions were read. Offsets only grow; one that does not is
// refused, since it would be delivered twice.
func (t *tracker) opened(offsets []int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range offsets {
		if o < t.next {
			return false
		}
		t.next = o + 1
		base := o &^ (chunkOffsets - 1)
		if n := len(t.chunks); n == 0 || t.chunks[n-1].base != base {
			t.chunks = append(t.chunks, chunk{base: base})
		}
		c := &t.chunks[len(t.chunks)-1]
		c.bits[(o-base)/64] |= 1 << ((o - base) % 64)
		c.n++
		t.open++
	}
	return true
}

// passed notes that the read position has moved past offsets without events.
func (t *tracker) passed(next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = max(t.next, next)
}

// done notes that a position has ended. It reports false for one that is not open.
func (t *tracker) done(offset int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].base > offset }) - 1
	if i < 0 {
		return false
	}
	c := &t.chunks[i]
	at := offset - c.base
	if at >= chunkOffsets || c.bits[at/64]&(1<<(at%64)) == 0 {
		return false
	}
	c.bits[at/64] &^= 1 << (at % 64)
	c.n--
	t.open--
	t.ended++
	drop := 0
	for drop < len(t.chunks) && t.chunks[drop].n == 0 {
		drop++
	}
	t.chunks = t.chunks[drop:]
	return true
}

// watermark is the first open position, or the offset to read next where none is
// open: every event below it has ended.
func (t *tracker) watermark() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.watermarkLocked()
}

func (t *tracker) watermarkLocked() int64 {
	if len(t.chunks) == 0 {
		return t.next
	}
	c := &t.chunks[0]
	for i, word := range c.bits {
		if word != 0 {
			return c.base + int64(i*64+bits.TrailingZeros64(word))
		}
	}
	panic("BUG: the first chunk of a tracker has no open position")
}

// toCommit returns the watermark where it differs from what was committed last.
func (t *tracker) toCommit() (offset int64, moved bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	offset = t.watermarkLocked()
	return offset, offset != t.last
}

// committed notes what Kafka has accepted.
func (t *tracker) committed(offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.ended = offset, 0
}

// state returns what the gauges show.
func (t *tracker) state() (open int, next, watermark, last int64, ended int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open, t.next, t.watermarkLocked(), t.last, t.ended
}

// offsets are the trackers of the present generation.
type offsets struct {
	mu      sync.Mutex
	byClaim map[contactsync.Claim]*tracker
}

func newOffsets() *offsets { return &offsets{byClaim: map[contactsync.Claim]*tracker{}} }

// done notes that events have ended. Those of a generation that is over move
// nothing.
func (s *offsets) done(ended []contactsync.Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last contactsync.Claim
	var t *tracker
	for _, p := range ended {
		if p.Claim != last || t == nil {
			last, t = p.Claim, s.byClaim[p.Claim]
		}
		if t != nil {
			t.done(p.Offset)
		}
	}
}

func (s *offsets) add(c contactsync.Claim, t *tracker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byClaim[c] = t
}

func (s *offsets) remove(c contactsync.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byClaim, c)
}
