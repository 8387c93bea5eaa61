package feed_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newBroker(t *testing.T) *broker.Broker {
	t.Helper()
	b, err := broker.Start(broker.Options{Topics: map[string]int32{"contacts": 4}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestProduce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*feed.Config)
	}{
		{"plain", func(*feed.Config) {}},
		{"compressed", func(c *feed.Config) { c.Compression = "zstd" }},
		{"transactions", func(c *feed.Config) { c.Transactional, c.TxnEvents, c.AbortShare = true, 100, 0.3 }},
		{"last transaction aborted", func(c *feed.Config) { c.Transactional, c.TxnEvents, c.AbortShare = true, 100, 1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			cfg := feed.DefaultConfig()
			cfg.Contacts, cfg.Events, cfg.PoisonShare, cfg.TombstoneShare = 100, 2050, 0.05, 0.05
			tt.change(&cfg)
			reported := 0
			man, err := feed.Produce(t.Context(), b.Addrs(), cfg, func(n int) { reported = n })
			if err != nil {
				t.Fatal(err)
			}
			if reported != cfg.Events || len(man.Records) != cfg.Events {
				t.Fatalf("%d events reported, %d in the manifest, want %d", reported, len(man.Records), cfg.Events)
			}
			checkTopic(t, b, cfg, man)
		})
	}
}

// checkTopic compares the topic with the manifest, record by record.
func checkTopic(t *testing.T, b *broker.Broker, cfg feed.Config, man *feed.Manifest) {
	t.Helper()
	read, err := broker.ReadAll(t.Context(), b.Addrs(), cfg.Topic)
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		partition int32
		offset    int64
	}
	there := map[place]*kgo.Record{}
	for _, r := range read {
		there[place{r.Partition, r.Offset}] = r
	}
	gen, err := feed.NewGenerator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	visible, aborted := 0, 0
	lastOffset := map[int32]int64{}
	for i, rec := range man.Records {
		ev, _ := gen.Next()
		if prev, ok := lastOffset[rec.Partition]; ok && rec.Offset <= prev {
			t.Fatalf("event %d lies at %d, not behind %d", i, rec.Offset, prev)
		}
		lastOffset[rec.Partition] = rec.Offset
		r := there[place{rec.Partition, rec.Offset}]
		if rec.Class == feed.Aborted {
			if aborted++; r != nil {
				t.Fatalf("event %d was aborted and is read", i)
			}
			continue
		}
		visible++
		if r == nil || !slices.Equal(r.Key, ev.Key) || !slices.Equal(r.Value, ev.Value) || rec.Seq != ev.Seq || rec.Class != ev.Class {
			t.Fatalf("event %d, %+v: the topic holds %+v", i, rec, r)
		}
	}
	if len(read) != visible {
		t.Errorf("%d records in the topic, %d in the manifest", len(read), visible)
	}
	if (aborted > 0) != (cfg.AbortShare > 0) {
		t.Errorf("%d aborted events with a share of %v", aborted, cfg.AbortShare)
	}
}

func TestProduce_Rate(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	cfg := feed.DefaultConfig()
	cfg.Events, cfg.Rate = 300, 2000
	start := time.Now() // a lower bound only, which no slow machine can miss: 300 less the burst of 40
	if _, err := feed.Produce(t.Context(), b.Addrs(), cfg, nil); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 120*time.Millisecond {
		t.Errorf("300 events at 2000/s took %v only", took)
	}
}

func TestProduce_Faults(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	cfg := feed.DefaultConfig()
	cfg.Topic = "missing"
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if m, err := feed.Produce(ctx, b.Addrs(), cfg, nil); err == nil || m != nil || ctx.Err() != nil {
		t.Errorf("a missing topic: %v, %v", m, err)
	}
	cfg.Topic, cfg.Rate = "contacts", 100_000
	ctx, stop := context.WithCancel(t.Context())
	if _, err := feed.Produce(ctx, b.Addrs(), cfg, func(int) { stop() }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	cfg.Streams = 0
	if _, err := feed.Produce(t.Context(), b.Addrs(), cfg, nil); err == nil {
		t.Error("no streams: no error")
	}
}
