package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/contactsync/contactsync"
)

// Gate admits the requests of one account: its budget and the breaker of its
// host. Safe for concurrent use.
type Gate struct {
	breaker *breaker
	gauges  gateGauges

	mu     sync.Mutex // guards budget
	budget *budget
}

type gateGauges struct{ left, share, throttled prometheus.Gauge }

// Admit takes what one request costs and returns the function to call once with
// its result. Where no request may start now it returns nil and the time to ask
// again, after now, and takes nothing.
func (g *Gate) Admit(now time.Time) (report func(now time.Time, r contactsync.Result), again time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// The budget is only looked at until the breaker has agreed.
	if again := g.budget.next(now); !again.IsZero() {
		g.observeLocked(now)
		return nil, later(again, now)
	}
	done, again := g.breaker.allow(now)
	if done == nil {
		return nil, later(again, now)
	}
	g.budget.take(now)
	g.observeLocked(now)
	var reported atomic.Bool
	return func(now time.Time, r contactsync.Result) {
		if reported.Swap(true) {
			return
		}
		done(verdict(r))
		if r.Kind != contactsync.Throttled {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.budget.throttle(now, r.RetryAfter)
		g.observeLocked(now)
	}, time.Time{}
}

// later keeps a time to ask again from lying in the past.
func later(again, now time.Time) time.Time {
	if least := now.Add(time.Millisecond); again.Before(least) {
		return least
	}
	return again
}

// SetShare sets this replica's part of a budget that is split: part of whole,
// which are usually the partitions owned and all of them. 0 admits nothing.
func (g *Gate) SetShare(now time.Time, part, whole int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.budget.setShare(now, part, whole)
	g.observeLocked(now)
}

// observe brings the gauges up to date.
func (g *Gate) observe(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.observeLocked(now)
}

func (g *Gate) observeLocked(now time.Time) {
	g.gauges.throttled.Set(max(0, g.budget.until.Sub(now).Seconds()))
	if g.budget.quota == 0 {
		return // nothing to show of what has no limit
	}
	g.gauges.left.Set(g.budget.left(now))
	g.gauges.share.Set(g.budget.perWindow())
}

// The names of a gate's state.
const (
	StateReady     = "ready"     // a request may start
	StateSpent     = "spent"     // the budget is used up
	StateThrottled = "throttled" // the API asked to wait
	StateTrying    = "trying"    // one call finds out whether the host is back
	StateDown      = "down"      // the host failed, calls stop
)

// State is what a gate would say to a request now.
type State struct {
	Name  string    // one of the names above
	Until time.Time // when it may change; zero where nothing is waited for
	Share float64   // requests per window that are this replica's; 0 also without a limit
}

// State tells how the gate stands at now.
func (g *Gate) State(now time.Time) State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := State{Name: StateReady, Share: g.budget.perWindow()}
	switch again := g.budget.next(now); {
	case g.breaker.steps.State() == gobreaker.StateOpen:
		s.Name, s.Until = StateDown, g.breaker.reopens()
	case g.breaker.steps.State() == gobreaker.StateHalfOpen:
		s.Name = StateTrying
	case now.Before(g.budget.until):
		s.Name, s.Until = StateThrottled, again
	case !again.IsZero():
		s.Name, s.Until = StateSpent, again
	}
	return s
}
