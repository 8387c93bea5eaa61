package consumer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
)

// generations returns two generations of one partition, of which the second begins with
// what was committed last.
func (f *fakes) generations(t *testing.T) (end context.CancelCauseFunc) {
	t.Helper()
	first, end := generation(1, 1)
	f.first = &first.Owned[0]
	f.first.TopicID = [16]byte{1}
	f.commit = func(_ *kafka.Generation, o kafka.Committed) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.last = o
		return nil
	}
	f.next = func(n int) (*kafka.Generation, error) {
		switch n {
		case 1:
			return first, nil
		case 2:
			second, _ := generation(2, 1)
			second.Owned[0] = f.lastCommit()
			second.Owned[0].TopicID = [16]byte{1}
			return second, nil
		}
		return nil, nil
	}
	return end
}

func TestConsumer_TheNextOwnerKnowsWhatHadEndedBeyondTheOffset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.keep = 1 // of five
		end := f.generations(t)
		stop := f.run(t)
		kafka.Sleep(t.Context(), 3*time.Second)
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), 3*time.Second)
		want := []contactsync.State{
			contactsync.Open, contactsync.Open, contactsync.Open, contactsync.Open, contactsync.Open, // the first owner
			contactsync.Open, contactsync.Completed, contactsync.Completed, contactsync.Completed, // from the open one on
		}
		if got := f.befores(); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestConsumer_SendsAgainWhatAnOperatorResets: an offset that was set by hand is an order
// to do everything from there on again.
func TestConsumer_SendsAgainWhatAnOperatorResets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		a := progress.Ahead{Log: progress.NewLog("", [16]byte{}), Offset: 3, End: records}
		text, _ := a.Text(progress.MaxText)
		gen, _ := generation(1, 1)
		gen.Owned[0].Offset, gen.Owned[0].Metadata = 0, text
		f.once(gen)
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := f.befores(); slices.Max(got) != contactsync.Open || len(got) != records {
			t.Errorf("%v", got)
		}
		if got := f.value("contactsync_consumer_progress_ignored_total", "other_offset"); got != 1 {
			t.Errorf("counted %v times", got)
		}
	})
}

// TestConsumer_CommitsWithoutProgressWhereBrokersKeepLess: the offset matters more than
// what goes with it.
func TestConsumer_CommitsWithoutProgressWhereBrokersKeepLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.keep = 2
		kept := -1
		f.commit = func(_ *kafka.Generation, o kafka.Committed) error {
			if o.Metadata != "" {
				return kafka.ErrMetadataTooLarge
			}
			kept = int(o.Offset)
			return nil
		}
		stop, _ := f.runOnce(t, kafka.NoOffset)
		kafka.Sleep(t.Context(), 10*time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if kept != 2 {
			t.Errorf("committed %d, want 2", kept)
		}
		if log := f.log.String(); !strings.Contains(log, "offset.metadata.max.bytes") {
			t.Errorf("nobody is told:\n%s", log)
		}
	})
}

// TestConsumer_WaitsForCallsOfTheOwnerBefore: a call that was given up may be applied
// after the next owner has read a newer state.
func TestConsumer_WaitsForCallsOfTheOwnerBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.keep = 1
		end := f.generations(t)
		f.atWork = func() time.Time { return time.Now().Add(20 * time.Second) }
		stop := f.run(t)
		kafka.Sleep(t.Context(), 3*time.Second)
		end(kafka.ErrRebalance)
		synctest.Wait()
		caughtUp := f.caughtUpCount()
		kafka.Sleep(t.Context(), 19*time.Second)
		if got := f.caughtUpCount(); got != caughtUp {
			t.Error("contacts may be sent while a call of the owner before may still be applied")
		}
		kafka.Sleep(t.Context(), 2*time.Second)
		if got := f.caughtUpCount(); got != caughtUp+1 {
			t.Error("contacts wait for ever")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestConsumer_SaysForHowLongItsCallsMayBeApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		end := f.generations(t)
		f.atWork = func() time.Time { return time.Now().Add(20 * time.Second) }
		stop := f.run(t)
		kafka.Sleep(t.Context(), 3*time.Second)
		end(kafka.ErrRebalance)
		synctest.Wait()
		last := f.lastCommit()
		if err := stop(); err != nil {
			t.Error(err)
		}
		a, err := progress.Parse(last.Metadata, last.Offset, progress.NewLog("", [16]byte{1}))
		if err != nil || !a.Released || a.AtWork != 20*time.Second {
			t.Fatalf("the last commit says %+v, %v", a, err)
		}

		next := newFakes(t) // in another process
		gen, _ := generation(1, 1)
		gen.Owned[0], gen.Owned[0].TopicID = last, [16]byte{1}
		next.once(gen)
		stop = next.run(t)
		kafka.Sleep(t.Context(), 19*time.Second)
		if got := next.caughtUpCount(); got != 0 {
			t.Error("the next owner does not wait")
		}
		kafka.Sleep(t.Context(), 2*time.Second)
		if got := next.caughtUpCount(); got != 1 {
			t.Error("the next owner waits for ever")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestConsumer_AReplicaThatComesBackAtOnceWaitsForItsOwnCalls: with an instance id Kafka
// does not wait for a session before it gives the partitions to a process that replaces a
// dead one.
func TestConsumer_AReplicaThatComesBackAtOnceWaitsForItsOwnCalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kept, released, waits bool
	}{
		"after a crash":               {true, false, true},
		"after a stop in order":       {true, true, false},
		"where nothing kept says how": {false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakesWith(t, func(cfg *consumer.Config) { cfg.InstanceID = "contactsync-0" })
				a := progress.Ahead{Log: progress.NewLog("", [16]byte{}), Offset: 3, End: 3, Released: c.released}
				gen, _ := generation(1, 1)
				gen.Owned[0].Offset = 3
				if c.kept {
					gen.Owned[0].Metadata, _ = a.Text(progress.MaxText)
				}
				f.once(gen)
				f.stable = 3          // nothing else is committed
				var again atomic.Bool // a commit says that it is owned again
				f.commit = func(_ *kafka.Generation, o kafka.Committed) error {
					now, _ := progress.Parse(o.Metadata, o.Offset, a.Log)
					again.Store(again.Load() || now != nil && !now.Released)
					return nil
				}
				stop := f.run(t)
				kafka.Sleep(t.Context(), consumer.DefaultConfig().Lease()-time.Second)
				if c.released && !again.Load() {
					t.Error("the last commit still says that it was released")
				}
				if waits := f.caughtUpCount() == 0; waits != c.waits {
					t.Errorf("it waits: %v", waits)
				}
				kafka.Sleep(t.Context(), 2*time.Second)
				if f.caughtUpCount() != 1 {
					t.Error("contacts wait for ever")
				}
				if err := stop(); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}
