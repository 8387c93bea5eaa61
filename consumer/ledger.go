package consumer

import (
	"math/bits"
	"sort"
	"sync"

	"github.com/contactsync/contactsync"
)

// ledger knows which positions of one claim are open: read, and not yet ended.
// It takes one bit a position where offsets are dense, and at most one chunk
// where they are not, so millions may be open.
type ledger struct {
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

func newLedger() *ledger { return &ledger{last: -1} }

// start sets the offset to read next, where nothing is open yet.
func (l *ledger) start(next int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = next
}

// opened notes that positions were read. Offsets only grow; one that does not is
// refused, since it would be delivered twice.
func (l *ledger) opened(offsets []int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range offsets {
		if o < l.next {
			return false
		}
		l.next = o + 1
		base := o &^ (chunkOffsets - 1)
		if n := len(l.chunks); n == 0 || l.chunks[n-1].base != base {
			l.chunks = append(l.chunks, chunk{base: base})
		}
		c := &l.chunks[len(l.chunks)-1]
		c.bits[(o-base)/64] |= 1 << ((o - base) % 64)
		c.n++
		l.open++
	}
	return true
}

// passed notes that the read position has moved past offsets without events.
func (l *ledger) passed(next int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = max(l.next, next)
}

// done notes that a position has ended. It reports false for one that is not open.
func (l *ledger) done(offset int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].base > offset }) - 1
	if i < 0 {
		return false
	}
	c := &l.chunks[i]
	at := offset - c.base
	if at >= chunkOffsets || c.bits[at/64]&(1<<(at%64)) == 0 {
		return false
	}
	c.bits[at/64] &^= 1 << (at % 64)
	c.n--
	l.open--
	l.ended++
	drop := 0
	for drop < len(l.chunks) && l.chunks[drop].n == 0 {
		drop++
	}
	l.chunks = l.chunks[drop:]
	return true
}

// watermark is the first open position, or the offset to read next where none is
// open: every event below it has ended.
func (l *ledger) watermark() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.watermarkLocked()
}

func (l *ledger) watermarkLocked() int64 {
	if len(l.chunks) == 0 {
		return l.next
	}
	c := &l.chunks[0]
	for i, word := range c.bits {
		if word != 0 {
			return c.base + int64(i*64+bits.TrailingZeros64(word))
		}
	}
	panic("BUG: the first chunk of a ledger has no open position")
}

// toCommit returns the watermark where it differs from what was committed last.
func (l *ledger) toCommit() (offset int64, moved bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	offset = l.watermarkLocked()
	return offset, offset != l.last
}

// committed notes what Kafka has accepted.
func (l *ledger) committed(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.ended = offset, 0
}

// state returns what the gauges show.
func (l *ledger) state() (open int, next, watermark, last int64, ended int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.next, l.watermarkLocked(), l.last, l.ended
}

// Ledgers are the ledgers of the present generation. It is where the outcome of
// events comes back to: the batcher's Acker.
type Ledgers struct {
	mu   sync.Mutex
	byID map[contactsync.Claim]*ledger
}

// NewLedgers returns an empty set.
func NewLedgers() *Ledgers { return &Ledgers{byID: map[contactsync.Claim]*ledger{}} }

// Done notes that events have ended. Those of a generation that is over move
// nothing.
func (s *Ledgers) Done(ended []contactsync.Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last contactsync.Claim
	var l *ledger
	for _, p := range ended {
		if p.Claim != last || l == nil {
			last, l = p.Claim, s.byID[p.Claim]
		}
		if l != nil {
			l.done(p.Offset)
		}
	}
}

func (s *Ledgers) add(c contactsync.Claim, l *ledger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[c] = l
}

func (s *Ledgers) remove(c contactsync.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, c)
}
