package batcher

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
)

// paced is a budget of evenly spread calls.
type paced struct {
	perMinute int // 0 for any number
	next      time.Time
}

func (p *paced) PerSecond() float64 { return float64(p.perMinute) / 60 }

func (p *paced) Admit(now time.Time, _ string, _ bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	if now.Before(p.next) {
		return nil, p.next
	}
	if p.perMinute > 0 {
		p.next = later(now.Add(-time.Second), p.next).Add(time.Minute / time.Duration(p.perMinute)) // a late call is made up for
	}
	return func(time.Time, contactsync.Result) time.Time { return time.Time{} }, time.Time{}
}

// pacedWindow is a window with more work than the budget allows, and an API that takes its time.
type pacedWindow struct {
	*testWindow
	latency func(now time.Time, n int) time.Duration
	flights []flight
	calls   int
	most    int // in flight
}

func newPacedWindow(t *testing.T, perMinute int, latency func(time.Time, int) time.Duration, change func(*Config)) *pacedWindow {
	t.Helper()
	w := &pacedWindow{testWindow: newTestWindow(t, nil), latency: latency}
	cfg := DefaultConfig()
	cfg.MaxRows, cfg.Linger, cfg.RememberContacts = 1, 0, 0
	if change != nil {
		change(&cfg)
	}
	gate := &paced{perMinute: perMinute}
	w.Window = NewWindow(cfg, func(string) (Gate, bool) { return gate, true }, &w.set.Batcher, 1)
	w.Assign(w.now, []contactsync.Claim{testClaim}, false)
	return w
}

// run lets time pass, and returns how many calls were made.
func (w *pacedWindow) run(d time.Duration) int {
	before, end := w.calls, w.now.Add(d)
	for w.now.Before(end) {
		for w.pending.contacts-len(w.flights) < 200 {
			w.Add(w.now, w.event(fmt.Sprintf("s%d/c%d", w.offset%7, w.offset)))
		}
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			w.calls++
			f := flight{w.now.Add(w.latency(w.now, w.calls)), req}
			at, _ := slices.BinarySearchFunc(w.flights, f, func(a, b flight) int { return cmp.Or(a.ends.Compare(b.ends), -1) })
			w.flights = slices.Insert(w.flights, at, f)
			w.most = max(w.most, len(w.flights))
		}
		next := earlier(end, w.now.Add(time.Second))
		if wake := w.Wake(); !wake.IsZero() {
			next = earlier(next, wake)
		}
		if len(w.flights) > 0 {
			next = earlier(next, w.flights[0].ends)
		}
		w.now = later(next, w.now.Add(time.Millisecond))
		for len(w.flights) > 0 && !w.flights[0].ends.After(w.now) {
			req := w.flights[0].req
			w.flights = w.flights[1:]
			w.settle(req, allDelivered(req.Batch))
		}
		w.TakeEnded()
	}
	return w.calls - before
}

func always(d time.Duration) func(time.Time, int) time.Duration {
	return func(time.Time, int) time.Duration { return d }
}

// The budget is used up whatever the latency is, and no more requests are in flight than that takes.
func TestWindow_TheBudgetIsUsedAtAnyLatency(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second, 30 * time.Second} {
		for _, perMinute := range []int{60, 600, 6000} {
			t.Run(fmt.Sprint(latency, " ", perMinute), func(t *testing.T) {
				t.Parallel()
				w := newPacedWindow(t, perMinute, always(latency), nil)
				w.run(3 * latency) // it learns the latency from the first answers
				if got := w.run(time.Minute); got < perMinute*97/100 {
					t.Errorf("%d calls in a minute, want %d", got, perMinute)
				}
				if enough := max(LeastInFlight, 2*perMinute*int(latency/time.Millisecond)/60_000); w.most > enough+1 {
					t.Errorf("%d requests in flight, want %d at most", w.most, enough)
				}
			})
		}
	}
}

// Where a few requests take much longer than the others, their share of the requests in
// flight is larger than that of the calls.
func TestWindow_TheBudgetIsUsedWhereLatenciesDiffer(t *testing.T) {
	t.Parallel()
	w := newPacedWindow(t, 1200, func(_ time.Time, n int) time.Duration {
		if n%5 == 0 {
			return 20 * time.Second
		}
		return 50 * time.Millisecond
	}, nil)
	w.run(time.Minute)
	if got := w.run(5 * time.Minute); got < 5*1200*95/100 {
		t.Errorf("%d calls in five minutes, want 6000", got)
	}
}

// A host that stops answering holds up few contacts, and one that has become slow is
// used to the full again as soon as its first answers are there.
func TestWindow_AHostThatBecomesSlow(t *testing.T) {
	t.Parallel()
	const perMinute = 6000
	w := newPacedWindow(t, perMinute, nil, nil)
	slow := w.now.Add(time.Minute)
	w.latency = func(now time.Time, _ int) time.Duration {
		if now.Before(slow) {
			return 50 * time.Millisecond
		}
		return 30 * time.Second
	}
	w.run(time.Minute)
	w.most = 0
	if w.run(29 * time.Second); w.most != LeastInFlight {
		t.Errorf("%d requests are in flight before the first answer, want %d", w.most, LeastInFlight)
	}
	w.run(time.Minute)
	if got := w.run(time.Minute); got < perMinute*9/10 {
		t.Errorf("%d calls in a minute, want %d", got, perMinute)
	}
	w.Observe(w.now)
	if limit := testutil.ToFloat64(w.set.Batcher.InFlightLimit.WithLabelValues("a")); limit < 3000 || limit > 6100 {
		t.Errorf("the gauge says %v requests", limit)
	}
	slow = w.now.Add(time.Hour)
	w.run(time.Minute)
	if got := w.schedule.mostInFlight(w.schedule.account("a")); got != LeastInFlight {
		t.Errorf("%d requests may be in flight once it is quick again, want %d", got, LeastInFlight)
	}
}

// max_in_flight bounds what follows from the budget; where there is no budget it is the number.
func TestWindow_MaxInFlightIsABound(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ perMinute, bound, most int }{
		"less than the budget needs": {600, 40, 40},
		"less than any":              {600, 3, 3},
		"more than the budget needs": {600, 1000, 200},
		"none":                       {600, 0, 200},
		"without a budget":           {0, 0, LeastInFlight},
		"a bound, without a budget":  {0, 90, 90},
	} {
		w := newPacedWindow(t, tt.perMinute, always(10*time.Second), func(c *Config) { c.MaxInFlight = tt.bound })
		w.run(90 * time.Second)
		if got := w.schedule.mostInFlight(w.schedule.account("a")); got != tt.most || w.most > tt.most {
			t.Errorf("%s: %d requests may be in flight, and %d were, want %d", name, got, w.most, tt.most)
		}
	}
}

// A request that was given up says nothing of the latency, but for that it was not shorter.
func TestLatency_OfARequestThatWasGivenUp(t *testing.T) {
	t.Parallel()
	var l latency
	l.note(10*time.Second, contactsync.Answered)
	l.note(0, contactsync.Canceled)
	l.note(30*time.Second, contactsync.Unavailable)
	if l.mean != 20*time.Second {
		t.Errorf("%v on the average, want 20s", l.mean)
	}
}
