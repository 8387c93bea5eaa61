package consumer

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/event"
)

// agesOf has read n events, one a second and at every second offset.
func agesOf(n int64) *ages {
	a := &ages{}
	for i := range n {
		ev := event.Event{}
		ev.Record.Offset, ev.Record.Time = 2*i, time.Unix(1+i, 0)
		a.read([]event.Event{ev})
	}
	return a
}

func TestAges_AreExactForTheLastEventsAndNearlySoForOthers(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{1, 255, 256, 257, 5000, 300_000} {
		a := agesOf(n)
		for i := int64(0); i < n; i += 1 + i/50 {
			behind := n - 1 - i
			got, least := a.at(2*i).Unix()-1, i
			if behind >= agesKept {
				least -= behind / 32
			}
			if got < least || got > i {
				t.Fatalf("of %d events: number %d is said to be number %d", n, i, got)
			}
		}
	}
}

func TestAges_SayNothingOfWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	if got := (&ages{}).at(3); !got.IsZero() {
		t.Errorf("of nothing: %v", got)
	}
	a := agesOf(3)
	a.read([]event.Event{{}})
	if got := a.at(-1); !got.IsZero() {
		t.Errorf("of what was not read: %v", got)
	}
	for _, none := range []time.Time{{}, time.UnixMilli(-1)} { // what is set aside has none
		ev := event.Event{}
		ev.Record.Offset, ev.Record.Time = 10, none
		a = &ages{}
		if a.read([]event.Event{ev}); !a.at(10).IsZero() {
			t.Errorf("of an event without a time: %v", a.at(10))
		}
	}
}

func TestAges_AreSmallHoweverMuchWasRead(t *testing.T) {
	t.Parallel()
	marks := 0
	for _, level := range agesOf(1_000_000).levels {
		marks += cap(level)
	}
	if marks > 6*2*agesKept {
		t.Errorf("%d marks are kept", marks)
	}
}
