package batcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// told is what the window says of the contact c of stream st, an event a line:
// "offset state", and into, what it waits for and until when, sends, and the last answer.
func (w *testWindow) told(contact string) string {
	w.t.Helper()
	var lines []string
	for _, e := range explain(w.Window, w.now, []string{"a", "b"}, "st", contact).Events {
		line := strings.TrimPrefix(e.Position, "contacts/1@") + " " + string(e.State)
		if e.Into != "" {
			line += " into " + strings.TrimPrefix(e.Into, "contacts/1@")
		}
		if e.WaitsFor != "" {
			line += " for " + e.WaitsFor
		}
		if !e.Until.IsZero() {
			line += " in " + e.Until.Sub(w.now).String()
		}
		if e.Ahead > 0 {
			line += fmt.Sprintf(" ahead %d", e.Ahead)
		}
		if e.Sends > 0 {
			line += fmt.Sprintf(" sends %d", e.Sends)
		}
		if r := e.Request; r != nil {
			line += strings.TrimRight(fmt.Sprintf(" request %d %s %s", r.Number, r.Purpose, r.Kind), " ")
		}
		if d := e.DeadLetter; d != nil {
			line += " letter " + d.Reason + " of " + d.Record
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func (w *testWindow) wantTold(contact, want string) {
	w.t.Helper()
	if got := w.told(contact); got != want {
		w.t.Errorf("of %s it says\n  %s\nwant\n  %s", contact, got, want)
	}
}

func TestWindow_ExplainsAContactFromArrivalToAcceptance(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.wantTold("c", "")
	w.add("b", "c")
	w.wantTold("c", "1 waiting for rows in 500ms ahead 1")
	w.add("c", "other/c")
	w.wantTold("c", "1 merged into 2; 2 waiting for rows in 500ms ahead 1")
	req := w.send()
	w.add("c")
	w.wantTold("c", "1 merged into 2; 2 in_flight sends 1 request 1 delivery; 4 waiting for earlier_state")
	w.settle(req, allDelivered(req.Batch))
	w.wantTold("c", "2 delivered request 1 delivery answered; 4 waiting for rows in 500ms")
	w.wantTold("b", "0 delivered request 1 delivery answered")
	w.wantTold("d", "")
}

// A state is waiting for the first reason that would hold it up if all others were over.
func TestWindow_ExplainsWhatAContactWaitsFor(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Second
	catching := testClaim
	catching.Partition = 2
	for name, test := range map[string]struct {
		do   func(w *testWindow)
		want string
	}{
		"hold": {func(w *testWindow) { w.addFor("a", "c", nil); w.putOnHold("st") }, "0 waiting for hold in 5m"},
		"account": {func(w *testWindow) {
			w.add("c")
			w.schedule.account("a").signer("").held, w.schedule.account("a").signer("").probe = true, w.now.Add(time.Hour)
		}, "0 waiting for account_hold in 1h0m0s"},
		"release": {func(w *testWindow) { w.add("c"); w.Drain(w.now) }, "0 waiting for release"},
		"ambiguous": {func(w *testWindow) {
			w.add("c")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.Unavailable, Status: 502, Ambiguous: true})
			w.schedule.stream("st", "a").health.backoff = time.Time{}
		}, "0 waiting for ambiguous in 5s sends 1 request 1 delivery unavailable"},
		"back-off": {func(w *testWindow) {
			w.add("c")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.Unavailable, Status: 502})
			w.schedule.stream("st", "a").health.backoff = w.now.Add(time.Second)
		}, "0 waiting for backoff in 1s sends 1 request 1 delivery unavailable"},
		"retry": {func(w *testWindow) {
			w.add("c")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.Answered, Status: 207, Rows: make([]contactsync.Outcome, 1)})
		}, "0 waiting for retry in "},
		"its partition": {func(w *testWindow) {
			w.Assign(w.now, []contactsync.Claim{catching}, true)
			w.addTo(catching, "c")
		}, "contacts/2@0 waiting for catch_up"},
		"another partition": {func(w *testWindow) { w.Assign(w.now, []contactsync.Claim{catching}, true); w.add("c") }, "0 waiting for catch_up"},
		"a request": {func(w *testWindow) {
			w.add("b")
			w.send()
			w.add("c")
			w.schedule.stream("st", "a").health.failures = 1
		}, "1 waiting for request"},
		"slots": {func(w *testWindow) {
			w.add("c")
			w.now = w.now.Add(time.Minute)
			w.schedule.account("a").inFlight = 1 << 20
		}, "0 waiting for slots"},
		"gate": {func(w *testWindow) {
			w.add("c")
			w.now = w.now.Add(time.Minute)
			w.schedule.account("a").again = w.now.Add(time.Second)
		}, "0 waiting for gate in 1s"},
		"turn": {func(w *testWindow) { w.add("c"); w.now = w.now.Add(time.Minute) }, "0 waiting for turn"},
		"the other half": {func(w *testWindow) {
			w.add("b", "c")
			st := w.schedule.stream("st", "a")
			rows := st.queue.takeAll()
			g := newGroup(rows[:1], w.now)
			g.then = newGroup(rows[1:], w.now)
			w.pending.sendApart(st, g)
		}, "1 waiting for isolation"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, func(c *Config) { c.AmbiguousRetryDelay = delay })
			test.do(w)
			if got := w.told("c"); !strings.HasPrefix(got, strings.TrimSuffix(test.want, "5m")) {
				t.Errorf("it says %s, want %s", got, test.want)
			}
		})
	}
}

