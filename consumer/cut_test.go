package consumer_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
)

// regrow has the log cut off at an offset, and written on by the next leader up to size.
type regrow struct{ at atomic.Int64 }

func (f *fakes) regrows() *regrow {
	r := &regrow{}
	r.at.Store(1000)
	f.stable, f.end = 1000, f.size.Load
	f.epoch = func(offset int64) int32 {
		if offset >= r.at.Load() {
			return 1
		}
		return 0
	}
	return r
}

func (r *regrow) cut(f *fakes, at, size int64) {
	r.at.Store(at)
	f.size.Store(size)
}

const untilRead = time.Minute

// TestConsumer_NoticesALogThatWasCutOffAndHasGrownPastWhatWasRead: the read position exists,
// but what lies before it is not what was read.
func TestConsumer_NoticesALogThatWasCutOffAndHasGrownPastWhatWasRead(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]consumer.State{consumer.Halt: consumer.Halted, consumer.Skip: consumer.Reading} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakesWith(t, func(cfg *consumer.Config) { cfg.OnOffsetLoss = policy })
				end := f.generations(t)
				log := f.regrows()
				f.atWork = func() time.Time { return time.Now().Add(time.Second) } // so that there is something to commit
				stop := f.run(t)
				kafka.Sleep(t.Context(), 3*time.Second)
				f.did()
				log.cut(f, 2, 9)
				kafka.Sleep(t.Context(), untilRead)
				if policy == consumer.Halt {
					end(kafka.ErrRebalance) // the next owner waits too
					kafka.Sleep(t.Context(), untilRead)
				} else if got := f.did(); !strings.HasPrefix(got, "release, next, assign 1") {
					t.Errorf("want the generation to end, and no commit: %s", got)
				}
				if got := f.consumer.Partitions(); len(got) != 1 || got[0].State != want {
					t.Errorf("%+v", got)
				}
				if got, want := len(f.befores()), map[string]int{consumer.Halt: records, consumer.Skip: records + 7}[policy]; got != want {
					t.Errorf("%d records were read, want %d", got, want)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				if got := f.value("contactsync_consumer_offsets_lost_total", "beyond_end"); got != 3 {
					t.Errorf("%v offsets are counted, want 3", got)
				}
			})
		})
	}
}

// TestConsumer_NoticesThatALogWasCutOffBelowWhatIsCommitted while nobody read it: the commit
// says which leader had written what lies below it.
func TestConsumer_NoticesThatALogWasCutOffBelowWhatIsCommitted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		policy string
		epoch  int32 // of the leader that the commit names
		cut    int64
		read   int
		lost   float64
	}{
		{"skip", consumer.Skip, 0, 2, 7, 2},
		{"halt", consumer.Halt, 0, 2, 0, 2},
		{"cut off behind the commit", consumer.Halt, 0, 4, 5, 0},
		{"the commit does not say", consumer.Halt, -1, 2, 5, 0},
		{"a later leader had written it", consumer.Halt, 1, 2, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakesWith(t, func(cfg *consumer.Config) { cfg.OnOffsetLoss = c.policy })
				f.regrows().cut(f, c.cut, 9)
				a := progress.Ahead{Offset: 4, End: 4, Leader: c.epoch, Log: progress.NewLog("", [16]byte{1})}
				gen, _ := generation(1, 1)
				gen.Owned[0].Offset, gen.Owned[0].TopicID = 4, [16]byte{1}
				gen.Owned[0].Metadata, _ = a.Text(progress.MaxText)
				f.once(gen)
				stop := f.run(t)
				kafka.Sleep(t.Context(), untilRead)
				if got := len(f.befores()); got != c.read {
					t.Errorf("%d records were read, want %d", got, c.read)
				}
				if got := f.consumer.Partitions(); (got[0].State == consumer.Halted) != (c.read == 0) {
					t.Errorf("%+v", got)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				if got := f.value("contactsync_consumer_offsets_lost_total", "beyond_end"); got != c.lost {
					t.Errorf("%v offsets are counted, want %v", got, c.lost)
				}
			})
		})
	}
}

// TestConsumer_AnotherLeaderIsNoLoss: it goes on where the one before has ended.
func TestConsumer_AnotherLeaderIsNoLoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.generations(t)
		log := f.regrows()
		stop := f.run(t)
		kafka.Sleep(t.Context(), 3*time.Second)
		f.did()
		log.cut(f, records, 9)
		kafka.Sleep(t.Context(), untilRead)
		if got := f.did(); strings.Contains(got, "release") {
			t.Error(got)
		}
		if got := len(f.befores()); got != 9 {
			t.Errorf("%d records were read", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := f.value("contactsync_consumer_offsets_lost_total", ""); got != 0 {
			t.Errorf("%v offsets are counted", got)
		}
	})
}
