package consumer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
)

// Each partition says by itself how old its oldest event is: one that stands is not hidden
// by the others, and one in which nothing waits has none.
func TestConsumer_EachPartitionSaysSinceWhenItsOldestEventWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.keep = 3
		first := time.Now().Add(-time.Hour).Truncate(time.Second)
		f.batches = func(offset int64) []byte {
			if offset != 0 {
				return nil
			}
			var all []kmsg.Record
			for o := range int32(records) {
				all = append(all, kmsg.Record{OffsetDelta: o, TimestampDelta64: int64(o) * 60_000, Value: []byte("{}")})
			}
			return kafkatest.Batch(kmsg.RecordBatch{FirstTimestamp: first.UnixMilli()}, all...)
		}
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), 3*time.Second)
		if got, want := f.consumer.Partitions()[0].Oldest, first.Add(3*time.Minute); !got.Equal(want) {
			t.Errorf("the event at 3 is the oldest: %v, want %v", got, want)
		}
		f.consumer.Done([]contactsync.Ended{{Claim: contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts"}, Generation: 1}, Offset: 3}})
		if got := f.consumer.Partitions()[0].Oldest; !got.IsZero() {
			t.Errorf("nothing is open: %v", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
