package batcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
)

// waits describes what waits in the stream st: the queue, then each set of rows with
// its delay and what waits for the answer to it.
func (w *testWindow) waits() string {
	st := w.schedule.streams[streamKey{"a", "st"}]
	if st == nil {
		return ""
	}
	parts := []string{st.queue.ids()}
	for g := range st.retries.all() {
		part := g.ids()
		if d := g.due.Sub(w.now); d > 0 {
			part += fmt.Sprint(" in ", d)
		}
		if g.loose {
			part += " loose"
		}
		for then := g.then; then != nil; then = then.then {
			part += " then " + then.ids()
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "|")
}

// Where the rows of a request wait after an answer, by the kind of the answer and by
// what the request was: rows of the queue, or one of two halves.
func TestSettle_WhereRowsWait(t *testing.T) {
	t.Parallel()
	const inTurn, both = contactsync.BadRequest, contactsync.TooLarge
	for _, tt := range []struct {
		name  string
		half  []contactsync.Kind // answers before it
		r     contactsync.Result
		waits string
	}{
		{"throttled", nil, contactsync.Result{Kind: contactsync.Throttled}, "abcd"},
		{"stopped", nil, contactsync.Result{Kind: contactsync.Canceled, Ambiguous: true}, "|abcd in 5s loose"},
		{"credentials refused, after a connection that ended", nil, contactsync.Result{Kind: contactsync.Unauthorized, Ambiguous: true}, "|abcd in 5s loose"},
		{"credentials refused", nil, contactsync.Result{Kind: contactsync.Unauthorized}, "abcd"},
		{"stream unknown", nil, contactsync.Result{Kind: contactsync.StreamGone}, "abcd"},
		{"unavailable", nil, contactsync.Result{Kind: contactsync.Unavailable, Status: 503}, "abcd"},
		{"unknown", nil, contactsync.Result{Kind: contactsync.Unknown, Status: 409}, "abcd"},
		{"ambiguous", nil, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true}, "|abcd in 5s loose"},
		{"bad request", nil, contactsync.Result{Kind: contactsync.BadRequest}, "|abcd"},
		{"too large", nil, contactsync.Result{Kind: contactsync.TooLarge}, "|ab|cd"},
		{"delivered", nil, contactsync.Result{Kind: contactsync.Answered, Rows: slices.Repeat([]contactsync.Outcome{{Verdict: contactsync.Delivered}}, 4)}, ""},

		{"a half, throttled", []contactsync.Kind{inTurn}, contactsync.Result{Kind: contactsync.Throttled}, "|ab then cd"},
		{"a half, unavailable", []contactsync.Kind{inTurn}, contactsync.Result{Kind: contactsync.Unavailable}, "|ab then cd"},
		{"a half, ambiguous", []contactsync.Kind{inTurn}, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true}, "|ab in 5s then cd"},
		{"a half, credentials refused", []contactsync.Kind{inTurn}, contactsync.Result{Kind: contactsync.Unauthorized}, "|ab then cd"},
		{"a half, bad as well", []contactsync.Kind{inTurn}, contactsync.Result{Kind: contactsync.BadRequest}, "|cd|ab"},
		{"a half, too large now", []contactsync.Kind{inTurn}, contactsync.Result{Kind: contactsync.TooLarge}, "|cd|ab"},
		{"a half, fine", []contactsync.Kind{inTurn}, contactsync.Result{Kind: contactsync.Answered, Rows: slices.Repeat([]contactsync.Outcome{{Verdict: contactsync.Delivered}}, 2)}, "|cd"},
		{"the other half, bad as well", []contactsync.Kind{inTurn, inTurn}, contactsync.Result{Kind: contactsync.BadRequest}, "|ab|cd"},
		{"one of both halves, too large", []contactsync.Kind{both}, contactsync.Result{Kind: contactsync.TooLarge}, "|cd|a|b"},
		{"one of both halves, ambiguous", []contactsync.Kind{both}, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true}, "|cd|ab in 5s"},
	} {
		w := newTestWindow(t, func(c *Config) { c.MaxRows, c.AmbiguousRetryDelay = 4, 5*time.Second })
		w.add("a", "b", "c", "d")
		f := w.send()
		for _, kind := range tt.half {
			w.settle(f, contactsync.Result{Kind: kind})
			f = w.send()
		}
		w.settle(f, tt.r)
		if got := w.waits(); got != tt.waits {
			t.Errorf("%s: %q waits, want %q", tt.name, got, tt.waits)
		}
	}
}

