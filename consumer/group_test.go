package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
)

// What ends a generation, its events are drained and committed in it, and only then
// is the next one asked for.
func TestConsumer_DrainsAndCommitsBeforeItGivesAGenerationUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		first, end := generation(1, 1)
		second, _ := generation(2, 1)
		f.next = func(n int) (*kafka.Generation, error) {
			return []*kafka.Generation{first, second}[n-1], nil
		}
		stop := f.run(t)
		synctest.Wait()
		if got := f.did(); got != "next, assign 1" {
			t.Errorf("at the start: %s", got)
		}
		end(kafka.ErrRebalance)
		synctest.Wait()
		if got := f.did(); got != "release, commit contacts/0@5 in 1, next, assign 1" {
			t.Errorf("at the rebalance: %s", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := f.did(); got != "release, commit contacts/0@5 in 2, leave" {
			t.Errorf("at the stop: %s", got)
		}
		if n := f.consumer.Tracked(); n != 0 {
			t.Errorf("%d partitions are still tracked", n)
		}
		for _, line := range []string{"rebalance: releasing partitions", "stopping: releasing partitions"} {
			if strings.Count(f.log.String(), line) != 1 {
				t.Errorf("%q is not logged once:\n%s", line, &f.log)
			}
		}
	})
}

// A member that is one no more forgets at once: its partitions may have another owner.
func TestConsumer_NothingIsSentOrCommittedOnceTheGenerationIsLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, want string }{
		{"without warning", "give up, next"},
		{"while it is given up", "release, given up, next"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				f.hold = time.Minute
				gen, end := generation(1, 1)
				lost, lose := context.WithCancelCause(context.Background())
				gen.Lost = lost
				f.next = func(n int) (*kafka.Generation, error) {
					if n == 1 {
						return gen, nil
					}
					return nil, nil
				}
				stop := f.run(t)
				synctest.Wait()
				f.did()
				start := time.Now()
				if c.name == "without warning" {
					lose(kafka.ErrFenced)
					end(kafka.ErrFenced)
				} else {
					end(kafka.ErrRebalance)
					kafka.Sleep(t.Context(), 2*time.Second)
					lose(kafka.ErrFenced)
				}
				synctest.Wait()
				if got := f.did(); got != c.want {
					t.Errorf("I4: %s, want %s", got, c.want)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("after %v", took)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The contacts of the others do not wait for a partition that may not be read, which would
// be for catchup_max.
func TestConsumer_CatchesUpWithoutAForbiddenPartition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.forbidden = 1
		gen, _ := generation(1, 2)
		f.next = func(int) (*kafka.Generation, error) { return gen, nil }
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Second)
		if got := f.caughtUpCount(); got != 2 {
			t.Errorf("%d of 2 partitions hold up no contact", got)
		}
		if got := f.consumer.Partitions(); got[1].State != consumer.Forbidden {
			t.Errorf("%+v", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// After a rebalance a deleted topic has no partitions: the others are read, the topic is
// named, and where there is no other the replica is not ready.
func TestConsumer_NamesMissingTopics(t *testing.T) {
	t.Parallel()
	for _, others := range []int{1, 0} {
		t.Run(fmt.Sprint("others ", others), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFakes(t)
				gen, end := generation(1, others)
				gen.All, gen.Missing = others, []string{"gone"}
				f.next = func(n int) (*kafka.Generation, error) {
					if n == 1 {
						return gen, nil
					}
					next, _ := generation(2, 1)
					next.All = 1
					return next, nil
				}
				stop := f.run(t)
				synctest.Wait()
				if got := f.consumer.MissingTopics(); len(got) != 1 || got[0] != "gone" {
					t.Errorf("missing topics %q", got)
				}
				if why := f.consumer.NotReady(); (why == "") != (others > 0) || others == 0 && !strings.HasPrefix(why, "there is no partition to read:\ntopic gone does not exist") {
					t.Errorf("not ready: %q with %d other partitions", why, others)
				}
				end(kafka.ErrRebalance) // the topic is there again
				synctest.Wait()
				if got := f.consumer.MissingTopics(); len(got) != 0 || f.consumer.NotReady() != "" {
					t.Errorf("missing topics %q, not ready: %q", got, f.consumer.NotReady())
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// One partition whose committed offset Kafka does not say stops no other one.
func TestConsumer_ReadsTheOthersWhereACommittedOffsetIsNotKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		gen, _ := generation(1, 2)
		gen.Owned[1].Err = kafka.ErrDenied
		start := time.Now()
		f.ask = func() kafka.Committed {
			if time.Since(start) < time.Minute {
				return kafka.Committed{Err: kafka.ErrDenied}
			}
			return kafka.Committed{Offset: 2}
		}
		f.next = func(int) (*kafka.Generation, error) { return gen, nil }
		stop := f.run(t)
		kafka.Sleep(t.Context(), 10*time.Second)
		if got := f.did(); got != "next, assign 2, commit contacts/0@5 in 1" {
			t.Error(got)
		}
		if got := f.consumer.Partitions(); got[0].State != consumer.Reading || got[1].State != consumer.Forbidden || f.consumer.NotReady() != "" {
			t.Errorf("%+v, not ready: %q", got, f.consumer.NotReady())
		}
		kafka.Sleep(t.Context(), 2*time.Minute)
		if got := f.did(); got != "committed of contacts/1, committed of contacts/1, commit contacts/1@5 in 1" {
			t.Error(got)
		}
		if got := f.consumer.Partitions(); got[1].State != consumer.Reading {
			t.Errorf("%+v", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Kafka says that another member owns the partitions: nothing is gained by asking again.
func TestConsumer_AFencedMemberGivesItsPartitionsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		gen, _ := generation(1, 1)
		f.next = func(n int) (*kafka.Generation, error) {
			if n == 1 {
				return gen, nil
			}
			return nil, nil
		}
		f.commit = func(*kafka.Generation, kafka.Committed) error { return kafka.ErrFenced }
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		if got := f.did(); got != "next, assign 1, commit contacts/0@5 in 1, release, commit contacts/0@5 in 1, next" {
			t.Error(got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A right that is missing is counted as that, and /readyz says why the group is not joined.
func TestConsumer_NamesAMissingRight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		denied := fmt.Errorf("%w: grant READ", kafka.ErrDenied)
		f.commit = func(*kafka.Generation, kafka.Committed) error { return denied }
		gen, end := generation(1, 1)
		f.next = func(n int) (*kafka.Generation, error) {
			if n > 1 {
				return nil, denied
			}
			return gen, nil
		}
		stop := f.run(t)
		kafka.Sleep(t.Context(), 20*time.Second)
		if n := f.value("contactsync_consumer_commits_total", "forbidden"); n < 2 {
			t.Errorf("%v commits are counted as forbidden", n)
		}
		if at := f.value("contactsync_consumer_last_commit_timestamp_seconds", ""); float64(time.Now().Unix())-at != 20 {
			t.Errorf("nothing was committed since %v, want since the assignment", at)
		}
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), 5*time.Minute)
		if why := f.consumer.NotReady(); !strings.Contains(why, "grant READ") {
			t.Errorf("not ready: %q", why)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A partition whose commit fails is tried again, without those that were taken.
func TestConsumer_CommitsAgainWhatWasNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.keep = 3
		gen, _ := generation(1, 2)
		f.next = func(int) (*kafka.Generation, error) { return gen, nil }
		refusals := 2
		f.commit = func(_ *kafka.Generation, o kafka.Committed) error {
			if o.Partition == 1 && refusals > 0 {
				refusals--
				return errors.New("the coordinator is loading")
			}
			return nil
		}
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Minute)
		calls := strings.Split(f.did(), ", ")[2:]
		slices.Sort(calls)
		want := slices.Repeat([]string{"commit contacts/1@3 in 1"}, 3)
		if want = slices.Insert(want, 0, "commit contacts/0@3 in 1"); !slices.Equal(calls, want) {
			t.Errorf("I2: %q, want %q", calls, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestConsumer_JoinsAgainAfterAnErrorAndGivesUpWithoutATopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		f.next = func(n int) (*kafka.Generation, error) {
			switch n {
			case 1:
				return nil, errors.New("dial tcp :0")
			case 2:
				return nil, kafka.ErrRebalance
			}
			return nil, fmt.Errorf("topic %q: %w", "contacts", kafka.ErrNoTopic)
		}
		start := time.Now()
		err := f.consumer.Run(t.Context(), f)
		if !errors.Is(err, kafka.ErrNoTopic) || !strings.Contains(err.Error(), "consumer.topics") {
			t.Errorf("Run: %v", err)
		}
		if got := f.did(); got != "next, next, next, leave" {
			t.Error(got)
		}
		if time.Since(start) == 0 {
			t.Error("no wait between the attempts")
		}
		if n := strings.Count(f.log.String(), "joining the group failed"); n != 1 {
			t.Errorf("%d failures are logged, want 1: a rebalance is none\n%s", n, &f.log)
		}
	})
}

// An absent Kafka fails each attempt; only an attempt that hangs is cured by a restart.
func TestConsumer_IsStuckOnlyWhereJoiningHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		hang := make(chan struct{})
		f.next = func(int) (*kafka.Generation, error) {
			select {
			case <-hang:
				return nil, nil
			default:
				return nil, errors.New("connection refused")
			}
		}
		stop := f.run(t)
		kafka.Sleep(t.Context(), time.Hour)
		if why := f.consumer.Stuck(time.Now(), time.Minute); why != "" {
			t.Errorf("without Kafka: %s", why)
		}
		close(hang)
		kafka.Sleep(t.Context(), time.Hour)
		if f.consumer.Stuck(time.Now(), time.Minute) == "" {
			t.Error("not stuck although joining has hung for an hour")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// The series of a partition go with it: one that stayed would show a lag that never ends.
func TestConsumer_SeriesMoveWithTheirPartitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakes(t)
		first, end := generation(1, 2)
		second, _ := generation(2, 1)
		f.next = func(n int) (*kafka.Generation, error) {
			return []*kafka.Generation{first, second}[n-1], nil
		}
		stop := f.run(t)
		kafka.Sleep(t.Context(), 30*time.Second)
		var names []string
		for _, s := range metrics.Describe() {
			if slices.ContainsFunc(s.Labels, func(l metrics.Label) bool { return l.Name == "partition" }) {
				names = append(names, s.Name)
			}
		}
		if len(names) < 8 {
			t.Errorf("series of partitions: %v", names)
		}
		check := func(when string, partitions ...string) {
			t.Helper()
			found := f.partitionsBySeries(t)
			for _, name := range names {
				if got := found[name]; !slices.Equal(got, partitions) {
					t.Errorf("%s, %s is there of the partitions %v, want %v", when, name, got, partitions)
				}
			}
		}
		check("with two partitions", "0", "1")
		end(kafka.ErrRebalance)
		kafka.Sleep(t.Context(), 30*time.Second)
		check("when one has moved away", "0")
		if err := stop(); err != nil {
			t.Error(err)
		}
		check("at the end")
	})
}

// partitionsBySeries are the partitions that each series has a value of.
func (f *fakes) partitionsBySeries(t *testing.T) map[string][]string {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "partition" && !slices.Contains(found[family.GetName()], l.GetValue()) {
					found[family.GetName()] = append(found[family.GetName()], l.GetValue())
				}
			}
		}
	}
	return found
}
