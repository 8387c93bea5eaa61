package batcher

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// crowded is a window with something in every place.
func crowded(t *testing.T) *testWindow {
	t.Helper()
	w := newTestWindow(t, func(c *Config) { c.MaxRows = 2 })
	behind := testClaim
	behind.Partition = 2
	w.Assign(w.now, []contactsync.Claim{behind}, true)
	w.addTo(behind, "late/x")
	w.now = w.now.Add(time.Second)
	w.add("gone/a", "gone/b", "gone/a")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone, Status: 404, Detail: "no such stream"})
	w.add("away/a", "away/b")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
	w.add("bad/a", "bad/b")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.BadRequest})
	w.add("out/a", "out/b")
	w.send()
	w.add("live/a")
	return w
}

func TestSnapshot_Gauges(t *testing.T) {
	t.Parallel()
	w := crowded(t)
	w.schedule.streams[streamKey{"a", "live"}].health.backoff = w.now.Add(time.Hour)
	w.Observe(w.now)
	m := &w.set.Batcher
	gone := int64(streamOverhead)
	for _, c := range w.schedule.streams[streamKey{"a", "gone"}].contacts {
		gone += c.charge
	}
	for name, tt := range map[string]struct {
		got, want float64
	}{
		"bytes":              {testutil.ToFloat64(m.Bytes), float64(w.bytes())},
		"limit":              {testutil.ToFloat64(m.BytesLimit), float64(DefaultConfig().WindowBytes)},
		"full":               {testutil.ToFloat64(m.Full), 0},
		"contacts":           {testutil.ToFloat64(m.PendingContacts), 10},
		"streams":            {testutil.ToFloat64(m.ActiveStreams), 6},
		"requests":           {testutil.ToFloat64(m.InFlightRequests), float64(len(w.requests))},
		"rows":               {testutil.ToFloat64(m.InFlightRows), rowsInFlight(w)},
		"oldest":             {testutil.ToFloat64(m.OldestPendingAge.WithLabelValues("active")), w.now.Sub(time.Unix(1_700_000_000, 0)).Seconds()},
		"backing off":        {testutil.ToFloat64(m.StreamsBackingOff), 1},
		"streams on hold":    {testutil.ToFloat64(m.StreamsOnHold.WithLabelValues("a", "stream_gone")), 1},
		"none of that kind":  {testutil.ToFloat64(m.StreamsOnHold.WithLabelValues("a", "unauthorized")), 0},
		"events on hold":     {testutil.ToFloat64(m.EventsOnHold.WithLabelValues("a", "stream_gone")), 3},
		"contacts on hold":   {testutil.ToFloat64(m.ContactsOnHold.WithLabelValues("a", "stream_gone")), 2},
		"bytes on hold":      {testutil.ToFloat64(m.BytesOnHold.WithLabelValues("a", "stream_gone")), float64(gone)},
		"longest hold":       {testutil.ToFloat64(m.OldestHoldAge.WithLabelValues("a", "stream_gone")), w.now.Sub(w.schedule.streams[streamKey{"a", "gone"}].health.hold.since).Seconds()},
		"accounts on hold":   {testutil.ToFloat64(m.AccountsOnHold), 0},
		"rows of a request":  {testutil.ToFloat64(m.RequestMaxRows.WithLabelValues("a")), 2},
		"bytes of a request": {testutil.ToFloat64(m.RequestMaxBytes.WithLabelValues("a")), float64(DefaultConfig().MaxBytes)},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", name, tt.got, tt.want)
		}
	}
}

func TestSnapshot_BytesOnHold(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("dead/a")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone, Status: 404})
	w.send()
	w.add("dead/a", "dead/b") // the first waits behind the probe
	if w.Observe(w.now); testutil.ToFloat64(w.m.BytesOnHold.WithLabelValues("a", "stream_gone")) != float64(w.bytes()) {
		t.Errorf("%v of %d bytes are on hold, want all", testutil.ToFloat64(w.m.BytesOnHold.WithLabelValues("a", "stream_gone")), w.bytes())
	}
	if a := w.Status(w.now).Accounts[0]; a.HeldBytes != w.bytes() {
		t.Errorf("/status says %d", a.HeldBytes)
	}
}

