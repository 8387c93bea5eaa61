package batcher

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
)

var refusedAsUnknown = contactsync.Result{Kind: contactsync.StreamGone, Status: 404, Detail: "no such stream"}

// putOnHold has the API refuse a stream until its next probe is minutes away.
func (w *testWindow) putOnHold(stream string) *stream {
	st := w.schedule.stream(stream, "a")
	for range 10 {
		w.settle(w.send(), refusedAsUnknown)
		w.now = later(w.now, st.health.backoff)
	}
	w.settle(w.Next(w.now), refusedAsUnknown)
	if wait := st.health.backoff.Sub(w.now); wait < 2*time.Minute {
		w.t.Fatalf("the next probe of %s is in %v", stream, wait)
	}
	return st
}

func TestWindow_AReleasedStreamIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("dead/a", "dead/b")
	st := w.putOnHold("dead")
	if err := (decisions{w.Window}.release(w.now, "", "dead")); err != nil {
		t.Fatal(err)
	}
	req := w.Next(w.now)
	if req == nil || ids(req) != "a b" || st.health.hold != nil {
		t.Fatalf("a request of %q, hold %v", ids(req), st.health.hold)
	}
	w.settle(req, allDelivered(req.Batch))
	w.wantEnded(0, 1)
	if n := testutil.ToFloat64(w.m.HoldDecisions.WithLabelValues("release")); n != 1 {
		t.Errorf("counted %v times", n)
	}
	w.wantLogged("no longer on hold", "an operator has released it")
}

// holdAccount has the API refuse the streams x, y and z of an account, which is on hold then.
func (w *testWindow) holdAccount() *credential {
	for _, stream := range []string{"x", "y", "z"} {
		w.add(stream + "/a")
		w.heard(stream, contactsync.StreamGone)
	}
	return w.schedule.account("a").signer("")
}

// A stream that is still refused is on hold again with the next answer.
func TestWindow_AReleasedStreamProbesForItsAccount(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	account := w.holdAccount()
	w.now = w.now.Add(time.Minute)
	account.probe = w.now.Add(time.Hour)
	if !account.held || w.Next(w.now) != nil {
		t.Fatal("the account is not on hold")
	}
	if err := (decisions{w.Window}.release(w.now, "a", "y")); err != nil {
		t.Fatal(err)
	}
	req := w.Next(w.now)
	if req == nil || req.Batch.Stream != "y" {
		t.Fatalf("request %+v", req)
	}
	if w.settle(req, refusedAsUnknown); !req.stream.health.onHold(holdGone) || !account.held {
		t.Error("want stream and account on hold")
	}
}

// Although others of an account on hold would be tried first, the stream that is released is, also where another one is being
// tried.
func TestWindow_AReleasedStreamGoesFirstInItsAccount(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	account := w.holdAccount()
	for _, stream := range []string{"new1", "new2"} {
		w.add(stream+"/a", stream+"/b", stream+"/c")
		w.schedule.stream(stream, "a").health.strange = true // as the one that is released
	}
	w.now = w.now.Add(time.Minute)
	first := w.Next(w.now)
	if first == nil || first.Batch.Stream == "y" || w.Next(w.now) != nil {
		t.Fatalf("the account is probed with %+v", first)
	}
	if err := (decisions{w.Window}.release(w.now, "", "y")); err != nil {
		t.Fatal(err)
	}
	if w.Next(w.now) != nil {
		t.Error("two requests try one credential")
	}
	w.settle(first, refusedAsUnknown)
	account.probe = time.Time{} // any of them may be tried
	if !w.Wake().Equal(w.now) {
		t.Errorf("the window wakes at %v, want now", w.Wake())
	}
	req := w.Next(w.now)
	if req == nil || req.Batch.Stream != "y" {
		t.Fatalf("request %+v", req)
	}
	if w.settle(req, refusedAsUnknown); req.stream.released {
		t.Error("the release lasts for more than one request")
	}
}

// What waits when the operator decides becomes dead letters, a thousand at a time; what
// comes later waits, and is sent at once when they are gone.
func TestWindow_AHoldIsSetAside(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.DeadLetterMaxPerMinute = 0 })
	const n = expireAtOnce + 50
	for i := range n {
		w.add(fmt.Sprint("dead/", i))
	}
	w.add("live/a")
	w.putOnHold("dead")
	if err := (decisions{w.Window}.setAside(w.now, "", "dead", "closed in March")); err != nil {
		t.Fatal(err)
	}
	w.add("dead/new")
	letters := w.TakeDeadLetters()
	if len(letters) != expireAtOnce {
		t.Fatalf("%d dead letters at once", len(letters))
	}
	if l := letters[0]; l.Reason != contactsync.ReasonStreamGone || l.Status != 404 || l.Detail != "set aside by an operator: closed in March; the last answer: no such stream" {
		t.Errorf("dead letter %+v", l.DeadLetter)
	}
	if next := w.Next(w.now); next != nil && next.Batch.Stream == "dead" {
		t.Error("a probe before all are set aside")
	}
	if w.Expire(w.now); len(w.TakeDeadLetters()) > 0 {
		t.Error("more are set aside before Kafka has any of the first ones")
	}
	w.DeadLettersAcked(w.now, letters)
	w.Expire(w.now)
	if letters := w.TakeDeadLetters(); len(letters) != n-expireAtOnce {
		t.Errorf("%d dead letters with the next turn", len(letters))
	}
	w.now = w.now.Add(w.cfg.Linger)
	for req := w.Next(w.now); ; req = w.Next(w.now) {
		if req == nil {
			t.Fatal("what came later is not sent at once")
		}
		if req.Batch.Stream == "dead" {
			if ids(req) != "new" {
				t.Errorf("a request of %q", ids(req))
			}
			w.settle(req, allDelivered(req.Batch))
			break
		}
	}
	w.wantLogged("an operator has the contacts of a stream on hold set aside", "closed in March")
	if n := testutil.ToFloat64(w.m.HoldDecisions.WithLabelValues("set_aside")); n != 1 {
		t.Errorf("counted %v times", n)
	}
}

