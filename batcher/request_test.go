package batcher

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

func TestRequest_SaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	failed := contactsync.Result{Kind: contactsync.Unavailable, Status: 503}
	gone := contactsync.Result{Kind: contactsync.StreamGone, Status: 404}
	for _, tt := range []struct {
		name    string
		answers []contactsync.Result // to the requests before
		want    contactsync.Purpose
	}{
		{"new rows", nil, contactsync.Delivery},
		{"rows that were sent before", []contactsync.Result{failed}, contactsync.Retry},
		{"half of a refused request", []contactsync.Result{{Kind: contactsync.BadRequest, Status: 400}}, contactsync.Isolation},
		{"a stream on hold", []contactsync.Result{gone}, contactsync.Probe},
		{"a half of a stream on hold", []contactsync.Result{{Kind: contactsync.BadRequest, Status: 400}, gone}, contactsync.Probe},
	} {
		w := newTestWindow(t, nil)
		w.add("a", "b", "c", "d")
		for _, r := range tt.answers {
			w.settle(w.send(), r)
		}
		if got := w.send().Batch.Purpose; got != tt.want {
			t.Errorf("%s: a request for %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRequest_ProbesForItsAccount(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	for _, stream := range []string{"x", "y", "z"} {
		w.heard(stream, contactsync.StreamGone)
	}
	w.add("new/a")
	if w.now = w.now.Add(time.Hour); w.Next(w.now).Batch.Purpose != contactsync.Probe {
		t.Error("the request of a stream that is not on hold, but whose account is, is no probe")
	}
}
