package consumer_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
)

// askedAbout has the sink do something each time that it is asked whether events may be read again.
type askedAbout struct {
	*fakes

	asked func() (pass int)
}

func (a askedAbout) ReadAgain(contactsync.Claim) int { return a.asked() }

// runAsked is runOnce with a sink that answers so.
func (f *fakes) runAsked(t *testing.T, asked func() int) {
	t.Helper()
	gen, _ := generation(1, 1)
	gen.Owned[0].Offset = 0
	f.once(gen)
	var sink consumer.Sink = askedAbout{f, asked}
	go func() { _ = f.consumer.Run(t.Context(), sink) }()
}

// What the sink leaves in the moment before it says yes is read again too.
func TestConsumer_ReadsAgainFromWhatWasLeftLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		again := f.leaves(3)
		f.keep = 1
		f.runAsked(t, func() int {
			if pass := f.pass.Load(); pass > 0 && len(*again) == 0 {
				f.consumer.Park([]contactsync.Parked{{Claim: contactsync.Claim{TopicPartition: partition0, Generation: 1}, Offset: 1}})
			}
			return int(f.pass.Load())
		})
		kafka.Sleep(t.Context(), time.Minute)
		f.pass.Store(1)
		kafka.Sleep(t.Context(), time.Minute)
		if !slices.Equal(*again, []int64{1, 3}) {
			t.Errorf("read again %v", *again)
		}
	})
}

// What the log does not have any more is told also where the sink begins anew meanwhile.
func TestConsumer_TellsWhatIsGoneOfAReadingThatBeganAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.leaves(0, 1, 3)
		f.runAsked(t, func() int {
			if f.pass.Load() == 1 && f.consumer.Partitions()[0].Parked == 1 {
				f.pass.Store(2)
			}
			return int(f.pass.Load())
		})
		kafka.Sleep(t.Context(), time.Minute)
		f.begins.Store(2)
		f.did()
		f.pass.Store(1)
		kafka.Sleep(t.Context(), time.Minute)
		if did := f.did(); !strings.Contains(did, "read again contacts/0 in 2, 2 gone") {
			t.Errorf("did %q", did)
		}
	})
}

// A batch that was set aside does not end the reading of what is behind it.
func TestConsumer_ReadsAgainPastABatchThatWasSetAside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakesWith(t, func(c *consumer.Config) { c.OnUnreadableBatch = consumer.SetAside })
		f.damage(false, always)
		answers := f.batches
		f.batches = func(o int64) []byte {
			if o == 4 {
				return kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 4}, kmsg.Record{Value: []byte("{}")})
			}
			return answers(o)
		}
		again := f.leaves(1, 4)
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), 10*time.Minute)
		f.pass.Store(1)
		kafka.Sleep(t.Context(), 10*time.Minute)
		if !slices.Equal(*again, []int64{1, 4}) || f.pass.Load() != 0 {
			t.Errorf("read again %v, pass %d", *again, f.pass.Load())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A batch that could be read once and cannot be read again is told, once a minute, and counted; new
// events go on.
func TestConsumer_TellsOfABatchThatCannotBeReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.damage(false, func(int) bool { return f.pass.Load() == 1 })
		answers := f.batches
		f.batches = func(o int64) []byte {
			if o == 4 {
				return kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 4}, kmsg.Record{Value: []byte("{}")})
			}
			return answers(o)
		}
		again := f.leaves(2, 4)
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), time.Minute)
		f.pass.Store(1)
		kafka.Sleep(t.Context(), 3*time.Minute+30*time.Second)
		if n := f.value("contactsync_consumer_fetch_errors_total", "decode"); n < 3 {
			t.Errorf("%v are counted", n)
		}
		if p := f.consumer.Partitions()[0]; p.Next != records || p.Parked != 2 || len(*again) > 0 {
			t.Errorf("%+v, read again %v", p, *again)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(f.log.String(), "could not be read again"); n < 3 || n > 4 || !strings.Contains(f.log.String(), "contactsync set-aside") {
			t.Errorf("the log says it %d times, want once a minute:\n%s", n, f.log.String())
		}
	})
}
