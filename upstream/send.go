package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/contactsync/contactsync"
)

// errAnswerTimeout is the cause of a request's context when its time is up.
var errAnswerTimeout = errors.New("no complete answer in time")

// Send makes one request with the rows of the batch and returns its result. It
// ends within Config.Timeout, or soon after ctx ends. The batch is not kept, but
// the rows' bytes must not change before Send returns.
func (c *Client) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	if len(b.Rows) == 0 {
		return contactsync.Result{Kind: contactsync.Answered} // nothing to ask for
	}
	start := time.Now()
	var a attempt
	a.start = start
	c.try(ctx, b, &a)
	rule := classify(c.table, &a)
	result := contactsync.Result{
		Kind:       rule.Kind,
		Status:     a.status,
		RetryAfter: a.retryAfter,
		Ambiguous:  rule.Ambiguous && a.sent || a.maybeApplied && rule.Kind != contactsync.Answered,
		MayBeRows:  rule.MayBeRows && a.sent,
	}
	switch rule.Kind {
	case contactsync.Answered:
		result.Rows, result.Detail = a.answer.rows, a.answer.mismatch
	case contactsync.Throttled:
		result.Rows = a.answer.onlyApplied()
		fallthrough
	default:
		result.Detail, result.Text = a.detail, a.text
	}
	if a.called {
		c.count(b, result, a.answer.ids, time.Since(start))
		c.keep(b, result, time.Now())
	}
	return result
}

func (c *Client) count(b contactsync.Batch, r contactsync.Result, ids idCounts, took time.Duration) {
	c.metrics.Requests.WithLabelValues(b.Account, r.Kind.String(), b.Purpose.String()).Inc()
	c.metrics.Duration.WithLabelValues(b.Account).Observe(took.Seconds())
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
		case contactsync.Unresolved, contactsync.Contradicted:
			unresolved++
		}
	}
	for result, n := range map[string]int{"delivered": delivered, "failed": failed, "unresolved": unresolved} {
		c.metrics.Rows.WithLabelValues(b.Account, result).Add(float64(n))
	}
	for kind, n := range map[string]int{
		"asked": ids.asked, "answered": ids.answered, "missing": ids.missing,
		"repeated": ids.repeated, "unknown": ids.unknown, "respelled": ids.respelled,
	} {
		c.metrics.AnswerIDs.WithLabelValues(b.Account, kind).Add(float64(n))
	}
}

