package app_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/lab/feed"
)

// TestService_BatchThatCannotBeReadHaltsItsPartition puts a compression bomb into
// one partition: it waits for an operator, and the others go on.
func TestService_BatchThatCannotBeReadHaltsItsPartition(t *testing.T) {
	l := newLab(t)
	l.Config.Consumer.MaxBatchBytes = l.Config.Consumer.FetchMaxBytes
	l.Config.Consumer.PartitionCheckInterval = 200 * time.Millisecond
	bomber, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(16<<20), kgo.MaxBufferedBytes(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer bomber.Close()
	put := func(partition int32, value []byte) {
		t.Helper()
		if err := bomber.ProduceSync(t.Context(), &kgo.Record{Topic: l.Topic, Partition: partition, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	put(0, make([]byte, 8<<20))
	put(0, feed.NewUpdate(feed.Contact{Stream: "st-1", ID: "behind"}, 0, 1, feed.Update).Value)
	put(1, feed.NewUpdate(feed.Contact{Stream: "st-1", ID: "beside"}, 0, 1, feed.Update).Value)
	replica := l.start()
	l.until("the contact of the other partition", func() bool { return l.api.State()["st-1"]["beside"] == 1 })
	l.until("the halt to show", func() bool { return replica.Series().Value("consumer_halted_partitions") == 1 })
	if page := l.get(replica.Addr, "/status"); !strings.Contains(page, `"state": "halted"`) || !strings.Contains(page, "the batch at offset 0 cannot be read") {
		t.Errorf("/status says %q while a partition is halted", page)
	}
	if page := l.get(replica.Addr, "/readyz"); page != "ok\n" {
		t.Errorf("/readyz says %q although the other partition is read", page)
	}
	for p := range int32(3) {
		put(p, make([]byte, 8<<20))
	}
	l.until("nothing to be read any more", func() bool {
		return strings.Contains(l.get(replica.Addr, "/readyz"), "none of the owned partitions is read")
	})
	if _, sent := l.api.State()["st-1"]["behind"]; sent {
		t.Error("the halted partition was passed over")
	}
	if n := replica.Series().Value("consumer_fetch_errors_total"); n == 0 {
		t.Error("no fetch error is counted")
	}
}
