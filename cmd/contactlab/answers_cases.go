package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// played is one answer that the proof plays to the service, and what must become
// of the events that meet it. Each has a stub, an account and a stream of its own.
type played struct {
	row    string // the Condition of the row of upstream.Table that it exercises
	name   string // what comes back
	answer *stub.Answer
	rows   *stub.Rows
	match  stub.Match // which calls, streams aside
	times  int        // how many calls are answered so before the API behaves; 0: all that match
	events int        // each of another contact, c0, c1, ...

	// The expected end: these contacts end as dead letters, all others delivered.
	reasons map[int]contactsync.Reason
	calls   int // that it takes; 0: as few as halving takes
	again   int // states that the API takes twice, because its answer hid the first time

	newer  bool   // the first answer is followed by a newer event of each contact
	guard  string // what the service's own guards stop: see guards in answers_run.go
	secret string // the account's credentials at the start, where they are not the right ones
}

func text(body string) *stub.Answer { return &stub.Answer{Text: body} }
func body(kind string) *stub.Answer { return &stub.Answer{Body: kind} }
func fault(name string) *stub.Answer {
	return &stub.Answer{Fault: name}
}

// answersPlayed lists what is played, in the order of the table. An answer that
// is not known to have applied anything applies nothing here: taking it for
// success would lose the events.
func answersPlayed(canary string) []played {
	no := false
	var all []played
	add := func(p played) {
		p.events = max(p.events, 2)
		if p.answer != nil && p.answer.Apply == nil && p.rows == nil {
			a := *p.answer
			a.Apply = &no
			p.answer = &a
		}
		all = append(all, p)
	}
	// keep plays an answer after which everything is sent again.
	keep := func(row, name string, times int, a *stub.Answer) {
		add(played{row: row, name: name, answer: a, times: times, calls: times + 1})
	}
	statuses := func(row string, times int, codes ...int) {
		for _, code := range codes {
			keep(row, strconv.Itoa(code), times, &stub.Answer{Status: code})
		}
	}

	const guarded = "; nothing is sent"
	add(played{row: "the batch's account is not configured" + guarded, name: "a batch of another account", guard: guardAccount, calls: 1})
	add(played{row: "the stream's name is not a stream id" + guarded, name: `a batch of stream "../x"`, guard: guardStream, calls: 1})
	add(played{row: "no token can be signed" + guarded, name: "a claim that cannot be signed", guard: guardToken, calls: 1})
	add(played{row: "no connection: name, route, proxy, TLS", name: "a closed port, opened later", guard: guardDoor, calls: 1})

	const late = "no complete answer within the time-out"
	keep(late, "silence", 1, fault(stub.NoAnswer))
	keep(late, "16 bytes every 200 ms", 1, &stub.Answer{Fault: stub.SlowBody, Pace: 200 * time.Millisecond})
	keep(late, "an answer after 1.2 s", 1, &stub.Answer{Latency: 1200 * time.Millisecond}) // and the time-out is 1 s
	const cut = "connection closed, reset or not speaking HTTP, before or within an answer that counts"
	keep(cut, "reset", 2, fault(stub.Reset))
	keep(cut, "closed within the answer", 1, fault(stub.CloseMidBody))
	keep(cut, "SMTP", 1, fault(stub.NotHTTP))

	const limited = "any status, and the body has the vendor's rate-limit text"
	for _, code := range []int{200, 400, 403, 500} {
		keep(limited, strconv.Itoa(code)+" with the text", 1, &stub.Answer{Status: code, Body: stub.RateLimitText})
	}
	add(played{
		row: limited, name: "200, the text for each row", times: 1, calls: 2, events: 3,
		rows: &stub.Rows{Fail: []string{"*"}, Reason: "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."},
	})
	keep("429", "429", 1, &stub.Answer{Status: 429})
	keep("429", "429, Retry-After: 1", 1, &stub.Answer{Status: 429, Headers: map[string]string{"Retry-After": "1"}})
	keep("503 with Retry-After", "503, Retry-After: 1", 1, &stub.Answer{Status: 503, Headers: map[string]string{"Retry-After": "1"}})

	for _, p := range perRow() {
		add(p)
	}

	const odd = "200, 207 with JSON that is no answer to a bulk update"
	keep(odd, "200 {}", 2, text(`{}`))
	keep(odd, "200 with an error", 1, text(`{"errors":[{"msg":"Invalid StreamId","code":400}]}`))
	keep(odd, "207 []", 1, &stub.Answer{Status: 207, Text: `[]`})
	const broken = "200, 207 with a body that is empty, HTML, truncated, too long or oddly encoded"
	keep(broken, "200, empty", 2, body(stub.Empty))
	keep(broken, "200, HTML", 1, body(stub.HTML))
	keep(broken, "200, truncated", 1, body(stub.Truncated))
	keep(broken, "207, HTML", 1, &stub.Answer{Status: 207, Body: stub.HTML})
	keep(broken, "200, endless", 1, body(stub.Endless))
	keep(broken, "200, 1 GiB in gzip", 1, body(stub.GzipBomb))
	keep(broken, "200 in br", 1, &stub.Answer{Headers: map[string]string{"Content-Encoding": "br"}})
	statuses("other 2xx", 1, 201, 202, 204, 206)
	for _, code := range []int{301, 302, 304, 307, 308} {
		keep("3xx", strconv.Itoa(code), 1, &stub.Answer{Status: code, Headers: map[string]string{"Location": canary}})
	}

	const bad = "400, 412, 422"
	for _, code := range []int{400, 412, 422} {
		add(played{
			row: bad, name: strconv.Itoa(code) + " for one row of 16", events: 16, match: stub.Match{IDs: []string{"c5"}},
			answer: &stub.Answer{Status: code}, reasons: map[int]contactsync.Reason{5: contactsync.ReasonBadRequest},
		})
	}
	add(played{row: bad, name: "400 once, whatever the rows", events: 16, times: 1, answer: &stub.Answer{Status: 400}})
	statuses("401, 403", 2, 401, 403)
	add(played{row: "401, 403", name: "401 to a wrong secret, set right later", secret: "not-the-secret-not-the-secret-not-it", guard: guardSecret})
	statuses("404, 410", 2, 404, 410)
	add(played{
		row: "413", name: "413 for one row of 16", events: 16, match: stub.Match{IDs: []string{"c9"}},
		answer: &stub.Answer{Status: 413}, reasons: map[int]contactsync.Reason{9: contactsync.ReasonTooLarge},
	})
	add(played{row: "413", name: "413 above 8 rows", events: 16, match: stub.Match{RowsOver: 8}, answer: &stub.Answer{Status: 413}})
	statuses("408, 425", 1, 408, 425)
	statuses("405", 1, 405)
	statuses("409", 1, 409)
	statuses("414, 431", 1, 414, 431)
	statuses("502, 504, 524", 1, 502, 504, 524)
	yes := true
	add(played{
		row: "502, 504, 524", name: "504, applied 200 ms later, newer events meanwhile", times: 1, calls: 2, newer: true,
		answer: &stub.Answer{Status: 504, Apply: &yes, ApplyAfter: 200 * time.Millisecond},
	})
	keep("other 5xx", "503, HTML", 3, &stub.Answer{Status: 503, Body: stub.HTML})
	statuses("other 5xx", 1, 500, 501, 505, 599)
	statuses("anything else", 1, 402, 407, 418, 451, 600, 999)

	// The last one, because it stops the service.
	add(played{row: "our own stop", name: "silence, and the service is stopped", answer: fault(stub.NoAnswer), times: 1, calls: 2, guard: guardStop})
	return all
}

