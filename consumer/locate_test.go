package consumer_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/internal/kafka"
)

// A broker that has just become the leader may not know yet where the log ends.
func TestConsumer_BelievesThatAnOffsetIsLostOnlyWhenItStaysBeyondTheEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		grows time.Duration // when the partition is seen to end behind the committed offset
		lost  int           // how often the loss of the four offsets is noted
	}{
		{"the end comes", 5 * time.Second, 0},
		{"the end stays", time.Hour, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				start := time.Now()
				f.end = func() int64 {
					if time.Since(start) < c.grows {
						return records
					}
					return records + 4
				}
				stop, _ := f.runOnce(t, records+4)
				kafka.Sleep(t.Context(), 10*time.Minute)
				if got := f.consumer.Ready(); got != (c.lost == 0) {
					t.Errorf("ready: %v", got)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				if n := strings.Count(f.log.String(), "lost=4"); n != c.lost {
					t.Errorf("the loss is noted %d times, want %d:\n%s", n, c.lost, &f.log)
				}
			})
		})
	}
}

// Behind the last stable offset there may be a transaction that does not end for hours.
func TestConsumer_HasCaughtUpAtTheLastStableOffset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.stable = records - 2
		stop, _ := f.runOnce(t, 0)
		synctest.Wait()
		f.mu.Lock()
		n := f.caughtUp
		f.mu.Unlock()
		if n != 1 {
			t.Errorf("caught up %d times, want once", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
