package batcher

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

func TestThrottlings_AreOwnWhereALimitIsNoExplanation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		n, answered, throttled int // throttled: other requests
		want                   bool
	}{
		{1, 100_000, 0, true},
		{2, 100, 0, false},
		{2, 1000, 0, true},
		{4, 10, 0, false}, // a limit that meets one request in ten would do that often
		{4, 20, 0, true},
		{4, 20, 4, false},
		{8, 8, 0, true},
		{8, 7, 0, false}, // too little is known of the others
		{20, 0, 0, false},
		{20, 20, 30, false}, // half of all requests are throttled
		{40, 100, 150, true},
	} {
		before := met{answered: 7, throttled: 3}
		all := met{before.answered + tt.answered, before.throttled + tt.throttled + tt.n - 1} // those of this row were counted before
		if got := (&throttlings{tt.n, before}).own(all); got != tt.want {
			t.Errorf("%d in a row, %d others answered and %d throttled: own is %v", tt.n, tt.answered, tt.throttled, got)
		}
	}
}

// limiting is a gate that throttles for a minute whatever is reported as throttled, and notes the kinds.
type limiting struct {
	open
	kinds []contactsync.Kind
	until time.Time
}

func (l *limiting) Admit(now time.Time, _ string, _ bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	if now.Before(l.until) {
		return nil, l.until
	}
	return func(now time.Time, r contactsync.Result) time.Time {
		if l.kinds = append(l.kinds, r.Kind); r.Kind == contactsync.Throttled {
			l.until = now.Add(time.Minute)
		}
		return l.until
	}, time.Time{}
}

func newLimitedWindow(t *testing.T) (*testWindow, *limiting) {
	t.Helper()
	w, gate := newTestWindow(t, nil), &limiting{}
	w.Window = NewWindow(DefaultConfig(), func(string) (Gate, bool) { return gate, true }, &w.set.Batcher, 1)
	w.Assign(w.now, []contactsync.Claim{testClaim}, false)
	return w, gate
}

// A row that is throttled whatever happens makes its account wait some times, while others have ever more time in
// which they go first, and then waits alone.
func TestWindow_ARowThatIsThrottledForItselfDoesNotHoldUpItsAccount(t *testing.T) {
	t.Parallel()
	w, gate := newLimitedWindow(t)
	w.add("bad/bad")
	var between []int // others that were answered between two requests with the row
	others := 0
	for range 3600 {
		w.now = w.now.Add(time.Second)
		w.add(fmt.Sprint("good", others%3, "/c"))
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			if slices.ContainsFunc(req.rows, func(c *contact) bool { return c.id == "bad" }) {
				between, others = append(between, others), 0
				w.settle(req, contactsync.Result{Kind: contactsync.Throttled, Status: 429})
				continue
			}
			others++
			w.settle(req, allDelivered(req.Batch))
		}
	}
	throttled := 0
	for _, k := range gate.kinds {
		if k == contactsync.Throttled {
			throttled++
		}
	}
	if throttled < 2 || throttled > 6 || !slices.IsSorted(between[:throttled+1]) || between[throttled] < 10 {
		t.Errorf("the account waited %d times in an hour, and between the first tries %v others were answered", throttled, between[:throttled+1])
	}
	if met := w.schedule.accounts[0].met; met.throttled != throttled {
		t.Errorf("%d requests count as throttled by the account's limit, of %d for which it waited", met.throttled, throttled)
	}
	if w.pending.contacts > 4 {
		t.Errorf("%d contacts wait", w.pending.contacts)
	}
	if n := len(w.TakeDeadLetters()); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// A limit of the account's is no fault of the rows that it meets, however often it does.
func TestWindow_ALimitOfTheAccountIsNoRowsFault(t *testing.T) {
	t.Parallel()
	w, gate := newLimitedWindow(t)
	for n := range 3600 {
		w.now = w.now.Add(time.Second)
		w.add(fmt.Sprint("st", n%3, "/c"))
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			if n%4 > 0 { // somebody else was faster
				w.settle(req, contactsync.Result{Kind: contactsync.Throttled, Status: 429})
				continue
			}
			w.settle(req, allDelivered(req.Batch))
		}
	}
	if slices.Contains(gate.kinds, contactsync.Unavailable) {
		t.Errorf("%v", gate.kinds)
	}
}

