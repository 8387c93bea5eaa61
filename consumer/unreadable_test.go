package consumer_test

import (
	"bytes"
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

var partition0 = contactsync.TopicPartition{Topic: "contacts"}

// damage has the batch of the offsets 2 and 3 damaged whenever broken says so; n counts
// how often it was read. With alone nothing follows it in the answer.
func (f *fakes) damage(alone bool, broken func(n int) bool) {
	batchOf := func(first, last int64) []byte {
		var all []kmsg.Record
		for o := first; o <= last; o++ {
			all = append(all, kmsg.Record{OffsetDelta: int32(o - first), Value: []byte("{}")})
		}
		return kafkatest.Batch(kmsg.RecordBatch{FirstOffset: first}, all...)
	}
	n := 0
	f.batches = func(offset int64) []byte {
		switch {
		case offset < 2:
			return batchOf(offset, 1)
		case offset > 3:
			return nil
		}
		n++
		data := batchOf(2, 3)
		if broken(n) {
			data[len(data)-1] ^= 0xff
		}
		if alone {
			return data
		}
		return append(data, batchOf(4, 4)...)
	}
}

func always(int) bool { return true }

// setAsides are the offsets that are counted as set aside.
func (f *fakes) setAsides() float64 {
	return f.value("contactsync_consumer_offsets_set_aside_total", "corrupt")
}

func TestConsumer_SetsABatchAsideForAnOperator(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.damage(false, always)
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), 10*time.Minute)
		if got := f.consumer.NotReady(); !strings.Contains(got, "contacts/0 is halted: the batch at offset 2 cannot be read") {
			t.Errorf("not ready: %q", got)
		}
		bad := f.consumer.Partitions()[0].Unreadable
		if bad == nil || bad.Reason != "corrupt" || bad.First != 2 || bad.Last != 3 || bad.Bytes == 0 || len(bad.SHA256) != 64 {
			t.Fatalf("halted at %+v", bad)
		}
		for name, err := range map[string]error{
			"another partition": f.consumer.SetAside(contactsync.TopicPartition{Topic: "contacts", Partition: 7}, 2, 3),
			"more":              f.consumer.SetAside(partition0, 2, 4),
			"less":              f.consumer.SetAside(partition0, 2, 2),
			"good events":       f.consumer.SetAside(partition0, 1, 3),
		} {
			if err == nil {
				t.Errorf("%s: taken", name)
			}
		}
		f.did()
		if err := f.consumer.SetAside(partition0, 2, 3); err != nil {
			t.Fatal(err)
		}
		if err := f.consumer.SetAside(partition0, 2, 3); err != nil {
			t.Errorf("once more: %v", err)
		}
		kafka.Sleep(t.Context(), time.Minute)
		if got := f.consumer.NotReady(); got != "" {
			t.Errorf("not ready: %q", got)
		}
		did := f.did()
		if strings.Count(did, "dead letter") != 1 || !strings.Contains(did, `dead letter of 2: offsets 2 to 3: corrupt`) || !strings.Contains(did, "commit contacts/0@5 in 1") {
			t.Errorf("did %s", did)
		}
		if n := f.setAsides(); n != 2 {
			t.Errorf("%v offsets are counted, want 2", n)
		}
		if n := len(f.befores()); n != 4 { // 0, 1, the batch, 4
			t.Errorf("%d events were handed over, want 4", n)
		}
		if err := f.consumer.SetAside(partition0, 2, 3); err == nil {
			t.Error("taken although nothing is halted")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if log := f.log.String(); !strings.Contains(log, "contactsync set-aside") || strings.Contains(log, "max_batch_bytes") {
			t.Errorf("what to do about it: %s", log)
		}
	})
}

