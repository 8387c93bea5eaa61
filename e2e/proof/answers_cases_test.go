//go:build proof

package proof

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// answerCase is one answer that is played to the service, and what must come of
// the events that get it. Each case has a stub, an account and a stream of its own.
type answerCase struct {
	condition string // of the line of upstream.Table that it exercises
	name      string // what comes back
	answer    *stub.Answer
	rows      *stub.Rows
	match     stub.Match // which calls, streams aside
	times     int        // how many calls get the answer before the API behaves; 0: all that match
	events    int        // each of another contact, c0, c1, ...

	// The expected end: these contacts become dead letters, all others are delivered.
	deadLetters map[int]contactsync.Reason
	calls       int // that it takes; 0: as few as halving takes
	atMost      int // calls that it takes where these are more than halving takes
	duplicates  int // states that the API applies twice, because its answer hid the first time

	newer  bool   // the first answer is followed by a newer event of each contact
	guard  string // why the request does not get that far; see the guards below
	secret string // the account's secret at first, where it is not the right one
}

// What keeps a request from being answered, where no stub can.
const (
	guardAccount = "account" // the batch names another account once
	guardStream  = "stream"  // the batch names no stream once
	guardToken   = "token"   // the token cannot be signed for a while
	guardPort    = "port"    // the port is closed for a while
	guardSecret  = "secret"  // the secret is wrong for a while
	guardStop    = "stop"    // the service is stopped meanwhile
)

func text(body string) *stub.Answer { return &stub.Answer{Text: body} }
func body(kind string) *stub.Answer { return &stub.Answer{Body: kind} }
func fault(name string) *stub.Answer {
	return &stub.Answer{Fault: name}
}

