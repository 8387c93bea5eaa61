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
