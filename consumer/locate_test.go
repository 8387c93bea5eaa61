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
					f.cut(records + 4) // where it is read, too
					return records + 4
				}
				stop, _ := f.runOnce(t, records+4)
				kafka.Sleep(t.Context(), 10*time.Minute)
				if got := f.consumer.NotReady() == ""; got != (c.lost == 0) {
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

// A topic that is recreated while it is read is one loss, and not of the offsets by which
// the new one is shorter; where nobody knows, it is those.
func TestConsumer_CountsATopicThatIsRecreatedWhileItIsRead(t *testing.T) {
	t.Parallel()
	for reason, id := range map[string][16]byte{"recreated": {2}, "beyond_end": {1}} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				f.end = f.size.Load
				f.topic = [16]byte{1}
				f.generations(t)
				stop := f.run(t)
				kafka.Sleep(t.Context(), time.Minute)
				f.topic = id
				f.cut(2)
				kafka.Sleep(t.Context(), time.Minute)
				if p := f.consumer.Partitions()[0]; p.State != consumer.Halted || !strings.Contains(p.Reason, reason) {
					t.Errorf("%+v", p)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				want := map[string]float64{"recreated": 1, "beyond_end": records - 2}[reason]
				if n, all := f.value("contactsync_consumer_offsets_lost_total", reason), f.value("contactsync_consumer_offsets_lost_total", ""); n != want || all != n {
					t.Errorf("%v lost offsets are counted as %s and %v in all, want %v", n, reason, all, want)
				}
			})
		})
	}
}

// An offset that exists, as Kafka says, and is refused again and again is none that is read.
func TestConsumer_ShowsAFetchThatIsRefusedForAnOffsetThatExists(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.end = func() int64 { return records + 4 }
		stop, _ := f.runOnce(t, records+2)
		kafka.Sleep(t.Context(), 5*time.Second)
		since := f.consumer.Partitions()[0].Since
		kafka.Sleep(t.Context(), 2*time.Minute)
		got := f.consumer.Partitions()[0]
		if got.State != consumer.Unavailable || !strings.Contains(got.Reason, "refuses to read an offset") || !got.Since.Equal(since) || f.consumer.NotReady() == "" {
			t.Errorf("%+v since %v, not ready: %q", got, since, f.consumer.NotReady())
		}
		f.cut(records + 4)
		kafka.Sleep(t.Context(), 10*time.Second)
		if got := f.consumer.Partitions()[0]; got.State != consumer.Reading || f.consumer.NotReady() != "" {
			t.Errorf("when it is read: %+v, not ready: %q", got, f.consumer.NotReady())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(f.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want one:\n%s", n, &f.log)
		}
	})
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

// TestConsumer_AHaltOutlivesTheGrowthOfTheLog: records that come later do not bring back
// those that were lost, in this process or in the next.
func TestConsumer_AHaltOutlivesTheGrowthOfTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := atomic.Int64{}
		end.Store(records)
		f := newFakes(t)
		f.end = end.Load
		stopRebalance := f.generations(t)
		f.first.Offset = records + 4
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		end.Store(records + 100)
		kafka.Sleep(t.Context(), time.Minute)
		if got := f.consumer.Partitions(); len(got) != 1 || got[0].State != consumer.Halted || f.consumer.NotReady() == "" {
			t.Errorf("the log has grown: %+v", got)
		}
		if at := f.lastCommit().Offset; at != records+4 {
			t.Errorf("committed %d, want what was", at)
		}
		stopRebalance(kafka.ErrRebalance) // the next generation reads what was committed
		kafka.Sleep(t.Context(), time.Minute)
		if got := f.consumer.Partitions(); len(got) != 1 || got[0].State != consumer.Halted {
			t.Errorf("after a rebalance: %+v", got)
		}
		if n := f.value("contactsync_consumer_halted_partitions", ""); n != 1 {
			t.Errorf("%v partitions are counted as halted, want one", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := f.value("contactsync_consumer_halted_partitions", ""); n != 0 {
			t.Errorf("%v partitions are counted as halted when none is owned", n)
		}
		if got := f.value("contactsync_consumer_offsets_lost_total", "beyond_end"); got != 4 {
			t.Errorf("%v offsets are counted over two generations, want 4", got)
		}

		for policy, want := range map[string]consumer.State{consumer.Halt: consumer.Halted, consumer.Skip: consumer.Reading} {
			next := newFakesWith(t, func(cfg *consumer.Config) { cfg.OnOffsetLoss = policy }) // another process
			next.end = end.Load
			gen, _ := generation(1, 1)
			gen.Owned[0], gen.Owned[0].TopicID = f.lastCommit(), [16]byte{1}
			next.once(gen)
			stop := next.run(t)
			kafka.Sleep(t.Context(), time.Minute)
			if got := next.consumer.Partitions(); len(got) != 1 || got[0].State != want {
				t.Errorf("policy %s in another process: %+v", policy, got)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if got := next.value("contactsync_consumer_offsets_lost_total", ""); got != 0 || strings.Contains(next.log.String(), "events were lost in Kafka") {
				t.Errorf("policy %s: %v offsets are counted again:\n%s", policy, got, &next.log)
			}
		}
	})
}

