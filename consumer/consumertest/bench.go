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

// bench is one test's topic, group and members.
type bench struct {
	t          *testing.T
	brokers    []string
	topic      string
	group      string
	partitions int32
	admin      *kadm.Client
	cfg        consumer.Config
}

func newBench(t *testing.T, brokers []string, partitions int32, configs map[string]*string) *bench {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	s := &bench{
		t: t, brokers: brokers, partitions: partitions, admin: kadm.NewClient(cl),
		topic: fmt.Sprintf("contract-%d", rand.Uint32()),
	}
	s.group = s.topic + "-group"
	if _, err := s.admin.CreateTopic(t.Context(), partitions, -1, configs, s.topic); err != nil {
		t.Fatal(err)
	}
	s.cfg = consumer.DefaultConfig()
	s.cfg.Topics, s.cfg.Group = []string{s.topic}, s.group
	s.cfg.SessionTimeout, s.cfg.RebalanceTimeout, s.cfg.HeartbeatInterval = 6*time.Second, 10*time.Second, 200*time.Millisecond
	s.cfg.DrainTimeout = 2 * time.Second
	s.cfg.FetchMaxWait, s.cfg.FetchMinBytes = 50*time.Millisecond, 1
	s.cfg.CommitInterval = 50 * time.Millisecond
	s.cfg.PartitionCheckInterval = 300 * time.Millisecond
	return s
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
func (s *bench) join(change func(*consumer.Config, *sink)) *member {
	s.t.Helper()
	cfg, k := s.cfg, &sink{}
	if change != nil {
		change(&cfg, k)
	}
	decoder, err := event.NewDecoder(event.DefaultConfig(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(testWriter{s.t}, nil))
	conn := kafka.DefaultConfig()
	conn.Brokers, conn.MetadataTTL, conn.DialTimeout, conn.RequestTimeout = s.brokers, time.Second, 5*time.Second, 10*time.Second
	client, err := kafka.New(conn, log, cfg.Topics...)
	if err != nil {
		s.t.Fatal(err)
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
	s.t.Cleanup(func() { _ = stop() })
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
func (s *bench) until(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// produce writes n records, "0" to "n-1", to a partition.
func (s *bench) produce(partition int32, n int, opts ...kgo.Opt) {
	s.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		rec := &kgo.Record{Topic: s.topic, Partition: partition, Key: fmt.Append(nil, "k", i), Value: fmt.Append(nil, i)}
		if err := cl.ProduceSync(s.t.Context(), rec).FirstErr(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// transact writes n records in one transaction of its own, and ends it.
func (s *bench) transact(partition int32, n int, commit kgo.TransactionEndTry) {
	s.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(fmt.Sprint(s.topic, rand.Uint32())))
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		s.t.Fatal(err)
	}
	for i := range n {
		value := fmt.Append(nil, "tx", i)
		if !commit {
			value = fmt.Append(nil, "aborted", i)
		}
		if err := cl.ProduceSync(s.t.Context(), &kgo.Record{Topic: s.topic, Partition: partition, Value: value}).FirstErr(); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := cl.EndTransaction(s.t.Context(), commit); err != nil {
		s.t.Fatal(err)
	}
}

// committed is what the group has committed for a partition; -1 for nothing.
func (s *bench) committed(partition int32) int64 {
	s.t.Helper()
	all, err := s.admin.FetchOffsets(s.t.Context(), s.group)
	if err != nil {
		s.t.Fatal(err)
	}
	if o, ok := all.Lookup(s.topic, partition); ok {
		return o.At
	}
	return -1
}

// setCommitted plays the operator who sets the group's offset by hand.
func (s *bench) setCommitted(partition int32, at int64) {
	s.t.Helper()
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: s.topic, Partition: partition, At: at, LeaderEpoch: -1})
	if _, err := s.admin.CommitOffsets(s.t.Context(), s.group, o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *bench) end(partition int32) int64 {
	s.t.Helper()
	all, err := s.admin.ListEndOffsets(s.t.Context(), s.topic)
	if err != nil {
		s.t.Fatal(err)
	}
	o, _ := all.Lookup(s.topic, partition)
	return o.Offset
}

// lost is the count of offsets lost for a reason.
func (m *member) lost(reason string) float64 {
	return testutil.ToFloat64(m.m.OffsetsLost.WithLabelValues(reason))
}

func (m *member) generations() float64 { return testutil.ToFloat64(m.m.Rebalances) }
