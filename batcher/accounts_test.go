package batcher

import (
	"slices"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// addFor adds an update of a contact in a stream of an account.
func (w *testWindow) addFor(account, key string, change func(*event.Event)) {
	ev := w.event(key)
	if ev.Contact.Account = account; change != nil {
		change(ev)
	}
	w.Add(w.now, ev)
}

// sentTo sends all that is due, has it delivered, and returns it as account/stream/ids.
func (w *testWindow) sentTo() (sent []string) {
	w.now = w.now.Add(time.Minute)
	for f := w.Next(w.now); f != nil; f = w.Next(w.now) {
		sent = append(sent, f.Batch.Account+"/"+f.Batch.Stream+"/"+ids(f))
		w.settle(f, allDelivered(f.Batch))
	}
	slices.Sort(sent)
	return sent
}

// sentOf returns the rows of the one request of an account that is due.
func (w *testWindow) sentOf(account string) (rows string) {
	w.now = w.now.Add(time.Second)
	for f := w.Next(w.now); f != nil; f = w.Next(w.now) {
		if f.Batch.Account == account {
			rows += ids(f)
		}
	}
	return rows
}

// A stream that lies in two accounts is two queues: whatever came first, nothing of one is
// sent with the other's credentials.
func TestWindow_AStreamOfTwoAccountsIsTwoQueues(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.addFor("a", "st/x", numbered(9))
	w.addFor("b", "st/x", numbered(1)) // of its own, so not older
	w.addFor("b", "st/y", nil)
	w.addFor("a", "st/z", nil)
	if got, want := w.sentTo(), []string{"a/st/x z", "b/st/x y"}; !slices.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	w.wantEnded(0, 1, 2, 3)

	w.addFor("b", "st/x", numbered(2)) // what the other account knows of the contact does not matter
	w.addFor("a", "st/x", numbered(3))
	if got, want := w.sentTo(), []string{"b/st/x"}; !slices.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
}

// A hold of a stream is of one account.
func TestWindow_AStreamOfTwoAccountsIsHeldInOne(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.addFor("a", "st/x", nil)
	w.now = w.now.Add(time.Second)
	w.settle(w.Next(w.now), contactsync.Result{Kind: contactsync.StreamGone, Status: 404})
	w.addFor("b", "st/x", nil)
	w.addFor("b", "st/y", nil)
	if got := w.sentOf("b"); got != "x y" {
		t.Errorf("sent %q of account b, want both in one request", got)
	}
	if holds := w.Status(w.now).Holds; len(holds) != 1 || holds[0].Account != "a" {
		t.Errorf("holds %+v, want one of account a", holds)
	}
}

// What signs for a stream is known with the stream, and shown where that is on hold.
func TestWindow_AHoldNamesTheCredential(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.schedule.credential = func(account, stream string) string { return account + " signs for " + stream }
	w.addFor("a", "st/x", nil)
	w.now = w.now.Add(time.Second)
	w.settle(w.Next(w.now), contactsync.Result{Kind: contactsync.StreamGone, Status: 404})
	if holds := w.Status(w.now).Holds; len(holds) != 1 || holds[0].Credential != "a signs for st" {
		t.Errorf("holds %+v", holds)
	}
}

// A delete is of its account, and a tombstone, which names none, of all.
func TestWindow_DeletesInAStreamOfTwoAccounts(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	both := func() {
		w.addFor("a", "st/x", nil)
		w.addFor("b", "st/x", nil)
	}
	both()
	w.addFor("b", "st/x", func(ev *event.Event) { ev.Kind = event.Delete })
	if got, want := w.sentTo(), []string{"a/st/x"}; !slices.Equal(got, want) {
		t.Errorf("after a delete of account b: sent %v, want %v", got, want)
	}
	for _, named := range []event.Contact{{Stream: "st", ID: "x"}, {ID: "x"}} {
		both()
		w.addFor("", "st/x", func(ev *event.Event) { ev.Kind, ev.Contact = event.Tombstone, named })
		if got := w.sentTo(); got != nil {
			t.Errorf("after a tombstone for %+v: sent %v", named, got)
		}
		w.addFor("b", "st/x", replayOf(0, 100))
		if got := w.sentTo(); got != nil {
			t.Errorf("a replay brings back what a tombstone for %+v has deleted: sent %v", named, got)
		}
	}
}
