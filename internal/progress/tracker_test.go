package progress

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
)

// TestTracker_WatermarkIsTheFirstOpenPosition compares the tracker with a plain set.
func TestTracker_WatermarkIsTheFirstOpenPosition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		next := rapid.Int64Range(0, 1<<40).Draw(t, "start")
		l := NewTracker()
		l.Start(next)
		open := map[int64]bool{}
		var order []int64
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1:
				var offsets []int64
				for range rapid.IntRange(1, 20).Draw(t, "events") {
					next += rapid.SampledFrom([]int64{0, 0, 0, 0, 1, 7, 511, 512, 100_000}).Draw(t, "hole")
					offsets = append(offsets, next)
					open[next] = true
					order = append(order, next)
					next++
				}
				if !l.Opened(offsets) {
					t.Fatalf("Opened(%v) was refused", offsets)
				}
			case 2:
				next += rapid.Int64Range(0, 2000).Draw(t, "passed")
				l.Passed(next, -1)
			default:
				if len(order) == 0 {
					continue
				}
				o := rapid.SampledFrom(order).Draw(t, "offset")
				end(l, o)
				delete(open, o)
			}
			want := next
			for o := range open {
				want = min(want, o)
			}
			if got := l.State().Watermark; got != want {
				t.Fatalf("I2: watermark %d, want %d", got, want)
			}
			if got := l.State().Open; got != len(open) {
				t.Fatalf("%d open, want %d", got, len(open))
			}
		}
	})
}

func TestTracker_RefusesAnOffsetTwice(t *testing.T) {
	t.Parallel()
	l := NewTracker()
	l.Start(5)
	if !l.Opened([]int64{5, 9}) || l.Opened([]int64{9}) || l.Opened([]int64{4}) {
		t.Fatal("an offset that was read already was taken")
	}
	if end(l, 7, 4, 4096); l.State().Open != 2 || l.State().Ended != 0 {
		t.Fatal("a position that is not open ended")
	}
}

// TestTracker_OneOpenPositionKeepsNothingOfWhatEnded bounds what a single held contact
// may cost while its partition is read on for months.
func TestTracker_OneOpenPositionKeepsNothingOfWhatEnded(t *testing.T) {
	t.Parallel()
	l := NewTracker()
	l.Opened([]int64{0})
	for at := int64(1000); at < 1_000_000_000; at += 1000 {
		l.Opened([]int64{at})
		end(l, at)
	}
	if s := l.State(); s.Open != 1 || s.Watermark != 0 || len(l.chunks) > 200 {
		t.Fatalf("%+v, %d chunks: one position is open, and a million had ended", s, len(l.chunks))
	}
}

// end ends positions, none of them as a dead letter.
func end(t *Tracker, offsets ...int64) {
	var ended []contactsync.Ended
	for _, o := range offsets {
		ended = append(ended, contactsync.Ended{Offset: o})
	}
	t.Done(ended)
}

// BenchmarkTracker opens and ends a million positions, oldest last: the worst case
// for what has to be held.
func BenchmarkTracker(b *testing.B) {
	b.ReportAllocs()
	const n = 1 << 20
	offsets := make([]int64, 256)
	for b.Loop() {
		l := NewTracker()
		for at := int64(0); at < n; at += 256 {
			for i := range offsets {
				offsets[i] = at + int64(i)
			}
			l.Opened(offsets)
		}
		for o := int64(n - 1); o >= 0; o-- {
			l.Done([]contactsync.Ended{{Offset: o}})
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/position")
}

// One open position does not keep what ended behind it, however sparse that is.
func TestTracker_OnePositionDoesNotKeepWhatEndedBehindIt(t *testing.T) {
	t.Parallel()
	tr := NewTracker()
	if !tr.Opened([]int64{0}) {
		t.Fatal("refused")
	}
	for i := range int64(200_000) {
		offset := (i + 1) * 10_000
		if !tr.Opened([]int64{offset}) {
			t.Fatal("refused")
		}
		tr.Done([]contactsync.Ended{{Offset: offset}})
		if len(tr.chunks) > 200 {
			t.Fatalf("%d chunks are kept for one open position", len(tr.chunks))
		}
	}
}