// What an answer left open is sent apart, after a wait that grows, and what arrived
// after a delete waits with the others.
func TestSettle_TheRemainderIsSentApart(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.BackoffMin, c.BackoffMax, c.RowAttempts = 2*time.Second, 2*time.Second, 2 })
	w.add("x", "y", "z") // so that three rows are known to fit
	first := w.send()
	w.settle(first, allDelivered(first.Batch))
	w.add("a", "b", "c")
	f := w.send()
	w.remove("b")
	w.add("b")
	w.add("d")
	w.settle(f, contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{{Verdict: contactsync.Delivered}}})
	st := w.schedule.streams[streamKey{"a", "st"}]
	if st.queue.ids() != "db" || st.retries.waiting() != 1 || st.retries.few[0].ids() != "c" {
		t.Fatalf("%q waits", w.waits())
	}
	if d := st.retries.few[0].due.Sub(w.now); d < time.Second || d > 2*time.Second {
		t.Errorf("sent again in %v", d)
	}
	if n := testutil.ToFloat64(w.m.retried[contactsync.Answered]); n != 1 {
		t.Errorf("%v rows counted as sent again, want 1", n)
	}
	if f = w.send(); ids(f) == "d b" {
		w.settle(f, allDelivered(f.Batch))
		f = w.send()
	}
	w.settle(f, contactsync.Result{Kind: contactsync.Answered, Status: 200})
	letters := w.TakeDeadLetters()
	if len(letters) != 1 || letters[0].Contact != "c" || letters[0].Reason != contactsync.ReasonUnresolved || letters[0].Attempts != 2 {
		t.Errorf("dead letters %+v, want c after two answers", letters)
	}
}

// An answer that refuses more than the budget has is judged as a whole: every row is
// kept, behind those that were not tried yet.
func TestSettle_RefusedRowsAreRetained(t *testing.T) {
	t.Parallel()
	no := contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
	for _, tt := range []struct {
		name    string
		refused int
		letters int
		waits   string
	}{
		{"within the budget", 2, 2, "e"},
		{"beyond it", 3, 0, "ecba"}, // they were sent once more, in reverse
	} {
		w := newTestWindow(t, func(c *Config) { c.MaxRows, c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio = tt.refused+1, 2, 0 })
		w.add([]string{"a", "b", "c"}[:tt.refused]...)
		w.add("d")
		refused := slices.Repeat([]contactsync.Outcome{no}, tt.refused)
		w.settle(w.send(), contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: append(slices.Clone(refused), contactsync.Outcome{Verdict: contactsync.Delivered})})
		again := w.send()
		w.add("e")
		w.settle(again, contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: refused})
		letters := w.TakeDeadLetters()
		if len(letters) != tt.letters || w.waits() != tt.waits {
			t.Errorf("%s: %d dead letters, %q waits; want %d, %q", tt.name, len(letters), w.waits(), tt.letters, tt.waits)
		}
		retained := float64(tt.refused - tt.letters)
		if n := testutil.ToFloat64(w.m.RejectedRowsRetained); n != retained {
			t.Errorf("%s: %v rows counted as retained, want %v", tt.name, n, retained)
		}
		if on := w.schedule.streams[streamKey{"a", "st"}].health.hold; (on != nil) != (retained > 0) || on != nil && (on.kind != holdRejecting || on.last.detail != "no") {
			t.Errorf("%s: hold %+v", tt.name, on)
		}
	}
}

