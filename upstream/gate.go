package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/contactsync/contactsync"
)

// Gate admits the requests of one account: within its budget, and while the
// circuit breaker of its host is closed. Safe for concurrent use.
type Gate struct {
	breaker *breaker

	mu      sync.Mutex // guards the rest
	budget  *budget
	meter   *meter
	waiting int // requests that were admitted and have to be made once more
}

// waitingTurn is when to ask again while a request that was admitted before waits for the budget.
const waitingTurn = 10 * time.Millisecond

// Admit charges the budget for one request of a stream and returns a function to call with
// its result, which returns until when the account is throttled, if it is; further calls of it do nothing. If no request may start now, report is
// nil, nothing is charged, and again is when to ask next, after now. A spare request
// starts only while the whole burst is left.
func (g *Gate) Admit(now time.Time, stream string, spare bool) (report func(now time.Time, r contactsync.Result) (until time.Time), again time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Nothing is charged before the breaker has agreed.
	next := g.budget.next
	if spare {
		next = g.budget.nextSpare
	}
	if again := next(now); !again.IsZero() {
		cause := forBudget
		if now.Before(g.budget.throttledUntil) {
			cause = forThrottle
		}
		return nil, g.refuseLocked(now, cause, again)
	}
	if g.waiting > 0 {
		return nil, g.refuseLocked(now, forBudget, now.Add(waitingTurn))
	}
	done, again := g.breaker.allow(now)
	if done == nil {
		return nil, g.refuseLocked(now, forBreaker, again)
	}
	g.budget.take(now)
	g.meter.admitted(now)
	g.meter.show(now, g.budget)
	var reported atomic.Bool
	return func(now time.Time, r contactsync.Result) time.Time {
		if reported.Swap(true) {
			return time.Time{}
		}
		done(g.breaker.counted(now, stream, r))
		if r.Kind != contactsync.Throttled {
			return time.Time{}
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.budget.throttle(now, r.RetryAfter)
		g.meter.show(now, g.budget)
		return g.budget.throttledUntil
	}, time.Time{}
}

// refuseLocked notes why nothing starts before again, and returns when to ask next.
func (g *Gate) refuseLocked(now time.Time, cause string, again time.Time) time.Time {
	again = afterNow(again, now)
	g.meter.refused(now, cause, again)
	g.meter.show(now, g.budget)
	return again
}

// afterNow returns again, or soon after now if it is not later.
func afterNow(again, now time.Time) time.Time {
	if soon := now.Add(time.Millisecond); again.Before(soon) {
		return soon
	}
	return again
}

// SetShare sets this replica's share of a split budget to part/whole, usually the
// partitions it owns of all partitions. 0 admits nothing.
func (g *Gate) SetShare(now time.Time, part, whole int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.budget.setShare(now, part, whole)
	g.meter.show(now, g.budget)
}

// PerSecond returns how many requests this replica's share allows in the long run; 0 where no
// budget is set.
func (g *Gate) PerSecond() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.budget.perWindow() / g.budget.window.Seconds()
}

func (g *Gate) updateGauges(now time.Time) {
	g.breaker.remind(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.meter.show(now, g.budget)
}

// The states of a gate.
const (
	StateReady           = "ready"             // a request may start
	StateBudgetExhausted = "budget_exhausted"  // the budget is used up for now
	StateThrottled       = "throttled"         // the API asked to wait
	StateBreakerHalfOpen = "breaker_half_open" // one request tests whether the host is back
	StateBreakerOpen     = "breaker_open"      // the host failed; no request may start
)

// State is what a request would meet at a gate.
type State struct {
	Name   string        // one of the constants above
	Until  time.Time     // when it may change; zero if nothing is waited for
	Share  float64       // this replica's requests per window; 0 also without a limit
	Window time.Duration // that the share is of; 0 without a limit
}

// State returns the gate's state at now.
func (g *Gate) State(now time.Time) State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := State{Name: StateReady, Share: g.budget.perWindow()}
	if g.budget.requests > 0 {
		s.Window = g.budget.window
	}
	again := g.budget.next(now)
	breaker := g.breaker.steps.State()
	switch {
	case breaker == gobreaker.StateOpen:
		s.Name, s.Until = StateBreakerOpen, g.breaker.openUntil()
	case breaker == gobreaker.StateHalfOpen:
		s.Name = StateBreakerHalfOpen
	case now.Before(g.budget.throttledUntil):
		s.Name, s.Until = StateThrottled, again
	case !again.IsZero():
		s.Name, s.Until = StateBudgetExhausted, again
	}
	return s
}
