package consumer_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
)

// A replica stays ready while its partitions are given back and while other members are
// waited for, whether it owned any or not. It is not once nothing was read for a minute.
func TestConsumer_StaysReadyInARebalance(t *testing.T) {
	t.Parallel()
	for name, partitions := range map[string]int{"it owns one": 1, "it owns none": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				f.hold = 20 * time.Second
				first, end := generation(1, partitions)
				second, endSecond := generation(2, partitions)
				first.All, second.All = 1, 1
				joined := make(chan struct{})
				f.next = func(n int) (*kafka.Generation, error) {
					switch n {
					case 1:
						return first, nil
					case 2:
						kafka.Sleep(t.Context(), 30*time.Second)
						return second, nil
					}
					close(joined)
					return nil, nil // the other members do not come back
				}
				if f.consumer.NotReady() == "" {
					t.Error("ready before the first assignment")
				}
				stop := f.run(t)
				kafka.Sleep(t.Context(), time.Hour)
				end(kafka.ErrRebalance)
				for range 200 {
					if why := f.consumer.NotReady(); why != "" {
						t.Fatalf("not ready in a rebalance: %s", why)
					}
					kafka.Sleep(t.Context(), time.Second)
				}
				endSecond(kafka.ErrRebalance)
				<-joined
				kafka.Sleep(t.Context(), 59*time.Second)
				if why := f.consumer.NotReady(); why != "" {
					t.Errorf("not ready before a minute is over: %s", why)
				}
				kafka.Sleep(t.Context(), 2*time.Second)
				if why := f.consumer.NotReady(); !strings.Contains(why, "rebalances") {
					t.Errorf("after a minute: %q", why)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Neither is it unready while leaders move, but where nobody leads its partitions for long.
func TestConsumer_StaysReadyForAWhileWithoutALeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), time.Hour)
		f.adrift.Store(true) // for all fetches
		kafka.Sleep(t.Context(), 50*time.Second)
		if got := f.consumer.Partitions(); got[0].State != consumer.Unavailable || f.consumer.NotReady() != "" {
			t.Errorf("%+v, not ready: %q", got, f.consumer.NotReady())
		}
		kafka.Sleep(t.Context(), 30*time.Second)
		if why := f.consumer.NotReady(); !strings.Contains(why, "contacts/0 is unavailable") {
			t.Errorf("not ready: %q", why)
		}
		f.adrift.Store(false)
		kafka.Sleep(t.Context(), 10*time.Second)
		if why := f.consumer.NotReady(); why != "" {
			t.Errorf("not ready when it is read again: %s", why)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A state says since when it is, also where nothing is wrong.
func TestConsumer_SaysSinceWhenAPartitionIsReadAsItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.stable = records + 2
		start := time.Now()
		is := func(state consumer.State, from, to time.Duration) {
			t.Helper()
			if p := f.consumer.Partitions()[0]; p.State != state || p.Since.Before(start.Add(from)) || p.Since.After(start.Add(to)) {
				t.Errorf("%s since %v, want %s since %v to %v", p.State, p.Since.Sub(start), state, from, to)
			}
		}
		stop, _ := f.runOnce(t, 0)
		kafka.Sleep(t.Context(), time.Minute)
		is(consumer.Reading, 0, time.Second)
		f.adrift.Store(true)
		kafka.Sleep(t.Context(), 30*time.Second)
		is(consumer.Unavailable, 60*time.Second, 62*time.Second)
		f.adrift.Store(false)
		kafka.Sleep(t.Context(), 30*time.Second)
		is(consumer.Reading, 90*time.Second, 95*time.Second)
		f.slow = 20 * time.Second // until the sink has taken two more
		f.cut(records + 2)
		kafka.Sleep(t.Context(), 10*time.Second)
		is(consumer.Waiting, 120*time.Second, 122*time.Second)
		kafka.Sleep(t.Context(), 30*time.Second)
		is(consumer.Reading, 140*time.Second, 142*time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