// answerCases lists the cases in the order of the table. An answer that need not
// have applied anything applies nothing here: treating it as success would lose
// the events. canary is where redirects lead.
func answerCases(canary string) []answerCase {
	no := false
	var all []answerCase
	add := func(p answerCase) {
		p.events = max(p.events, 2)
		if p.answer != nil && p.answer.Apply == nil && p.rows == nil {
			a := *p.answer
			a.Apply = &no
			p.answer = &a
		}
		all = append(all, p)
	}
	// keep adds an answer after which everything is sent again.
	keep := func(condition, name string, times int, a *stub.Answer) {
		add(answerCase{condition: condition, name: name, answer: a, times: times, calls: times + 1})
	}
	// An answer that one of the rows may be the cause of: after the second the two go apart, or
	// after the first, as probes of one row.
	apart := func(condition, name string, times int, a *stub.Answer) {
		add(answerCase{condition: condition, name: name, answer: a, times: times, calls: times + 2})
	}
	statuses := func(condition string, times int, codes ...int) {
		for _, code := range codes {
			keep(condition, strconv.Itoa(code), times, &stub.Answer{Status: code})
		}
	}

	const guarded = "; nothing is sent"
	add(answerCase{condition: "the batch's account is not configured" + guarded, name: "a batch of another account", guard: guardAccount, calls: 1})
	add(answerCase{condition: "the stream's name is not a stream id" + guarded, name: `a batch of stream "../x"`, guard: guardStream, calls: 2})
	add(answerCase{condition: "no token can be signed" + guarded, name: "a claim that cannot be signed", guard: guardToken, calls: 2})
	add(answerCase{condition: "no connection: name, route, proxy, TLS", name: "a closed port, opened later", guard: guardPort, calls: 1})

	const late = "no complete answer within the time-out"
	keep(late, "silence", 1, fault(stub.NoAnswer))
	keep(late, "16 bytes every 200 ms", 1, &stub.Answer{Fault: stub.SlowBody, Pace: 200 * time.Millisecond})
	keep(late, "an answer after 1.2 s", 1, &stub.Answer{Latency: 1200 * time.Millisecond}) // and the time-out is 1 s
	const cut = "connection closed, reset or not speaking HTTP, before or within an answer that counts"
	apart(cut, "reset", 2, fault(stub.Reset))
	keep(cut, "closed within the answer", 1, fault(stub.CloseMidBody))
	keep(cut, "SMTP", 1, fault(stub.NotHTTP))

	const limited = "any status, and the body has the vendor's rate-limit text"
	for _, code := range []int{200, 400, 403, 500} {
		keep(limited, strconv.Itoa(code)+" with the text", 1, &stub.Answer{Status: code, Body: stub.RateLimitText})
	}
	add(answerCase{
		condition: limited, name: "200, the text for each row", times: 1, calls: 2, events: 3,
		rows: &stub.Rows{Fail: []string{"*"}, Reason: "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."},
	})
	add(answerCase{
		condition: limited, name: "200, the text for one row of three", times: 1, calls: 2, events: 3,
		rows: &stub.Rows{Fail: []string{"c1"}, Reason: "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."},
	})
	yes := true
	add(answerCase{
		condition: "429", name: "429, two rows of three applied", times: 1, calls: 2, events: 3,
		answer: &stub.Answer{Status: 429, Apply: &yes}, rows: &stub.Rows{Fail: []string{"c1"}, Reason: "later"},
	})
	keep("429", "429", 1, &stub.Answer{Status: 429})
	keep("429", "429, Retry-After: 1", 1, &stub.Answer{Status: 429, Headers: map[string]string{"Retry-After": "1"}})
	keep("503 with Retry-After", "503, Retry-After: 1", 1, &stub.Answer{Status: 503, Headers: map[string]string{"Retry-After": "1"}})

	for _, p := range rowCases() {
		add(p)
	}
	for _, code := range []int{400, 404, 409, 412, 422} {
		add(answerCase{
			condition: "400, 404, 409, 412, 422 with an answer that lists failed rows, beside applied ones or all of them", name: strconv.Itoa(code) + ", one row of three failed",
			events: 3, calls: 2, answer: &stub.Answer{Status: code, Apply: &yes}, rows: &stub.Rows{Fail: []string{"c1"}, Reason: "Duplicate phone number"},
			deadLetters: map[int]contactsync.Reason{1: contactsync.ReasonRejected},
		})
	}

	const odd = "200, 207 with JSON that is no answer to a bulk update"
	apart(odd, "200 {}", 2, text(`{}`))
	keep(odd, "200 with an error", 1, text(`{"errors":[{"msg":"Invalid StreamId","code":400}]}`))
	keep(odd, "207 []", 1, &stub.Answer{Status: 207, Text: `[]`})
	const broken = "200, 207 with a body that is empty, HTML, truncated, too long or in an unknown encoding"
	apart(broken, "200, empty", 2, body(stub.Empty))
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
		add(answerCase{
			condition: bad, name: strconv.Itoa(code) + " for one row of 16", events: 16, match: stub.Match{IDs: []string{"c5"}},
			answer: &stub.Answer{Status: code}, deadLetters: map[int]contactsync.Reason{5: contactsync.ReasonBadRequest},
		})
	}
	add(answerCase{condition: bad, name: "400 once, whatever the rows", events: 16, times: 1, answer: &stub.Answer{Status: 400}})
	// It is about the stream: no row becomes a dead letter.
	add(answerCase{condition: bad, name: "400 to everything, set right later", events: 16, times: 8, atMost: 24, answer: &stub.Answer{Status: 400, Text: `{"errors":[{"msg":"Invalid StreamId","code":400}]}`}})
	const unauthorized = "401, and 403 in the vendor's form"
	for _, code := range []int{401, 403} {
		apart(unauthorized, strconv.Itoa(code), 2, &stub.Answer{Status: code})
	}
	apart("403 in another form", "403, HTML", 2, &stub.Answer{Status: 403, Body: stub.HTML})
	add(answerCase{condition: unauthorized, name: "401 to a wrong secret, set right later", secret: "not-the-secret-not-the-secret-not-it", guard: guardSecret})
	for _, code := range []int{404, 410} { // probes have one row
		apart("404, 410", strconv.Itoa(code), 2, &stub.Answer{Status: code})
	}
	add(answerCase{
		condition: "413", name: "413 for one row of 16", events: 16, match: stub.Match{IDs: []string{"c9"}},
		answer: &stub.Answer{Status: 413}, deadLetters: map[int]contactsync.Reason{9: contactsync.ReasonTooLarge},
	})
	add(answerCase{condition: "413", name: "413 above 8 rows", events: 16, match: stub.Match{RowsOver: 8}, answer: &stub.Answer{Status: 413}})
	statuses("408, 425", 1, 408, 425)
	statuses("405", 1, 405)
	statuses("409", 1, 409)
	statuses("414, 431", 1, 414, 431)
	statuses("502, 504, 524", 1, 502, 504, 524)
	add(answerCase{
		condition: "502, 504, 524", name: "504, applied 200 ms later, newer events meanwhile", times: 1, calls: 2, newer: true,
		answer: &stub.Answer{Status: 504, Apply: &yes, ApplyAfter: 200 * time.Millisecond},
	})
	apart("other 5xx", "503, HTML", 3, &stub.Answer{Status: 503, Body: stub.HTML})
	statuses("other 5xx", 1, 500, 501, 505, 599)
	statuses("anything else", 1, 402, 407, 418, 451, 600, 999)

	// This one comes last, because it stops the service.
	add(answerCase{condition: "our own stop, or no call left to repeat the request on a new connection", name: "silence, and the service is stopped", answer: fault(stub.NoAnswer), times: 1, calls: 2, guard: guardStop})
	return all
}

