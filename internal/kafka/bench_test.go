package kafka_test

import (
	"log/slog"
	"testing"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

// BenchmarkClient_Read reads 200,000 typical events a time.
func BenchmarkClient_Read(b *testing.B) {
	k, err := broker.Start(broker.Options{Topics: map[string]int32{"contacts": 1}})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	const events = 200_000
	cfg := feed.DefaultConfig()
	cfg.Events = events
	if _, err := feed.Produce(b.Context(), k.Addrs(), cfg, nil); err != nil {
		b.Fatal(err)
	}
	client, err := kafka.New(configFor(k.Addrs()...), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for b.Loop() {
		got := 0
		if _, err := client.Read(b.Context(), partition(0), 0, events, func(contactsync.Record) { got++ }); err != nil || got != events {
			b.Fatal(got, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}
