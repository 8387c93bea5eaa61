//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestOneNode runs the scenarios that a single broker can show.
func TestOneNode(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 1, Properties: map[string]string{
		"log.cleaner.backoff.ms": "200", "log.cleaner.min.cleanable.ratio": "0.01",
	}})
	t.Run("three replicas", func(t *testing.T) { normal(t, cluster) })
	t.Run("rolling restart", func(t *testing.T) { rollingRestart(t, cluster) })
	t.Run("replica killed", func(t *testing.T) { replicaKilled(t, cluster) })
	t.Run("owner frozen", func(t *testing.T) { ownerFrozen(t, cluster) })
	t.Run("rolling update of static members", func(t *testing.T) { staticUpdate(t, cluster) })
	t.Run("compacted topic", func(t *testing.T) { compacted(t, cluster) })
	t.Run("transactions with aborts", func(t *testing.T) { transactions(t, cluster) })
	t.Run("more partitions", func(t *testing.T) { morePartitions(t, cluster) })
	t.Run("api down", func(t *testing.T) { apiDown(t, cluster) })
	t.Run("broker restarted", func(t *testing.T) { brokerRestarted(t, cluster) })
}

// TestThreeNodes runs those that need a cluster.
func TestThreeNodes(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 3})
	t.Run("three replicas", func(t *testing.T) { normal(t, cluster) })
	t.Run("leaders move", func(t *testing.T) { leadersMove(t, cluster) })
	t.Run("node killed", func(t *testing.T) { nodeKilled(t, cluster) })
	t.Run("replica killed", func(t *testing.T) { replicaKilled(t, cluster) })
	t.Run("fresh replica beside a frozen broker", func(t *testing.T) { besideFrozenBroker(t, cluster) })
}

func startKafka(t *testing.T, o kafka.Options) *kafka.Cluster {
	t.Helper()
	o.Dir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cluster, err := kafka.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	return cluster
}

// load is what most scenarios run under: a backlog, and events that arrive while
// things break.
func load(r *run) (arrives func()) {
	r.feed(func(c *feed.Config) {
		c.Events, c.Contacts, c.Streams = 20_000, 4_000, 10
		c.PoisonShare, c.RejectShare, c.TombstoneShare = 0.002, 0.002, 0.002
	})
	return r.feedInBackground(func(c *feed.Config) {
		c.Events, c.Contacts, c.Streams, c.Rate = 8_000, 4_000, 10, 1_000
		c.PoisonShare, c.RejectShare, c.TombstoneShare = 0.002, 0.002, 0.002
	})
}

func stopAll(replicas []*process) {
	for _, p := range replicas {
		if !p.ended {
			p.stop()
		}
	}
}

func normal(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{})
	arrives := load(r)
	replicas := r.start(3)
	arrives()
	r.drain()
	stopAll(replicas)
	r.verify(nil) // nothing is sent twice
}

func rollingRestart(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{})
	arrives := load(r)
	replicas := r.start(3)
	for i := range replicas {
		replicas[i].stop()
		replicas[i] = r.start(1)[0]
	}
	arrives()
	r.drain()
	stopAll(replicas)
	r.verify(nil) // a stop in order leaves no duplicates
}

func replicaKilled(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{api: func(c *stub.Config) { c.Latency = 50 * time.Millisecond }})
	arrives := load(r)
	replicas := r.start(3)
	until(t, "half of the backlog", func() bool { return r.api.Stats().AppliedRows > 1_500 })
	bound := r.uncommitted(t.Context())
	replicas[0].kill()
	replicas = append(replicas[1:], r.start(1)...)
	arrives()
	r.drain()
	stopAll(replicas)
	r.verify(func(in *check.Input) { in.MaxDuplicates, in.MaxRepeated = bound, bound })
}

func compacted(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{partitions: 2, topicConfigs: map[string]string{
		"cleanup.policy": "compact", "segment.ms": "1000", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01",
		"min.compaction.lag.ms": "0", "max.compaction.lag.ms": "1000", "delete.retention.ms": "100",
	}})
	for range 3 {
		r.feed(func(c *feed.Config) {
			c.Events, c.Contacts, c.Streams, c.TombstoneShare = 15_000, 300, 5, 0.01
		})
	}
	// The cleaner works on closed segments only, and a segment closes when the
	// next record comes after its time.
	until(t, "Kafka to compact", func() bool {
		r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 50, 300, 5 })
		return holes(t, r) > 10_000
	})
	replicas := r.start(2)
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 2_000, 300, 5 })
	r.drain()
	stopAll(replicas)
	r.verify(nil)
}

// holes is how many offsets of the topic hold no record any more.
func holes(t *testing.T, r *run) int64 {
	t.Helper()
	ends, err := broker.EndOffsets(t.Context(), r.Brokers, r.Topic)
	if err != nil {
		t.Fatal(err)
	}
	var all int64
	for _, end := range ends {
		all += end
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(r.Brokers...), kgo.ConsumeTopics(r.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	next := map[int32]int64{}
	for !reached(next, ends, r.Topic) {
		c.PollFetches(t.Context()).EachRecord(func(rec *kgo.Record) {
			next[rec.Partition] = rec.Offset + 1
			all--
		})
	}
	return all
}

func reached(next map[int32]int64, ends map[contactsync.TopicPartition]int64, topic string) bool {
	for p, end := range ends {
		if p.Topic == topic && next[p.Partition] < end {
			return false
		}
	}
	return true
}

func transactions(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{})
	change := func(c *feed.Config) {
		c.Events, c.Contacts, c.Streams = 10_000, 2_000, 10
		c.Transactional, c.TxnEvents, c.AbortShare = true, 200, 0.4
	}
	r.feed(change)
	replicas := r.start(2)
	r.feed(change)
	r.drain() // past the last marker
	stopAll(replicas)
	r.verify(nil)
}

func morePartitions(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{partitions: 2})
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 5_000, 1_000, 5 })
	replicas := r.start(2)
	r.drain() // a contact may change its partition, so its events must be through
	if err := cluster.AddPartitions(t.Context(), r.Topic, 6); err != nil {
		t.Fatal(err)
	}
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 5_000, 1_000, 5 })
	r.drain()
	stopAll(replicas)
	r.verify(nil)
}