// try makes the request and fills in the attempt.
func (c *Client) try(ctx context.Context, b contactsync.Batch, a *attempt) {
	acc := c.accounts[b.Account]
	if acc == nil {
		a.sendError, a.detail = sendUnknownAccount, "account "+b.Account+" is not configured"
		return
	}
	u, ok := target(acc.base, b.Stream)
	if !ok {
		a.sendError, a.detail = sendBadStream, "stream name is not valid: 1 to 64 letters, digits, - or _"
		return
	}
	tokens := acc.tokens[c.router.Credential(b.Account, b.Stream)]
	if tokens == nil { // of no stream that the account takes
		a.sendError, a.detail = sendNoToken, "sign token: no credentials of the account are for the stream"
		return
	}
	token, err := tokens.token(time.Now())
	if err != nil {
		a.sendError, a.detail = sendNoToken, "sign token: "+err.Error()
		return
	}
	a.secrets.secrets = tokens.secrets(token)
	a.called = true

	requestCtx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errAnswerTimeout)
	defer cancel()
	resp, err := c.roundTrip(requestCtx, call{acc, u, token, b.Rows, b.Purpose == contactsync.Isolation}, a)
	if err != nil {
		c.failed(ctx, requestCtx, a, err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	defer a.survive()
	a.status = resp.StatusCode
	a.retryAfter = retryAfter(resp.Header, time.Now())
	if a.status == http.StatusUnauthorized {
		tokens.invalidate(token)
	}
	buf := c.buffers.get()
	defer c.buffers.put(buf)
	room := &share{reading: c.reading, ctx: requestCtx, host: acc.base.Host, body: resp.Body}
	defer room.release()
	if a.status == http.StatusOK || a.status == http.StatusMultiStatus {
		err = readBody(resp, int64(c.cfg.MaxAnswerBytes), buf, room)
		if errors.Is(err, errCut) {
			c.failed(ctx, requestCtx, a, err)
			return
		}
		c.readAnswer(a, resp, buf, b.Rows, err)
		return
	}
	c.readRefusal(a, resp, buf, b.Rows, room)
}

// readRefusal interprets an answer with another status. The status decides, and as much of
// the body as can be read explains it, unless the body tells which rows failed: then the status
// is explained by these. What a throttled request has applied is in the body as well.
func (c *Client) readRefusal(a *attempt, resp *http.Response, buf *bytes.Buffer, rows []contactsync.Row, room *share) {
	limit, aboutRows := int64(maxErrorBody), slices.Contains(refusals, a.status)
	mayTell := aboutRows || slices.Contains(throttles, a.status)
	if mayTell {
		limit = int64(c.cfg.MaxAnswerBytes)
	}
	err := readBody(resp, limit, buf, room)
	start := buf.Bytes()[:min(buf.Len(), maxErrorBody)]
	c.explain(a, resp, refusalDetail(resp), buf)
	a.vendorsForm = isVendorsError(start)
	if err != nil || !mayTell {
		return
	}
	answer, err := c.answers.read(buf.Bytes(), rows, &a.secrets)
	if err != nil {
		return
	}
	a.answer = answer
	if aboutRows && answer.tells {
		a.body = bodyUsable
		a.rateLimited = a.rateLimited || answer.rateLimited
	}
}

// explain notes what the beginning of a body says that is no answer about rows.
func (c *Client) explain(a *attempt, resp *http.Response, problem string, buf *bytes.Buffer) {
	said := bodyErrors(bytes.TrimSpace(buf.Bytes()[:min(buf.Len(), maxErrorBody)]))
	a.rateLimited = said.isRateLimit()
	words, text := c.speaker.says(said, &a.secrets)
	a.detail = strings.TrimSpace(problem + ": " + envelope(resp, buf.Len(), time.Since(a.start)) + " " + words)
	a.text = text
}

// failed records a transport error. The caller's stop is checked first: it ends
// the request's context too, and the error would look like any other.
func (c *Client) failed(ctx, requestCtx context.Context, a *attempt, err error) {
	switch {
	case ctx.Err() != nil:
		a.sendError, a.detail = sendStopped, "stopped: "+context.Cause(ctx).Error()
	case errors.Is(err, errNoCall):
		a.sendError, a.detail = sendStopped, "stopped: "+faultOf(err)
	case requestCtx.Err() != nil:
		a.sendError, a.detail = sendTimeout, fmt.Sprintf("no complete answer within %v", c.cfg.Timeout)
	case !a.sent:
		a.sendError, a.detail = sendNoConnection, "connect: "+faultOf(err)
	default:
		a.sendError, a.detail = sendCut, "cut off: "+faultOf(err)
	}
}

// readAnswer interprets the body of a 200 or 207. readErr is the error of reading
// it, if any.
func (c *Client) readAnswer(a *attempt, resp *http.Response, buf *bytes.Buffer, rows []contactsync.Row, readErr error) {
	err := readErr
	if err == nil {
		a.answer, err = c.answers.read(buf.Bytes(), rows, &a.secrets)
	}
	switch {
	case err == nil:
		a.body = bodyUsable
		if a.rateLimited = a.answer.rateLimited; a.rateLimited {
			first := firstFailed(a.answer.rows)
			a.detail, a.text = first.Reason, first.Text
		}
		return
	case errors.Is(err, errForeignAnswer):
		a.body = bodyForeign
	default:
		a.body = bodyUnreadable
	}
	c.explain(a, resp, unusableDetail(a.status, err, buf.Bytes()), buf)
}

// bufferPool reuses the buffers that answers are read into.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *bytes.Buffer {
	if buf, ok := p.pool.Get().(*bytes.Buffer); ok {
		buf.Reset()
		return buf
	}
	return new(bytes.Buffer)
}

func (p *bufferPool) put(buf *bytes.Buffer) {
	if buf.Cap() <= maxPooledBytes {
		p.pool.Put(buf)
	}
}
