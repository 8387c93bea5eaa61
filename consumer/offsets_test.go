package consumer

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
)

// TestTracker_WatermarkIsTheFirstOpenPosition compares the tracker with a plain set.
func TestTracker_WatermarkIsTheFirstOpenPosition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := newTracker()
		next := rapid.Int64Range(0, 1<<40).Draw(t, "start")
		l.start(next)
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
				if !l.opened(offsets) {
					t.Fatalf("opened(%v) was refused", offsets)
				}
			case 2:
				next += rapid.Int64Range(0, 2000).Draw(t, "passed")
				l.passed(next)
			default:
				if len(order) == 0 {
					continue
				}
				o := rapid.SampledFrom(order).Draw(t, "offset")
				if l.done(o) != open[o] {
					t.Fatalf("done(%d) is %v, open was %v", o, !open[o], open[o])
				}
				delete(open, o)
			}
			want := next
			for o := range open {
				want = min(want, o)
			}
			if got := l.watermark(); got != want {
				t.Fatalf("I2: watermark %d, want %d", got, want)
			}
			if l.open != len(open) {
				t.Fatalf("%d open, want %d", l.open, len(open))
			}
		}
	})
}

func TestTracker_RefusesAnOffsetTwice(t *testing.T) {
	t.Parallel()
	l := newTracker()
	l.start(5)
	if !l.opened([]int64{5, 9}) || l.opened([]int64{9}) || l.opened([]int64{4}) {
		t.Fatal("an offset that was read already was taken")
	}
	if l.done(7) || l.done(4) || l.done(4096) {
		t.Fatal("a position that is not open ended")
	}
}

func TestOffsets_EndedGenerationMovesNothing(t *testing.T) {
	t.Parallel()
	old := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: 1}, Generation: 1}
	now := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: 1}, Generation: 2}
	s, l := newOffsets(), newTracker()
	l.opened([]int64{0, 1})
	s.add(now, l)
	s.done([]contactsync.Ended{{Claim: old, Offset: 0}, {Claim: old, Offset: 1}})
	if got := l.watermark(); got != 0 {
		t.Fatalf("I4: an answer of generation 1 moved the watermark of generation 2 to %d", got)
	}
	s.done([]contactsync.Ended{{Claim: now, Offset: 0}, {Claim: old, Offset: 1}})
	if got := l.watermark(); got != 1 {
		t.Fatalf("watermark %d, want 1", got)
	}
}

// BenchmarkTracker opens and ends a million positions, oldest last: the worst case
// for what has to be held.
func BenchmarkTracker(b *testing.B) {
	b.ReportAllocs()
	const n = 1 << 20
	offsets := make([]int64, 256)
	for b.Loop() {
		l := newTracker()
		for at := int64(0); at < n; at += 256 {
			for i := range offsets {
				offsets[i] = at + int64(i)
			}
			l.opened(offsets)
		}
		for o := int64(n - 1); o >= 0; o-- {
			l.done(o)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/position")
}
