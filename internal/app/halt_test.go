package app_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/replay"
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

// TestService_GoesOnBehindABatchThatIsSetAside plays the whole of an operator's decision:
// every partition is halted at a batch, and goes on behind it with a dead letter.
func TestService_GoesOnBehindABatchThatIsSetAside(t *testing.T) {
	l := newLab(t)
	l.Config.Consumer.MaxBatchBytes = l.Config.Consumer.FetchMaxBytes
	bomber, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(16<<20), kgo.MaxBufferedBytes(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer bomber.Close()
	put := func(partition int32, values ...[]byte) {
		t.Helper()
		var batch []*kgo.Record
		for _, v := range values {
			batch = append(batch, &kgo.Record{Topic: l.Topic, Partition: partition, Value: v})
		}
		if err := bomber.ProduceSync(t.Context(), batch...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	contact := func(id string) []byte {
		return feed.NewUpdate(feed.Contact{Stream: "st-1", ID: id}, 0, 1, feed.Update).Value
	}
	bomb := make([]byte, 4<<20)
	for p := range int32(3) {
		put(p, contact(fmt.Sprint("before-", p)))
		put(p, bomb, bomb)
		put(p, contact(fmt.Sprint("behind-", p)))
	}
	replica := l.start()
	l.until("the halts to show", func() bool { return replica.Series().Value("consumer_halted_partitions") == 3 })
	if page := l.get(replica.Addr, "/readyz"); !strings.Contains(page, "none of the owned partitions is read") {
		t.Errorf("/readyz says %q", page)
	}
	for p := range 3 {
		target := fmt.Sprintf("http://%s/set-aside?topic=%s&partition=%d&first=1&last=2", replica.Addr, l.Topic, p)
		res, err := http.Post(target, "", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			t.Fatalf("partition %d: %s", p, res.Status)
		}
	}
	l.drain()
	if page := l.get(replica.Addr, "/readyz"); page != "ok\n" {
		t.Errorf("/readyz says %q when the partitions go on", page)
	}
	if s := replica.Series(); s.Value("consumer_offsets_set_aside_total{too_large}") != 6 || s.Value("consumer_halted_partitions") != 0 {
		t.Errorf("%v offsets are counted, want 6; %v partitions are halted", s.Value("consumer_offsets_set_aside_total"), s.Value("consumer_halted_partitions"))
	}
	if state := l.api.State()["st-1"]; len(state) != 6 {
		t.Errorf("the API has %v, want both contacts of each partition", state)
	}
	l.stop()
	d, err := app.OpenDeadLetters(l.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c, err := d.Read(t.Context(), deadletter.Selection{}, true)
	if err != nil || len(c.Entries) != 3 {
		t.Fatalf("%d dead letters, %v", len(c.Entries), err)
	}
	for _, e := range c.Entries {
		var described kafka.Unreadable
		if err := json.Unmarshal(e.Record.Value, &described); err != nil {
			t.Fatal(err)
		}
		if e.Reason != contactsync.ReasonUnreadable || e.Record.Offset != 1 || described.First != 1 || described.Last != 2 ||
			described.Reason != "too_large" || described.Bytes < 1000 || len(described.SHA256) != 64 {
			t.Errorf("dead letter %v: %s, %+v", e.Record.Position, e.Detail, described)
		}
	}
	run, err := d.Replayer(replay.Options{MaxReplays: 3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := run.Run(t.Context(), c.Entries); err != nil || sum[replay.Undeliverable] != 3 {
		t.Errorf("replayed: %v, %v", sum, err)
	}
}
