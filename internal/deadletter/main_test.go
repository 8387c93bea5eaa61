package deadletter_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "events.dead"

// deadTopic is a broker with a dead-letter topic, and a writer to it.
type deadTopic struct {
	cluster *kfake.Cluster
	writer  *deadletter.Writer
	metrics *metrics.DeadLetter
	client  *kgo.Client // reads the topic, and administers it
}

func newTopic(t *testing.T, opts ...kfake.Opt) *deadTopic {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(4, topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := &deadTopic{cluster: cluster, metrics: &metrics.New(prometheus.NewRegistry()).DeadLetter}
	b.client, err = kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.client.Close)
	b.writer = b.newWriter(t, topic, kafka.DefaultConfig())
	return b
}

// newWriter returns a writer to a topic, with a client that knows the named topics.
func (b *deadTopic) newWriter(t *testing.T, name string, conn kafka.Config, topics ...string) *deadletter.Writer {
	t.Helper()
	conn.Brokers, conn.MetadataTTL = b.cluster.ListenAddrs(), 200*time.Millisecond
	client, err := kafka.New(conn, slog.New(slog.DiscardHandler), topics...)
	if err != nil {
		t.Fatal(err)
	}
	cfg := deadletter.DefaultConfig()
	cfg.Topic = name
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	w := deadletter.New(cfg, deadletter.Deps{
		Kafka: client, Log: slog.New(slog.DiscardHandler), Metrics: b.metrics, Version: "test",
	})
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		client.Close()
	})
	return w
}

// read returns the next n dead letters of the topic, by the offset of their record.
func (b *deadTopic) read(t *testing.T, n int) map[int64]*deadletter.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	found := map[int64]*deadletter.Entry{}
	for count := 0; count < n; {
		fetches := b.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d dead letters are in the topic: %v", count, n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			count++
			at := contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: r.Topic, Partition: r.Partition}, Offset: r.Offset}
			rec := contactsync.Record{Position: at, Key: r.Key, Value: r.Value, Time: r.Timestamp}
			for _, h := range r.Headers {
				rec.Headers = append(rec.Headers, contactsync.Header(h))
			}
			l, err := deadletter.Decode(rec)
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := found[l.Record.Offset]; twice {
				t.Errorf("dead letter %d is there twice", l.Record.Offset)
			}
			found[l.Record.Offset] = l
		})
	}
	return found
}

// set changes a setting of the topic.
func (b *deadTopic) set(t *testing.T, name, value string) {
	t.Helper()
	answers, err := kadm.NewClient(b.client).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: name, Value: &value}}, topic)
	if err == nil {
		err = answers[0].Err
	}
	if err != nil {
		t.Fatal(err)
	}
}

func deadLetter(offset int64, key, value string) contactsync.DeadLetter {
	place := contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "events", Partition: 3}, Offset: offset}
	return contactsync.DeadLetter{
		Record: contactsync.Record{
			Position: place, Generation: 9, Time: time.Date(2020, 1, 2, 3, 4, 5, 6e6, time.UTC), Key: []byte(key), Value: []byte(value),
			Headers: []contactsync.Header{{Key: "trace", Value: []byte("t-" + key)}},
		},
		Positions: []contactsync.Position{place}, Stream: "stream", Contact: key, Reason: contactsync.ReasonRejected,
		Detail: "refused", Status: 422, Attempts: 2, First: time.Unix(1_700_000_000, 1), Last: time.Unix(1_700_000_001, 2),
	}
}

func offsets(deadLetters []contactsync.DeadLetter) []int64 {
	var all []int64
	for _, l := range deadLetters {
		all = append(all, l.Record.Offset)
	}
	return all
}
