package batcher

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// kind is the kind of hold that a stream is on.
func (st *stream) kind() holdKind {
	if st.health.hold == nil {
		return noHold
	}
	return st.health.hold.kind
}

// heard has an answer of a kind for a request of a stream.
func (w *testWindow) heard(stream string, kind contactsync.Kind) *stream {
	st := w.schedule.stream(stream, "a")
	w.clock(w.now)
	w.health.onAnswer(w.now, &Request{stream: st}, decide(answer{kind: kind, warned: st.health.credentialsRefused}), contactsync.Result{Kind: kind, Status: 400, Detail: "no"})
	return st
}

func TestHealth_Holds(t *testing.T) {
	t.Parallel()
	const (
		ok     = contactsync.Answered
		denied = contactsync.Unauthorized
		gone   = contactsync.StreamGone
		away   = contactsync.Unavailable
	)
	for _, tt := range []struct {
		name    string
		answers []contactsync.Kind
		want    holdKind
	}{
		{"one refusal of the credentials", []contactsync.Kind{denied}, noHold},
		{"two in a row", []contactsync.Kind{denied, denied}, holdUnauthorized},
		{"two with an answer between", []contactsync.Kind{denied, ok, denied}, noHold},
		{"two with an outage between", []contactsync.Kind{denied, away, denied}, noHold},
		{"unknown stream", []contactsync.Kind{gone}, holdGone},
		{"another cause", []contactsync.Kind{gone, denied, denied}, holdUnauthorized},
		{"an outage ends no hold", []contactsync.Kind{gone, away}, holdGone},
		{"nor does the account's limit", []contactsync.Kind{gone, contactsync.Throttled}, holdGone},
		{"an answer about rows does", []contactsync.Kind{gone, ok}, noHold},
		{"a bad request is one", []contactsync.Kind{gone, contactsync.BadRequest}, noHold},
		{"too large is one", []contactsync.Kind{gone, contactsync.TooLarge}, noHold},
		{"our own stop is none", []contactsync.Kind{gone, contactsync.Canceled}, holdGone},
	} {
		w := newTestWindow(t, nil)
		var st *stream
		for _, kind := range tt.answers {
			st = w.heard("st", kind)
			w.now = w.now.Add(time.Hour)
		}
		if got := st.kind(); got != tt.want {
			t.Errorf("%s: on hold as %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A hold for refused rows does not end with an answer, but when refusals are rare.
func TestHealth_RejectingHoldEndsWhenRefusalsAreRare(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.DeadLetterMaxRatio = 0.5 })
	st := w.schedule.stream("st", "a")
	w.health.putOnHold(w.now, st, holdRejecting, contactsync.Result{})
	if w.heard("st", contactsync.Answered).kind() != holdRejecting {
		t.Error("ended by an answer")
	}
	for range 9 {
		w.health.withinBudget(w.now, st, tally{accepted: 1}, aboutRow)
	}
	if w.health.review(w.now, st); st.kind() != holdRejecting {
		t.Error("ended after nine rows")
	}
	w.health.withinBudget(w.now, st, tally{accepted: 1}, aboutRow)
	if w.health.review(w.now, st); st.kind() != noHold {
		t.Error("not ended after ten good rows")
	}
}

func TestHealth_AccountIsHeldForItsStreams(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(w *testWindow)
		want bool
	}{
		{"two streams", func(w *testWindow) {
			w.heard("x", contactsync.StreamGone)
			w.heard("y", contactsync.StreamGone)
		}, false},
		{"three streams", func(w *testWindow) {
			w.heard("x", contactsync.StreamGone)
			w.heard("y", contactsync.StreamGone)
			w.heard("z", contactsync.StreamGone)
		}, true},
		{"one stream that comes and goes", func(w *testWindow) {
			for range 5 {
				st := w.heard("x", contactsync.StreamGone)
				w.health.endHold(w.now, st, endedEmpty)
			}
		}, false},
		{"an answer between", func(w *testWindow) {
			w.heard("x", contactsync.StreamGone)
			w.heard("y", contactsync.StreamGone)
			w.heard("live", contactsync.Answered)
			w.heard("z", contactsync.StreamGone)
		}, false},
		{"rows that are refused are their streams' own", func(w *testWindow) {
			for _, name := range []string{"x", "y", "z"} {
				w.health.putOnHold(w.now, w.schedule.stream(name, "a"), holdRejecting, contactsync.Result{})
			}
		}, false},
		{"streams with refused rows that are then unknown", func(w *testWindow) {
			for _, name := range []string{"x", "y", "z"} {
				w.health.putOnHold(w.now, w.schedule.stream(name, "a"), holdRejecting, contactsync.Result{})
			}
			for _, name := range []string{"x", "y", "z"} {
				w.heard(name, contactsync.StreamGone)
			}
		}, true},
		{"streams that stay on hold for the same cause", func(w *testWindow) {
			for _, name := range []string{"x", "y"} {
				w.heard(name, contactsync.StreamGone)
			}
			w.heard("live", contactsync.Answered)
			for _, name := range []string{"x", "y", "z"} {
				w.heard(name, contactsync.StreamGone)
			}
		}, false},
		{"an answer afterwards", func(w *testWindow) {
			w.heard("x", contactsync.StreamGone)
			w.heard("y", contactsync.StreamGone)
			w.heard("z", contactsync.StreamGone)
			w.heard("y", contactsync.BadRequest)
		}, false},
	} {
		w := newTestWindow(t, nil)
		tt.do(w)
		if got := w.schedule.account("a").onHold() != nil; got != tt.want {
			t.Errorf("%s: held %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The answer that frees an account lets every stream of it probe at once, and none of
// another account.
func TestHealth_FreedAccountProbesAtOnce(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	var held []*stream
	for _, name := range []string{"x", "y", "z"} {
		held = append(held, w.heard(name, contactsync.StreamGone))
	}
	other := w.schedule.stream("other", "b")
	w.health.putOnHold(w.now, other, holdGone, contactsync.Result{})
	w.heard("live", contactsync.Answered)
	for _, st := range held {
		if st.kind() != holdGone || st.health.backoff.After(w.now) {
			t.Errorf("stream %s: hold %v, waits until %v", st.name, st.kind(), st.health.backoff)
		}
	}
	if !other.health.backoff.After(w.now) {
		t.Error("a stream of another account need not wait any more")
	}
}

func TestHealth_WaitsGrow(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.BackoffMin = time.Second })
	for n, most := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 7: time.Minute, 31: time.Minute, 1000: time.Minute,
	} {
		least, longest := time.Hour, time.Duration(0)
		for range 1000 {
			d := w.health.wait(n, time.Minute)
			least, longest = min(least, d), max(longest, d)
		}
		if least < most/2 || longest > most || longest-least < most/4 {
			t.Errorf("wait %d: between %v and %v, want half of %v to all", n, least, longest, most)
		}
	}
}

// A request that was made before a wait began says nothing new.
func TestHealth_RequestsOfOneBlipCountOnce(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	st := w.heard("st", contactsync.Unavailable)
	until := st.health.backoff
	if !until.After(w.now) {
		t.Fatal("no wait")
	}
	if w.heard("st", contactsync.Unavailable); st.health.failures != 1 || !st.health.backoff.Equal(until) {
		t.Errorf("%d failures, until %v instead of %v", st.health.failures, st.health.backoff, until)
	}
	w.now = until
	if w.heard("st", contactsync.Unavailable); st.health.failures != 2 {
		t.Errorf("%d failures, want the second one counted", st.health.failures)
	}
	if w.heard("st", contactsync.Answered); st.health.failures != 0 || st.health.backoff.After(w.now) {
		t.Error("an answer does not end the wait")
	}
}

func TestHealth_ProbesAreCounted(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	st := w.heard("st", contactsync.StreamGone)
	w.heard("st", contactsync.StreamGone) // made before the hold began
	if st.health.hold.probes != 0 {
		t.Errorf("%d probes before the first one", st.health.hold.probes)
	}
	w.now = st.health.backoff
	w.heard("st", contactsync.StreamGone)
	if st.health.hold.probes != 1 {
		t.Errorf("%d probes, want 1", st.health.hold.probes)
	}
}

// A hold for refused rows probes more often than the others: its rows leave one by one.
func TestHealth_LongestWaits(t *testing.T) {
	t.Parallel()
	for kind, most := range map[holdKind]time.Duration{holdGone: time.Hour, holdUnauthorized: time.Hour, holdRejecting: time.Minute} {
		w := newTestWindow(t, func(c *Config) { c.BackoffMax, c.HoldProbeMax = time.Minute, time.Hour })
		st := w.schedule.stream("st", "a")
		for range 30 {
			w.health.putOnHold(w.now, st, kind, contactsync.Result{})
			w.now = later(w.now, st.health.backoff)
		}
		w.health.putOnHold(w.now, st, kind, contactsync.Result{})
		if d := st.health.backoff.Sub(w.now); d < most/2 || d > most {
			t.Errorf("%v: the next probe is in %v, want half of %v to all", kind, d, most)
		}
	}
}

func TestHealth_Limits(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxRows, c.MaxBytes = 100, 1<<20 })
	st := w.schedule.stream("st", "a")
	for name, tt := range map[string]struct {
		kind holdKind
		rows int
	}{"no hold": {noHold, 100}, "credentials": {holdUnauthorized, 1}, "unknown stream": {holdGone, 1}, "rows are refused": {holdRejecting, 1}} {
		if st.health.hold = nil; tt.kind != noHold {
			st.health.hold = &hold{kind: tt.kind}
		}
		if rows, bytes := w.health.limits(w.now, st); rows != tt.rows || bytes != 1<<20 {
			t.Errorf("%s: %d rows, %d bytes", name, rows, bytes)
		}
	}
	st.health.hold = nil
	st.account.health.size.tooLarge(w.now, 100, 1<<10)
	size := &st.account.health.size
	for _, tt := range []struct {
		after  time.Duration
		trying bool
		want   int
	}{
		{0, false, 75}, // a trial in the middle between what may pass and what did not
		{0, true, 50},  // while that is in flight
		{sizeKept - 1, false, 75},
		{sizeKept, true, 50},
		{sizeKept, false, 100}, // it is tried anew whether the full size passes
		{sizeForgotten - 1, true, 50},
		{sizeForgotten, true, 100},
	} {
		size.trying = tt.trying
		if rows, _ := w.health.limits(w.now.Add(tt.after), st); rows != tt.want {
			t.Errorf("after %v, a trial in flight %v: %d rows, want %d", tt.after, tt.trying, rows, tt.want)
		}
	}
}