// TestConsumer_AnOffsetOfAnotherLogIsLost although it lies within the present one.
func TestConsumer_AnOffsetOfAnotherLogIsLost(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]consumer.State{consumer.Halt: consumer.Halted, consumer.Skip: consumer.Reading} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakesWith(t, func(cfg *consumer.Config) { cfg.OnOffsetLoss = policy })
				a := progress.Ahead{Offset: 3, End: 3, Log: progress.NewLog("", [16]byte{1})}
				gen, _ := generation(1, 1)
				gen.Owned[0].Offset, gen.Owned[0].TopicID = 3, [16]byte{2}
				gen.Owned[0].Metadata, _ = a.Text(progress.MaxText)
				f.once(gen)
				stop := f.run(t)
				kafka.Sleep(t.Context(), time.Minute)
				if got := f.consumer.Partitions(); len(got) != 1 || got[0].State != want {
					t.Errorf("%+v", got)
				}
				if n := len(f.befores()); (n == records) != (policy == consumer.Skip) {
					t.Errorf("%d records were read", n)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				if got := f.value("contactsync_consumer_offsets_lost_total", "recreated"); got != 1 {
					t.Errorf("counted %v times", got)
				}
			})
		})
	}
}

// TestConsumer_TakesAPartitionUpAnewWhoseLogWasCutOff: offsets that were read hold other
// events now, which must not be taken for those.
func TestConsumer_TakesAPartitionUpAnewWhoseLogWasCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakesWith(t, func(cfg *consumer.Config) { cfg.OnOffsetLoss = consumer.Skip })
		f.generations(t)
		f.end = f.size.Load
		f.atWork = func() time.Time { return time.Now().Add(time.Second) } // so that there is something to commit
		stop := f.run(t)
		kafka.Sleep(t.Context(), 3*time.Second)
		f.did()
		f.cut(2)
		kafka.Sleep(t.Context(), time.Minute)
		if got := f.did(); !strings.HasPrefix(got, "release, next, assign 1") {
			t.Errorf("want the generation to end, and no commit: %s", got)
		}
		if got := len(f.befores()); got != records+2 {
			t.Errorf("%d records were read, want those of the present log too", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := f.value("contactsync_consumer_offsets_lost_total", "beyond_end"); got != 3 {
			t.Errorf("%v offsets are counted, want 3", got)
		}
	})
}

// TestConsumer_APartitionWithoutALeaderHoldsUpNoOther in its catch-up.
func TestConsumer_APartitionWithoutALeaderHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.leaderless = 1
		gen, _ := generation(1, 2)
		f.once(gen)
		stop := f.run(t)
		kafka.Sleep(t.Context(), consumer.DefaultConfig().CatchupMax+20*time.Second)
		if got := f.caughtUpCount(); got != 2 {
			t.Errorf("%d partitions have caught up: the others wait for one without a leader", got)
		}
		got := f.consumer.Partitions()
		if got[0].State != consumer.Reading || got[0].Lag != 0 || got[1].State != consumer.Unavailable || got[1].Lag != -1 || !strings.Contains(got[1].Reason, "no leader") {
			t.Errorf("%+v", got)
		}
		if f.consumer.NotReady() != "" {
			t.Error("not ready although one is read")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestConsumer_TheLagOfWhatIsNotReadIsTrue: it grows with the log, and is not known where
// Kafka does not tell it.
func TestConsumer_TheLagOfWhatIsNotReadIsTrue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		end := atomic.Int64{}
		end.Store(records)
		f.end = end.Load
		stop, _ := f.runOnce(t, records+4)
		kafka.Sleep(t.Context(), time.Minute)
		end.Store(records + 50)
		kafka.Sleep(t.Context(), 10*time.Second)
		if got := f.consumer.Partitions(); got[0].State != consumer.Halted || got[0].End != records+50 || got[0].Lag != records+50 {
			t.Errorf("%+v", got)
		}
		f.away.Store(true)
		kafka.Sleep(t.Context(), time.Minute)
		if got := f.consumer.Partitions(); got[0].Lag != -1 {
			t.Errorf("%+v: nobody knows that", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
