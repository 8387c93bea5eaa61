package consumer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
)

// What a reader adds while its generation ends is drained and committed as well.
func TestConsumer_DrainsOnceItsReadersHaveEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.slow = time.Second
		stop, end := f.runOnce(t, kafka.NoOffset)
		synctest.Wait()
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), 2*time.Second)
		if got := f.did(); got != "next, assign 1, added, release, commit contacts/0@5 in 1, next" {
			t.Error(got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestConsumer_GivesADrainUpWhenItsTimeHasPassed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.hold = time.Hour
		stop, end := f.runOnce(t, kafka.NoOffset)
		synctest.Wait()
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), consumer.DefaultConfig().DrainTimeout+time.Second)
		if got := f.did(); got != "next, assign 1, release, given up, commit contacts/0@5 in 1, next" {
			t.Error(got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestConsumer_DoesNotCommitAgainWhatItsPredecessorCommitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		stop, end := f.runOnce(t, records)
		kafka.Sleep(t.Context(), time.Minute)
		end(kafka.ErrRebalance)
		synctest.Wait()
		if got := f.did(); got != "next, assign 1, release, next" {
			t.Error(got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestConsumer_AsksForLittleWhereItHasManyPartitions: while the window is full each of them holds an answer,
// and nothing is charged for it.
func TestConsumer_AsksForLittleWhereItHasManyPartitions(t *testing.T) {
	t.Parallel()
	for partitions, want := range map[int]int32{1: 1 << 20, 64: 1 << 20, 400: (64 << 20) / 400, 2000: 64 << 10} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakes(t)
			gen, end := generation(1, partitions)
			f.once(gen)
			stop := f.run(t)
			synctest.Wait()
			f.mu.Lock()
			got := f.largest
			f.mu.Unlock()
			if got != want {
				t.Errorf("with %d partitions a fetch asks for %d bytes, want %d", partitions, got, want)
			}
			end(kafka.ErrRebalance)
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