// Where somebody else uses the limit, many requests are throttled. A contact that happens to be so some times in a row
// waits for others to go first, and must not do so again and again.
func TestWindow_NobodyStarvesWhereManyRequestsAreThrottled(t *testing.T) {
	t.Parallel()
	w, _ := newLimitedWindow(t)
	rnd := rand.New(rand.NewPCG(5, 2))
	var oldest time.Duration
	for n := range 4 * 3600 {
		w.now = w.now.Add(time.Second)
		w.add(fmt.Sprint("st", n%7, "/c", n%31))
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			if rnd.IntN(100) < 30 {
				w.settle(req, contactsync.Result{Kind: contactsync.Throttled, Status: 429})
				continue
			}
			for _, c := range req.rows {
				oldest = max(oldest, w.now.Sub(c.sources.first.time()))
			}
			w.settle(req, allDelivered(req.Batch))
		}
	}
	if oldest > 20*time.Minute { // ten without any waiting for others
		t.Errorf("an event was delivered after %v", oldest)
	}
}

// An answer that throttles a probe of a stream on hold, and lists its row as applied, ends the hold: the API has looked
// at a row.
func TestWindow_AThrottledProbeThatHasAppliedARowEndsTheHold(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("a", "b")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone})
	st := w.schedule.streams[streamKey{"a", "st"}]
	if st.health.hold == nil {
		t.Fatal("the stream is not on hold")
	}
	w.now = st.health.backoff
	w.settle(w.send(), contactsync.Result{Kind: contactsync.Throttled, Status: 429, Rows: []contactsync.Outcome{{Verdict: contactsync.Delivered}}})
	if st.health.hold != nil {
		t.Error("the stream is still on hold")
	}
}

// What goes behind others does so for longer where its account was throttled meanwhile, and once for each time that it
// was; other groups fall due as before.
func TestRetries_PostponeWhatGoesBehindOthers(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*group){
		"a few":   func(*group) {},
		"suspect": func(g *group) { g.suspect, g.apart = true, true },
		"loose":   func(g *group) { g.loose = true },
	} {
		now := time.Unix(1_700_000_000, 0)
		row := func() []*contact { return []*contact{{throttlings: throttlings{n: 2}}} }
		behind, other, early := newGroup(row(), now), newGroup(row(), now), newGroup(row(), now.Add(time.Second))
		behind.behind, early.behind = time.Minute, time.Minute
		change(behind)
		change(early)
		r, a := retries{}, &account{throttledFor: time.Minute}
		for _, g := range []*group{behind, other, early} {
			r.add(g)
		}
		if r.postpone(now, a) {
			t.Errorf("%s: the account was not throttled since, and it is postponed", name)
		}
		if a.throttledFor += 30 * time.Second; !r.postpone(now, a) || !behind.due.Equal(now.Add(30*time.Second)) || !other.due.Equal(now) || !early.due.Equal(now.Add(time.Second)) {
			t.Errorf("%s: they fall due %v, %v and %v after now", name, behind.due.Sub(now), other.due.Sub(now), early.due.Sub(now))
		}
		if due, _ := r.soonest(behind.apart); name != "a few" && !due.Equal(map[bool]time.Time{true: early.due, false: other.due}[behind.apart]) {
			t.Errorf("%s: what is next falls due %v after now", name, due.Sub(now))
		}
		if now = behind.due; r.postpone(now, a) && behind.due.After(now) {
			t.Errorf("%s: others had their time, and it is postponed again", name)
		}
		a.throttledFor, a.met = a.throttledFor+time.Minute, met{answered: 5, throttled: 4}
		if r.postpone(now, a); behind.due.After(now) {
			t.Errorf("%s: others had eight requests, and it waits for more", name)
		}
	}
}

// How often a contact was throttled, and what was contradicted about it, is not known of what comes after a delete of it.
func TestWindow_WhatComesAfterADeleteWasNotThrottled(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("a")
	c := w.schedule.streams[streamKey{"a", "st"}].contacts["a"]
	c.throttlings.n, c.contradicted = 3, w.now
	req := w.send()
	w.remove("a")
	w.add("a")
	w.settle(req, contactsync.Result{Kind: contactsync.Throttled, Status: 429})
	if c.throttlings.n > 0 || !c.contradicted.IsZero() {
		t.Errorf("after the delete it was throttled %d times, and contradicted since %v", c.throttlings.n, c.contradicted)
	}
}
