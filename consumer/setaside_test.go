package consumer_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
	"github.com/contactsync/contactsync/internal/progress"
)

// earlierOwner is the text of an owner that read four events of leader 3.
func earlierOwner(ended ...int64) string {
	tr := progress.NewTracker()
	tr.Resume(0, nil)
	for o := range int64(4) {
		tr.Inherited(o, 3)
		tr.Opened([]int64{o})
	}
	for _, o := range ended {
		tr.Done([]contactsync.Ended{{Offset: o}})
	}
	a := tr.ToCommit(progress.TextRuns).Ahead
	a.Log = progress.NewLog("", [16]byte{1})
	text, _ := a.Text(progress.MaxText)
	return text
}

// The first event of the batch had ended, the second had not.
func TestConsumer_ABatchThatHadEndedInPartHasADeadLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.damage(false, always)
		gen, _ := generation(1, 1)
		gen.Owned[0].Offset, gen.Owned[0].TopicID, gen.Owned[0].Metadata = 0, [16]byte{1}, earlierOwner(2)
		f.once(gen)
		stop := f.run(t)
		kafka.Sleep(t.Context(), 10*time.Minute)
		if err := f.consumer.SetAside(partition0, 2, 3); err != nil {
			t.Fatal(err)
		}
		kafka.Sleep(t.Context(), time.Minute)
		t.Log(f.did())
		if b := f.befores(); b[2] != contactsync.Open {
			t.Errorf("the batch is handed over as ended before (%v): no dead letter, 3 is lost", b)
		}
		if n := f.setAsides(); n != 2 {
			t.Errorf("%v offsets counted, want 2 (or 1)", n)
		}
		_ = stop()
	})
}

// All four had ended, of leader 3; leader 4 has cut the log off at 2 and written a batch
// there that nobody can read. The policy is halt.
func TestConsumer_AnUnreadableBatchOfALaterLeaderHasNotEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakesWith(t, func(c *consumer.Config) { c.OnUnreadableBatch = consumer.Halt })
		f.batches = func(offset int64) []byte {
			b := func(epoch int32, first, last int64) []byte {
				var all []kmsg.Record
				for o := first; o <= last; o++ {
					all = append(all, kmsg.Record{OffsetDelta: int32(o - first), Value: []byte("{}")})
				}
				return kafkatest.Batch(kmsg.RecordBatch{FirstOffset: first, PartitionLeaderEpoch: epoch}, all...)
			}
			switch {
			case offset < 2:
				return b(3, offset, 1)
			case offset > 3:
				return nil
			}
			bad := b(4, 2, 3)
			bad[len(bad)-1] ^= 0xff
			return append(bad, b(4, 4, 4)...)
		}
		gen, _ := generation(1, 1)
		gen.Owned[0].Offset, gen.Owned[0].TopicID, gen.Owned[0].Metadata = 0, [16]byte{1}, earlierOwner(1, 2, 3)
		f.once(gen)
		stop := f.run(t)
		kafka.Sleep(t.Context(), 10*time.Minute)
		if got := f.consumer.NotReady(); !strings.Contains(got, "halted") {
			t.Errorf("policy halt, batch of leader 4 never handled, and the partition went on: befores %v, counted %v\n%s", f.befores(), f.setAsides(), f.did())
		}
		_ = stop()
	})
}

// A batch is set aside, and its dead letter is not written yet (the topic is away). The
// next owner can read the batch: its leader moved, or max_batch_bytes was raised.
func TestConsumer_ABatchEndsWithItsDeadLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.keep = 2 // the letter stays open
		healed := false
		f.damage(false, func(int) bool { return !healed })
		end := f.generations(t)
		f.first.Offset = 0
		stop := f.run(t)
		kafka.Sleep(t.Context(), 5*time.Minute)
		if err := f.consumer.SetAside(partition0, 2, 3); err != nil {
			t.Fatal(err)
		}
		kafka.Sleep(t.Context(), time.Minute)
		n := len(f.befores())
		healed = true
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), time.Minute)
		t.Logf("committed %d; second owner: %v; %s", f.lastCommit().Offset, f.befores()[n:], f.did())
		if b := f.befores()[n:]; len(b) < 3 || b[1] != contactsync.Open {
			t.Errorf("events 2, 3, 4 come as %v: 3 is taken for ended, and no letter was written", b)
		}
		_ = stop()
	})
}

func TestConsumer_AFullWindowIsNotStuckWhereABatchIsSetAside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.damage(false, always)
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), 10*time.Minute)
		f.slow = time.Hour // the window is full: the API is away
		if err := f.consumer.SetAside(partition0, 2, 3); err != nil {
			t.Fatal(err)
		}
		kafka.Sleep(t.Context(), 30*time.Minute)
		if got := f.consumer.Stuck(time.Now(), 5*time.Minute); got != "" {
			t.Errorf("a full window is a reason to restart: %s", got)
		}
		t.Log(f.consumer.Partitions()[0])
		kafka.Sleep(t.Context(), 2*time.Hour)
		f.slow = 0
		_ = stop()
	})
}
