package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/contactsync/contactsync"
)

// errNoAnswer is the cause of an attempt's context when its time is up.
var errNoAnswer = errors.New("no complete answer in time")

// skewTold is the difference of clocks from which a refused token's detail
// names it: tokens are backdated by less.
const skewTold = backdated

// attempt is what Send learns on the way to a result.
type attempt struct {
	reply
	answer  settled
	detail  string   // as it came, neither masked nor bounded
	secrets []string // not to be quoted from the answer
	called  bool     // a round trip was begun
}

// Send makes one attempt to deliver the batch and returns what became of it. It
// ends within the configured time-out, or soon after ctx ends. The batch is not
// kept, but its rows' bytes must not change before Send returns.
func (c *Client) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	if len(b.Rows) == 0 {
		return contactsync.Result{Kind: contactsync.Answered} // nothing to ask for
	}
	start := time.Now()
	t := c.try(ctx, b)
	row := classify(c.table, t.reply)
	result := contactsync.Result{
		Kind:       row.Kind,
		Status:     t.status,
		RetryAfter: t.wait,
		Ambiguous:  row.Ambiguous && t.sent,
	}
	if row.Kind == contactsync.Answered {
		result.Rows, result.Detail = t.answer.rows, t.answer.note
	} else {
		result.Detail = c.redactor.excerpt(t.detail, t.secrets, b.Rows)
	}
	if t.called {
		c.count(b.Account, result, time.Since(start))
	}
	return result
}

func (c *Client) count(account string, r contactsync.Result, took time.Duration) {
	c.metrics.Requests.WithLabelValues(account, r.Kind.String()).Inc()
	c.metrics.Duration.Observe(took.Seconds())
	if len(r.Rows) == 0 {
		return
	}
	var delivered, failed, unresolved int
	for i := range r.Rows {
		switch r.Rows[i].Verdict {
		case contactsync.Delivered:
			delivered++
		case contactsync.Failed:
			failed++
		case contactsync.Unresolved:
			unresolved++
		}
	}
	c.metrics.Rows.WithLabelValues("delivered").Add(float64(delivered))
	c.metrics.Rows.WithLabelValues("failed").Add(float64(failed))
	c.metrics.Rows.WithLabelValues("unresolved").Add(float64(unresolved))
}

// try makes the attempt.
func (c *Client) try(ctx context.Context, b contactsync.Batch) (t attempt) {
	a := c.accounts[b.Account]
	if a == nil {
		t.fault, t.detail = faultAccount, "account "+b.Account+" is not configured"
		return t
	}
	u, ok := target(a.base, b.Stream)
	if !ok {
		t.fault, t.detail = faultStream, "the stream's name is not one: 1 to 64 letters, digits, - or _"
		return t
	}
	token, err := a.tokens.Token(time.Now())
	if err != nil {
		t.fault, t.detail = faultToken, "sign token: "+err.Error()
		return t
	}
	t.secrets = a.tokens.secrets(token)
	t.called = true

	attemptCtx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errNoAnswer)
	defer cancel()
	body := c.bodies.encode(b.Rows)
	resp, err := c.transport.RoundTrip(c.request(attemptCtx, u, a.cfg.ID, token, body))
	t.sent = body.sent()
	if err != nil {
		t.fault, t.detail = c.faultOf(ctx, attemptCtx, t.sent, err)
		return t
	}
	defer func() { _ = resp.Body.Close() }()
	t.sent = true // whatever was sent, it was enough for an answer
	t.status = resp.StatusCode
	t.wait = retryAfter(resp.Header, time.Now())
	if t.status == http.StatusUnauthorized {
		a.tokens.Invalidate(token)
	}
	buf := c.buffer()
	defer c.release(buf)
	if t.status == http.StatusOK || t.status == http.StatusMultiStatus {
		err = readAnswer(resp, int64(c.cfg.MaxAnswerBytes), buf)
		if errors.Is(err, errCut) {
			t.fault, t.detail = c.faultOf(ctx, attemptCtx, true, err)
			return t
		}
		c.understand(&t, buf.Bytes(), b.Rows, err)
		return t
	}
	// The status decides; of the body, what can be had in bounds explains it.
	_ = readAnswer(resp, errorLimit, buf)
	t.limited = c.answers.limit.Match(buf.Bytes())
	t.detail = explain(resp, buf.Bytes())
	return t
}