func apiDown(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{extra: "batcher: {backoff_max: 1s, ambiguous_retry_delay: 200ms}\n"})
	if err := r.api.Put(stub.Rule{Name: "down", Answer: &stub.Answer{Status: 503, Body: stub.HTML}}); err != nil {
		t.Fatal(err)
	}
	replicas := r.startPair()
	load(r)()
	if rows := r.api.Stats().AppliedRows; rows != 0 {
		t.Fatalf("the API took %d rows while it was down", rows)
	}
	r.api.Turn("down", false)
	r.drain()
	stopAll(replicas)
	r.verify(nil) // and no good event is in the dead-letter topic
}

func brokerRestarted(t *testing.T, cluster *kafka.Cluster) {
	if !cluster.Owned() {
		t.Skip("the brokers were named in the environment: they are not ours to restart")
	}
	r := newRun(t, cluster, runOptions{})
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 20_000, 10_000, 10 })
	replicas := r.start(2)
	until(t, "the first rows", func() bool { return r.api.Stats().AppliedRows > 500 })
	bound := r.uncommitted(t.Context())
	if err := cluster.KillNode(1); err != nil {
		t.Fatal(err)
	}
	if err := cluster.StartNode(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 2_000, 10_000, 10 })
	r.drain()
	stopAll(replicas)
	r.verify(func(in *check.Input) { in.MaxDuplicates, in.MaxRepeated = bound, bound })
}

func leadersMove(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{partitions: 3})
	arrives := load(r)
	replicas := r.start(2)
	for round := range 4 {
		for p := range int32(3) {
			if err := cluster.MoveLeader(t.Context(), r.Topic, p, (round+int(p))%3+1); err != nil {
				t.Fatal(err)
			}
		}
	}
	arrives()
	r.drain()
	stopAll(replicas)
	r.verify(nil)
}

func nodeKilled(t *testing.T, cluster *kafka.Cluster) {
	if !cluster.Owned() {
		t.Skip("the brokers were named in the environment: they are not ours to kill")
	}
	r := newRun(t, cluster, runOptions{})
	arrives := load(r)
	replicas := r.start(2)
	until(t, "the first rows", func() bool { return r.api.Stats().AppliedRows > 500 })
	bound := r.uncommitted(t.Context()) + 8_000 // and what arrives meanwhile
	for node := 1; node <= 3; node++ {
		if err := cluster.KillNode(node); err != nil {
			t.Fatal(err)
		}
		if err := cluster.StartNode(t.Context(), node); err != nil {
			t.Fatal(err)
		}
	}
	arrives()
	r.drain()
	stopAll(replicas)
	r.verify(func(in *check.Input) { in.MaxDuplicates, in.MaxRepeated = bound, bound })
}

// The size of the big backlog; smaller for a quick look.
var backlogEvents = flag.Int("backlog", 1_000_000, "events of the backlog tests")

// TestBacklog reads a million events of a hundred thousand contacts and prints
// what that cost.
func TestBacklog(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 1})
	t.Run("one replica", func(t *testing.T) {
		r := newRun(t, cluster, runOptions{})
		backlog(r)
		p := r.start(1)[0]
		r.drain()
		p.stop()
		report := r.verify(nil)
		cpu, rss := p.usage()
		t.Logf("calls / floor %.3f   rss %d MiB   cpu %.2f µs/event", report.CallsPerFloor, rss, float64(cpu.Microseconds())/float64(report.Truth.Events))
		if report.CallsPerFloor > 1.10 {
			t.Errorf("calls / floor is %.3f, at most 1.10 is promised", report.CallsPerFloor)
		}
		if rss > 600 {
			t.Errorf("the service took %d MiB, at most 600 are promised", rss)
		}
	})
	t.Run("three replicas and one killed", func(t *testing.T) {
		r := newRun(t, cluster, runOptions{api: func(c *stub.Config) { c.Latency = 20 * time.Millisecond }})
		backlog(r)
		replicas := r.start(3)
		until(t, "a third of the contacts", func() bool { return r.api.Stats().AppliedRows > int64(*backlogEvents/30) })
		replicas[1].kill()
		bound := r.deliveredNotCommitted()
		r.drain()
		stopAll(replicas)
		r.verify(func(in *check.Input) { in.MaxDuplicates, in.MaxRepeated = bound, bound })
		var usage []string
		for _, p := range replicas {
			cpu, rss := p.usage()
			usage = append(usage, fmt.Sprintf("%s: cpu %v, rss %d MiB", p.name, cpu.Round(time.Millisecond), rss))
		}
		t.Logf("duplicates at most %d by what was delivered and not committed at the kill; %v", bound, usage)
	})
}

func backlog(r *run) {
	r.feed(func(c *feed.Config) {
		c.Events, c.Contacts, c.Streams = *backlogEvents, *backlogEvents/10, 100
	})
}
