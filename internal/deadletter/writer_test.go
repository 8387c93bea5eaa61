package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
)

func publish(t *testing.T, w *deadletter.Writer, deadLetters ...contactsync.DeadLetter) {
	t.Helper()
	if pending, err := w.Publish(t.Context(), deadLetters); err != nil || len(pending) > 0 {
		t.Fatalf("pending %v: %v", offsets(pending), err)
	}
}

func TestPublish_KeepsTheRecordAndItsPartition(t *testing.T) {
	t.Parallel()
	var produces, unsafe atomic.Int64
	b := newTopic(t)
	b.cluster.ControlKey(0, func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		produces.Add(1)
		if r.(*kmsg.ProduceRequest).Acks != -1 {
			unsafe.Add(1)
		}
		return nil, nil, false
	})
	started := time.Now()
	var deadLetters []contactsync.DeadLetter
	for i := range int64(20) {
		deadLetters = append(deadLetters, deadLetter(i, fmt.Sprintf("key-%d", i), fmt.Sprintf(`{"n":%d}`, i)))
	}
	deadLetters[7].Record.Value = nil // a tombstone
	deadLetters[8].Record.Value = []byte{}
	publish(t, b.writer, deadLetters...)
	if produces.Load() == 0 || unsafe.Load() > 0 {
		t.Errorf("%d of %d requests do not ask for every replica's acknowledgement", unsafe.Load(), produces.Load())
	}

	found := b.read(t, len(deadLetters))
	for _, want := range deadLetters {
		got := found[want.Record.Offset]
		if got == nil || got.Envelope != nil {
			t.Fatalf("dead letter %d: %+v", want.Record.Offset, got)
		}
		want.Record.Generation = 0
		if r := got.Record; string(r.Key) != string(want.Record.Key) || string(r.Value) != string(want.Record.Value) || (r.Value == nil) != (want.Record.Value == nil) {
			t.Errorf("record %q: %q, want %q: %q", r.Key, r.Value, want.Record.Key, want.Record.Value)
		}
		if got.Record.Position != want.Record.Position || got.Positions[0] != want.Positions[0] || got.Reason != want.Reason ||
			got.Status != 422 || got.Attempts != 2 || got.Detail != "refused" || got.Stream != "stream" || got.Contact != want.Contact ||
			!got.First.Equal(want.First) || !got.Last.Equal(want.Last) || !got.Record.Time.Equal(want.Record.Time) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		// With the record's time the topic's retention could drop the dead letter immediately.
		if got.Written.Before(started.Add(-time.Minute)) {
			t.Errorf("the dead letter has the time %v", got.Written)
		}
		// The reference for Java's partitioning is another client.
		sent := b.client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: want.Record.Key, Headers: []kgo.RecordHeader{{Key: "contactsync-form", Value: []byte("1")}}})
		if r, err := sent.First(); err != nil || r.Partition != got.At.Partition {
			t.Errorf("key %s is in partition %d, want %d: %v", want.Record.Key, got.At.Partition, r.Partition, err)
		}
	}
}

// refuse answers every produce request that has the mark with an error code.
func (b *deadTopic) refuse(mark string, code int16, times int) {
	b.cluster.ControlKey(0, func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		request := r.(*kmsg.ProduceRequest)
		if partition := request.Topics[0].Partitions[0]; times != 0 && strings.Contains(string(partition.Records), mark) {
			times--
			response := request.ResponseKind().(*kmsg.ProduceResponse)
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic = request.Topics[0].Topic
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.ErrorCode = partition.Partition, code
			answer.Partitions = append(answer.Partitions, part)
			response.Topics = append(response.Topics, answer)
			return response, nil, true
		}
		return nil, nil, false
	})
}

