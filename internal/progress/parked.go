package progress

import (
	"math/bits"
	"sort"

	"github.com/contactsync/contactsync"
)

// Park notes that events which are open are not kept, and are to be read again. Those that
// are not open change nothing.
func (t *Tracker) Park(events []contactsync.Parked) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range events {
		c, at := t.find(e.Offset)
		if c == nil {
			continue
		}
		if c.parked == nil {
			c.parked = new([chunkOffsets / 64]uint64)
		}
		if c.parked[at/64]&(1<<(at%64)) == 0 {
			c.parked[at/64] |= 1 << (at % 64)
			t.parked++
		}
	}
}

// unpark reports whether a position is parked, and ends that.
func (t *Tracker) unpark(c *chunk, at int64) bool {
	if c.parked == nil || c.parked[at/64]&(1<<(at%64)) == 0 {
		return false
	}
	c.parked[at/64] &^= 1 << (at % 64)
	t.parked--
	return true
}

// Parked returns how many positions are to be read again, and the first of them that is not
// below an offset; -1 where there is none.
func (t *Tracker) Parked(from int64) (n int, first int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parked == 0 {
		return 0, -1
	}
	for i := t.behind(from); i < len(t.chunks); i++ {
		if words := t.chunks[i].parked; words != nil {
			for w, word := range words {
				for ; word != 0; word &= word - 1 {
					if o := t.chunks[i].base + int64(w*64+bits.TrailingZeros64(word)); o >= from {
						return t.parked, o
					}
				}
			}
		}
	}
	return t.parked, -1
}

// behind is the index of the first chunk that does not end below an offset.
func (t *Tracker) behind(offset int64) int {
	return sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].base+chunkOffsets > offset })
}

// Reread notes that the log was read again from one offset up to another one, and has an
// event there. It reports whether that was to be read again, which it no longer is, and ends
// those before it that were, and that the log does not have any more; it returns how many.
func (t *Tracker) Reread(from, offset int64) (parked bool, gone int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone = t.gone(from, offset)
	c, at := t.find(offset)
	return c != nil && t.unpark(c, at), gone
}

// Gone ends the events from one offset up to another one that were to be read again, because
// the log does not have them any more, and returns how many there were.
func (t *Tracker) Gone(from, to int64) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone(from, to)
}

func (t *Tracker) gone(from, to int64) (n int) {
	if t.parked == 0 || from >= to {
		return 0
	}
	for i := t.behind(from); i < len(t.chunks) && t.chunks[i].base < to; i++ {
		c := &t.chunks[i]
		if c.parked == nil {
			continue
		}
		for w, word := range c.parked {
			for ; word != 0; word &= word - 1 {
				if o := c.base + int64(w*64+bits.TrailingZeros64(word)); o >= from && o < to {
					t.done(o, false)
					n++
				}
			}
		}
	}
	if n > 0 {
		t.dropEnded()
	}
	return n
}
