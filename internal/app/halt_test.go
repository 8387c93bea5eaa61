package app_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/app"
)

// TestService_BatchThatCannotBeReadHaltsItsPartition puts a compression bomb into
// one partition: it waits for an operator, and the others go on. Not parallel,
// because the decompression limit belongs to the process.
func TestService_BatchThatCannotBeReadHaltsItsPartition(t *testing.T) {
	w := newWorld(t, nil)
	w.cfg.Consumer.MaxBatchBytes = w.cfg.Consumer.FetchMaxBytes
	w.cfg.Consumer.PartitionCheckInterval = 200 * time.Millisecond
	bomber, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(16<<20), kgo.MaxBufferedBytes(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer bomber.Close()
	put := func(partition int32, value []byte) {
		t.Helper()
		if err := bomber.ProduceSync(t.Context(), &kgo.Record{Topic: "contacts", Partition: partition, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	put(0, make([]byte, 8<<20))
	put(0, []byte(contact("st-1", "behind", 1)))
	put(1, []byte(contact("st-1", "beside", 1)))
	reg, _ := w.replica(app.Options{})
	w.until("the contact of the other partition", func() bool { return w.api.State()["st-1"]["beside"] == 1 })
	w.until("the halt to show", func() bool {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "contactsync_consumer_halted_partitions" {
				return f.GetMetric()[0].GetGauge().GetValue() == 1
			}
		}
		return false
	})
	if _, sent := w.api.State()["st-1"]["behind"]; sent {
		t.Error("the halted partition was passed over")
	}
	if n, err := testutil.GatherAndCount(reg, "contactsync_consumer_fetch_errors_total"); err != nil || n == 0 {
		t.Errorf("fetch errors: %d series, %v", n, err)
	}
}
