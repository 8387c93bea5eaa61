package progress

import (
	"math/bits"
	"slices"
	"sort"
	"sync"

	"github.com/contactsync/contactsync"
)

// Tracker knows which positions of one claim are open: read, and not yet ended.
// It takes one bit a position where offsets are dense, and at most one chunk
// where they are not, so millions may be open.
type Tracker struct {
	mu        sync.Mutex
	chunks    []chunk // by base; the first has an open position
	empty     int     // chunks without one
	kept      int     // of these, those that were kept the last time for what they had set aside
	forgot    span    // where it is no longer known what was set aside; empty where it is everywhere
	open      int
	parked    int             // of these, those to be read again
	next      int64           // the offset to read next
	ended     int             // events ended since the last commit
	last      int64           // the offset committed last; -1 before the first
	again     bool            // it is to be committed once more
	epoch     int32           // the latest of the leaders that have written what was read; -1 where not known
	leader    int32           // see Leader
	inherited *Ahead          // what an earlier owner had ended; nil where nothing is known
	bundles   map[int64]int64 // first and last offset of what ends together
}

const chunkOffsets = 512

// mostKept bounds the chunks that are kept for nothing but what they have set aside, at about 160 bytes
// each: behind one open position, dead letters can be any number.
const mostKept = 1 << 14

// chunk holds the open positions of chunkOffsets offsets from base. What is not open
// has ended, or holds no event.
type chunk struct {
	base     int64
	n        int
	bits     [chunkOffsets / 64]uint64
	setAside *[chunkOffsets / 64]uint64 // ended as a dead letter; nil where none has
	parked   *[chunkOffsets / 64]uint64 // open, and to be read again; nil where none is
}

// NewTracker returns a tracker that reads from offset 0 on; nothing is committed.
func NewTracker() *Tracker { return &Tracker{last: -1, epoch: -1, leader: -1} }

// Resume sets the offset that the group has committed, -1 for none, and what an earlier
// owner had ended beyond it, nil where nothing is known. Nothing is open yet.
func (t *Tracker) Resume(committed int64, inherited *Ahead) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next, t.last, t.inherited = max(committed, 0), committed, inherited
	if t.leader = -1; inherited != nil {
		t.leader = inherited.Leader
	}
}

// Start sets the offset to read next, where nothing is open yet. What an earlier owner
// had ended is forgotten where reading begins elsewhere: it is of another log.
func (t *Tracker) Start(next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = next
	if t.inherited != nil && t.inherited.Offset != next {
		t.inherited = nil
	}
	if t.inherited == nil {
		t.leader = -1
	}
}

// Opened notes that positions were read. Offsets only grow; one that does not is
// refused, since it would be delivered twice.
func (t *Tracker) Opened(offsets []int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range offsets {
		if o < t.next {
			return false
		}
		t.next = o + 1
		base := o &^ (chunkOffsets - 1)
		if n := len(t.chunks); n == 0 || t.chunks[n-1].base != base {
			t.compact()
			t.chunks = append(t.chunks, chunk{base: base})
			t.empty++
		}
		c := &t.chunks[len(t.chunks)-1]
		if c.n == 0 {
			t.empty--
		}
		c.bits[(o-base)/64] |= 1 << ((o - base) % 64)
		c.n++
		t.open++
	}
	return true
}

// Bundle has the offsets behind the first one, up to and with the last one, end when the
// first one does.
func (t *Tracker) Bundle(first, last int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bundles == nil {
		t.bundles = map[int64]int64{}
	}
	t.bundles[first] = last
}

// compact drops chunks in which nothing is open, once they are most of all: one open
// position must not keep all that ended behind it. What was set aside furthest behind it is forgotten
// where it is too much.
func (t *Tracker) compact() {
	if left := t.empty - t.kept; left < 64 || left < len(t.chunks)/2 {
		return
	}
	if t.kept = 0; t.forgot.to <= t.chunks[0].base {
		t.forgot = span{} // all of that has ended
	}
	t.chunks = slices.DeleteFunc(t.chunks, func(c chunk) bool {
		switch {
		case c.n > 0:
			return false
		case c.setAside != nil && t.kept < mostKept:
			t.kept++
			return false
		case c.setAside != nil:
			t.forget(c.base)
		}
		return true
	})
	t.empty = t.kept
}

// forget notes that of a chunk nothing is known any more.
func (t *Tracker) forget(base int64) {
	if t.forgot.to == 0 {
		t.forgot.from = base
	}
	t.forgot.from, t.forgot.to = min(t.forgot.from, base), max(t.forgot.to, base+chunkOffsets)
}

// Passed notes that the read position has moved past offsets, with or without events. leader
// is the epoch of the one that has written what lies before it, -1 where that is not known.
func (t *Tracker) Passed(next int64, leader int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = max(t.next, next)
	if t.leader = max(t.leader, leader); leader < 0 {
		t.leader = -1
	}
}

// Leader returns the epoch of the leader that has written what lies before the read
// position, or of a later one that has written to this log; -1 where that is not known.
func (t *Tracker) Leader() int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leader
}