// A stream of which nothing is left is on hold no longer, and rows in flight follow the
// decision when they come back.
func TestWindow_AHoldThatIsSetAsideEnds(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("dead/a")
	st := w.putOnHold("dead")
	w.now = st.health.backoff
	probe := w.Next(w.now)
	w.add("dead/b")
	if err := (decisions{w.Window}.setAside(w.now, "", "dead", "")); err != nil {
		t.Fatal(err)
	}
	if letters := w.TakeDeadLetters(); len(letters) != 1 || letters[0].Contact != "b" || letters[0].Detail != "set aside by an operator; the last answer: no such stream" {
		t.Fatalf("%d dead letters", len(letters))
	}
	w.settle(probe, refusedAsUnknown)
	w.Expire(w.now)
	if letters := w.TakeDeadLetters(); len(letters) != 1 || letters[0].Contact != "a" {
		t.Errorf("%d dead letters of what was in flight", len(letters))
	}
	if st.health.hold != nil {
		t.Error("the stream is still on hold")
	}
}

func TestBatcher_TakesDecisionsAboutHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = 0 })
		s.answer = byStream(map[string]contactsync.Kind{"dead": contactsync.StreamGone, "gone": contactsync.StreamGone})
		s.add("dead/a", "gone/b")
		s.at(20 * time.Minute)
		calls := len(s.calls)
		if err := s.b.ReleaseHold("", "dead"); err != nil {
			t.Error(err)
		}
		if err := s.b.SetHoldAside("a", "gone", "closed"); err != nil {
			t.Error(err)
		}
		s.at(20*time.Minute + 10*time.Second)
		if len(s.calls) == calls || len(s.deadLetters) != 1 || s.deadLetters[0].Contact != "b" || s.held("stream_gone") != 1 {
			t.Errorf("%d calls more, %d dead letters, %v holds", len(s.calls)-calls, len(s.deadLetters), s.held("stream_gone"))
		}
		s.stop()
		synctest.Wait()
		if err := s.b.ReleaseHold("", "dead"); !errors.Is(err, errStopped) {
			t.Errorf("a decision after the stop: %v", err)
		}
	})
}

func TestWindow_DecisionsAboutHoldsAreChecked(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	decide := func(account, stream, reason string) string {
		err := decisions{w.Window}.setAside(w.now, account, stream, reason)
		if released := (decisions{w.Window}.release(w.now, account, stream)); reason == "" && fmt.Sprint(released) != fmt.Sprint(err) {
			t.Errorf("set aside: %v; released: %v", err, released)
		}
		return fmt.Sprint(err)
	}
	if got := decide("", "x", ""); !strings.HasPrefix(got, "no stream is on hold in this replica") {
		t.Error(got)
	}
	failing, signed := w.schedule.stream("failing", "a"), w.schedule.stream("signed", "z")
	failing.health.failures, signed.signer.held = 1, true
	for name, want := range map[string]string{"failing": "its requests fail, and are retried", "signed": "on hold only with what signs for it"} {
		if got := decide("", name, ""); !strings.Contains(got, want) {
			t.Error(got)
		}
	}
	for i := range 12 {
		st := w.schedule.stream(fmt.Sprintf("dead%02d", i), "a")
		w.health.putOnHold(w.now, st, holdGone, refusedAsUnknown)
	}
	w.health.putOnHold(w.now, w.schedule.stream("dead00", "b"), holdGone, refusedAsUnknown)
	for _, tt := range []struct{ account, stream, reason, want string }{
		{"", "x", "", `stream "x" is not on hold in this replica: on hold are "dead00", "dead00", "dead01"`},
		{"", "x", "", `"dead08" and 3 more`},
		{"c", "dead01", "", `stream "dead01" is not on hold`},
		{"", "dead00", "", `stream "dead00" is on hold in several accounts: name one of "a", "b"`},
		{"", "dead01", "two\nlines", "the reason must be one line"},
		{"", "dead01", strings.Repeat("x", mostReason+1), "at most 200 bytes"},
	} {
		if got := decide(tt.account, tt.stream, tt.reason); !strings.Contains(got, tt.want) {
			t.Errorf("%s of %q: %s; want %s", tt.stream, tt.account, got, tt.want)
		}
		if tt.reason != "" { // the release was none of the test
			w.health.putOnHold(w.now, w.schedule.stream(tt.stream, "a"), holdGone, refusedAsUnknown)
		}
	}
	if got := decide("b", "dead00", ""); got != "<nil>" {
		t.Error(got)
	}
}

// wantLogged looks for a line of the log that has all of the texts.
func (w *testWindow) wantLogged(texts ...string) {
	w.t.Helper()
	var lines []string
	for _, e := range w.TakeLogEvents() {
		lines = append(lines, fmt.Sprint(e.Text, " ", e.Args))
	}
	for _, line := range lines {
		found := 0
		for _, text := range texts {
			if strings.Contains(line, text) {
				found++
			}
		}
		if found == len(texts) {
			return
		}
	}
	w.t.Errorf("no line of the log has %q:\n%s", texts, strings.Join(lines, "\n"))
}
