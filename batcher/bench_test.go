package batcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// BenchmarkWindow takes events about contacts in a hundred streams through the
// window, ten events a contact, and has every request delivered.
//
//	go test -run '^$' -bench Window -benchmem ./batcher
func BenchmarkWindow(b *testing.B) {
	const streams, contacts = 100, 10_000
	body := []byte(`{"id":"6964af60450340957c61a2b3","firstName":"john","lastName":"doee","cellPhone":{"phoneNumber":"2445612345"}}`)
	names, ids := make([]string, streams), make([]string, contacts)
	for i := range names {
		names[i] = fmt.Sprintf("st-%04d", i)
	}
	for i := range ids {
		ids[i] = fmt.Sprintf("6964af60%016x", i)
	}
	w := NewWindow(DefaultConfig(), func(string) (Gate, bool) { return open{}, true }, &metrics.New(prometheus.NewRegistry()).Batcher, 1)
	claim := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts"}, Generation: 1}
	now := time.Unix(1_700_000_000, 0)
	w.Assign(now, []contactsync.Claim{claim}, false)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		contact := n / 10 % contacts
		w.Add(now, &event.Event{
			Record: contactsync.Record{Position: contactsync.Position{TopicPartition: claim.TopicPartition, Offset: int64(n)}, Generation: claim.Generation, Time: now, Value: body}, Kind: event.Update,
			Contact: event.Contact{Stream: names[contact%streams], ID: ids[contact], Account: "a", Body: body, Shape: 1},
		})
		if n++; n%1000 == 0 {
			now = now.Add(time.Second)
			for f := w.Next(now); f != nil; f = w.Next(now) {
				w.Settle(now, f, allDelivered(f.Batch))
			}
			w.TakeEnded()
		}
	}
}
