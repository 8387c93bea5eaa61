package batcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// before adds an event that had got so far under an earlier owner.
func (w *testWindow) before(id string, s contactsync.State, change ...func(*event.Event)) {
	ev := w.event(id)
	ev.Before = s
	for _, f := range change {
		f(ev)
	}
	w.Add(w.now, ev)
}

func TestWindow_SendsNothingThatHadEndedUnderAnEarlierOwner(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.before("c1", contactsync.Completed)
	w.before("c2", contactsync.SetAside)
	w.before("", contactsync.SetAside, func(ev *event.Event) {
		ev.Kind, ev.Contact = event.Broken, event.Contact{}
		ev.Err = &event.DecodeError{Reason: contactsync.ReasonUndecodable}
	})
	for _, e := range w.TakeEnded() {
		if want := e.Offset > 0; e.SetAside != want {
			t.Errorf("%+v: set aside must be %v, so that the owner after this one knows it too", e, want)
		}
	}
	if n := w.DeadLettersPending(); n != 0 {
		t.Errorf("%d dead letters are written again", n)
	}
	if got := w.outbox.total.Ended[metrics.Before].Count; got != 3 {
		t.Errorf("%v are counted", got)
	}
	w.wantNothing()
}

// TestWindow_MergesWhatHadEndedIntoWhatIsOpen: the newer event is a patch, so it does not
// end the older one, and sending it again does no harm.
func TestWindow_MergesWhatHadEndedIntoWhatIsOpen(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("c1")
	w.before("c1", contactsync.Completed)
	w.wantEnded()
	f := w.send()
	if got := string(f.Batch.Rows[0].Body); got != `{"seq":1}` {
		t.Errorf("%s is sent", got)
	}
	w.settle(f, contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{{Verdict: contactsync.Delivered}}})
	w.wantEnded(0, 1)
}

func TestWindow_ADeleteThatHadEndedStillEndsWhatIsOpen(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("c1")
	w.before("c1", contactsync.Completed, func(ev *event.Event) { ev.Kind = event.Delete })
	w.wantEnded(0, 1)
	w.wantNothing()
}

// TestWindow_KnowsTheVersionOfWhatHadEnded: an older state must not follow it, unless it
// was set aside, and never reached the API.
func TestWindow_KnowsTheVersionOfWhatHadEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before contactsync.State
		stale  bool
	}{
		"delivered": {contactsync.Completed, true},
		"set aside": {contactsync.SetAside, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, nil)
			w.before("c1", c.before, numbered(5))
			w.before("c1", contactsync.Completed, numbered(2)) // was stale then
			w.before("c1", contactsync.Open, numbered(3))
			if stale := testutil.ToFloat64(w.m.skippedStale) == 1; stale != c.stale {
				t.Errorf("version 3 is stale: %v", stale)
			}
		})
	}
}

// The dead letter of a state is not written when the partition is taken over, and the next state was delivered, or is
// when the answer comes: the first one is read again, and is not stale for it.
func TestWindow_ADeadLetterThatIsNotWrittenIsNotStaleWhenItIsReadAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ answered, replayed bool }{
		"the next was answered before": {answered: true}, "the next was answered after": {}, "it is a replay": {answered: true, replayed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, nil)
			next := contactsync.Claim{TopicPartition: testClaim.TopicPartition, Generation: testClaim.Generation + 1}
			read := func(version, generation int64, before contactsync.State) {
				w.before("c", before, numbered(version), func(ev *event.Event) {
					if ev.Record.Generation = int32(generation); tt.replayed && version == 3 {
						replayOf(0, 1)(ev)
					}
				})
			}
			now := int64(testClaim.Generation)
			read(2, now, contactsync.Open)
			f := w.send()
			w.settle(f, allDelivered(f.Batch))
			w.wantEnded(0)
			read(3, now, contactsync.Open)
			w.refuseAlone(contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{{Verdict: contactsync.Failed, Reason: "no"}}})
			if n := len(w.TakeDeadLetters()); n != 1 {
				t.Fatalf("%d dead letters", n)
			}
			read(4, now, contactsync.Open)
			f = w.send()
			if tt.answered {
				w.settle(f, allDelivered(f.Batch))
				w.wantEnded(2)
			}
			w.Forget(w.now)
			w.Assign(w.now, []contactsync.Claim{next}, false)
			if !tt.answered {
				w.settle(f, allDelivered(f.Batch))
			}
			w.offset = 1
			read(3, now+1, contactsync.Open)
			read(4, now+1, map[bool]contactsync.State{true: contactsync.Completed, false: contactsync.Open}[tt.answered])
			w.wantEnded()
			f = w.send()
			w.settle(f, allDelivered(f.Batch))
			w.wantEnded(1, 2)
		})
	}
}

