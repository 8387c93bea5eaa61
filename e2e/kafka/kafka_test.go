//go:build e2e

package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync/e2e/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a cluster of its own for one test.
func start(t *testing.T, nodes int) (context.Context, *kafka.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	cluster, err := kafka.Start(ctx, kafka.Options{Nodes: nodes, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	return ctx, cluster
}

// produce writes count records to partition 0 and waits for their acknowledgement by all replicas.
func produce(ctx context.Context, t *testing.T, cluster *kafka.Cluster, topic string, count int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProduceRequestTimeout(2*time.Second), kgo.RequestTimeoutOverhead(2*time.Second)) // not to wait long for a frozen node
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range count {
		record := &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d", i)}
		client.Produce(ctx, record, nil)
	}
	if err := client.Flush(ctx); err != nil {
		t.Fatalf("writing %d records: %v", count, err)
	}
}

// read returns the offsets of the first count records of partition 0.
func read(ctx context.Context, t *testing.T, cluster *kafka.Cluster, topic string, count int) []int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var offsets []int64
	for len(offsets) < count {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %d records of %d: %v", len(offsets), count, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { offsets = append(offsets, r.Offset) })
	}
	return offsets
}

func TestCluster_OneNode(t *testing.T) {
	ctx, cluster := start(t, 1)
	const topic = "one"
	if err := cluster.CreateTopic(ctx, topic, 1, 1, map[string]string{"retention.ms": "-1"}); err != nil {
		t.Fatal(err)
	}
	produce(ctx, t, cluster, topic, 10)
	if got := read(ctx, t, cluster, topic, 10); got[0] != 0 || got[9] != 9 {
		t.Errorf("read offsets %v, want 0 to 9", got)
	}

	if err := cluster.AddPartitions(ctx, topic, 3); err != nil {
		t.Fatal(err)
	}
	if got, err := cluster.Leader(ctx, topic, 2); err != nil || got != 1 {
		t.Errorf("leader of the third partition: %d, %v; want node 1", got, err)
	}
	if got, err := cluster.Leader(ctx, topic, 3); err == nil {
		t.Errorf("a partition that does not exist has leader %d", got)
	}

	if !cluster.Owned() {
		return
	}
	if err := cluster.KillNode(1); err != nil {
		t.Fatal(err)
	}
	if err := cluster.StartNode(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if got := read(ctx, t, cluster, topic, 10); got[9] != 9 {
		t.Errorf("after a crash and a restart: offsets %v, want 9 as the last", got)
	}
}

func TestCluster_ThreeNodes(t *testing.T) {
	ctx, cluster := start(t, 3)
	if !cluster.Owned() {
		t.Skipf("%s is set: its nodes cannot be killed", kafka.BrokersEnv)
	}
	const topic = "three"
	if err := cluster.CreateTopic(ctx, topic, 1, 3, nil); err != nil {
		t.Fatal(err)
	}
	for _, node := range []int{3, 1, 2} {
		if err := cluster.MoveLeader(ctx, topic, 0, node); err != nil {
			t.Fatal(err)
		}
		if got, err := cluster.Leader(ctx, topic, 0); err != nil || got != node {
			t.Fatalf("leader is %d, %v after moving it to %d", got, err, node)
		}
	}
	produce(ctx, t, cluster, topic, 5)

	// The leader crashes: two of three replicas are enough to write and to read.
	if err := cluster.KillNode(2); err != nil {
		t.Fatal(err)
	}
	produce(ctx, t, cluster, topic, 5)
	if got := read(ctx, t, cluster, topic, 10); got[9] != 9 {
		t.Errorf("read offsets %v, want 0 to 9", got)
	}
	if got, err := cluster.Leader(ctx, topic, 0); err != nil || got == 2 {
		t.Errorf("leader is %d, %v although node 2 is down", got, err)
	}

	if err := cluster.StartNode(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := cluster.MoveLeader(ctx, topic, 0, 2); err != nil {
		t.Fatal(err)
	}
	// A frozen leader, too, is replaced; an orderly stop hands over immediately.
	if err := cluster.PauseNode(2); err != nil {
		t.Fatal(err)
	}
	produce(ctx, t, cluster, topic, 5)
	if err := cluster.ResumeNode(2); err != nil {
		t.Fatal(err)
	}
	if err := cluster.StopNode(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if got := read(ctx, t, cluster, topic, 15); !slices.IsSorted(got) || got[14] < 14 {
		t.Errorf("read offsets %v, want 0 to 14 or, with a repeated write, beyond", got)
	}
}

func TestStart_NamedBrokers(t *testing.T) {
	ctx, cluster := start(t, 1)
	t.Setenv(kafka.BrokersEnv, cluster.Brokers()[0])
	named, err := kafka.Start(ctx, kafka.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer named.Stop()
	if err := named.CreateTopic(ctx, "named", 1, 1, nil); err != nil {
		t.Error(err)
	}
	if err := named.KillNode(1); !errors.Is(err, kafka.ErrNotOwned) {
		t.Errorf("killing a broker that is not ours: %v, want %v", err, kafka.ErrNotOwned)
	}
	if _, err := kafka.Start(ctx, kafka.Options{Nodes: 3}); err == nil {
		t.Error("one named broker was taken for a cluster of three")
	}
}