func TestConsumer_SetsABatchAsideByPolicyOnlyWhenItStaysTheSame(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		policy string
		alone  bool // nobody knows where the batch ends
		broken func(n int) bool
		want   float64
		halted bool
	}{
		{"halt", consumer.Halt, false, always, 0, true},
		{"set aside", consumer.SetAside, false, always, 2, false},
		{"damaged in transit", consumer.SetAside, false, func(n int) bool { return n == 1 }, 0, false},
		{"no end known", consumer.SetAside, true, always, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakesWith(t, func(c *consumer.Config) { c.OnUnreadableBatch = test.policy })
				f.damage(test.alone, test.broken)
				stop, _ := f.runOnce(t, 0)
				kafka.Sleep(t.Context(), 10*time.Minute)
				if n := f.setAsides(); n != test.want {
					t.Errorf("%v offsets are set aside, want %v", n, test.want)
				}
				if got := f.consumer.NotReady() != ""; got != test.halted {
					t.Errorf("halted: %t, want %t", got, test.halted)
				}
				if test.alone { // then an operator says where, within the partition
					if err := f.consumer.SetAside(partition0, 2, records); err == nil {
						t.Error("an end behind the partition's is taken")
					}
					if err := f.consumer.SetAside(partition0, 2, 3); err != nil {
						t.Error(err)
					}
					synctest.Wait()
					if n := f.setAsides(); n != 2 {
						t.Errorf("%v offsets are set aside by the operator, want 2", n)
					}
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// An earlier owner may have set the batch aside while older events were open.
func TestConsumer_AsksOnceForABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.damage(false, always)
		f.keep = 0 // and with it the committed offset
		var last kafka.Committed
		f.commit = func(_ *kafka.Generation, o kafka.Committed) error { last = o; return nil }
		second := make(chan struct{})
		first, end := generation(1, 1)
		first.Owned[0].Offset = 0
		f.next = func(n int) (*kafka.Generation, error) {
			switch n {
			case 1:
				return first, nil
			case 2:
				f.keep = -1
				gen, _ := generation(2, 1)
				gen.Owned[0] = last
				close(second)
				return gen, nil
			}
			return nil, nil
		}
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		if err := f.consumer.SetAside(partition0, 2, 3); err != nil {
			t.Fatal(err)
		}
		kafka.Sleep(t.Context(), time.Minute)
		end(kafka.ErrRebalance)
		<-second
		kafka.Sleep(t.Context(), 10*time.Minute)
		if got := f.consumer.NotReady(); got != "" {
			t.Errorf("the next owner: %q", got)
		}
		if n := f.setAsides(); n != 2 {
			t.Errorf("%v offsets are counted, want 2", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if !bytes.Contains(f.log.Bytes(), []byte("by an earlier owner")) || last.Offset != records {
			t.Errorf("committed %d:\n%s", last.Offset, &f.log)
		}
	})
}

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

// TestConsumer_ABatchOfALaterLeaderThatIsSetAsideIsNoLoss, whether or not its leader is known.
func TestConsumer_ABatchOfALaterLeaderThatIsSetAsideIsNoLoss(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(data []byte){
		"its leader is known": func(data []byte) { data[len(data)-1] ^= 0xff },
		"and is not":          func(data []byte) { data[16] = 1 }, // an older format
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { setAsideOfALaterLeader(t, damage) })
		})
	}
}

func setAsideOfALaterLeader(t *testing.T, damage func([]byte)) {
	f := newFakesWith(t, func(c *consumer.Config) { c.OnUnreadableBatch = consumer.SetAside })
	f.size.Store(6)
	f.epoch = func(offset int64) int32 { return 3 + int32(offset/2) }
	f.batches = func(offset int64) []byte {
		if offset > 5 {
			return nil
		}
		batchOf := func(first int64) []byte {
			return kafkatest.Batch(kmsg.RecordBatch{FirstOffset: first, PartitionLeaderEpoch: f.epoch(first)}, kmsg.Record{Value: []byte("{}")})
		}
		data := batchOf(offset)
		if offset == 2 {
			damage(data)
			data = append(data, batchOf(3)...)
		}
		return data
	}
	stop, _ := f.runOnce(t, 0)
	kafka.Sleep(t.Context(), 10*time.Minute)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := len(f.befores()); got != 6 {
		t.Errorf("%d events, want five and a dead letter\n%s", got, &f.log)
	}
	if got := f.value("contactsync_consumer_offsets_lost_total", ""); got != 0 {
		t.Errorf("%v offsets are counted as lost", got)
	}
}