// One partition cannot be written: the others must count as sent, or they would
// be written again; and those of the one must not, or they would be lost.
func TestPublish_ReturnsWhatWasNotAcknowledged(t *testing.T) {
	t.Parallel()
	b := newTopic(t)
	b.refuse("key-a", 19, 1) // NOT_ENOUGH_REPLICAS
	deadLetters := []contactsync.DeadLetter{deadLetter(1, "key-a", "1"), deadLetter(2, "key-b", "2"), deadLetter(3, "key-a", "3")}
	pending, err := b.writer.Publish(t.Context(), deadLetters)
	if got := fmt.Sprint(offsets(pending)); got != "[1 3]" {
		t.Errorf("pending %v, want [1 3]", got)
	}
	if !errors.Is(err, kafka.ErrFewReplicas) || !strings.Contains(err.Error(), "min.insync.replicas") || !strings.Contains(err.Error(), topic) {
		t.Errorf("error %v", err)
	}
	if len(pending) > 0 && pending[0].Record.Generation != 9 {
		t.Error("a dead letter comes back changed")
	}
	publish(t, b.writer, pending...)
	if found := b.read(t, 3); len(found) != 3 {
		t.Errorf("%d dead letters in the topic, want 3", len(found))
	}
}

func TestPublish_OneBadRecordDoesNotHoldItsNeighbours(t *testing.T) {
	t.Parallel()
	b := newTopic(t)
	b.refuse("poison", 87, -1) // INVALID_RECORD
	deadLetters := []contactsync.DeadLetter{deadLetter(1, "key", "good"), deadLetter(2, "key", "poison"), deadLetter(3, "key", "good")}
	pending, err := b.writer.Publish(t.Context(), deadLetters)
	if got := fmt.Sprint(offsets(pending)); got != "[2]" || !errors.Is(err, kafka.ErrRefused) {
		t.Errorf("pending %v: %v", got, err)
	}
	if strings.Contains(fmt.Sprint(err), "poison") {
		t.Errorf("the error repeats the record: %v", err)
	}
	b.read(t, 2)
}

func TestPublish_CutsWhatTheTopicDoesNotTake(t *testing.T) {
	t.Parallel()
	b := newTopic(t)
	b.set(t, "max.message.bytes", "100000")
	large := strings.Repeat("x", 200_000)
	deadLetters := []contactsync.DeadLetter{
		deadLetter(1, "key", "small"),
		deadLetter(2, "key", large),
		deadLetter(3, "key", strings.Repeat("y", 60_000)), // fits, but not with the next
		deadLetter(4, "key", strings.Repeat("z", 60_000)),
		deadLetter(5, "key", strings.Repeat("v", 2<<20)), // larger than a shared request
	}
	publish(t, b.writer, deadLetters...)
	found := b.read(t, len(deadLetters))
	for _, want := range deadLetters {
		got := found[want.Record.Offset]
		if got == nil {
			t.Fatalf("dead letter %d is missing", want.Record.Offset)
		}
		envelope := got.Envelope
		if whole := len(want.Record.Value) < 100_000; whole != (envelope == nil) {
			t.Errorf("record of %d bytes, envelope %v", len(want.Record.Value), envelope != nil)
		} else if whole && string(got.Record.Value) != string(want.Record.Value) {
			t.Errorf("record %d has changed", want.Record.Offset)
		} else if !whole && (envelope.Size != len(want.Record.Value) || string(envelope.Head) != string(want.Record.Value[:4<<10]) || envelope.Position != want.Record.String()) {
			t.Errorf("envelope of %d bytes at %s with %d bytes", envelope.Size, envelope.Position, len(envelope.Head))
		}
		if got.Reason != want.Reason || string(got.Record.Key) != "key" || got.Record.Headers[0].Key != "trace" {
			t.Errorf("dead letter %d lost its reason, key or headers", want.Record.Offset)
		}
	}
	if n := testutil.ToFloat64(b.metrics.Truncated); n != 2 {
		t.Errorf("%v dead letters counted as truncated, want 2", n)
	}
}

func TestPublish_LargerThanARequestButNotThanTheTopic(t *testing.T) {
	t.Parallel()
	b := newTopic(t)
	b.set(t, "max.message.bytes", "5000000")
	publish(t, b.writer, deadLetter(1, "key", strings.Repeat("x", 3<<20)))
	if f := b.read(t, 1)[1]; f == nil || f.Envelope != nil {
		t.Error("a record that the topic takes was cut")
	}
}

