package vendorapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	pathBefore = "/agentassist/api/v1/public/"
	pathAfter  = "/contacts/bulk-update"
	readLimit  = 64 << 20
)

// request is one request while it is worked on.
type request struct {
	w         http.ResponseWriter
	r         *http.Request
	ctx       context.Context // ends when the client goes
	call      *Call
	body      []byte
	rows      []row
	isArray   bool
	duplicate string // an id that is there twice
	answered  bool   // or given up
	unwatch   func() bool
}

func (q *request) late() bool { return q.answered || q.ctx.Err() != nil }

// begin reads a request and enters it in the log.
func (a *API) begin(w http.ResponseWriter, r *http.Request) *request {
	at := time.Now()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, readLimit))
	var tooLarge *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLarge) {
		panic(http.ErrAbortHandler) // the client went while it sent
	}
	q := &request{w: w, r: r, ctx: r.Context(), body: body}
	q.rows, q.isArray = parseRows(body)
	a.mu.Lock()
	defer a.mu.Unlock()
	q.call = &Call{N: len(a.calls) + 1, At: at, Method: r.Method, Path: r.URL.EscapedPath(), Stream: streamOf(r.URL)}
	a.calls = append(a.calls, q.call)
	q.unwatch = context.AfterFunc(q.ctx, func() { a.gone(q) })
	here := make(map[name]bool, len(q.rows))
	for _, row := range q.rows {
		q.call.IDs, q.call.Sent = append(q.call.IDs, row.id), append(q.call.Sent, row.raw)
		n := nameOf(q.call.Stream, row.id)
		if row.id == "" {
			continue
		}
		if here[n] {
			q.duplicate = row.id
			a.complain(q.call, Twice, "contact %s", row.id)
		}
		here[n] = true
	}
	for n := range here {
		for _, other := range a.working[n] {
			fault := InFlight
			if other.late() {
				fault = Abandoned
			}
			a.complain(q.call, fault, "contact %s is in call %d", n.id, other.call.N)
		}
		a.working[n] = append(a.working[n], q)
	}
	return q
}

// streamOf returns the stream of a path, or nothing if the path is another one.
func streamOf(u *url.URL) string {
	rest, before := strings.CutPrefix(u.EscapedPath(), pathBefore)
	segment, after := strings.CutSuffix(rest, pathAfter)
	stream, err := url.PathUnescape(segment)
	if !before || !after || strings.Contains(segment, "/") || err != nil {
		return ""
	}
	return stream
}

// admit checks everything that is refused before any row is looked at.
func (a *API) admit(q *request) *reply {
	r, c := q.r, q.call
	switch {
	case c.Stream == "":
		a.fault(c, BadRequest, "no such path: %s", c.Path)
		return html(http.StatusNotFound, "Cannot "+r.Method+" "+c.Path)
	case r.Method != http.MethodPut:
		a.fault(c, BadRequest, "method %s", r.Method)
		return errorsReply(http.StatusMethodNotAllowed, "Method Not Allowed", http.StatusMethodNotAllowed)
	}
	account, refused := a.authorize(r, c)
	if refused != nil {
		return refused
	}
	c.Account = account.ID
	if refused := a.charge(c); refused != nil {
		return refused
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil || media != "application/json":
		a.fault(c, BadRequest, "content type %q", r.Header.Get("Content-Type"))
		return a.cfg.refused("body is required")
	case r.Header.Get("Content-Encoding") != "":
		a.fault(c, BadRequest, "content encoding %q", r.Header.Get("Content-Encoding"))
		return html(http.StatusUnsupportedMediaType, "unsupported content encoding")
	case r.URL.RawQuery != "":
		a.fault(c, BadRequest, "a query: %q", r.URL.RawQuery)
	case a.cfg.MaxBytes > 0 && len(q.body) > a.cfg.MaxBytes:
		return html(http.StatusRequestEntityTooLarge, "PayloadTooLargeError: request entity too large")
	case !q.isArray:
		a.fault(c, BadRequest, "the body is no JSON array")
		return a.cfg.refused("body should be an array")
	case len(q.rows) == 0 && !a.cfg.Empty:
		a.fault(c, BadRequest, "the array is empty")
		return a.cfg.refused("body should not be empty")
	case a.cfg.MaxRows > 0 && len(q.rows) > a.cfg.MaxRows:
		switch a.cfg.OverRows {
		case OverRows413:
			return errorsReply(http.StatusRequestEntityTooLarge, "request entity too large", http.StatusRequestEntityTooLarge)
		case OverRows400:
			return errorsReply(http.StatusBadRequest, "too many contacts", http.StatusBadRequest)
		case OverRowsReset:
			a.hangUp(q, true)
		case OverRowsTruncate:
		}
	}
	return nil
}

func (a *API) fault(c *Call, fault Fault, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.complain(c, fault, format, args...)
}

// do carries a rule out. Worked is the answer, or nil where nothing was applied.
func (a *API) do(q *request, rule *Rule, worked *reply) {
	switch rule.Do {
	case Answer:
		a.reply(q, &reply{status: rule.Status, kind: rule.Kind, headers: rule.Headers, body: []byte(rule.Body)})
	case Forbid:
		a.reply(q, html(http.StatusForbidden, "403 Forbidden"))
	case Reset, Shut:
		a.hangUp(q, rule.Do == Reset)
	case Hang:
		select {
		case <-q.ctx.Done():
		case <-a.closed:
		}
		a.hangUp(q, false)
	case Cut:
		a.answering(q, worked.status, true)
		worked.write(q.w, 0.5, true)
		panic(http.ErrAbortHandler)
	case Slow, RefuseRow, Lose, Both:
		a.reply(q, worked)
	}
}

func (a *API) reply(q *request, answer *reply) {
	a.answering(q, answer.status, false)
	answer.write(q.w, 1, answer.status == http.StatusGatewayTimeout) // the gateway's connection is not kept for the work that goes on
}

// gone notes that the client of a request has gone.
func (a *API) gone(q *request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !q.answered {
		q.call.Gone = time.Now()
	}
}

// answering ends a request for the client: what it sends from now on does not overlap with it.
func (a *API) answering(q *request, status int, cut bool) {
	q.unwatch()
	a.mu.Lock()
	defer a.mu.Unlock()
	if q.answered {
		return
	}
	q.answered, q.call.Status, q.call.Cut, q.call.End = true, status, cut, time.Now()
	for _, row := range q.rows {
		n := nameOf(q.call.Stream, row.id)
		a.working[n] = slices.DeleteFunc(a.working[n], func(other *request) bool { return other == q })
		if len(a.working[n]) == 0 {
			delete(a.working, n)
		}
	}
}

// end ends a request in the log, also one that was left by a panic.
func (a *API) end(q *request) { a.answering(q, 0, false) }

// hangUp closes the connection without an answer.
func (a *API) hangUp(q *request, reset bool) {
	a.answering(q, 0, false)
	if reset {
		if conn, _, err := http.NewResponseController(q.w).Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // makes Close a reset; without it, a close is as good
			}
			_ = conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}
