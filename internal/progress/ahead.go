package progress

import (
	"crypto/sha256"
	"hash/fnv"
	"slices"
	"sort"
	"time"

	"github.com/contactsync/contactsync"
)

// How many runs of open or set aside offsets are looked at: far more than fit.
const (
	TextRuns   = 1 << 14
	RecordRuns = 1 << 20
)

// Log tells a partition's log from others: those of an earlier topic of the same name, and
// those of other clusters, to which tools copy offsets with all that is kept with them.
type Log struct {
	cluster uint64   // hash of its id
	topic   [16]byte // zero where the brokers have no ids for topics
}

// NewLog returns the log of a topic, by the ids that the brokers gave.
func NewLog(cluster string, topic [16]byte) Log {
	h := fnv.New64a()
	_, _ = h.Write([]byte(cluster)) // a hash takes everything
	return Log{h.Sum64(), topic}
}

// Ahead says what has ended beyond a committed offset: all events in [Offset, End) but
// the open ones. Of what lies at End and beyond it says nothing.
type Ahead struct {
	Log    Log
	Offset int64 // the one that is committed
	End    int64
	// Epoch is the latest of the leaders that had written what lies below End, -1 where
	// that is not known. What a later one has written there came after it: the log was cut
	// off, and has grown again.
	Epoch int32
	// Leader is the epoch of the leader that has written what lies before Offset, or of a
	// later one that has written to the log; -1 where that is not known. Where a leader after
	// that began below Offset, the log was cut off there.
	Leader int32

	// Lost says that events before Offset were lost in Kafka, and that the owner waited for
	// an operator. It is over where another offset is set.
	Lost bool
	// Feed is there where most events could not be read, and says what was decided.
	Feed *Feed
	// Released says that its owner gave the partition back in order, so that it
	// starts no request any more.
	Released bool
	// AtWork is for how long after the commit requests of its owner, whose answers it
	// did not wait for, may still be applied.
	AtWork time.Duration

	// Kept names the record that holds what does not fit the commit; nil for none. It may be
	// older than the commit.
	Kept *Kept

	partial  bool  // more had ended beyond End
	open     spans // in [Offset, End)
	setAside spans // ended as dead letters, likewise
}

// Feed says how a partition goes on whose events cannot be read.
type Feed struct {
	Waits bool // everything from Offset on waits for an operator
	// Offset is otherwise that below which unreadable events become dead letters, however
	// many they are; math.MaxInt64 where they do until most events can be read.
	Offset int64
}

// Kept is where a record was kept, and what it was.
type Kept struct {
	Partition int32
	Offset    int64
	Sum       [16]byte
}

// SumOf returns the first bytes of a record's SHA-256.
func SumOf(record []byte) (sum [16]byte) {
	all := sha256.Sum256(record)
	copy(sum[:], all[:])
	return sum
}

// State says whether an event beyond the committed offset had ended. A nil Ahead knows of none.
func (a *Ahead) State(offset int64) contactsync.State {
	switch {
	case a == nil, offset < a.Offset, offset >= a.End, a.open.has(offset):
		return contactsync.Open
	case a.setAside.has(offset):
		return contactsync.SetAside
	}
	return contactsync.Completed
}

// inherit adds what an earlier owner had ended: of what was not read again yet, from
// next on, and of what is open only because it was.
func (a *Ahead) inherit(in *Ahead, next int64) {
	a.open = a.open.minus(in)
	a.setAside = a.setAside.with(in.setAside)
	a.setAside.clip(a.Offset, max(a.End, in.End))
	if in.End <= next {
		return
	}
	a.End, a.Epoch = in.End, max(a.Epoch, in.Epoch)
	for _, s := range in.open {
		a.open.add(max(s.from, next), s.to)
	}
}

// cut limits what is said to offsets below end.
func (a *Ahead) cut(end int64) {
	a.End = max(min(a.End, end), a.Offset)
	a.open.clip(a.Offset, a.End)
	a.setAside.clip(a.Offset, a.End)
}

// bound cuts to the first n runs, and reports whether there were more.
func (a *Ahead) bound(n int) bool {
	if len(a.open)+len(a.setAside) <= n {
		return false
	}
	starts := make([]int64, 0, len(a.open)+len(a.setAside))
	for _, list := range []spans{a.open, a.setAside} {
		for _, s := range list {
			starts = append(starts, s.from)
		}
	}
	slices.Sort(starts)
	a.cut(starts[n])
	return true
}

// span is the offsets in [from, to).
type span struct{ from, to int64 }

// spans are in the order of offsets and do not touch.
type spans []span

// add appends the offsets in [from, to). None of the others begins behind from.
func (s *spans) add(from, to int64) {
	switch n := len(*s); {
	case from >= to:
	case n > 0 && (*s)[n-1].to >= from:
		(*s)[n-1].to = max((*s)[n-1].to, to)
	default:
		*s = append(*s, span{from, to})
	}
}

func (s spans) has(offset int64) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].to > offset })
	return i < len(s) && s[i].from <= offset
}

// clip leaves out what is not in [from, to).
func (s *spans) clip(from, to int64) {
	var kept spans
	for _, p := range *s {
		kept.add(max(p.from, from), min(p.to, to))
	}
	*s = kept
}

// with returns the offsets that are in either.
func (s spans) with(other spans) (both spans) {
	for len(s) > 0 || len(other) > 0 {
		if len(s) == 0 || len(other) > 0 && other[0].from < s[0].from {
			s, other = other, s
		}
		both.add(s[0].from, s[0].to)
		s = s[1:]
	}
	return both
}

// minus leaves out what had ended.
func (s spans) minus(in *Ahead) (open spans) {
	i := 0
	for _, p := range s {
		open.add(p.from, min(p.to, in.Offset))
		for i < len(in.open) && in.open[i].to <= p.from {
			i++
		}
		for j := i; j < len(in.open) && in.open[j].from < p.to; j++ {
			open.add(max(p.from, in.open[j].from), min(p.to, in.open[j].to))
		}
		open.add(max(p.from, in.End), p.to)
	}
	return open
}
