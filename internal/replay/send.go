package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
)

// mostRefusals of an account's credentials in a row end what is sent to the stream: a
// token is minted anew each time, so it is not going to be the last one's fault.
const mostRefusals = 3

// attempt sends the rows in one request, those that are still to be sent when the
// budget allows it, and notes what the answer says of each. It returns an error only
// where the run cannot go on.
func (s *sender) attempt(ctx context.Context, rows []*row) error {
	at := rows[0].stream()
	report, err := s.admit(ctx, at.account)
	if err != nil {
		return err
	}
	// The log has gone on during the wait: only now is the look at it fresh.
	if rows, err = s.look(ctx, rows); err == nil && len(rows) > 0 {
		if err = context.Cause(ctx); err == nil {
			err = s.begin(rows)
		}
	}
	if err != nil || len(rows) == 0 {
		report(time.Now(), contactsync.Result{Kind: contactsync.Canceled})
		return err
	}
	b := contactsync.Batch{Stream: at.stream, Account: at.account}
	for _, w := range rows {
		b.Rows = append(b.Rows, contactsync.Row{ID: w.state.contact.ID, Body: w.state.contact.Body})
	}
	res := s.api.Client.Send(context.WithoutCancel(ctx), b) // cut short, its answer would be unknown
	report(time.Now(), res)
	for _, w := range rows {
		w.owed = w.owed || mayApply(res)
	}
	if res.Kind != contactsync.Unauthorized {
		delete(s.refused, b.Account)
	}
	switch res.Kind { //exhaustive:enforce
	case contactsync.Answered:
		s.wait.Reset()
		open := false
		for i, w := range rows {
			w.answered(res.Rows[i], s.api.Attempts)
			open = open || w.result == "" && !w.delivered
		}
		if open {
			return s.backOff(ctx, res)
		}
		return nil
	case contactsync.TooLarge, contactsync.BadRequest:
		if len(rows) == 1 {
			rows[0].fail(res.Detail)
			return nil
		}
		// One of them is bad, or they are too many: the other half may be fine.
		if err := s.attempt(ctx, rows[:len(rows)/2]); err != nil {
			return err
		}
		return s.attempt(ctx, rows[len(rows)/2:])
	case contactsync.StreamGone:
		s.close(rows, res.Detail)
		return nil
	case contactsync.Unauthorized:
		if s.refused[b.Account]++; s.refused[b.Account] < mostRefusals {
			return s.backOff(ctx, res)
		}
		s.wait.Reset()
		s.close(rows, res.Detail)
		return nil
	case contactsync.Throttled:
		return nil // the gate waits
	case contactsync.Canceled, contactsync.Unavailable, contactsync.Unknown:
		return s.backOff(ctx, res)
	}
	return s.backOff(ctx, res)
}

// close fails rows of a stream that the API does not take. Nothing more is sent to it,
// and the others go on.
func (s *sender) close(rows []*row, detail string) {
	at := rows[0].stream()
	s.closed[at] = fmt.Sprintf("the API refuses stream %s of account %s: %s", at.stream, at.account, detail)
	for _, w := range rows {
		w.fail(s.closed[at])
	}
}

// mayApply reports whether the API may have applied rows of a request whose answer
// does not speak of them. A request that was refused, or never sent, it has not.
func mayApply(res contactsync.Result) bool {
	switch res.Kind { //exhaustive:enforce
	case contactsync.Answered: // tells of each row
		return false
	case contactsync.Unauthorized, contactsync.StreamGone, contactsync.BadRequest, contactsync.TooLarge:
		return res.Ambiguous
	case contactsync.Throttled:
		return res.Ambiguous || res.Status/100 == 2
	case contactsync.Unknown, contactsync.Unavailable, contactsync.Canceled:
		return res.Ambiguous || res.Status != 0
	}
	return true
}

// answered notes what an answer says of the row.
func (w *row) answered(o contactsync.Outcome, most int) {
	w.attempts++
	switch o.Verdict {
	case contactsync.Delivered:
		w.delivered, w.owed = true, true
		w.original = w.original || w.state.at == w.record.Position
	case contactsync.Failed:
		if !o.Transient || w.attempts >= most {
			w.fail(o.Reason)
		}
	case contactsync.Unresolved:
		w.owed = true
		if w.attempts >= most {
			w.fail("the API's answers do not account for it")
		}
	}
}

// fail ends a row whose state the API refuses. Where it has an older one, or may
// have, the newest state is still owed.
func (w *row) fail(detail string) {
	w.result, w.detail = Failed, detail
	if w.owed {
		w.detail = fmt.Sprintf("owed is the state at %v, because the API may have an older one: run it again with the same progress file: %s", w.state.at, detail)
	}
}

// admit waits for the account's budget. The function that it returns must be told
// what became of the request.
func (s *sender) admit(ctx context.Context, account string) (report func(time.Time, contactsync.Result), err error) {
	gate, _ := s.api.Client.Gate(account)
	for ctx.Err() == nil {
		now := time.Now()
		report, again := gate.Admit(now)
		if report != nil {
			return report, nil
		}
		kafka.Sleep(ctx, again.Sub(now))
	}
	return nil, context.Cause(ctx)
}

// backOff waits before the next attempt: longer where the API may still be at
// work with the last one.
func (s *sender) backOff(ctx context.Context, res contactsync.Result) error {
	wait := max(s.wait.NextBackOff(), res.RetryAfter)
	if res.Ambiguous {
		wait = max(wait, s.api.Hold)
	}
	s.deps.Logger.Warn("the request is repeated", "kind", res.Kind.String(), "status", res.Status, "in", wait.Round(time.Millisecond), "detail", res.Detail)
	if !kafka.Sleep(ctx, wait) {
		return context.Cause(ctx)
	}
	return nil
}