// An API that keeps a number for one contact refuses the row that takes it over from a contact whose row comes
// after it. After the rest was accepted the rows that were refused are sent again, together and in reverse, as long
// as that helps. What is refused for another cause costs one call more.
func TestSettle_ARefusedRowIsSentOnceMoreAfterTheOthers(t *testing.T) {
	t.Parallel()
	taken := contactsync.Outcome{Verdict: contactsync.Failed, Reason: "the number is taken"}
	for _, tt := range []struct {
		name    string
		rows    string            // in the order of arrival
		waits   map[string]string // what must have been accepted before a row
		calls   string
		letters string
	}{
		{"behind the one that frees it", "A B", map[string]string{"B": "A"}, "A B", ""},
		{"before it", "B A", map[string]string{"B": "A"}, "B A|B", ""},
		{"a chain", "D C B A", map[string]string{"D": "C", "C": "B", "B": "A"}, "D C B A|B C D", ""},
		{"a chain that turns", "B C D A", map[string]string{"B": "A", "C": "A", "D": "C"}, "B C D A|D C B|D", ""},
		{"none of them frees it", "A B", map[string]string{"A": "X"}, "A B|A", "A"},
		{"one frees it, and another is bad", "bad B A", map[string]string{"B": "A", "bad": "X"}, "bad B A|B bad|bad", "bad"},
		{"all are bad", "A B", map[string]string{"A": "X", "B": "X"}, "A B|A|B", "A B"},
		{"one row", "A", map[string]string{"A": "X"}, "A|A", "A"},
	} {
		w := newTestWindow(t, nil)
		w.add(strings.Fields(tt.rows)...)
		accepted := map[string]bool{}
		var calls, letters []string
		for w.pending.contacts > 0 {
			f := w.send()
			calls = append(calls, ids(f))
			r := allDelivered(f.Batch)
			for i, row := range f.Batch.Rows {
				if first := tt.waits[row.ID]; first != "" && !accepted[first] {
					r.Rows[i] = taken
				} else {
					accepted[row.ID] = true
				}
			}
			w.settle(f, r)
		}
		for _, l := range w.TakeDeadLetters() {
			letters = append(letters, l.Contact)
		}
		if got := strings.Join(calls, "|"); got != tt.calls || strings.Join(letters, " ") != tt.letters {
			t.Errorf("%s: calls %q, dead letters %q; want %q, %q", tt.name, got, letters, tt.calls, tt.letters)
		}
	}
}

// A feed of which some rows are bad has one in most requests. They are sent once more together, as many
// as fit into a request.
func TestSettle_RefusedRowsOfSeveralRequestsShareACall(t *testing.T) {
	t.Parallel()
	taken := contactsync.Outcome{Verdict: contactsync.Failed, Reason: "the number is taken"}
	w := newTestWindow(t, func(c *Config) { c.MaxRows, c.BackoffMin, c.BackoffMax = 4, time.Hour, 24*time.Hour })
	for i := range 6 {
		w.add(fmt.Sprintf("bad-%d", i), fmt.Sprintf("good-%d", i))
		f := w.send()
		r := allDelivered(f.Batch)
		for i, row := range f.Batch.Rows {
			if strings.HasPrefix(row.ID, "bad") {
				r.Rows[i] = taken
			}
		}
		w.settle(f, r)
	}
	var calls []string
	for w.pending.contacts > 0 {
		w.now = w.now.Add(24 * time.Hour)
		f := w.send()
		calls = append(calls, ids(f))
		w.settle(f, contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: slices.Repeat([]contactsync.Outcome{taken}, len(f.Batch.Rows))})
	}
	slices.Sort(calls) // their waits are random
	if want := []string{"bad-0 bad-1 bad-2 bad-3", "bad-4 bad-5"}; !slices.Equal(calls, want) {
		t.Errorf("calls %q, want %q", calls, want)
	}
	if n := len(w.TakeDeadLetters()); n != 6 {
		t.Errorf("%d dead letters, want 6", n)
	}
}