// A dead letter that is not written has nothing forgotten that was in front of it.
func TestWindow_WhatWasDeliveredBeforeADeadLetterGoesOnToCount(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.before("c", contactsync.Open, numbered(2))
	f := w.send()
	w.settle(f, allDelivered(f.Batch))
	w.before("c", contactsync.Open, numbered(3))
	w.settle(w.send(), contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{{Verdict: contactsync.Failed, Reason: "no"}}})
	w.Forget(w.now)
	w.Assign(w.now, []contactsync.Claim{testClaim}, false)
	w.before("c", contactsync.Open, numbered(1))
	w.wantEnded(0, 2)
	if n := testutil.ToFloat64(w.m.skippedStale); n != 1 {
		t.Errorf("%v events are stale, want the one that is older", n)
	}
}

func TestWindow_KnowsUntilWhenACallMayBeApplied(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("c1")
	f := w.send()
	if !w.AtWorkUntil().IsZero() {
		t.Fatal("every request was waited for so far")
	}
	w.settle(f, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
	if got, want := w.AtWorkUntil(), w.now.Add(w.cfg.AmbiguousRetryDelay); !got.Equal(want) {
		t.Errorf("until %v, want %v", got, want)
	}
}

// What a restart finds above the committed offsets are the rows that the API refused, mostly. Where an earlier owner has delivered newer events of
// their stream they were refused for what they hold, and are set aside, however many there are and whatever is accepted now. Where it has not,
// the stream may be refused as a whole, and nothing is.
func TestWindow_BadRowsThatAnEarlierOwnerPassedAreSetAside(t *testing.T) {
	t.Parallel()
	later := func(w *testWindow, id string) { w.before(id, contactsync.Completed) }
	for name, tt := range map[string]struct {
		before, after func(w *testWindow, id string)
		want          bool
	}{
		"delivered after them":            {nil, later, true},
		"delivered before them":           {later, nil, false},
		"delivered after them, elsewhere": {nil, func(w *testWindow, _ string) { later(w, "other/c9") }, false},
		"set aside after them":            {nil, func(w *testWindow, id string) { w.before(id, contactsync.SetAside) }, false},
		"deleted after them": {nil, func(w *testWindow, id string) {
			w.before(id, contactsync.Completed, func(ev *event.Event) { ev.Kind = event.Delete })
		}, false},
		"delivered after them in another log": {nil, func(w *testWindow, id string) {
			w.before(id, contactsync.Completed, func(ev *event.Event) { ev.Record.Partition = laterClaims(1)[0].Partition })
		}, false},
	} {
		for answer, whole := range wholly() {
			l := newLifetime(t, 0, nil)
			l.Assign(l.now, laterClaims(1), false)
			l.answer, l.budget = refusesStreams(whole), time.Second
			if tt.before != nil {
				tt.before(l.testWindow, "bad/c8")
			}
			for i := range 4 {
				l.change("bad", fmt.Sprint("c", i))
			}
			if tt.after != nil {
				tt.after(l.testWindow, "bad/c9")
			}
			l.live(10*time.Minute, false)
			if want := map[bool]int{true: 4}[tt.want]; len(l.letters) != want || l.pending.contacts != 4-want {
				t.Errorf("%s, %s: %d dead letters, want %d; %d contacts wait", name, answer, len(l.letters), want, l.pending.contacts)
			}
		}
	}
}