// perRow plays answers that say something else of each row.
func perRow() []played {
	const row = "200, 207 with an answer to a bulk update"
	second := []string{"c1"}
	refused := func(r contactsync.Reason) map[int]contactsync.Reason { return map[int]contactsync.Reason{1: r} }
	all := []played{
		{name: "200, all done", times: 1, calls: 1, answer: &stub.Answer{Status: http.StatusOK}},
		{name: "207, all done", times: 1, calls: 1, answer: &stub.Answer{Status: http.StatusMultiStatus}},
		{name: "200 as text/plain", times: 1, calls: 1, answer: body(stub.WrongContentType)},
		{name: "200, counters alone", times: 1, calls: 1, rows: &stub.Rows{NoRecords: true}},
		{name: "200, in another order", times: 1, calls: 1, rows: &stub.Rows{Reversed: true}},
		{name: "200, rows that were not sent", times: 1, calls: 1, rows: &stub.Rows{Unknown: 2}},
		{name: "200, one row failed", calls: 1, rows: &stub.Rows{Fail: second, Reason: "Duplicate phone number"}, reasons: refused(contactsync.ReasonRejected)},
		{name: "207, one row failed", calls: 1, answer: &stub.Answer{Status: http.StatusMultiStatus}, rows: &stub.Rows{Fail: second, IDAs: "string", ReasonAs: "none"}, reasons: refused(contactsync.ReasonRejected)},
		{name: "200, all rows failed", calls: 1, rows: &stub.Rows{Fail: []string{"*"}, IDAs: "contact._id", ReasonAs: "errors"}, reasons: map[int]contactsync.Reason{0: contactsync.ReasonRejected, 1: contactsync.ReasonRejected, 2: contactsync.ReasonRejected}},
		{name: "200, one row failed, in passing", times: 2, calls: 3, rows: &stub.Rows{Fail: second, Reason: "temporarily unavailable"}},
		{name: "200, one row left out once", times: 1, calls: 2, rows: &stub.Rows{Drop: second}},
		{name: "200, one row left out each time", calls: 3, rows: &stub.Rows{Drop: second}, reasons: refused(contactsync.ReasonUnresolved)},
		{name: "200, one row done and left out", times: 1, calls: 2, again: 1, rows: &stub.Rows{Omit: second}},
		{name: "200, one row named twice", times: 1, calls: 2, again: 1, rows: &stub.Rows{Duplicate: second}},
		{name: "200, one row done and failed", times: 1, calls: 2, again: 1, rows: &stub.Rows{Both: second}},
	}
	yes := true
	for i := range all {
		all[i].row, all[i].events = row, 3
		if all[i].answer != nil {
			all[i].answer.Apply = &yes
		}
	}
	// The service tries a failed row that gives no reason once more, alone.
	i := slices.IndexFunc(all, func(p played) bool { return p.rows != nil && p.rows.ReasonAs == "none" })
	all[i].calls = 3
	return all
}

func (p *played) contact(n int) string { return fmt.Sprintf("c%d", n) }

// rule is the stub's rule that plays it.
func (p *played) rule() []stub.Rule {
	if p.answer == nil && p.rows == nil {
		return nil
	}
	return []stub.Rule{{Name: p.name, Match: p.match, Last: p.times, Answer: p.answer, Rows: p.rows}}
}
