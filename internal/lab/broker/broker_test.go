package broker

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestBroker(t *testing.T, o Options) (*Broker, *kgo.Client) {
	t.Helper()
	b, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return b, c
}

func TestBroker_OffsetsAndRecordsCanBeRead(t *testing.T) {
	t.Parallel()
	b, c := newTestBroker(t, Options{Topics: map[string]int32{"a": 3, "b": 1}, Nodes: 2})
	if n := len(b.Addrs()); n != 2 {
		t.Errorf("%d addresses, want 2", n)
	}
	for i, text := range []string{"x", "y", "z"} {
		r := &kgo.Record{Topic: "a", Partition: int32(i % 2), Value: []byte(text), Headers: []kgo.RecordHeader{{Key: "k", Value: []byte(text)}}}
		if err := c.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	a := func(partition int32) contactsync.TopicPartition {
		return contactsync.TopicPartition{Topic: "a", Partition: partition}
	}
	ends, err := EndOffsets(t.Context(), b.Addrs(), "a", "b")
	want := map[contactsync.TopicPartition]int64{a(0): 2, a(1): 1, a(2): 0, {Topic: "b"}: 0}
	if err != nil || !maps.Equal(ends, want) {
		t.Errorf("ends %v, %v, want %v", ends, err, want)
	}
	all, err := ReadAll(t.Context(), b.Addrs(), "a")
	if err != nil || len(all) != 3 {
		t.Fatalf("read %d records, %v", len(all), err)
	}
	got := map[int32]string{}
	for _, r := range all {
		got[r.Partition] += string(r.Value) + string(r.Headers[0].Value)
	}
	if !maps.Equal(got, map[int32]string{0: "xxzz", 1: "yy"}) {
		t.Errorf("read %v", got)
	}
	if all, err := ReadAll(t.Context(), b.Addrs(), "b"); err != nil || len(all) != 0 {
		t.Errorf("an empty topic: %v, %v", all, err)
	}

	if none, err := Committed(t.Context(), b.Addrs(), "group"); err != nil || len(none) != 0 {
		t.Errorf("an unknown group: %v, %v", none, err)
	}
	var offsets kadm.Offsets
	offsets.AddOffset("a", 0, 2, -1)
	if err := kadm.NewClient(c).CommitAllOffsets(t.Context(), "group", offsets); err != nil {
		t.Fatal(err)
	}
	committed, err := Committed(t.Context(), b.Addrs(), "group")
	if err != nil || !maps.Equal(committed, map[contactsync.TopicPartition]int64{a(0): 2}) {
		t.Errorf("committed %v, %v", committed, err)
	}
}

func TestBroker_CreateTopic(t *testing.T) {
	t.Parallel()
	b, _ := newTestBroker(t, Options{})
	for range 2 { // the second time it is there already
		if err := CreateTopic(t.Context(), b.Addrs(), "new", 5); err != nil {
			t.Fatal(err)
		}
	}
	if ends, err := EndOffsets(t.Context(), b.Addrs(), "new"); err != nil || len(ends) != 5 {
		t.Errorf("ends %v, %v", ends, err)
	}
	if _, err := EndOffsets(t.Context(), b.Addrs(), "none"); err == nil {
		t.Error("a topic that is not there has ends")
	}
	if _, err := ReadAll(t.Context(), b.Addrs(), "none"); err == nil || !strings.Contains(err.Error(), "topic none") {
		t.Errorf("a topic that is not there is read: %v", err)
	}
}

func TestReadAll_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	b, c := newTestBroker(t, Options{Topics: map[string]int32{"a": 1}})
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadAll(ctx, b.Addrs(), "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