// What is sent once more waits like any set of rows: an outage that begins meanwhile makes no dead letter
// of it, and a newer state goes in its place.
func TestSettle_OnceMoreIsNoSentence(t *testing.T) {
	t.Parallel()
	taken := contactsync.Outcome{Verdict: contactsync.Failed, Reason: "the number is taken"}
	w := newTestWindow(t, nil)
	w.add("a", "b")
	f := w.send()
	w.settle(f, contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{taken, {Verdict: contactsync.Delivered}}})
	if n := testutil.ToFloat64(w.m.retried[contactsync.Answered]); n != 1 {
		t.Errorf("%v rows counted as sent again, want 1", n)
	}
	if w.Next(w.now) != nil {
		t.Error("it is sent without a wait")
	}
	for _, kind := range []contactsync.Kind{contactsync.Unavailable, contactsync.Throttled, contactsync.Unauthorized} {
		w.settle(w.send(), contactsync.Result{Kind: kind})
	}
	w.add("a", "c")
	f = w.send()
	if got := ids(f); got != "a" || string(f.Batch.Rows[0].Body) != `{"seq":2}` {
		t.Errorf("%q is sent with %s, want the newer state of a alone", got, f.Batch.Rows[0].Body)
	}
	w.settle(f, allDelivered(f.Batch))
	if n := w.DeadLettersPending(); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// Of a throttled request the rows that the answer lists as applied end, and the others are sent again: from the
// queue, or as the set that they were. The stream was accepted by that.
func TestSettle_WhatAThrottledRequestHasApplied(t *testing.T) {
	t.Parallel()
	done := contactsync.Outcome{Verdict: contactsync.Delivered}
	for _, tt := range []struct {
		name  string
		apart bool
		rows  []contactsync.Outcome
		ended []int64
		waits string
	}{
		{"some of the queue", false, []contactsync.Outcome{done, {}, done, {}}, []int64{0, 2}, "bd"},
		{"all", false, []contactsync.Outcome{done, done, done, done}, []int64{0, 1, 2, 3}, ""},
		{"fewer rows than were sent", false, []contactsync.Outcome{{}, done}, []int64{1}, "acd"},
		{"what it refuses is not refused", false, []contactsync.Outcome{done, {Verdict: contactsync.Failed, Reason: "no"}}, []int64{0}, "bcd"},
		{"some of a set", true, []contactsync.Outcome{{}, done}, []int64{1}, "|a then cd"},
		{"all of a set", true, []contactsync.Outcome{done, done}, []int64{0, 1}, "|cd"},
	} {
		w := newTestWindow(t, nil)
		w.add("a", "b", "c", "d")
		f := w.send()
		if tt.apart {
			w.settle(f, contactsync.Result{Kind: contactsync.BadRequest})
			f = w.send()
		}
		w.settle(f, contactsync.Result{Kind: contactsync.Throttled, Status: 429, Rows: tt.rows})
		w.wantEnded(tt.ended...)
		if got := w.waits(); got != tt.waits {
			t.Errorf("%s: %q waits, want %q", tt.name, got, tt.waits)
		}
		if st := w.schedule.streams[streamKey{"a", "st"}]; !st.health.accepted || st.health.settled.IsZero() || st.health.accepts != len(tt.ended) {
			t.Errorf("%s: the stream is %+v", tt.name, st.health)
		}
	}
}

// While a stream is on hold nothing is bisected: the sets of rows go back to the queue.
func TestSettle_SetsOfAStreamOnHoldDissolve(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxRows = 4 })
	w.add("a", "b", "c", "d")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.BadRequest})
	half := w.send()
	w.settle(half, contactsync.Result{Kind: contactsync.StreamGone})
	if f := w.send(); len(f.rows) != 1 || f.Reason == BatchRetry {
		t.Errorf("the probe has %q because of %v, want one row of the queue", ids(f), f.Reason)
	}
}

