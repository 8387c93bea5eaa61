//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

// TestLog changes the log under a running replica.
func TestLog(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 1})
	t.Run("topic recreated and skip", func(t *testing.T) { topicRecreated(t, cluster, "skip") })
	t.Run("topic recreated and halt", func(t *testing.T) { topicRecreated(t, cluster, "halt") })
	t.Run("large batches in every partition", func(t *testing.T) { largeBatches(t, cluster) })
	t.Run("a batch that an operator sets aside", func(t *testing.T) { batchSetAside(t, cluster) })
}

// batchSetAside halts a replica at a batch that is too large, and has the program decide.
func batchSetAside(t *testing.T, cluster *kafka.Cluster) {
	r := newRun(t, cluster, runOptions{partitions: 1, extra: "  max_batch_bytes: 1MiB"})
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Brokers...), kgo.DefaultProduceTopic(r.Topic), kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	contact := func(id string) []byte {
		return feed.NewUpdate(feed.Contact{Stream: "st-1", ID: id}, 0, 1, feed.Update).Value
	}
	large := make([]byte, 4<<20)
	for _, batch := range [][][]byte{{contact("before")}, {large, large}, {contact("behind")}} {
		var records []*kgo.Record
		for _, v := range batch {
			records = append(records, &kgo.Record{Value: v})
		}
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	replica := r.start(1)[0]
	until(t, "the halt", func() bool { return replica.series("consumer_halted_partitions") == 1 })
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	setAside := func(last string) ([]byte, error) {
		return exec.CommandContext(t.Context(), path, "set-aside", r.Topic+"/0@1", "--last", last, "--admin", replica.address()).CombinedOutput()
	}
	if out, err := setAside("3"); err == nil || !strings.Contains(string(out), "the batch that cannot be read has the offsets 1 to 2") {
		t.Errorf("with a good event: %v\n%s", err, out)
	}
	if out, err := setAside("2"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	until(t, "the event behind", func() bool { return r.uncommitted(t.Context()) == 0 })
	replica.stop()
	if state := r.api.State()["st-1"]; state["before"] != 1 || state["behind"] != 1 {
		t.Errorf("the API has %v", state)
	}
}

// topicRecreated deletes a topic and creates it again, with fewer events, while a replica
// reads it. Kafka forgets the offsets of a deleted topic, so the new one is read from its
// start, whatever the policy says of offsets that do not exist.
func topicRecreated(t *testing.T, cluster *kafka.Cluster, policy string) {
	r := newRun(t, cluster, runOptions{partitions: 1, extra: "  on_offset_loss: " + policy})
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 2_000, 200, 4 })
	p := r.start(1)[0]
	r.drain()
	if there, err := cluster.HasTopic(t.Context(), r.Topic); err != nil || !there {
		t.Fatalf("the topic is not there: %v", err)
	}
	if err := cluster.DeleteTopic(t.Context(), r.Topic); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // the replica must not bring it back meanwhile
	if there, err := cluster.HasTopic(t.Context(), r.Topic); err != nil || there {
		t.Fatalf("the deleted topic is there again: %v, %v", there, err)
	}
	if err := cluster.CreateTopic(t.Context(), r.Topic, 1, 1, nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.Manifest = feed.Manifest{}
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams, c.SeqBase = 500, 100, 4, 10_000 })
	until(t, "the events of the new topic", func() bool { return r.uncommitted(t.Context()) == 0 })
	t.Logf("the new topic was delivered %v after it was there", time.Since(began).Round(time.Second))
	p.stop()
	state := r.api.State()
	for n, seq := range r.Manifest.LastSeq() {
		if c := r.Manifest.Contacts[n]; state[c.Stream][c.ID] != seq {
			t.Errorf("I1: %v has %d, want %d", c, state[c.Stream][c.ID], seq)
		}
	}
}

// largeBatches has every partition begin with a batch of 200 KB that becomes some 40 MB.
func largeBatches(t *testing.T, cluster *kafka.Cluster) {
	const partitions, events = 20, 40_000
	r := newRun(t, cluster, runOptions{partitions: partitions, extra: "batcher: {window_bytes: 64MiB}"})
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Second),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(60<<20), kgo.BrokerMaxWriteBytes(256<<20), kgo.MaxBufferedBytes(256<<20), kgo.MaxBufferedRecords(2*events))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	pad := bytes.Repeat([]byte("x"), 900)
	for p := range int32(partitions) {
		var records []*kgo.Record
		for i := range events {
			contact := feed.Contact{Stream: feed.StreamName(int(p)), ID: fmt.Sprintf("%024x", int(p)*events+i)}
			records = append(records, &kgo.Record{
				Topic: r.Topic, Partition: p, Value: feed.NewUpdate(contact, i, 1, feed.Update).Value,
				Headers: []kgo.RecordHeader{{Key: "pad", Value: pad}},
			})
		}
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	replica := r.start(1)[0]
	until(t, "a tenth of the contacts", func() bool { return r.api.Stats().AppliedRows > partitions*events/10 })
	replica.stop()
	_, rss := replica.usage()
	const limit = 768 // MiB, the chart's limit
	t.Logf("%d partitions, each with a batch of %d events of 1 KB: rss %d MiB, the chart's limit is %d", partitions, events, rss, limit)
	if rss > limit {
		t.Errorf("the service took %d MiB", rss)
	}
}
