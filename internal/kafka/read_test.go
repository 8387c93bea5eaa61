package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/broker"
)

// contacts is an embedded broker with one topic of two partitions.
type contacts struct {
	t      *testing.T
	broker *broker.Broker
	client *kgo.Client
	kafka  *kafka.Client
}

func newContacts(t *testing.T, configs map[string]string) *contacts {
	t.Helper()
	b, err := broker.Start(broker.Options{Nodes: 3, Topics: map[string]int32{"contacts": 2}, Configs: configs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cfg := configFor(b.Addrs()...)
	cfg.MetadataTTL = 100 * time.Millisecond
	return &contacts{t, b, client, newClient(t, cfg)}
}

func (b *contacts) produce(partition int32, n int) {
	b.t.Helper()
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: "contacts", Partition: partition, Value: fmt.Append(nil, i), Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)*1000)})
	}
	if err := b.client.ProduceSync(b.t.Context(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *contacts) read(p int32, from, to int64) (began int64, offsets []int64) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	began, err := b.kafka.Read(ctx, partition(p), from, to, func(r contactsync.Record) { offsets = append(offsets, r.Offset) })
	if err != nil {
		b.t.Fatal(err)
	}
	return began, offsets
}

func partition(p int32) contactsync.TopicPartition {
	return contactsync.TopicPartition{Topic: "contacts", Partition: p}
}

func TestClient_ReadsAStretch(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	b.produce(1, 100)
	bounds, err := b.kafka.StableBounds(t.Context(), "contacts")
	if err != nil || len(bounds) != 2 || bounds[0] != (kafka.Bounds{}) || bounds[1] != (kafka.Bounds{End: 100}) {
		t.Fatalf("bounds %v, %v", bounds, err)
	}
	began, got := b.read(1, 20, 70)
	if began != 20 || len(got) != 50 || got[0] != 20 || got[49] != 69 {
		t.Errorf("read %v from %d", got, began)
	}
	at, err := b.kafka.OffsetsAt(t.Context(), "contacts", time.UnixMilli(1_700_000_000_000+30_500))
	if err != nil || len(at) != 2 || at[0] != -1 || at[1] != 31 {
		t.Errorf("offsets by time %v, %v", at, err)
	}
	if _, err := b.kafka.StableBounds(t.Context(), "nowhere"); !errors.Is(err, kafka.ErrNoTopic) {
		t.Errorf("a missing topic: %v", err)
	}
}

func TestClient_LeaderMovesMeanwhile(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	b.produce(0, 50)
	b.read(0, 0, 50) // the leader is known
	leader := b.broker.Cluster.LeaderFor("contacts", 0)
	if err := b.broker.Cluster.MoveTopicPartition("contacts", 0, (leader+1)%3); err != nil {
		t.Fatal(err)
	}
	if _, got := b.read(0, 0, 50); len(got) != 50 {
		t.Errorf("%d records, want 50", len(got))
	}
}

func TestClient_GoesOnWhereTheLogBegins(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	b.produce(0, 50)
	admin := kadm.NewClient(b.client)
	cut := kadm.Offsets{}
	cut.AddOffset("contacts", 0, 30, -1)
	if _, err := admin.DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	if began, got := b.read(0, 10, 50); began != 30 || len(got) != 20 {
		t.Errorf("began at %d with %d records, want 30 and 20", began, len(got))
	}
}

func TestClient_EndsBeforeAnOpenTransactionAndPassesAbortedOnes(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	txn, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addrs()...), kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Close()
	write := func(end bool, how kgo.TransactionEndTry) {
		t.Helper()
		if err := txn.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := txn.ProduceSync(t.Context(), &kgo.Record{Topic: "contacts", Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if end {
			if err := txn.EndTransaction(t.Context(), how); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(true, kgo.TryCommit)
	write(true, kgo.TryAbort)
	write(false, false)
	bounds, err := b.kafka.StableBounds(t.Context(), "contacts")
	if err != nil || bounds[0].End != 22 {
		t.Fatalf("bounds %v, %v: want the end before the open transaction, 22", bounds, err)
	}
	if _, got := b.read(0, 0, bounds[0].End); len(got) != 10 {
		t.Errorf("%d records, want those of the committed transaction, 10", len(got))
	}
	if err := txn.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
}

func TestClient_Append(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	var records []contactsync.Record
	for i := range 3000 {
		records = append(records, contactsync.Record{
			Key: fmt.Append(nil, i), Value: []byte(strings.Repeat("x", 400)), Headers: []contactsync.Header{{Key: "h", Value: []byte("1")}},
		})
	}
	records[0].Key, records[1].Value = nil, nil
	n, err := b.kafka.Append(t.Context(), partition(1), records)
	if err != nil || n != len(records) {
		t.Fatalf("%d written, %v", n, err)
	}
	var got []contactsync.Record
	if _, err := b.kafka.Read(t.Context(), partition(1), 0, 3000, func(r contactsync.Record) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3000 || got[0].Key != nil || got[1].Value != nil || string(got[2999].Key) != "2999" || string(got[7].Headers[0].Value) != "1" {
		t.Errorf("read back %d records, the first %+v", len(got), got[0])
	}
}

func TestClient_AppendRefusesOneAndKeepsTheOthers(t *testing.T) {
	t.Parallel()
	b := newContacts(t, map[string]string{"message.max.bytes": "100000"})
	small := contactsync.Record{Value: []byte("x")}
	large := contactsync.Record{Value: []byte(strings.Repeat("x", 200_000))}
	n, err := b.kafka.Append(t.Context(), partition(0), []contactsync.Record{small, large, small})
	if n != 1 || !errors.Is(err, kafka.ErrRefused) {
		t.Errorf("%d written, %v: want 1 and the refusal", n, err)
	}
	if n, err := b.kafka.Append(t.Context(), partition(0), []contactsync.Record{small}); n != 1 || err != nil {
		t.Errorf("%d written, %v", n, err)
	}
}

func TestClient_StopsWithItsContext(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := b.kafka.Read(ctx, partition(0), 0, 10, func(contactsync.Record) {}); !errors.Is(err, why) {
		t.Errorf("read: %v", err)
	}
}

// From whatever offset a log is read, each committed record behind it is there.
func TestClient_ReadsFromWithinTransactions(t *testing.T) {
	t.Parallel()
	b := newContacts(t, nil)
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addrs()...), kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for _, how := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "contacts", Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := producer.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	for from := range int64(24) { // five records and a marker, four times
		want := 5 * int(2-from/12)
		if at := from % 12; at > 6 {
			want -= int(min(at-6, 5))
		}
		if _, got := b.read(0, from, 24); len(got) != want {
			t.Errorf("from %d: %d committed records, want %d", from, len(got), want)
		}
	}
}