func TestWindow_ExplainsAHold(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("c")
	st := w.putOnHold("st")
	s := explain(w.Window, w.now, nil, "st", "c")
	if len(s.Holds) != 1 || s.Holds[0].Kind != "stream_gone" || s.Holds[0].Status != 404 || s.Holds[0].Detail != "no such stream" || !s.Holds[0].NextProbe.Equal(st.health.backoff) {
		t.Errorf("holds: %+v", s.Holds)
	}
	if e := s.Events[0]; e.Request == nil || e.Request.Kind != "stream_gone" || e.Request.Purpose != "probe" || e.Sends != 11 {
		t.Errorf("the last request: %+v, of %d", e.Request, e.Sends)
	}
}

// Whatever the spelling of a 24-digit id, it is one contact.
func TestWindow_ExplainsAContactHoweverItsIDIsSpelled(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.addFor("a", lower, nil)
	w.addFor("a", upper, nil)
	const want = "0 waiting for rows in 500ms; 1 waiting for earlier_state"
	w.wantTold(lower, want)
	w.wantTold(upper, want)
}

func TestWindow_ExplainsVersions(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	occurred := w.now.Add(-time.Hour)
	w.addFor("a", "c", func(ev *event.Event) {
		ev.Contact.Version, ev.Contact.HasVersion, ev.Contact.OccurredAt = 7, true, occurred
		ev.Record.Time = w.now.Add(-time.Minute)
	})
	check := func() {
		t.Helper()
		e := explain(w.Window, w.now, nil, "st", "c").Events[0]
		if e.Version == nil || *e.Version != 7 || !e.OccurredAt.Equal(occurred) || e.Position != "contacts/1@0" || e.Account != "a" || e.Kind != "update" {
			t.Errorf("it says %+v", e)
		}
	}
	check()
	req := w.send()
	w.settle(req, allDelivered(req.Batch))
	check()
}