func rowsInFlight(w *testWindow) (n float64) {
	for f := range w.requests {
		n += float64(len(f.rows))
	}
	return n
}

// The age of the oldest event counts wherever it waits, and apart by what it waits for.
func TestSnapshot_OldestEvent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		state int
		place func(w *testWindow)
	}{
		"in the queue": {waitActive, func(w *testWindow) { w.add("x") }},
		"in a request": {waitActive, func(w *testWindow) { w.add("x"); w.send() }},
		"behind a request of a generation that is over": {waitActive, func(w *testWindow) {
			before, after := w.event("x"), w.event("x")
			before.Record.Time = w.now.Add(-time.Hour)
			w.Add(w.now, before)
			w.send()
			w.Forget(w.now)
			w.Assign(w.now, []contactsync.Claim{testClaim}, false)
			w.Add(w.now, after)
		}},
		"in a set of its own": {waitActive, func(w *testWindow) {
			w.add("x", "y")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.TooLarge})
		}},
		"in a stream on hold": {waitOnHold, func(w *testWindow) {
			w.add("x")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone})
		}},
		"in the probe of a stream on hold": {waitOnHold, func(w *testWindow) {
			w.add("x")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone})
			w.send()
		}},
		"in the back of a hold": {waitOnHold, func(w *testWindow) {
			w.add("x")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone})
			st := w.schedule.streams[streamKey{"a", "st"}]
			w.now = w.now.Add(time.Second)
			w.add("y")
			st.queue.pushFront(func() *contact { c := st.contacts["y"]; st.queue.remove(c); return c }())
		}},
		"in a partition that catches up": {waitActive, func(w *testWindow) {
			behind := testClaim
			behind.Partition = 2
			w.Assign(w.now, []contactsync.Claim{behind}, true)
			w.addTo(behind, "x")
		}},
		"in a dead letter": {waitDeadLetter, func(w *testWindow) { w.refuse() }},
		"in a dead letter that is written": {waitDeadLetter, func(w *testWindow) {
			w.refuse()
			w.TakeDeadLetters()
		}},
		"in a dead letter of a partition that catches up": {waitDeadLetter, func(w *testWindow) {
			w.Forget(w.now)
			w.Assign(w.now, []contactsync.Claim{testClaim}, true)
			w.refuse()
		}},
	} {
		w := newTestWindow(t, nil)
		begin := w.now
		tt.place(w)
		w.now = begin.Add(time.Hour)
		s := w.Observe(w.now)
		for state, called := range metrics.WaitStates {
			want := w.now
			if state == tt.state {
				want = begin
			}
			if !s.oldest[state].Equal(want) {
				t.Errorf("%s: the oldest event that is %s is of %v, want %v", name, called, s.oldest[state], want)
			}
		}
	}
}

// refuse adds an event that cannot be sent.
func (w *testWindow) refuse() {
	ev := w.event("x")
	ev.Kind = event.Broken
	w.Add(w.now, ev)
}

func TestSnapshot_NoDeadLettersOfGenerationsThatAreOver(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.refuse()
	w.TakeDeadLetters()
	w.Forget(w.now)
	w.now = w.now.Add(time.Hour)
	if s := w.Observe(w.now); !s.oldest[waitDeadLetter].Equal(w.now) {
		t.Errorf("a dead letter whose event somebody else reads counts with %v", s.oldest[waitDeadLetter])
	}
}

