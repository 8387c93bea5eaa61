package consumertest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
)

// patience is how long the suite waits for something that must happen.
const patience = 60 * time.Second

// group is one test's topic, group and members.
type group struct {
	t          *testing.T
	brokers    []string
	topic      string
	id         string
	partitions int32
	admin      *kadm.Client
	cfg        consumer.Config
}

func newGroup(t *testing.T, brokers []string, partitions int32, configs map[string]*string) *group {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	g := &group{
		t: t, brokers: brokers, partitions: partitions, admin: kadm.NewClient(cl),
		topic: fmt.Sprintf("contract-%d", rand.Uint32()),
	}
	g.id = g.topic + "-group"
	if _, err := g.admin.CreateTopic(t.Context(), partitions, -1, configs, g.topic); err != nil {
		t.Fatal(err)
	}
	g.cfg = consumer.DefaultConfig()
	g.cfg.OnUnreadableFeed = consumer.Off // the values are numbers
	g.cfg.Topics, g.cfg.Group = []string{g.topic}, g.id
	g.cfg.SessionTimeout, g.cfg.RebalanceTimeout, g.cfg.HeartbeatInterval = 6*time.Second, 10*time.Second, 200*time.Millisecond
	g.cfg.DrainTimeout = 2 * time.Second
	g.cfg.FetchMaxWait, g.cfg.FetchMinBytes = 50*time.Millisecond, 1
	g.cfg.CommitInterval = 50 * time.Millisecond
	g.cfg.PartitionCheckInterval = 300 * time.Millisecond
	return g
}

// member is one consumer of the group.
type member struct {
	*sink
	m    *metrics.Consumer
	c    *consumer.Consumer
	stop func() error // ends it in order and waits

	ended chan struct{} // closed when Run has returned
}

// join starts a member. change may alter its settings and its sink.
func (g *group) join(change func(*consumer.Config, *sink)) *member {
	g.t.Helper()
	cfg, k := g.cfg, &sink{}
	if change != nil {
		change(&cfg, k)
	}
	decoder, err := event.NewDecoder(event.DefaultConfig(), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(testWriter{g.t}, nil))
	conn := kafka.DefaultConfig()
	conn.Brokers, conn.MetadataTTL, conn.DialTimeout, conn.RequestTimeout = g.brokers, time.Second, 5*time.Second, 10*time.Second
	client, err := kafka.New(conn, log, cfg.TopicNames()...)
	if err != nil {
		g.t.Fatal(err)
	}
	m := metrics.New(prometheus.NewRegistry())
	c := consumer.New(cfg, consumer.Deps{
		Kafka: client, Group: client.NewGroup(cfg.Membership()), Decoder: decoder,
		OnAssign: func(int, int) {}, Log: log, Metrics: &m.Consumer,
	})
	k.consumer = c
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { err = c.Run(ctx, k); close(ended) }()
	stop := sync.OnceValue(func() error {
		cancel()
		<-ended
		client.Close()
		return err
	})
	g.t.Cleanup(func() { _ = stop() })
	return &member{sink: k, m: &m.Consumer, c: c, stop: stop, ended: ended}
}

// testWriter writes the log to the test, where go test shows it on failure.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(string(p))
	}
	return len(p), nil
}

// until waits for a condition.
func (g *group) until(what string, ok func() bool) {
	g.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			g.t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// produce writes n records, "0" to "n-1", to a partition.
func (g *group) produce(partition int32, n int, opts ...kgo.Opt) {
	g.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(g.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		g.t.Fatal(err)
	}
	defer cl.Close()
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: g.topic, Partition: partition, Key: fmt.Append(nil, "k", i), Value: fmt.Append(nil, i)})
	}
	if err := cl.ProduceSync(g.t.Context(), records...).FirstErr(); err != nil {
		g.t.Fatal(err)
	}
}

// transact writes n records in one transaction of its own, and ends it.
func (g *group) transact(partition int32, n int, commit kgo.TransactionEndTry) {
	g.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(g.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(fmt.Sprint(g.topic, rand.Uint32())))
	if err != nil {
		g.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		g.t.Fatal(err)
	}
	for i := range n {
		value := fmt.Append(nil, "tx", i)
		if !commit {
			value = fmt.Append(nil, "aborted", i)
		}
		if err := cl.ProduceSync(g.t.Context(), &kgo.Record{Topic: g.topic, Partition: partition, Value: value}).FirstErr(); err != nil {
			g.t.Fatal(err)
		}
	}
	if err := cl.EndTransaction(g.t.Context(), commit); err != nil {
		g.t.Fatal(err)
	}
}

// committed is what the group has committed for a partition; -1 for nothing.
func (g *group) committed(partition int32) int64 {
	g.t.Helper()
	all, err := g.admin.FetchOffsets(g.t.Context(), g.id)
	if err != nil {
		g.t.Fatal(err)
	}
	if o, ok := all.Lookup(g.topic, partition); ok {
		return o.At
	}
	return -1
}

// setCommitted plays the operator who sets the group's offset by hand.
func (g *group) setCommitted(partition int32, at int64) {
	g.t.Helper()
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: g.topic, Partition: partition, At: at, LeaderEpoch: -1})
	if _, err := g.admin.CommitOffsets(g.t.Context(), g.id, o); err != nil {
		g.t.Fatal(err)
	}
}

func (g *group) end(partition int32) int64 {
	g.t.Helper()
	all, err := g.admin.ListEndOffsets(g.t.Context(), g.topic)
	if err != nil {
		g.t.Fatal(err)
	}
	o, _ := all.Lookup(g.topic, partition)
	return o.Offset
}

// lost is the count of offsets lost for a reason.
func (m *member) lost(reason string) float64 {
	return testutil.ToFloat64(m.m.OffsetsLost.WithLabelValues(reason))
}

func (m *member) generations() float64 { return testutil.ToFloat64(m.m.Rebalances) }