// What was deleted is remembered as it was, with the stream or without.
func TestWindow_ExplainsDeletes(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("c")
	req := w.send()
	w.remove("c")
	w.wantTold("c", "1 ended; 0 delete_after sends 1 request 1 delivery")
	w.settle(req, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
	w.wantTold("c", "1 ended")
	if s := explain(w.Window, w.now, nil, "st", "c"); !s.WaitUntil.Equal(w.now.Add(w.cfg.AmbiguousRetryDelay)) {
		t.Errorf("what comes next waits until %v", s.WaitUntil)
	}
	for offset, stream := range []string{"st", ""} {
		w.addFor("", "c", func(ev *event.Event) { ev.Kind, ev.Contact.Stream = event.Tombstone, stream })
		if got := w.told("c"); !strings.Contains(got, fmt.Sprintf("%d ended", offset+2)) {
			t.Errorf("after the tombstone it says %s", got)
		}
	}
	if e := explain(w.Window, w.now, nil, "st", "c").Events[1]; e.Kind != "tombstone" || e.Account != "" {
		t.Errorf("of the tombstone without a stream it says %+v", e)
	}
}

// A dead letter is pending until Kafka has it, with all events that it ends.
func TestWindow_ExplainsDeadLetters(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("c", "c")
	w.refuseAlone(contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{{Verdict: contactsync.Failed, Reason: "required"}}})
	const want = "0 merged into 1; 1 dead_letter for dead_letter_topic sends 2 letter rejected of contacts/1@1"
	w.wantTold("c", want)
	letters := w.TakeDeadLetters()
	w.wantTold("c", want)
	w.DeadLettersAcked(w.now, letters)
	w.wantTold("c", "")
	ev := w.event("broken")
	ev.Kind, ev.Err, ev.Contact.Account = event.Broken, &event.DecodeError{Reason: contactsync.ReasonInvalid, Detail: "no id"}, ""
	w.Add(w.now, ev)
	w.wantTold("broken", "2 dead_letter for dead_letter_topic letter invalid of contacts/1@2")
}

func TestWindow_ExplainsWhatIsLeftToBeReadAgain(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 8)
	w.put("st/a")
	w.putOnHold("st")
	w.put("st/b", "st/c", "st/d", "st/e", "st/f", "st/g")
	s := explain(w.Window, w.now, nil, "st", "g")
	if len(s.Events) != 0 || len(s.Parked) != 1 || s.Parked[0].Topic != "contacts" || s.Parked[0].Partition != 1 || s.Parked[0].Events == 0 || s.Parked[0].Account != "a" {
		t.Errorf("it says %+v", s)
	}
	if s := explain(w.Window, w.now, nil, "other", "g"); len(s.Parked) != 0 || len(s.Holds) != 0 {
		t.Errorf("of another stream it says %+v", s)
	}
}

// Requests are remembered up to a number of them, and what they have delivered for longer.
func TestWindow_ForgetsTheOldestRequests(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	for i := range mostRequestsRemembered + 2 {
		w.add(fmt.Sprint("c", i))
		req := w.send()
		w.settle(req, allDelivered(req.Batch))
	}
	if n := len(w.history.past); n != mostRequestsRemembered {
		t.Errorf("%d requests are remembered", n)
	}
	w.wantTold("c1", "1 delivered request 2")
	w.wantTold("c2", "2 delivered request 3 delivery answered")
	w.wantTold(fmt.Sprint("c", mostRequestsRemembered+1), fmt.Sprintf("%d delivered request %d delivery answered", mostRequestsRemembered+1, mostRequestsRemembered+2))
}

func TestBatcher_ExplainsWithoutALease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.lease.Store(1)
		s.add("c")
		s.at(time.Minute)
		got, err := s.b.Explain(t.Context(), []string{"a"}, "st", "c")
		if err != nil || len(got.Events) != 1 || got.Events[0].WaitsFor != "lease" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// Who asks does not wait for a loop that does not turn.
func TestBatcher_ExplainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		free := make(chan struct{})
		go s.b.do(func(time.Time) { <-free })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		before := time.Now()
		if _, err := s.b.Explain(ctx, nil, "st", "c"); !errors.Is(err, context.DeadlineExceeded) || time.Since(before) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(before), err)
		}
		close(free)
		s.stop()
		synctest.Wait()
		if _, err := s.b.Explain(t.Context(), nil, "st", "c"); !errors.Is(err, errStopped) {
			t.Errorf("after the end: %v", err)
		}
	})
}
