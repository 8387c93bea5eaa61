//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// ownerFrozen stops the only replica in the middle of a backlog for longer than its
// session, five times with -long. Another one takes its partitions over and delivers newer
// states. When the first one goes on, it must not send what it had in mind.
func ownerFrozen(t *testing.T, cluster *kafka.Cluster) {
	rounds := 1
	if *long {
		rounds = 5
	}
	r := newRun(t, cluster, runOptions{ // all slots busy, and more work ready
		api: func(c *stub.Config) { c.Latency = 300 * time.Millisecond }, extra: "batcher: {max_rows: 10}",
	})
	bound := 0
	owner := r.start(1)[0]
	for round := range rounds {
		from := r.api.Stats().AppliedRows
		arrives := load(r)
		moment := from + 500 + rand.Int64N(2_500)
		until(t, "a random part of the backlog", func() bool { return r.api.Stats().AppliedRows > moment })
		owner.signal(syscall.SIGSTOP)
		frozen, before := time.Now(), r.api.Stats().AppliedRows
		bound += r.uncommitted(t.Context())
		other := r.start(1)[0]
		until(t, "the other one to deliver", func() bool { return r.api.Stats().AppliedRows > before+1_000 })
		stood := time.Since(frozen)
		arrives()
		r.drain()
		took := r.api.Stats().AppliedRows - before
		owner.signal(syscall.SIGCONT)
		woken := time.Now()
		until(t, "both replicas to own partitions", func() bool {
			return owner.series("consumer_assigned_partitions") == 3 && other.series("consumer_assigned_partitions") == 3
		})
		t.Logf("FROZEN OWNER round %d: frozen after %d rows; the other one had delivered 1000 after %v (session 12 s), %d until the first went on; it was back after %v",
			round+1, before-from, stood.Round(100*time.Millisecond), took, time.Since(woken).Round(100*time.Millisecond))
		r.drain()
		owner.stop()
		owner = other // and frozen next
	}
	owner.stop()
	report := r.verify(func(in *check.Input) { in.MaxDuplicates, in.MaxRepeated = bound, bound })
	// The checker forgives a request that was given up; those of an owner that goes on
	// were not to be made.
	t.Logf("FROZEN OWNER %d rounds: %d states set back, %d sent again, at most %d by what was not committed", rounds, report.LateBackwards, report.Duplicates, bound)
	if report.LateBackwards > 0 {
		t.Errorf("I4: %d older states were set over newer ones after the owner went on", report.LateBackwards)
	}
}

// staticUpdate stops three replicas that have instance ids and starts each again, under
// load, as an update of a StatefulSet does.
func staticUpdate(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{})
	start := func(i int) *process { return r.startWith(fmt.Sprint("CONTACTSYNC_CONSUMER_INSTANCE_ID=pod-", i)) }
	all := []*process{start(0), start(1), start(2)}
	each := func() bool {
		return !slices.ContainsFunc(all, func(p *process) bool { return p.series("consumer_assigned_partitions") != 2 })
	}
	until(t, "the replicas to share", each)
	before := slices.Max(all[0].generations())
	const streams = 30
	arrives := r.feedInBackground(func(c *feed.Config) { // each stream in one partition
		c.Events, c.Contacts, c.Streams, c.Rate, c.KeyByStream = 24_000, 4_000, streams, 1_000, true
	})
	until(t, "the first rows", func() bool { return r.api.Stats().AppliedRows > 2_000 })
	seen := slices.Clone(all)
	var downtime time.Duration // the longest from SIGTERM to the assignment
	for i := range all {
		stopped := time.Now()
		all[i].stop()
		ended := time.Since(stopped)
		all[i] = start(i)
		seen = append(seen, all[i])
		until(t, "it to be back", each)
		back := time.Since(stopped)
		downtime = max(downtime, back)
		t.Logf("STATIC UPDATE pod-%d: ended %v after SIGTERM, owns its partitions again after %v", i, ended.Round(time.Millisecond), back.Round(time.Millisecond))
		time.Sleep(2 * time.Second)
	}
	arrives()
	r.drain()
	stopAll(all)
	for _, p := range seen {
		if got := slices.Compact(p.generations()); got[len(got)-1] != before || len(got) > 1 && slices.Index(got, before) < 0 {
			t.Errorf("%s took part in generations %v; it was %d before the update", p.name, got, before)
		}
	}
	gap, where := longestGap(r.api.Calls())
	report := r.verify(nil) // nothing is sent twice
	t.Logf("STATIC UPDATE: 0 rebalances wanted (generation %d), longest gap of a stream %v (%s), longest restart %v, %d sent again",
		before, gap.Round(time.Millisecond), where, downtime.Round(time.Millisecond), report.Duplicates)
	if most := downtime + 15*time.Second; gap > most {
		t.Errorf("stream %s stood still for %v; a restart took %v", where, gap, downtime)
	}
}

// longestGap is the longest time between two answered calls of one stream.
func longestGap(calls []stub.Call) (longest time.Duration, stream string) {
	last := map[string]int64{}
	slices.SortFunc(calls, func(a, b stub.Call) int { return int(a.Done - b.Done) })
	for _, c := range calls {
		if at, ok := last[c.Stream]; ok && time.Duration(c.Done-at) > longest {
			longest, stream = time.Duration(c.Done-at), c.Stream
		}
		last[c.Stream] = c.Done
	}
	return longest, stream
}

// besideFrozenBroker starts a replica while the broker that its settings name first
// accepts connections and answers nothing. The group has its coordinator elsewhere: how long
// Kafka takes to name another one is not the replica's doing.
func besideFrozenBroker(t *testing.T, cluster *kafka.Cluster) {
	if _, err := binary(); err != nil { // which takes a while the first time
		t.Fatal(err)
	}
	r := newRun(t, cluster, runOptions{})
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams, c.InTurn = 2_000, 400, 4, true })
	frozen := 1
	until(t, "the group to have a coordinator", func() bool {
		node, err := cluster.Coordinator(t.Context(), r.Group)
		if node == frozen {
			frozen = 2
		}
		return err == nil
	})
	if err := cluster.PauseNode(frozen); err != nil {
		if errors.Is(err, kafka.ErrNotOwned) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	defer func() { _ = cluster.ResumeNode(frozen) }()
	brokers := slices.Clone(r.Brokers)
	brokers[0], brokers[frozen-1] = brokers[frozen-1], brokers[0]
	began := time.Now()
	p := r.startWith("CONTACTSYNC_KAFKA_BROKERS=" + strings.Join(brokers, ","))
	until(t, "the replica to own all", func() bool { return p.series("consumer_assigned_partitions") == 6 })
	joined := time.Since(began)
	until(t, "the first rows", func() bool { return r.api.Stats().AppliedRows > 0 })
	first := time.Since(began)
	until(t, "all contacts", func() bool { return r.api.Stats().AppliedRows >= 400 })
	t.Logf("FRESH REPLICA beside a frozen broker: owned all partitions after %v, first delivery after %v, all after %v",
		joined.Round(10*time.Millisecond), first.Round(10*time.Millisecond), time.Since(began).Round(10*time.Millisecond))
	if joined > 10*time.Second { // of which Kafka waits three for other members
		t.Errorf("it joined %v after its start", joined)
	}
	if err := cluster.ResumeNode(frozen); err != nil {
		t.Fatal(err)
	}
	r.drain()
	p.stop()
	r.verify(nil)
}