// request builds the request. Names of headers are written as the vendor writes them.
func (c *Client) request(ctx context.Context, u *url.URL, accountID, token string, body *body) *http.Request {
	req := &http.Request{
		Method: http.MethodPut,
		URL:    u,
		Host:   u.Host,
		Header: http.Header{
			"auth":         {token},
			"accountId":    {accountID},
			"Content-Type": {"application/json"},
			"Accept":       {"application/json"},
			"User-Agent":   {c.agent},
		},
		Body:          body,
		ContentLength: int64(body.size()),
	}
	return req.WithContext(ctx)
}

// understand reads the body of a 200 or 207, or says why it cannot; unread is
// the error of reading it, if any.
func (c *Client) understand(t *attempt, body []byte, rows []contactsync.Row, unread error) {
	err := unread
	if err == nil {
		t.answer, err = c.answers.read(body, rows, t.secrets)
	}
	switch {
	case err == nil:
		t.body = bodyUsable
		if t.limited = t.answer.limited; t.limited {
			t.detail = t.answer.rows[firstFailed(t.answer.rows)].Reason
		}
		return
	case errors.Is(err, errOdd):
		t.body = bodyOdd
	default:
		t.body = bodyBroken
	}
	start := body[:min(len(body), errorLimit)]
	t.limited = c.answers.limit.Match(start)
	t.detail = fmt.Sprintf("%d: %s", t.status, whatIsWrong(err, len(body)))
	if text := describe(start); text != "" {
		t.detail += ": " + text
	}
}

func firstFailed(rows []contactsync.Outcome) int {
	for i := range rows {
		if rows[i].Verdict == contactsync.Failed {
			return i
		}
	}
	return 0
}

// whatIsWrong words an error without its excerpt of the body, which is not masked.
func whatIsWrong(err error, size int) string {
	switch {
	case errors.Is(err, errOdd), errors.Is(err, errTooLong), errors.Is(err, errBomb), errors.Is(err, errEncoding):
		return err.Error()
	case size == 0:
		return "answer is empty"
	}
	return "answer is not complete JSON"
}

// explain words a refusal.
func explain(resp *http.Response, body []byte) string {
	text := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch resp.StatusCode / 100 {
	case 3:
		text += ": redirects are not followed, check host"
		if to, err := resp.Location(); err == nil {
			text += " (to " + to.Scheme + "://" + to.Host + ")"
		}
		return text
	case 4:
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.StatusCode == http.StatusUnauthorized {
			if skew := time.Since(date).Round(time.Second); skew.Abs() > skewTold {
				text += fmt.Sprintf(" (our clock is %v ahead of the API's)", skew)
			}
		}
	}
	if said := describe(bytes.TrimSpace(body)); said != "" {
		text += ": " + said
	}
	return text
}

// faultOf tells what an error of the transport means. Our own stop comes first:
// it ends the attempt's context too, and the error would look like any other.
func (c *Client) faultOf(ctx, attemptCtx context.Context, sent bool, err error) (fault, string) {
	switch {
	case ctx.Err() != nil:
		return faultStopped, "stopped: " + context.Cause(ctx).Error()
	case attemptCtx.Err() != nil:
		return faultTimeout, fmt.Sprintf("no complete answer within %v", c.cfg.Timeout)
	case !sent:
		return faultConnect, "connect: " + plain(err)
	}
	return faultCut, "cut off: " + plain(err)
}

// plain returns the error's text without the URL that net/url puts around it.
func plain(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return err.Error()
}
