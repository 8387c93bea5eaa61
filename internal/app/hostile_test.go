package app_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

// TestService_HostileBatchesHaltTheirPartitions has a broker that checks nothing serve every
// batch that cannot be read, each in a partition of its own: each halts there, what is before
// it is delivered and committed, the one healthy partition goes on, and the heap does not
// grow beyond what fetches may take. It is not parallel, because it measures the process.
func TestService_HostileBatchesHaltTheirPartitions(t *testing.T) {
	names := slices.Sorted(maps.Keys(kafkatest.Hostile(1)))
	readable := []string{"an offset twice", "fewer records than it says", "more records than it says"} // their first record, a tombstone
	healthy := int32(len(names))
	l := newLabOf(t, healthy+1)
	l.Config.Consumer.PartitionCheckInterval = 200 * time.Millisecond
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	put := func(partition int32, id string) {
		t.Helper()
		value := feed.NewUpdate(feed.Contact{Stream: "st-1", ID: id}, 0, 1, feed.Update).Value
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: l.Topic, Partition: partition, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	batches := kafkatest.Hostile(1)
	for i, name := range names {
		p := int32(i)
		put(p, fmt.Sprint("before-", p))
		if err := l.PutRaw(t.Context(), p, func(offset int64) []byte {
			if offset != 1 {
				t.Errorf("%s: its offset is %d", name, offset)
			}
			return batches[name]
		}); err != nil {
			t.Fatal(err)
		}
		put(p, fmt.Sprint("behind-", p))
	}
	put(healthy, "first")
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	replica := l.start()
	l.until("every hostile partition to halt", func() bool { return replica.Series().Value("consumer_halted_partitions") == float64(healthy) })
	put(healthy, "second")
	committed := func() map[contactsync.TopicPartition]int64 {
		all, err := broker.Committed(t.Context(), l.Brokers, l.Group)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	l.until("what can be read to be committed", func() bool {
		all := committed()
		for p := range healthy {
			want := int64(1)
			if slices.Contains(readable, names[p]) {
				want = 2
			}
			if all[contactsync.TopicPartition{Topic: l.Topic, Partition: p}] != want {
				return false
			}
		}
		return all[contactsync.TopicPartition{Topic: l.Topic, Partition: healthy}] == 2
	})
	runtime.ReadMemStats(&after)
	// HeapSys only grows: it is the largest heap that there was, with the broker's copies.
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 768<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	state := l.api.State()["st-1"]
	for p := range healthy {
		if state[fmt.Sprint("before-", p)] != 1 || state[fmt.Sprint("behind-", p)] != 0 {
			t.Errorf("%s: before it is %d, behind it is %d", names[p], state[fmt.Sprint("before-", p)], state[fmt.Sprint("behind-", p)])
		}
	}
	if len(state) != len(names)+2 {
		t.Errorf("the API has %d contacts, want %d", len(state), len(names)+2)
	}
	if page := l.get(replica.Addr, "/readyz"); page != "ok\n" {
		t.Errorf("/readyz says %q although a partition is read", page)
	}
	t.Logf("%d batches; the heap grew by %d MiB", len(names), (int64(after.HeapSys)-int64(before.HeapSys))>>20)
}
