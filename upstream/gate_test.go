package upstream

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/metrics"
)

func result(k contactsync.Kind) contactsync.Result {
	r := contactsync.Result{Kind: k, Status: 500}
	if k == contactsync.Canceled || k == contactsync.Unavailable {
		r.Status = 0
	}
	return r
}

// newTestGates returns n gates of one host without a limit of requests.
func newTestGates(n int, requests int) ([]*Gate, *logbuffer.Buffer) {
	log := &logbuffer.Buffer{}
	m := &metrics.New(prometheus.NewRegistry()).Upstream
	br := newBreaker("api.test", DefaultConfig().Breaker, slog.New(slog.NewTextHandler(log, nil)), m.Breaker.WithLabelValues("api.test"))
	gates := make([]*Gate, n)
	for i := range gates {
		limit := newBudget(testBudget(requests, 0, time.Minute, ShareFull), 5*time.Minute, time.Now())
		gates[i] = &Gate{breaker: br, budget: limit, meter: newMeter(m, fmt.Sprint("a", i), limit)}
	}
	return gates, log
}

// admit admits a request and returns what to report its kind with.
func admit(t *testing.T, g *Gate) func(contactsync.Kind) {
	t.Helper()
	report, again := g.Admit(time.Now(), "st", false)
	if report == nil {
		t.Fatalf("not admitted for %v", time.Until(again))
	}
	return func(k contactsync.Kind) { report(time.Now(), result(k)) }
}

// ended admits requests that end as in the pattern: F failed, A answered.
func ended(t *testing.T, g *Gate, pattern string) {
	t.Helper()
	for _, end := range pattern {
		admit(t, g)(map[rune]contactsync.Kind{'F': contactsync.Unavailable, 'A': contactsync.Answered}[end])
	}
}

func refused(t *testing.T, g *Gate, wait time.Duration) {
	t.Helper()
	report, again := g.Admit(time.Now(), "st", false)
	if report != nil || time.Until(again) != wait {
		t.Fatalf("admitted %v, again in %v, want %v", report != nil, time.Until(again), wait)
	}
}

// A request that was admitted before and is made once more has the next call, whoever asks first.
func TestGate_WhatIsMadeOnceMoreGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 60)
		gates[0].waiting++
		refused(t, gates[0], waitingTurn)
		gates[0].waiting--
		admit(t, gates[0])(contactsync.Answered)
	})
}

func TestGate_ConsecutiveFailuresOpenTheHostForAllItsAccounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, log := newTestGates(2, 0)
		for range 4 {
			admit(t, gates[0])(contactsync.Unavailable)
		}
		admit(t, gates[1])(contactsync.Unknown)
		const open = 15*time.Second + time.Millisecond
		refused(t, gates[0], open)
		refused(t, gates[1], open)
		if s := gates[0].State(time.Now()); s.Name != StateBreakerOpen || time.Until(s.Until) != 15*time.Second {
			t.Errorf("state is %+v", s)
		}
		if n := strings.Count(log.String(), "circuit breaker opened"); n != 1 || testutil.ToFloat64(gates[0].breaker.gauge) != 2 {
			t.Errorf("logged %d times: %s", n, log)
		}

		time.Sleep(open)
		probe := admit(t, gates[0])
		refused(t, gates[0], recheckEvery)
		refused(t, gates[1], recheckEvery)
		if s := gates[1].State(time.Now()); s.Name != StateBreakerHalfOpen {
			t.Errorf("state is %+v", s)
		}
		probe(contactsync.Unavailable)
		refused(t, gates[1], open)

		time.Sleep(open)
		admit(t, gates[1])(contactsync.Throttled) // it answers, so it is back
		admit(t, gates[0])(contactsync.Answered)
		if s := gates[0].State(time.Now()); s.Name != StateReady || testutil.ToFloat64(gates[0].breaker.gauge) != 0 {
			t.Errorf("state is %+v", s)
		}
		if s := gates[1].State(time.Now()); s.Name != StateThrottled {
			t.Errorf("state is %+v", s)
		}
	})
}

func TestGate_StoppedProbeFreesItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 0)
		for range 5 {
			admit(t, gates[0])(contactsync.Unavailable)
		}
		time.Sleep(15*time.Second + time.Millisecond)
		for range 20 {
			probe := admit(t, gates[0])
			refused(t, gates[0], recheckEvery)
			probe(contactsync.Canceled)
		}
		admit(t, gates[0])(contactsync.Answered)
		admit(t, gates[0])
		admit(t, gates[0])
	})
}

func TestGate_WhatCountsAsFailureOfTheHost(t *testing.T) {
	t.Parallel()
	down := map[contactsync.Kind]bool{contactsync.Unavailable: true, contactsync.Unknown: true}
	for _, kind := range contactsync.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gates, _ := newTestGates(1, 0)
				for range 5 {
					admit(t, gates[0])(kind)
					gates[0].budget.throttledUntil = time.Time{} // the wait of a throttled account is another matter
				}
				if got := gates[0].State(time.Now()).Name == StateBreakerOpen; got != down[kind] {
					t.Errorf("down is %v after five of them", got)
				}
			})
		})
	}
}

func TestGate_RatioOpensAndOldFailuresExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 0)
		g := gates[0]
		ended(t, g, "FAFFAFFAF") // 6 of 9: too few requests to judge by
		time.Sleep(61 * time.Second)
		ended(t, g, "AAAAAAAAA")
		if s := g.State(time.Now()); s.Name != StateReady {
			t.Fatalf("state is %+v: failures of a minute ago count", s)
		}
		inFlight := admit(t, g) // not counted before it ends
		for range 10 {
			ended(t, g, "AFFF")
			if g.State(time.Now()).Name == StateBreakerOpen {
				inFlight(contactsync.Answered)
				refused(t, g, 15*time.Second+time.Millisecond)
				return
			}
		}
		t.Error("30 of 49 failed and the host is not down")
	})
}

func TestGate_RefusalCostsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(2, 60)
		time.Sleep(time.Minute)
		before := gates[1].budget.remaining(time.Now())
		if before < 6 {
			t.Fatalf("%v requests left", before)
		}
		for range 5 {
			admit(t, gates[0])(contactsync.Unavailable)
		}
		for range 100 {
			refused(t, gates[1], 15*time.Second+time.Millisecond)
		}
		if left := gates[1].budget.remaining(time.Now()); left != before {
			t.Errorf("%v requests left of %v", left, before)
		}
		time.Sleep(15*time.Second + time.Millisecond)
		admit(t, gates[1]) // the probe
		for range 100 {
			refused(t, gates[1], recheckEvery)
		}
		if left := testutil.ToFloat64(gates[1].meter.left); left != before-1 {
			t.Errorf("%v requests left of %v", left, before)
		}
	})
}

func TestGate_ReportCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 0)
		once := admit(t, gates[0])
		for range 10 {
			once(contactsync.Unavailable)
		}
		admit(t, gates[0])
	})
}

func TestGate_Throttled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(2, 0)
		report, _ := gates[0].Admit(time.Now(), "st", false)
		if until := report(time.Now(), contactsync.Result{Kind: contactsync.Throttled, Status: 429, RetryAfter: 7 * time.Second}); time.Until(until) != 7*time.Second {
			t.Errorf("the account is said to wait for %v", time.Until(until))
		}
		refused(t, gates[0], 7*time.Second)
		admit(t, gates[1]) // another account of the host
		if got := testutil.ToFloat64(gates[0].meter.throttled); got != 7 {
			t.Errorf("the gauge is %vs", got)
		}
		time.Sleep(8 * time.Second)
		admit(t, gates[0])
		gates[0].updateGauges(time.Now())
		if got := testutil.ToFloat64(gates[0].meter.throttled); got != 0 {
			t.Errorf("the gauge is %vs", got)
		}
	})
}

func TestGate_ThrottledAccountHasNothingRemaining(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 60)
		time.Sleep(time.Minute)
		report, _ := gates[0].Admit(time.Now(), "st", false)
		report(time.Now(), contactsync.Result{Kind: contactsync.Throttled, Status: 429, RetryAfter: 7 * time.Second})
		if got := testutil.ToFloat64(gates[0].meter.left); got != 0 {
			t.Errorf("%v requests remain while the account is throttled", got)
		}
	})
}

// What was never sent says nothing about the host, good or bad.
func TestGate_UnsentRequestsAreNotCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 0)
		unsent := func(kind contactsync.Kind) {
			t.Helper()
			report, again := gates[0].Admit(time.Now(), "st", false)
			if report == nil {
				t.Fatalf("%v: not admitted for %v", kind, time.Until(again))
			}
			report(time.Now(), contactsync.Result{Kind: kind})
		}
		for range 10 {
			unsent(contactsync.Unknown) // the account is not configured
		}
		if s := gates[0].State(time.Now()); s.Name != StateReady {
			t.Fatalf("ten requests that were never sent: state is %+v", s)
		}
		for range 5 {
			admit(t, gates[0])(contactsync.Unavailable)
		}
		time.Sleep(15*time.Second + time.Millisecond)
		unsent(contactsync.Unauthorized) // no token could be signed
		if s := gates[0].State(time.Now()); s.Name != StateBreakerHalfOpen {
			t.Errorf("the probe was never sent: state is %+v", s)
		}
		unsent(contactsync.StreamGone) // the stream's name is not valid
		if s := gates[0].State(time.Now()); s.Name != StateBreakerHalfOpen {
			t.Errorf("the probe was never sent: state is %+v", s)
		}
	})
}

func TestGate_RequestsInFlightDoNotDiluteTheRatio(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 0)
		for range 10 {
			admit(t, gates[0]) // no result yet
		}
		ended(t, gates[0], "FFFFAFAAAF")
		if s := gates[0].State(time.Now()); s.Name != StateBreakerOpen {
			t.Errorf("6 of 10 failed: state is %+v", s)
		}
	})
}

// Failures around the end of a fixed interval would be counted apart.
func TestGate_IntervalIsRolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 0)
		admit(t, gates[0])(contactsync.Answered)
		time.Sleep(50 * time.Second)
		ended(t, gates[0], "FFFA")
		time.Sleep(20 * time.Second)
		ended(t, gates[0], "FFFAAF")
		if s := gates[0].State(time.Now()); s.Name != StateBreakerOpen {
			t.Errorf("7 of 10 failed within 20 s: state is %+v", s)
		}
	})
}

// The caller's clock may be ahead of the breaker's.
func TestGate_TimeToAskAgainIsLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 0)
		for range 5 {
			admit(t, gates[0])(contactsync.Unavailable)
		}
		ahead := time.Now().Add(time.Hour)
		if _, again := gates[0].Admit(ahead, "st", false); !again.After(ahead) {
			t.Errorf("ask again %v before now", ahead.Sub(again))
		}
	})
}
