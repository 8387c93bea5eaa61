package batcher_test

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// Two states of one contact become one row, and its outcome ends both events. The
// window has no clock: the example lives through its linger without waiting.
func ExampleWindow() {
	m := &metrics.New(prometheus.NewRegistry()).Batcher
	noGates := func(string) (batcher.Gate, bool) { return nil, false }
	cfg := batcher.DefaultConfig()
	w := batcher.NewWindow(cfg, noGates, m, 1)
	now := time.Date(2026, 1, 9, 9, 35, 0, 0, time.UTC)

	claim := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 3}, Generation: 1}
	w.Assign(now, []contactsync.Claim{claim}, false)
	for offset, body := range []string{`{"id":"a","firstName":"Ada"}`, `{"id":"a","lastName":"Lovelace"}`} {
		w.Add(now, &event.Event{
			Kind:    event.Update,
			Contact: event.Contact{Stream: "st-1", ID: "a", Account: "acme", Body: []byte(body), Shape: uint64(offset)},
			Record: contactsync.Record{
				Position:   contactsync.Position{TopicPartition: claim.TopicPartition, Offset: int64(offset)},
				Generation: claim.Generation, Time: now,
			},
		})
	}
	fmt.Println("before the linger:", w.Next(now))

	now = now.Add(cfg.Linger)
	request := w.Next(now)
	for _, row := range request.Batch.Rows {
		fmt.Printf("%s: %s\n", request.Batch.Stream, row.Body)
	}
	w.Settle(now, request, contactsync.Result{
		Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{{Verdict: contactsync.Delivered}},
	})
	for _, ended := range w.TakeEnded() {
		fmt.Println("ended:", ended.Position())
	}
	// Output:
	// before the linger: <nil>
	// st-1: {"id":"a","firstName":"Ada","lastName":"Lovelace"}
	// ended: contacts/3@0
	// ended: contacts/3@1
}