// Done notes that events have ended, all of them in one step: whoever asks sees none of
// them ended, or all. Those that are not open change nothing.
func (t *Tracker) Done(ended []contactsync.Ended) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range ended {
		t.done(e.Offset, e.SetAside)
		if last, ok := t.bundles[e.Offset]; ok {
			delete(t.bundles, e.Offset)
			for o := e.Offset + 1; o <= last; o++ {
				t.done(o, e.SetAside)
			}
		}
	}
	t.dropEnded()
}

// dropEnded drops the chunks in front in which nothing is open.
func (t *Tracker) dropEnded() {
	drop := 0
	for drop < len(t.chunks) && t.chunks[drop].n == 0 {
		drop++
	}
	t.chunks = t.chunks[drop:]
	t.empty -= drop
	t.kept = min(t.kept, t.empty)
}

// find returns the chunk of an open position, and where it is in that; nil where it is not open.
func (t *Tracker) find(offset int64) (c *chunk, at int64) {
	i := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].base > offset }) - 1
	if i < 0 {
		return nil, 0
	}
	c = &t.chunks[i]
	at = offset - c.base
	if at >= chunkOffsets || c.bits[at/64]&(1<<(at%64)) == 0 {
		return nil, 0
	}
	return c, at
}

func (t *Tracker) done(offset int64, setAside bool) {
	c, at := t.find(offset)
	if c == nil {
		return
	}
	c.bits[at/64] &^= 1 << (at % 64)
	if c.n--; c.n == 0 {
		t.empty++
	}
	t.unpark(c, at)
	t.open--
	t.ended++
	if setAside {
		if c.setAside == nil {
			c.setAside = new([chunkOffsets / 64]uint64)
		}
		c.setAside[at/64] |= 1 << (at % 64)
	}
}

// Inherited says of an event whether an earlier owner had ended it. epoch is that of the
// leader that has written it, -1 where that is not known. Events come in the order of
// their offsets.
func (t *Tracker) Inherited(offset int64, epoch int32) contactsync.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch, t.leader = max(t.epoch, epoch), max(t.leader, epoch)
	if in := t.inherited; in != nil && in.Epoch >= 0 && epoch > in.Epoch && offset < in.End {
		in.cut(offset) // it was written after what the earlier owner had read there
	}
	return t.inherited.State(offset)
}

// watermark is the first open position, or the offset to read next where none is
// open: every event below it has ended.
func (t *Tracker) watermark() int64 {
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

// Commit is what to commit of one partition.
type Commit struct {
	Ahead
	ended int
}

// Changed reports whether there is something to commit since the last time.
func (t *Tracker) Changed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.watermark() != t.last || t.ended > 0 || t.again
}

// ToCommit returns the offset to commit and what has ended beyond it. It looks at what is
// open, up to about so many runs.
func (t *Tracker) ToCommit(runs int) Commit {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Commit{Ahead: t.ahead(runs), ended: t.ended}
}

// Committed notes that Kafka has taken a commit.
func (t *Tracker) Committed(c Commit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.again = c.Offset, false
	t.ended -= c.ended
}

// Recommit has Changed report that there is.
func (t *Tracker) Recommit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again = true
}

// State is what the gauges show of a partition.
type State struct {
	Open      int   // positions
	Parked    int   // of these, those that are to be read again
	Next      int64 // the offset to read
	Watermark int64 // the first open position, or Next
	Last      int64 // the offset committed last; -1 before the first
	Ended     int   // events since the last commit
}

// State returns the present one.
func (t *Tracker) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return State{Open: t.open, Parked: t.parked, Next: t.next, Watermark: t.watermark(), Last: t.last, Ended: t.ended}
}

// ahead collects what has ended beyond the watermark.
func (t *Tracker) ahead(runs int) Ahead {
	a := Ahead{Offset: t.watermark(), End: t.next, Epoch: t.epoch, Leader: t.leader}
	from := a.Offset
	for i := range t.chunks {
		c := &t.chunks[i]
		collect(&a.open, c.base, &c.bits)
		if c.setAside != nil {
			collect(&a.setAside, c.base, c.setAside)
		}
		if len(a.open)+len(a.setAside) > runs {
			a.cut(c.base)
			a.partial = true
			return a
		}
	}
	a.setAside.clip(from, a.End)
	if from < t.forgot.to {
		a.cut(t.forgot.from) // what lies behind counts as open for the next owner, and is done again
		a.partial = true
		return a
	}
	if in := t.inherited; in != nil && in.End > a.Offset {
		a.inherit(in, t.next)
	}
	return a
}

// collect appends the runs of set bits.
func collect(to *spans, base int64, words *[chunkOffsets / 64]uint64) {
	for i, word := range words {
		at := base + int64(i*64)
		for word != 0 {
			zeros := bits.TrailingZeros64(word)
			ones := bits.TrailingZeros64(^(word >> zeros))
			to.add(at+int64(zeros), at+int64(zeros+ones))
			if zeros+ones == 64 {
				break
			}
			word = word >> (zeros + ones) << (zeros + ones)
		}
	}
}