func TestPublish_NotEvenTheEnvelopeFits(t *testing.T) {
	t.Parallel()
	b := newTopic(t)
	b.set(t, "max.message.bytes", "200")
	pending, err := b.writer.Publish(t.Context(), []contactsync.DeadLetter{deadLetter(1, "key", "value")})
	if len(pending) != 1 || !errors.Is(err, kafka.ErrTooLarge) || !strings.Contains(err.Error(), "max.message.bytes") {
		t.Errorf("%d pending: %v", len(pending), err)
	}
	if n := testutil.ToFloat64(b.metrics.Truncated); n != 0 {
		t.Errorf("%v dead letters counted as truncated although none was written", n)
	}
}

func TestPublish_MissingTopicIsNotCreated(t *testing.T) {
	t.Parallel()
	b := newTopic(t, kfake.AllowAutoTopicCreation())
	for _, topics := range [][]string{nil, {"missing"}} {
		pending, err := b.newWriter(t, "missing", kafka.DefaultConfig(), topics...).Publish(t.Context(), []contactsync.DeadLetter{deadLetter(1, "key", "value")})
		if len(pending) != 1 || !errors.Is(err, kafka.ErrNoTopic) || !strings.Contains(err.Error(), "create it with") {
			t.Errorf("%d pending: %v", len(pending), err)
		}
	}
	if topics, err := kadm.NewClient(b.client).ListTopics(t.Context()); err != nil || topics.Has("missing") {
		t.Errorf("topics %v: %v", topics.Names(), err)
	}
}

func TestPublish_WithoutTheRightToWrite(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic), kfake.EnableACLs(), kfake.EnableSASL(),
		kfake.User("PLAIN", "user", "pass", kfake.ACL{
			Resource: kmsg.ACLResourceTypeTopic, Name: topic, Pattern: kmsg.ACLResourcePatternTypeLiteral,
			Operation: kmsg.ACLOperationDescribe, Allow: true,
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	b := &deadTopic{cluster: cluster, metrics: &metrics.New(prometheus.NewRegistry()).DeadLetter}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("pass"), 0o600); err != nil {
		t.Fatal(err)
	}
	conn := kafka.DefaultConfig()
	conn.SASL = kafka.SASL{Mechanism: kafka.Plain, Username: "user", PasswordFile: password, AllowPlaintext: true}
	w := b.newWriter(t, topic, conn)
	pending, err := w.Publish(t.Context(), []contactsync.DeadLetter{deadLetter(1, "key", "value")})
	if len(pending) != 1 || !errors.Is(err, kafka.ErrDenied) || !strings.Contains(err.Error(), "WRITE") {
		t.Errorf("%d pending: %v", len(pending), err)
	}
}

func TestPublish_ReturnsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	b := newTopic(t)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan struct{})
	b.cluster.ControlKey(0, func(kmsg.Request) (kmsg.Response, error, bool) {
		cancel() // the request is in flight, and the broker does not answer it
		b.cluster.SleepControl(func() { <-answer })
		return nil, nil, false
	})
	deadLetters := []contactsync.DeadLetter{deadLetter(1, "key", "1"), deadLetter(2, "other", "2")}
	pending, err := b.writer.Publish(ctx, deadLetters)
	close(answer)
	if len(pending) != 2 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d pending: %v", len(pending), err)
	}
	pending, err = b.writer.Publish(ctx, deadLetters)
	if len(pending) != 2 || !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %d pending: %v", len(pending), err)
	}
}

func TestPublish_NothingAndAfterClose(t *testing.T) {
	t.Parallel()
	b := newTopic(t)
	publish(t, b.writer)
	if err := b.writer.Close(); err != nil {
		t.Fatal(err)
	}
	pending, err := b.writer.Publish(t.Context(), []contactsync.DeadLetter{deadLetter(1, "key", "value")})
	if len(pending) != 1 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%d pending: %v", len(pending), err)
	}
}

func TestPublish_BrokersDown(t *testing.T) {
	t.Parallel()
	b := newTopic(t)
	b.cluster.Close()
	pending, err := b.writer.Publish(t.Context(), []contactsync.DeadLetter{deadLetter(1, "key", "value"), deadLetter(2, "key", "value")})
	if len(pending) != 2 || err == nil || !strings.Contains(err.Error(), topic) {
		t.Errorf("%d pending: %v", len(pending), err)
	}
}