// A look at the window changes nothing in it.
func TestSnapshot_LooksOnly(t *testing.T) {
	t.Parallel()
	seen := func(w *testWindow) string {
		out := fmt.Sprintf("%d contacts, %d bytes, wake %v, %d lines\n", w.pending.contacts, w.bytes(), w.Wake(), len(w.log.lines))
		for _, st := range slices.SortedFunc(maps.Values(w.schedule.streams), compareNames) {
			out += fmt.Sprintf("%s: %d contacts, %q, %d groups, %+v, %v, %v, account %+v\n",
				st.name, len(st.contacts), st.queue.ids(), st.retries.waiting(), st.health, st.due, st.rank, st.account.health)
		}
		return out
	}
	w := crowded(t)
	w.now = w.now.Add(24 * time.Hour) // long after everything
	w.clock(w.now)
	w.schedule.account("a").health.size.tooLarge(w.now.Add(-time.Hour), 100, 1000)
	w.schedule.stream("empty", "a")
	before := seen(w)
	w.Observe(w.now)
	first := w.Status(w.now)
	if second := w.Status(w.now); !reflect.DeepEqual(first, second) {
		t.Errorf("two looks at once differ:\n%+v\n%+v", first, second)
	}
	if after := seen(w); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestSnapshot_Status(t *testing.T) {
	t.Parallel()
	w := crowded(t)
	w.outbox.refuse(w.now, w.event("x"), w.outbox.opened(w.claims.of(testClaim), &contactsync.Record{}), nil)
	s := w.Status(w.now)
	if len(s.Holds) != 1 || len(s.Accounts) != 1 {
		t.Fatalf("status %+v", s)
	}
	st := w.schedule.streams[streamKey{"a", "gone"}]
	if got, want := s.Holds[0], (HoldStatus{
		Kind: "stream_gone", Account: "a", Stream: "gone", Since: st.health.hold.since, NextProbe: later(st.health.backoff, w.now),
		Contacts: 2, Events: 3, Status: 404, Detail: "no such stream",
	}); got != want {
		t.Errorf("hold %+v, want %+v", got, want)
	}
	if a := s.Accounts[0]; a.Account != "a" || a.HeldStreams != 1 || a.HeldContacts != 2 || a.HeldEvents != 3 || a.RequestMaxRows != 2 {
		t.Errorf("account %+v", a)
	}
	if s.Bytes != w.bytes() || s.PendingContacts != 10 || s.Streams != 6 || s.DeadLettersPending != 1 || s.InFlightRequests != len(w.requests) {
		t.Errorf("status %+v", s)
	}
}

// A stream that was answered is remembered for a while, and waits for nothing.
func TestSnapshot_CountsStreamsThatHaveContacts(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxRows = 1 })
	w.deliver("done/a")
	w.add("waits/a")
	w.Observe(w.now)
	if s := w.Status(w.now); s.Streams != 1 || testutil.ToFloat64(w.set.Batcher.ActiveStreams) != 1 || w.RememberedStreams() != 2 {
		t.Errorf("%d streams in the status, %v in the series, of %d", s.Streams, testutil.ToFloat64(w.set.Batcher.ActiveStreams), w.RememberedStreams())
	}
}

// However many streams are on hold, /status shows the oldest hundred and counts the
// others.
// The status of an account says when an answer did not fit its request last.
func TestSnapshot_AnswersThatDoNotFit(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	answer := func(change func(*contactsync.Result)) time.Time {
		w.add("c")
		req := w.send()
		r := allDelivered(req.Batch)
		change(&r)
		w.settle(req, r)
		return w.Status(w.now).Accounts[0].MisfitAt
	}
	if at := answer(func(*contactsync.Result) {}); !at.IsZero() {
		t.Errorf("%v, and it fits", at)
	}
	first := answer(func(r *contactsync.Result) { r.Detail = "ids_unknown=1" })
	if !first.Equal(w.now) {
		t.Errorf("%v, not %v", first, w.now)
	}
	if at := answer(func(r *contactsync.Result) { r.Kind, r.Rows, r.Detail = contactsync.Unavailable, nil, "no answer" }); !at.Equal(first) {
		t.Errorf("%v for one that failed, not %v", at, first)
	}
}

func TestSnapshot_StatusIsBounded(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	for i := range mostHoldsShown + 7 {
		st := w.schedule.stream(fmt.Sprint("st", i), "a")
		st.health.hold = &hold{kind: holdGone, since: w.now.Add(-time.Duration(i) * time.Second)}
	}
	s := w.Status(w.now)
	if len(s.Holds) != mostHoldsShown || s.HoldsLeft != 7 || s.Accounts[0].HeldStreams != mostHoldsShown+7 {
		t.Fatalf("%d shown and %d left of %d", len(s.Holds), s.HoldsLeft, s.Accounts[0].HeldStreams)
	}
	if first, last := s.Holds[0].Stream, s.Holds[mostHoldsShown-1].Stream; first != "st106" || last != "st7" {
		t.Errorf("from %s to %s, want the oldest first", first, last)
	}
}