// A contact whose outcome is not known is remembered when it becomes a dead letter,
// because nothing older may follow what may have been applied.
func TestSettle_MayHaveBeenApplied(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		r    contactsync.Result
		want bool
	}{
		"timed out":         {contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true}, true},
		"unreadable":        {contactsync.Result{Kind: contactsync.Unavailable, Status: 200}, true},
		"unknown":           {contactsync.Result{Kind: contactsync.Unknown, Status: 202}, true},
		"stopped":           {contactsync.Result{Kind: contactsync.Canceled, Ambiguous: true}, true},
		"not accounted for": {contactsync.Result{Kind: contactsync.Answered, Status: 200}, true},
		"not sent":          {contactsync.Result{Kind: contactsync.Unavailable}, false},
		"throttled":         {contactsync.Result{Kind: contactsync.Throttled, Status: 429}, false},
		"no credentials":    {contactsync.Result{Kind: contactsync.Unauthorized, Status: 401}, false},
	} {
		w := newTestWindow(t, nil)
		w.add("x")
		w.settle(w.send(), tt.r)
		w.refuseAlone(contactsync.Result{Kind: contactsync.BadRequest, Status: 400})
		if len(w.TakeDeadLetters()) != 1 {
			t.Fatalf("%s: no dead letter", name)
		}
		if _, known := w.seen.find(contactKey{streamKey{"a", "st"}, "x"}); known != tt.want {
			t.Errorf("%s: remembered %v, want %v", name, known, tt.want)
		}
	}
}

// An answer with fewer rows than the request leaves the others open, and one with more
// harms nothing.
func TestSettle_AnswersOfAnotherLength(t *testing.T) {
	t.Parallel()
	done := contactsync.Outcome{Verdict: contactsync.Delivered}
	for n, left := range map[int]int{0: 2, 1: 1, 2: 0, 3: 0} {
		w := newTestWindow(t, nil)
		w.add("a", "b")
		w.settle(w.send(), contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: slices.Repeat([]contactsync.Outcome{done}, n)})
		if w.pending.contacts != left {
			t.Errorf("%d outcomes for two rows: %d are left, want %d", n, w.pending.contacts, left)
		}
	}
}

// A half that has to be sent twice is still a half: when both have passed, the size of
// the whole is known to be too large.
func TestSettle_HalvesThatAreRepeatedTeachTheSize(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxRows = 4 })
	w.add("a", "b", "c", "d")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.TooLarge})
	w.settle(w.send(), contactsync.Result{Kind: contactsync.Throttled})
	for range 2 {
		f := w.send()
		w.settle(f, allDelivered(f.Batch))
	}
	if rows := w.schedule.account("a").health.size.rows.limit; rows != 2 {
		t.Errorf("at most %d rows, want 2", rows)
	}
}

// A stream on hold for refused rows tries the next row at once when one is accepted,
// waits when one is refused, and is on hold no longer when nothing of it is left.
func TestSettle_RejectingHold(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio = 0, 0 })
	w.add("a", "b", "c")
	for range wholeAndHalves + aloneAlike { // all alike
		f := w.send()
		w.settle(f, wholeRefusals["each by name"](len(f.rows)))
	}
	st := w.schedule.streams[streamKey{"a", "st"}]
	for left := 3; left > 0; left-- {
		if !st.health.onHold(holdRejecting) {
			t.Fatalf("%d rows are left, and the hold has ended", left)
		}
		f := w.send()
		if len(f.rows) != 1 {
			t.Fatalf("%d rows are tried", len(f.rows))
		}
		if w.settle(f, allDelivered(f.Batch)); st.health.backoff.After(w.now) || st.health.failures != 0 {
			t.Errorf("waits until %v after %d failures although a row was accepted", st.health.backoff, st.health.failures)
		}
	}
	if st.health.hold != nil {
		t.Error("still on hold, and nothing is left")
	}
}