func TestHealth_Expired(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		max    time.Duration
		kind   holdKind
		lasted time.Duration
		want   bool
	}{
		"long enough":    {time.Hour, holdGone, time.Hour, true},
		"not yet":        {time.Hour, holdGone, time.Hour - 1, false},
		"for ever":       {0, holdGone, 1000 * time.Hour, false},
		"rows refused":   {time.Hour, holdRejecting, 2 * time.Hour, false},
		"not on hold":    {time.Hour, noHold, 2 * time.Hour, false},
		"by credentials": {time.Hour, holdUnauthorized, 2 * time.Hour, true},
	} {
		w := newTestWindow(t, func(c *Config) { c.HoldMax = tt.max })
		st := w.schedule.stream("st", "a")
		if tt.kind != noHold {
			st.health.hold = &hold{kind: tt.kind, since: w.now.Add(-tt.lasted)}
		}
		if got := w.health.expired(w.now, st); got != tt.want {
			t.Errorf("%s: expired %v, want %v", name, got, tt.want)
		}
	}
	for kind, want := range map[holdKind]contactsync.Reason{holdGone: contactsync.ReasonStreamGone, holdUnauthorized: contactsync.ReasonUnauthorized} {
		if got := kind.reason(); got != want {
			t.Errorf("contacts of a hold as %v become dead letters as %s", kind, got)
		}
	}
}

// The size of requests comes down when both halves of one that was too large pass.
func TestHealth_LearnsTheSizeFromBothHalves(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		first, second bool
		took          int // rows of a request that passed before
		want          int
	}{
		"both pass":                      {true, true, 0, 50},
		"the first is too large as well": {false, true, 0, 100},
		"the second":                     {true, false, 0, 100},
		"as many rows have passed":       {true, true, 80, 80},
	} {
		w := newTestWindow(t, func(c *Config) { c.MaxRows = 100 })
		st := w.schedule.stream("st", "a")
		w.health.learnSize(w.now, &Request{stream: st, rows: make([]*contact, tt.took)}, sizeFits)
		whole := &split{rows: 100, bytes: 10_000, open: 2}
		half := &Request{stream: st, rows: make([]*contact, 50), bytes: 5_000, group: &group{split: whole}}
		says := map[bool]sizeAnswer{true: sizeFits, false: sizeTooLarge}
		w.health.learnSize(w.now, half, says[tt.first])
		w.health.learnSize(w.now, half, says[tt.second])
		if got := int(st.account.health.size.rows.limit); got != tt.want {
			t.Errorf("%s: at most %d rows, want %d", name, got, tt.want)
		}
	}
}