// A probe of a stream waits for the account as well.
func TestSnapshot_NextProbe(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	st := w.schedule.stream("st", "a")
	st.health.hold = &hold{kind: holdGone, since: w.now}
	a := st.signer
	for _, tt := range []struct {
		name          string
		stream, probe time.Duration
		held          bool
		want          time.Duration
	}{
		{"the stream's wait", time.Minute, 0, false, time.Minute},
		{"which is over", -time.Minute, 0, false, 0},
		{"the account's", time.Minute, time.Hour, true, time.Hour},
		{"which is shorter", time.Minute, time.Second, true, time.Minute},
		{"which is not on hold", time.Minute, time.Hour, false, time.Minute},
	} {
		st.health.backoff, a.probe, a.held = w.now.Add(tt.stream), w.now.Add(tt.probe), tt.held
		if got := w.Status(w.now).Holds[0].NextProbe.Sub(w.now); got != tt.want {
			t.Errorf("%s: in %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWindow_ExpireDropsWhatIsEmpty(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("x")
	f := w.send()
	w.settle(f, allDelivered(f.Batch))
	w.Observe(w.now)
	if len(w.schedule.streams) != 1 {
		t.Fatal("what a stream was answered in the last minute is forgotten")
	}
	w.now = w.now.Add(2 * time.Minute)
	w.Observe(w.now)
	if len(w.schedule.streams) != 1 {
		t.Error("a look dropped a stream")
	}
	w.Expire(w.now)
	if len(w.schedule.streams) != 0 {
		t.Error("an empty stream is kept")
	}
}

func TestSnapshot_SlotsBusyAndLastDelivery(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxInFlight = 1 })
	if w.Observe(w.now); testutil.CollectAndCount(w.set.Batcher.LastDelivery) != 0 {
		t.Error("a delivery is told before the first one")
	}
	pass := func(d time.Duration) {
		w.now = w.now.Add(d)
		if f := w.Next(w.now); f != nil {
			t.Fatalf("%s is sent", ids(f))
		}
	}
	w.add("one/x")
	f := w.send()
	pass(time.Minute) // nothing else is ready
	w.add("two/x")
	pass(time.Minute)
	pass(20 * time.Second)
	w.settle(f, allDelivered(f.Batch))
	at := w.now
	if w.Next(w.now) == nil {
		t.Fatal("the slot is not free")
	}
	w.Observe(w.now)
	if got := testutil.ToFloat64(w.set.Batcher.LastDelivery.WithLabelValues("a")); got != float64(at.Unix()) {
		t.Errorf("the last delivery was at %v, want %d", got, at.Unix())
	}
	if got := testutil.ToFloat64(w.set.Batcher.SlotsBusySeconds.WithLabelValues("a")); got != 20 {
		t.Errorf("the slots were busy for %v s, want 20 s: from the look that found two ready, to the answer", got)
	}
}

// A stream whose requests fail one row after the other is as old as its oldest row, wherever that waits.
func TestStatus_NamesTheStreamsThatFail(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	first := w.now
	w.add("fails/a")
	w.now = w.now.Add(time.Second)
	w.add("fails/b", "live/a", "held/a")
	for req := w.send(); req != nil; req = w.Next(w.now.Add(DefaultConfig().Linger)) {
		switch req.stream.name {
		case "live":
			w.settle(req, allDelivered(req.Batch))
		case "held":
			w.settle(req, contactsync.Result{Kind: contactsync.StreamGone, Status: 404})
		default:
			w.settle(req, contactsync.Result{Kind: contactsync.Unavailable, Status: 500})
		}
	}
	st := w.schedule.streams[streamKey{"a", "fails"}]
	st.health.alone = []string{"a"}
	w.pending.unlink(st.contacts["a"])
	w.pending.queue(st.contacts["a"]) // behind the other, which is tried next
	s := w.Status(w.now)
	if len(s.Failing) != 1 || s.Failing[0].Stream != "fails" || s.Failing[0].Since.IsZero() {
		t.Errorf("these fail: %+v", s.Failing)
	}
	i := slices.IndexFunc(s.Busiest, func(b StreamStatus) bool { return b.Stream == "fails" })
	if !s.Oldest.Equal(first) || !s.Busiest[i].Oldest.Equal(first) {
		t.Errorf("the oldest event is of %v, and of the stream of %v, want %v", s.Oldest, s.Busiest[i].Oldest, first)
	}
}
