package vendorapi

import (
	"cmp"
	"net/http"
	"strconv"
	"time"
)

const overBudget = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."

func (b Budget) window() time.Duration { return cmp.Or(b.Window, time.Minute) }

// free returns when a request could be taken: now or later. Counted has the times of
// the earlier ones in order.
func (b Budget) free(counted []time.Time, now time.Time) time.Time {
	if b.Requests == 0 {
		return now
	}
	at := now
	switch b.Kind {
	case Rolling:
		if n := len(counted); n >= b.Requests {
			at = counted[n-b.Requests].Add(b.window())
		}
	case Fixed:
		begin, n := now.Truncate(b.window()), 0
		for i := len(counted) - 1; i >= 0 && !counted[i].Before(begin); i-- {
			n++
		}
		if n >= b.Requests {
			at = begin.Add(b.window())
		}
	case Paced:
		if n := len(counted); n > 0 {
			at = counted[n-1].Add(b.window() / time.Duration(b.Requests))
		}
	}
	if at.Before(now) {
		return now
	}
	return at
}

// charge takes a request out of the account's budget, or refuses it.
func (a *API) charge(c *Call) *reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, account, now := a.cfg.Budget, c.Account, c.At
	promised := b
	promised.Kind = Rolling
	if promised.free(a.counted[account], now).After(now) {
		a.complain(c, Over, "more than %d requests of account %s in %v", b.Requests, account, b.window())
	}
	at := b.free(a.counted[account], now)
	over := at.After(now)
	if !over || !b.FreeIfOver {
		a.counted[account] = append(a.counted[account], now)
	}
	if !over {
		return nil
	}
	c.LimitHit = true
	status := cmp.Or(b.Status, http.StatusTooManyRequests)
	refused := errorsReply(status, overBudget, status)
	if b.PlainText {
		refused = &reply{status: status, kind: "text/plain; charset=utf-8", body: []byte(overBudget)}
	}
	switch b.RetryAfter {
	case RetryAfterSeconds:
		refused.retryAfter = strconv.Itoa(int((at.Sub(now) + time.Second - 1) / time.Second))
	case RetryAfterDate:
		refused.retryAfter = at.Add(time.Second - 1).UTC().Format(http.TimeFormat)
	case NoRetryAfter:
	}
	return refused
}
