package progress

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/contactsync/contactsync"
)

// scattered has more runs than fit a commit: in every few offsets another one is open.
func scattered(seed uint64, n int64) (*Tracker, map[int64]bool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	tr := NewTracker()
	tr.Resume(0, nil)
	open := map[int64]bool{}
	for o := range n {
		tr.Opened([]int64{o})
		if o == 0 || rng.IntN(3) == 0 {
			open[o] = true
		} else {
			tr.Done([]contactsync.Ended{{Offset: o, SetAside: rng.IntN(50) == 0}})
		}
	}
	return tr, open
}

// TestExtend_KnowsAllThatDidNotFit: the text of a commit holds the first part of what has
// ended, and a record of its own all of it, as it was then.
func TestExtend_KnowsAllThatDidNotFit(t *testing.T) {
	t.Parallel()
	const n = 60_000
	tr, open := scattered(1, n)
	a := tr.ToCommit(RecordRuns).Ahead
	a.Log = NewLog("cluster", [16]byte{1})
	record, whole := a.Bytes()
	if !whole {
		t.Fatal("the record does not hold all")
	}
	kept := &Kept{Partition: 3, Offset: 77, Sum: SumOf(record)}
	stays := int64(500)
	for !open[stays] {
		stays++
	}
	for o := range int64(2000) { // meanwhile more has ended
		if o != stays {
			tr.Done([]contactsync.Ended{{Offset: o}})
			delete(open, o)
		}
	}
	tr2 := tr.ToCommit(TextRuns)
	b := tr2.Ahead
	b.Log, b.Kept = a.Log, kept
	text, whole := b.Text(MaxText)
	if whole {
		t.Fatal("the text holds all: this shows nothing")
	}
	got, err := Parse(text, b.Offset, b.Log)
	if err != nil {
		t.Fatal(err)
	}
	if got.Offset != stays || *got.Kept != *kept {
		t.Fatalf("the text names %+v, want %+v", *got.Kept, *kept)
	}
	if got.End >= n/2 {
		t.Fatalf("the text reaches to %d: this shows nothing", got.End)
	}
	if err := got.Extend(record); err != nil {
		t.Fatal(err)
	}
	for o := b.Offset; o < n; o++ {
		if is := got.State(o) == contactsync.Open; is != open[o] {
			t.Fatalf("offset %d: open %v, want %v", o, is, open[o])
		}
	}
	if got.State(n) != contactsync.Open {
		t.Error("what was not read has ended")
	}
}

// TestExtend_BelievesOnlyTheRecordThatTheCommitNames.
func TestExtend_BelievesOnlyTheRecordThatTheCommitNames(t *testing.T) {
	t.Parallel()
	tr, _ := scattered(2, 50_000)
	a := tr.ToCommit(RecordRuns).Ahead
	a.Log = NewLog("cluster", [16]byte{1})
	record, _ := a.Bytes()
	later := a
	later.Offset, later.open, later.setAside = 100, nil, nil
	laterRecord, _ := later.Bytes()
	other := a
	other.Log = NewLog("cluster", [16]byte{2})
	otherRecord, _ := other.Bytes()
	flipped := slices.Clone(record)
	flipped[len(flipped)-1] ^= 1
	tests := []struct {
		name   string
		named  []byte // what the commit names
		record []byte // what is there
		want   error
	}{
		{"the one", record, record, nil},
		{"another", record, laterRecord, Replaced},
		{"one that was changed", record, flipped, Replaced},
		{"no record of ours", []byte("x"), []byte("x"), Damaged},
		{"one that was damaged before it was written", flipped, flipped, Damaged},
		{"one of another log", otherRecord, otherRecord, OtherLog},
		{"one that begins behind the commit", laterRecord, laterRecord, OtherLog},
		{"nothing", nil, nil, Damaged},
	}
	for _, tt := range tests {
		b := a
		b.Kept = &Kept{Sum: SumOf(tt.named)}
		text, _ := b.Text(MaxText)
		got, err := Parse(text, 0, a.Log)
		if err != nil {
			t.Fatal(err)
		}
		end := got.End
		if err := got.Extend(tt.record); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if grown := got.End > end; grown != (tt.want == nil) {
			t.Errorf("%s: reaches from %d to %d", tt.name, end, got.End)
		}
	}
}

// TestText_SaysThatNotAllFits also where what fits is a pattern that deflates to nearly
// nothing: then the number of runs is the bound.
func TestText_SaysThatNotAllFits(t *testing.T) {
	t.Parallel()
	tr := NewTracker()
	tr.Resume(0, nil)
	for o := range int64(4 * TextRuns) {
		tr.Opened([]int64{o})
		if o%2 == 1 {
			tr.Done([]contactsync.Ended{{Offset: o}})
		}
	}
	a := tr.ToCommit(TextRuns).Ahead
	if _, whole := a.Text(MaxText); whole {
		t.Error("a part is taken for the whole")
	}
	b := tr.ToCommit(RecordRuns).Ahead
	if _, whole := b.Text(MaxText); whole {
		t.Error("a part of all runs is taken for the whole")
	}
	if _, whole := b.Bytes(); !whole {
		t.Error("the record does not hold all")
	}
}

func TestExtend_ARecordKnowsNothingOfALaterLeader(t *testing.T) {
	t.Parallel()
	const n, cutAt = 60_000, 3_000
	log := NewLog("c", [16]byte{1})
	a, _ := scattered(1, n) // owner A read it all of leader epoch 3
	a.Inherited(n-1, 3)
	first := a.ToCommit(RecordRuns).Ahead
	first.Log = log

	rng := rand.New(rand.NewPCG(9, 9))
	b := NewTracker() // owner B inherits, and keeps a record before it has read on
	b.Resume(0, &first)
	b.Start(0)
	kept := b.ToCommit(RecordRuns).Ahead
	kept.Log = log
	record, _ := kept.Bytes()
	// an unclean election cuts the log off at cutAt; leader 4 writes other events there
	for o := range int64(n / 2) {
		epoch := int32(3)
		if o >= cutAt {
			epoch = 4
		}
		s := b.Inherited(o, epoch)
		if o >= cutAt && s != contactsync.Open {
			t.Fatalf("B: %d", o)
		}
		b.Opened([]int64{o})
		if s != contactsync.Open || o > 0 && rng.IntN(2) == 0 {
			b.Done([]contactsync.Ended{{Offset: o}})
		}
	}
	c := b.ToCommit(TextRuns).Ahead // the record is not written again yet
	c.Log, c.Kept = log, &Kept{Sum: SumOf(record)}
	text, whole := c.Text(MaxText)
	if whole {
		t.Fatal("fits: shows nothing")
	}
	got, err := Parse(text, c.Offset, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("text reaches to %d, epoch %d", got.End, got.Epoch)
	if err := got.Extend(record); err != nil {
		t.Fatal(err)
	}
	next := NewTracker()
	next.Resume(c.Offset, got)
	next.Start(c.Offset)
	lost := 0
	for o := range int64(n) {
		epoch := int32(3)
		if o >= cutAt {
			epoch = 4
		}
		if s := next.Inherited(o, epoch); s != contactsync.Open && o >= n/2 {
			lost++
		}
	}
	if lost > 0 {
		t.Fatalf("LOSS: %d events of leader 4 that nobody has read are taken for ended (epoch %d)", lost, got.Epoch)
	}
}
