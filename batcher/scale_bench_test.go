package batcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// BenchmarkScale is an event with all that becomes of it beside so many streams and contacts that
// wait, of which none is ready: what is per operation must not grow with them.
//
//	go test -run '^$' -bench Scale ./batcher
func BenchmarkScale(b *testing.B) {
	for _, n := range []struct{ streams, contacts int }{{10, 1000}, {1000, 1000}, {100_000, 100_000}, {10, 1_000_000}, {100_000, 1_000_000}} {
		for what, kind := range map[string]event.Kind{"update": event.Update, "bare tombstone": event.Tombstone} {
			b.Run(fmt.Sprintf("%s/%d streams/%d contacts", what, n.streams, n.contacts), func(b *testing.B) {
				w := newTestWindow(b, func(c *Config) { c.WindowBytes, c.MaxRows, c.MaxBytes, c.Linger = 1<<40, 1<<30, 1<<40, 100*time.Hour })
				for i := range n.contacts {
					w.add(fmt.Sprintf("st-%d/c%d", i%n.streams, i))
				}
				w.pending.index.named("nobody")
				w.Next(w.now)
				b.ResetTimer()
				for i := 0; b.Loop(); i++ {
					ev := w.event(fmt.Sprintf("st-%d/x%d", i%n.streams, i))
					ev.Kind = kind
					if kind == event.Tombstone {
						ev.Contact.Stream = ""
					}
					w.Add(w.now, ev)
					if w.Next(w.now) != nil || w.Wake().IsZero() {
						b.Fatal("something is ready, or nothing waits")
					}
					w.TakeEnded()
				}
			})
		}
	}
}

// BenchmarkCaughtUp is the end of the catch-up of one of a hundred partitions, in 100,000 streams.
func BenchmarkCaughtUp(b *testing.B) {
	const partitions, streams = 100, 100_000
	claims := make([]contactsync.Claim, partitions)
	for i := range claims {
		claims[i] = contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: int32(i + 10)}, Generation: 4}
	}
	w := newTestWindow(b, func(c *Config) { c.WindowBytes = 1 << 40 })
	for i := range streams {
		w.add(fmt.Sprintf("st-%d/c", i))
	}
	for b.Loop() {
		w.Assign(w.now, claims, true)
		w.Next(w.now)
		for _, c := range claims {
			w.CaughtUp(w.now, c)
			w.schedule.place(w.now)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/partitions, "µs/partition")
}