// rowCases are answers that say different things of different rows.
func rowCases() []answerCase {
	const condition = "200, 207 with an answer to a bulk update"
	second := []string{"c1"}
	refused := func(r contactsync.Reason) map[int]contactsync.Reason { return map[int]contactsync.Reason{1: r} }
	all := []answerCase{
		{name: "200, all done", times: 1, calls: 1, answer: &stub.Answer{Status: http.StatusOK}},
		{name: "207, all done", times: 1, calls: 1, answer: &stub.Answer{Status: http.StatusMultiStatus}},
		{name: "200 as text/plain", times: 1, calls: 1, answer: body(stub.WrongContentType)},
		{name: "200, counters alone", times: 1, calls: 1, rows: &stub.Rows{NoRecords: true}},
		{name: "200, in another order", times: 1, calls: 1, rows: &stub.Rows{Reversed: true}},
		{name: "200, rows that were not sent", times: 1, calls: 1, rows: &stub.Rows{Unknown: 2}},
		{name: "200, one row failed", calls: 2, rows: &stub.Rows{Fail: second, Reason: "Duplicate phone number"}, deadLetters: refused(contactsync.ReasonRejected)},
		{name: "207, one row failed", calls: 1, answer: &stub.Answer{Status: http.StatusMultiStatus}, rows: &stub.Rows{Fail: second, IDAs: "string", ReasonAs: "none"}, deadLetters: refused(contactsync.ReasonRejected)},
		{name: "200, one row failed once, for another's sake", times: 1, calls: 2, rows: &stub.Rows{Fail: second, Reason: "Duplicate phone number"}},
		{name: "200, all rows failed for one of 16", events: 16, match: stub.Match{IDs: []string{"c5"}}, rows: &stub.Rows{Fail: []string{"*"}, IDAs: "contact._id", ReasonAs: "errors"}, deadLetters: map[int]contactsync.Reason{5: contactsync.ReasonRejected}},
		{name: "200, all rows failed, set right later", events: 16, times: 8, atMost: 24, rows: &stub.Rows{Fail: []string{"*"}, Reason: "Duplicate phone number"}},
		{name: "200, all rows left out for one of 16", events: 16, match: stub.Match{IDs: []string{"c5"}}, atMost: 14, rows: &stub.Rows{Drop: []string{"*"}}, deadLetters: map[int]contactsync.Reason{5: contactsync.ReasonUnresolved}},
		{name: "200, one row failed for a while", times: 2, calls: 3, rows: &stub.Rows{Fail: second, Reason: "temporarily unavailable"}},
		{name: "200, one row left out once", times: 1, calls: 2, rows: &stub.Rows{Drop: second}},
		{name: "200, one row left out each time", calls: 3, rows: &stub.Rows{Drop: second}, deadLetters: refused(contactsync.ReasonUnresolved)},
		{name: "200, one row done and left out", times: 1, calls: 2, duplicates: 1, rows: &stub.Rows{Omit: second}},
		{name: "200, one row named twice", times: 1, calls: 2, duplicates: 1, rows: &stub.Rows{Duplicate: second}},
		{name: "200, one row done and failed", times: 1, calls: 2, duplicates: 1, rows: &stub.Rows{Both: second}},
		{name: "200, all rows done and failed, set right later", times: 10, atMost: 14, duplicates: 14, rows: &stub.Rows{Both: []string{"*"}}},
	}
	yes := true
	for i := range all {
		all[i].condition, all[i].events = condition, cmp.Or(all[i].events, 3)
		if all[i].answer != nil {
			all[i].answer.Apply = &yes
		}
	}
	// The service tries a failed row that gives no reason once more, alone.
	i := slices.IndexFunc(all, func(p answerCase) bool { return p.rows != nil && p.rows.ReasonAs == "none" })
	all[i].calls = 3
	return all
}

func (c *answerCase) contact(n int) string { return fmt.Sprintf("c%d", n) }

// rules are the stub's rules that play it.
func (c *answerCase) rules() []stub.Rule {
	if c.answer == nil && c.rows == nil {
		return nil
	}
	return []stub.Rule{{Name: c.name, Match: c.match, Last: c.times, Answer: c.answer, Rows: c.rows}}
}

// answers reports whether a call got the answer of the case.
func (c *answerCase) answers(call stub.Call) bool {
	return call.Rule == c.name || c.guard == guardSecret && call.Status == 401
}

// unsent reports whether the service's own guards keep the request from being made.
func (c *answerCase) unsent() bool {
	return c.guard == guardAccount || c.guard == guardStream || c.guard == guardToken
}
