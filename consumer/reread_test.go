package consumer_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
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

// What is read again, for as long as the window has no room, must not keep from a partition that waits what ends its waiting.
func TestConsumer_ReadingAgainGivesWayToWhatEndsAHalt(t *testing.T) {
	t.Parallel()
	const parked = 10000
	decide := func(decide func(c *consumer.Consumer) error) func(*testing.T, *fakes) {
		return func(t *testing.T, f *fakes) {
			t.Helper()
			if err := decide(f.consumer); err != nil {
				t.Error(err)
			}
		}
	}
	for _, test := range []struct {
		name    string
		unread  int64 // events behind those that are to be read again
		corrupt bool  // they are in a batch that cannot be read, where that is 2
		end     func(t *testing.T, f *fakes)
		want    int64 // read next, behind parked
	}{
		{"resumed by an operator", 1000, false, decide(func(c *consumer.Consumer) error { return c.ResumeFeed(partition0, 100, false) }), 191},
		{"good events", 100, false, func(_ *testing.T, f *fakes) { f.cut(parked + 500) }, 500},
		{"set aside by an operator", 2, true, decide(func(c *consumer.Consumer) error { return c.SetAside(partition0, parked, parked+1) }), 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				f.feed(parked+test.unread, func(_ int32, o int64) bool { return o >= parked && o < parked+test.unread })
				halts := int64(parked + 90)
				if test.corrupt {
					halts = parked
					f.feed(parked+500, badBelow(0))
					f.epoch = func(offset int64) int32 { return int32(offset / parked) } // so that answers end before the batch
					f.batches = func(offset int64) []byte {
						if offset != parked {
							return nil
						}
						data := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: offset, PartitionLeaderEpoch: f.epoch(offset)}, kmsg.Record{Value: []byte("{}")}, kmsg.Record{OffsetDelta: 1, Value: []byte("{}")})
						data[len(data)-1] ^= 0xff
						return data
					}
				}
				f.leave = func(ev *event.Event) bool { return !ev.Again && ev.Record.Offset < parked }
				stop, _ := f.runOnce(t, 0)
				kafka.Sleep(t.Context(), time.Minute)
				if p := f.consumer.Partitions()[0]; p.State.Read() || p.Next != halts || p.Parked != parked {
					t.Fatalf("%+v, want a partition that halts behind what is to be read again", p)
				}
				f.slow = 10 * time.Second
				f.pass.Store(1)
				kafka.Sleep(t.Context(), time.Minute)
				test.end(t, f)
				kafka.Sleep(t.Context(), 2*time.Minute)
				if p := f.consumer.Partitions()[0]; p.Next != parked+test.want || p.Parked == 0 {
					t.Errorf("%+v, want that it has gone on to %d before all is read again", p, parked+test.want)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
