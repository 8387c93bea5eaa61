package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
)

// errNoCall is returned where the budget has no call left, within the time of a request, to make it again.
var errNoCall = errors.New("the connection had been closed, and no call was left to make the request again")

// call is one request as it is written, as often as that is necessary.
type call struct {
	acc   *account
	url   *url.URL
	token string
	rows  []contactsync.Row
	alone bool // on a connection of its own, which it may well end
}

// roundTrip makes the request. One that a connection was used for before, and that ends it
// without a byte of an answer, is made once more with the same bytes on a connection of its own: servers close connections that
// were idle or used often enough, and nothing says so until the next request crosses that. net/http does not do this for a request
// with a body that it cannot read twice, and must not: the second one is a call too, and is charged to the budget.
func (c *Client) roundTrip(ctx context.Context, call call, a *attempt) (*http.Response, error) {
	var used, answered atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(conn httptrace.GotConnInfo) { used.Store(conn.Reused) },
		GotFirstResponseByte: func() { answered.Store(true) },
	})
	via := c.transport.RoundTrip
	if call.alone {
		via = c.transport.roundTripAlone
	}
	resp, err := c.write(traced, call, a, via)
	if err == nil || !used.Load() || answered.Load() || ctx.Err() != nil {
		return resp, err
	}
	a.maybeApplied = a.sent
	if call.acc.gate.wait(ctx) != nil {
		return nil, errNoCall
	}
	c.metrics.Redials.WithLabelValues(call.acc.cfg.ID).Inc()
	return c.write(ctx, call, a, c.transport.roundTripAlone)
}

// write makes the request once.
func (c *Client) write(ctx context.Context, call call, a *attempt, via func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	deadline, _ := ctx.Deadline()
	body := c.bodies.encode(call.rows, deadline)
	resp, err := via(c.request(ctx, call.url, call.acc.cfg.ID, call.token, body))
	a.sent = err == nil || body.sent() // whatever was sent, it was enough for an answer
	return resp, err
}

// wait charges the budget for one request more, before any that Admit could admit, as soon as
// there is one left. The error is the cause of ctx, and nothing is charged then.
func (g *Gate) wait(ctx context.Context) error {
	g.mu.Lock()
	g.waiting++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.waiting--
		g.mu.Unlock()
	}()
	for {
		again := g.charge(time.Now())
		if again.IsZero() {
			return nil
		}
		if err := sleepUntil(ctx, again); err != nil {
			return err
		}
	}
}

// sleepUntil waits for a moment; the error is the cause of ctx where that ends first.
func sleepUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// charge charges one request, or returns when to ask next.
func (g *Gate) charge(now time.Time) (again time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if again := g.budget.next(now); !again.IsZero() {
		return afterNow(again, now)
	}
	g.budget.take(now)
	g.meter.admitted(now)
	g.meter.show(now, g.budget)
	return time.Time{}
}
