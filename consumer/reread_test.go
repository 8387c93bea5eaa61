package consumer_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// leaves has the sink leave events of the first hand-over, and notes those that it is given again.
func (f *fakes) leaves(offsets ...int64) (again *[]int64) {
	again = new([]int64)
	f.leave = func(ev *event.Event) bool {
		if ev.Again {
			*again = append(*again, ev.Record.Offset)
			return false
		}
		return slices.Contains(offsets, ev.Record.Offset)
	}
	return again
}

// What the sink leaves is open until it says that it takes it; then it is handed over once
// more, in order, and nothing else is.
func TestConsumer_ReadsAgainWhatTheSinkHasLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		again := f.leaves(1, 3)
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.Committed != 1 || p.Parked != 2 || p.Next != records || len(*again) != 0 {
			t.Fatalf("%+v, read again %v", p, *again)
		}
		f.pass.Store(1)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.Committed != records || p.Parked != 0 || !slices.Equal(*again, []int64{1, 3}) {
			t.Errorf("%+v, read again %v", p, *again)
		}
		if f.pass.Load() != 0 {
			t.Error("the sink is not told that all was read")
		}
		if n := f.value("contactsync_consumer_records_reread_total", ""); n != 2 {
			t.Errorf("%v are counted", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// What retention has deleted before it is read again is lost, and counted; the partition goes on.
func TestConsumer_CountsWhatIsGoneBeforeItIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		again := f.leaves(0, 1, 3)
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), time.Minute)
		f.begins.Store(2)
		f.pass.Store(1)
		kafka.Sleep(t.Context(), time.Minute)
		if p := f.consumer.Partitions()[0]; p.Committed != records || p.Parked != 0 || !slices.Equal(*again, []int64{3}) {
			t.Errorf("%+v, read again %v", p, *again)
		}
		if n := f.value("contactsync_consumer_offsets_lost_total", "below_log_start"); n != 2 {
			t.Errorf("%v are lost", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// leftOf notes that an event was left.
func leftOf(ev *event.Event) []contactsync.Parked {
	return []contactsync.Parked{{Claim: ev.Record.Claim(), Offset: ev.Record.Offset}}
}
