package batcher

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// After an ambiguous answer no request carries the contact before the delay is over, whatever
// arrives or is deleted meanwhile.
func TestWindow_TheWaitAfterAnAmbiguousAnswerIsTheContacts(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Second
	behind := testClaim
	behind.Partition = 2
	deleted := func(change func(*event.Event)) func(*testWindow) {
		return func(w *testWindow) {
			w.addFor("a", lower, change)
			w.addFor("a", lower, nil)
		}
	}
	for name, test := range map[string]struct {
		inFlight func(w *testWindow) // before the answer
		waiting  func(w *testWindow) // after it
	}{
		"nothing arrives":                      {},
		"an update":                            {waiting: func(w *testWindow) { w.addFor("a", lower, nil) }},
		"an update while it is in flight":      {inFlight: func(w *testWindow) { w.addFor("a", lower, nil) }},
		"another spelling":                     {waiting: func(w *testWindow) { w.addFor("a", upper, nil) }},
		"another spelling while in flight":     {inFlight: func(w *testWindow) { w.addFor("a", upper, nil) }},
		"a delete, and an update":              {waiting: deleted(func(ev *event.Event) { ev.Kind = event.Delete })},
		"a delete in flight, and an update":    {inFlight: deleted(func(ev *event.Event) { ev.Kind = event.Delete })},
		"a tombstone, and an update":           {waiting: deleted(func(ev *event.Event) { ev.Kind = event.Tombstone })},
		"a tombstone in flight, and an update": {inFlight: deleted(func(ev *event.Event) { ev.Kind = event.Tombstone })},
		"a tombstone without a stream":         {waiting: deleted(func(ev *event.Event) { ev.Kind, ev.Contact.Stream = event.Tombstone, "" })},
		"two deletes, and updates between them": {waiting: func(w *testWindow) {
			deleted(func(ev *event.Event) { ev.Kind = event.Delete })(w)
			deleted(func(ev *event.Event) { ev.Kind = event.Delete })(w)
		}},
		"a delete, and the other spelling": {waiting: func(w *testWindow) {
			w.addFor("a", lower, func(ev *event.Event) { ev.Kind = event.Delete })
			w.addFor("a", upper, nil)
		}},
		"a delete, and an update of a partition that catches up": {waiting: func(w *testWindow) {
			w.addFor("a", lower, func(ev *event.Event) { ev.Kind = event.Delete })
			w.Assign(w.now, []contactsync.Claim{behind}, true)
			w.addTo(behind, lower)
			w.CaughtUp(w.now, behind)
		}},
		"a delete in flight, and an update of a partition that catches up": {inFlight: func(w *testWindow) {
			w.addFor("a", lower, func(ev *event.Event) { ev.Kind = event.Delete })
			w.Assign(w.now, []contactsync.Claim{behind}, true)
			w.addTo(behind, lower)
		}, waiting: func(w *testWindow) { w.CaughtUp(w.now, behind) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, func(c *Config) {
				c.Linger, c.BackoffMin, c.BackoffMax, c.AmbiguousRetryDelay = 0, time.Millisecond, time.Millisecond, delay
			})
			w.addFor("a", lower, nil)
			req := w.Next(w.now)
			if test.inFlight != nil {
				test.inFlight(w)
			}
			w.settle(req, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
			answered := w.now
			if test.waiting != nil {
				test.waiting(w)
			}
			w.addFor("a", "other", nil) // which need not wait
			for w.now.Before(answered.Add(delay)) {
				if req := w.Next(w.now); req != nil {
					if ids(req) != "other" {
						t.Fatalf("%s is sent after %v", ids(req), w.now.Sub(answered))
					}
					w.settle(req, allDelivered(req.Batch))
				}
				w.now = w.now.Add(100 * time.Millisecond)
			}
			if req := w.Next(w.now); req == nil || contactsync.FoldID(req.Batch.Rows[0].ID) != lower {
				t.Errorf("the request is %+v when the wait is over", req)
			}
		})
	}
}
