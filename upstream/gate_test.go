package upstream

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
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
	gauge := func() prometheus.Gauge { return prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"}) }
	br := newBreaker("api.test", DefaultConfig().Breaker, slog.New(slog.NewTextHandler(log, nil)), gauge())
	gates := make([]*Gate, n)
	for i := range gates {
		gates[i] = &Gate{
			breaker: br, budget: newBudget(testBudget(requests, 0, time.Minute, ShareFull), 5*time.Minute, time.Now()),
			gauges: gateGauges{gauge(), gauge(), gauge()},
		}
	}
	return gates, log
}

// admit admits a request and returns what to report its kind with.
func admit(t *testing.T, g *Gate) func(contactsync.Kind) {
	t.Helper()
	report, again := g.Admit(time.Now())
	if report == nil {
		t.Fatalf("not admitted for %v", time.Until(again))
	}
	return func(k contactsync.Kind) { report(time.Now(), result(k)) }
}

func refused(t *testing.T, g *Gate, wait time.Duration) {
	t.Helper()
	report, again := g.Admit(time.Now())
	if report != nil || time.Until(again) != wait {
		t.Fatalf("admitted %v, again in %v, want %v", report != nil, time.Until(again), wait)
	}
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
		for range 3 { // 6 of 9: too few requests to judge by
			admit(t, g)(contactsync.Unavailable)
			admit(t, g)(contactsync.Answered)
			admit(t, g)(contactsync.Unavailable)
		}
		time.Sleep(61 * time.Second)
		for range 9 {
			admit(t, g)(contactsync.Answered)
		}
		if s := g.State(time.Now()); s.Name != StateReady {
			t.Fatalf("state is %+v: failures of a minute ago count", s)
		}
		inFlight := admit(t, g) // not counted before it ends
		for range 10 {
			admit(t, g)(contactsync.Answered)
			admit(t, g)(contactsync.Unavailable)
			admit(t, g)(contactsync.Unavailable)
			admit(t, g)(contactsync.Unavailable)
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
		if left := testutil.ToFloat64(gates[1].gauges.remaining); left != before-1 {
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
		report, _ := gates[0].Admit(time.Now())
		report(time.Now(), contactsync.Result{Kind: contactsync.Throttled, Status: 429, RetryAfter: 7 * time.Second})
		refused(t, gates[0], 7*time.Second)
		admit(t, gates[1]) // another account of the host
		if got := testutil.ToFloat64(gates[0].gauges.throttled); got != 7 {
			t.Errorf("the gauge is %vs", got)
		}
		time.Sleep(7 * time.Second)
		admit(t, gates[0])
		gates[0].updateGauges(time.Now())
		if got := testutil.ToFloat64(gates[0].gauges.throttled); got != 0 {
			t.Errorf("the gauge is %vs", got)
		}
	})
}
