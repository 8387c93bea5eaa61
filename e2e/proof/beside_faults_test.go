//go:build proof

package proof

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

// besideFault is one fault: what the API does, and the events that meet it.
type besideFault struct {
	name    string
	rules   []stub.Rule
	feed    func(n int) feed.Event
	every   float64 // minutes
	once    bool
	strange bool // it is of streams that were never accepted
	letters int  // dead letters that are due; -1: any number
	atMost  bool // as many, or fewer
}

// badRow is the contact that has the fault, in a stream of the healthy traffic.
var badRow = feed.Contact{Stream: feed.StreamName(0), ID: "e000af60" + strings.Repeat("0", 16)}

// besideFaults are the faults.
func besideFaults() (all []besideFault) {
	// One row that the API answers so whatever is beside it.
	row := func(name string, letters int, r stub.Rule) {
		r.Name, r.Match = "fault", stub.Match{IDs: []string{badRow.ID}}
		all = append(all, besideFault{name: "a row: " + name, rules: []stub.Rule{r}, feed: states(badRow), every: 1, once: true, letters: letters})
	}
	answered := func(name string, letters int, a stub.Answer) { row(name, letters, stub.Rule{Answer: &a}) }
	html := func(status int) stub.Answer { return stub.Answer{Status: status, Body: stub.HTML} }
	answered("400", 1, stub.Answer{Status: 400})
	answered("413", 1, stub.Answer{Status: 413})
	answered("403 with HTML", 1, html(403))
	answered("406", 1, stub.Answer{Status: 406})
	answered("409", 1, stub.Answer{Status: 409})
	answered("500", 1, stub.Answer{Status: 500})
	answered("503 with HTML", 1, html(503))
	answered("504 after 30 s, applied", 1, stub.Answer{Status: 504, Latency: 29 * time.Second})
	answered("a status of no list", 1, stub.Answer{Status: 418})
	answered("501", 1, stub.Answer{Status: 501})
	// What no row is set aside for is kept and tried alone.
	answered("401 for one row", 0, stub.Answer{Status: 401})
	answered("403 in the vendor's form for one row", 0, stub.Answer{Status: 403, Text: `{"errors":[{"msg":"Unauthorized","code":403}]}`})
	answered("whole 404", 0, stub.Answer{Status: 404})
	answered("whole 410", 0, stub.Answer{Status: 410})
	answered("302", 0, stub.Answer{Status: 302})
	answered("405", 0, stub.Answer{Status: 405})
	answered("408", 0, stub.Answer{Status: 408})
	answered("414", 0, stub.Answer{Status: 414})
	answered("425", 0, stub.Answer{Status: 425})
	answered("reset", 1, stub.Answer{Fault: stub.Reset})
	answered("cut in the answer", 1, stub.Answer{Fault: stub.CloseMidBody})
	answered("not HTTP", 1, stub.Answer{Fault: stub.NotHTTP})
	answered("time-out", 1, stub.Answer{Fault: stub.NoAnswer})
	answered("200 with HTML", 1, html(200))
	answered("200 without a body", 1, stub.Answer{Body: stub.Empty})
	answered("200 cut short", 1, stub.Answer{Body: stub.Truncated})
	answered("takes 15 s", 0, stub.Answer{Latency: 15 * time.Second})
	row("refused", 1, stub.Rule{Rows: &stub.Rows{Fail: []string{badRow.ID}, Reason: "Duplicate phone number"}})
	row("refused, and named like the rate limit", 1, stub.Rule{Rows: &stub.Rows{Fail: []string{badRow.ID}, Reason: "Contact Rate limit for this API has a bad phone number"}})
	answered("400 whose text has the rate limit", 1, stub.Answer{Status: 400, Text: `{"errors":[{"msg":"Contact Rate limit for this API has a bad phone number","code":400}]}`})
	row("not accounted for", 1, stub.Rule{Rows: &stub.Rows{Drop: []string{badRow.ID}}})
	silent := stub.Answer{Text: `{"successfulRecords":[],"failedRecords":[]}`, Apply: new(bool)}
	answered("200 that names no row", 1, silent)
	row("in both lists", 0, stub.Rule{Rows: &stub.Rows{Both: []string{badRow.ID}}})

	// The same contact changes each minute, so that nothing lasting is ever known of its body.
	for _, a := range []struct {
		name   string
		answer stub.Answer
	}{{"500", stub.Answer{Status: 500}}, {"time-out", stub.Answer{Fault: stub.NoAnswer}}} {
		all = append(all, besideFault{
			name: "a row that changes: " + a.name, feed: states(badRow), every: 1, letters: -1,
			rules: []stub.Rule{{Name: "fault", Match: stub.Match{IDs: []string{badRow.ID}}, Answer: &a.answer}},
		})
	}

	// Whole streams that were accepted before, whatever the row: at most the first two contacts that come alone are set aside, and then the stream is on hold.
	whole := func(name string, perMinute float64, r stub.Rule) {
		r.Name, r.Match = "fault", stub.Match{Streams: []string{"whole*"}}
		all = append(all, besideFault{name: fmt.Sprintf("whole streams, %v rows a minute: %s", perMinute, name), rules: []stub.Rule{r}, feed: wholeStreams, every: 1 / perMinute, letters: 2 * wholeStreamsCount, atMost: true})
	}
	for _, perMinute := range []float64{5, 10} {
		whole("each refused", perMinute, stub.Rule{Rows: &stub.Rows{Fail: []string{"*"}, Reason: "Duplicate phone number"}})
		whole("200 that names no row", perMinute, stub.Rule{Answer: &silent})
		whole("400", perMinute, stub.Rule{Answer: &stub.Answer{Status: 400}})
		whole("413", perMinute, stub.Rule{Answer: &stub.Answer{Status: 413}})
	}

	gone := []stub.Rule{{Name: "fault", Match: stub.Match{Streams: []string{"strange*"}}, Answer: &stub.Answer{Status: 404}}}
	refused := []stub.Rule{{Name: "fault", Match: stub.Match{Streams: []string{"strange*"}}, Answer: &stub.Answer{Status: 401}}}
	unknown := []stub.Rule{{Name: "fault", Match: stub.Match{Streams: []string{"strange*"}}, Answer: &stub.Answer{Status: 400, Text: `{"errors":[{"msg":"Invalid StreamId","code":400}]}`}}}
	all = append(all,
		besideFault{name: "one strange stream, 404", rules: gone, feed: states(feed.Contact{Stream: "strange", ID: badRow.ID}), every: 1},
		besideFault{name: "one strange stream, 401", rules: refused, feed: states(feed.Contact{Stream: "strange", ID: badRow.ID}), every: 1},
		besideFault{name: "strange streams in two seconds, 404", rules: gone, feed: strangers, strange: true, every: 2. / 60},
		besideFault{name: "strange streams in two seconds, 401", rules: refused, feed: strangers, strange: true, every: 2. / 60},
		besideFault{name: "two strange streams a second, 404", rules: gone, feed: strangers, strange: true, every: .5 / 60},
		besideFault{name: "two strange streams a second, 401", rules: refused, feed: strangers, strange: true, every: .5 / 60},
		besideFault{name: "two strange streams a second, 400", rules: unknown, feed: strangers, strange: true, every: .5 / 60, letters: -1},
		besideFault{name: "two bad events a second", feed: badEvents, every: .5 / 60, letters: (besideMinutes-besideFrom)*120 + 1},
		besideFault{name: "a contact spelled in two ways", feed: spellings, every: 5. / 60},
	)
	return all
}

// states are states of one contact, each newer than the last.
func states(c feed.Contact) func(n int) feed.Event {
	return func(n int) feed.Event {
		return feed.NewUpdate(c, 0, int64(n), feed.Update)
	}
}

// wholeStreamsCount is how many streams there are of which nothing is accepted.
const wholeStreamsCount = 5

// wholeStreams are contacts of them in turn, each another one.
func wholeStreams(n int) feed.Event {
	c := feed.Contact{Stream: fmt.Sprint("whole", n%wholeStreamsCount), ID: fmt.Sprintf("%024x", n)}
	return feed.NewUpdate(c, 0, 1, feed.Update)
}

// strangers are streams that the API does not take, each with one contact.
func strangers(n int) feed.Event {
	c := feed.Contact{Stream: fmt.Sprintf("strange%06d", n), ID: fmt.Sprintf("%024x", n)}
	return feed.NewUpdate(c, 0, 1, feed.Update)
}

// badEvents cannot be read. They are few among a partition's events, or its fuse would halt it.
func badEvents(n int) feed.Event {
	c := feed.Contact{Stream: feed.StreamName(0), ID: fmt.Sprintf("%024x", n)}
	ev := feed.NewUpdate(c, 0, 1, feed.Undecodable)
	ev.Value = ev.Value[:len(ev.Value)/2]
	return ev
}

// spellings are states of one contact whose id is in upper and lower case by turns, in one partition.
func spellings(n int) feed.Event {
	c := feed.Contact{Stream: feed.StreamName(0), ID: "6964af60" + fmt.Sprintf("%016x", 0xabcdef)}
	if n%2 == 1 {
		c.ID = strings.ToUpper(c.ID)
	}
	ev := feed.NewUpdate(c, 0, int64(n), feed.Update)
	ev.Key = []byte(c.Stream)
	return ev
}

// healthyEvent is the n-th state of a contact of a stream.
func healthyEvent(stream, contact, n int) feed.Event {
	c := feed.Contact{Stream: feed.StreamName(stream), ID: healthyID(contact)}
	return feed.NewUpdate(c, contact, int64(n), feed.Update)
}

func healthyID(contact int) string { return fmt.Sprintf("6964af60%016x", contact) }

// simulated is an API of either model without an address.
type simulated interface {
	http.Handler
	check.API
	Turn(rule string, on bool) bool
}

// brokenAPI is a model of the API with faults.
func brokenAPI(t *testing.T, api model, rules []stub.Rule) simulated {
	const latency = 200 * time.Millisecond
	if api == vendorAPI {
		cfg := vendorapi.Config{Accounts: []vendorapi.Account{harness.VendorAccount("a")}, Latency: latency}
		for _, rule := range rules {
			cfg.Rules = append(cfg.Rules, vendorRule(rule))
		}
		v := harness.NewVendor(cfg)
		t.Cleanup(v.API.Close)
		return v
	}
	cfg := stub.DefaultConfig()
	cfg.Latency, cfg.Scenario.Rules = latency, slices.Clone(rules)
	s, err := stub.New(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// vendorRule is the rule of the first model in the words of the second.
func vendorRule(r stub.Rule) vendorapi.Rule {
	rule := vendorapi.Rule{Name: r.Name, Off: r.Off, Fraction: r.Share}
	if len(r.Match.IDs) > 0 {
		rule.Contact = r.Match.IDs[0]
	}
	if len(r.Match.Streams) > 0 {
		rule.Stream = r.Match.Streams[0]
	}
	if r.Match.RowsOver > 0 {
		rule.MinRows = r.Match.RowsOver + 1
	}
	if rows := r.Rows; rows != nil {
		rule.Do, rule.Reason = vendorapi.RefuseRow, rows.Reason
		if rows.Drop != nil {
			rule.Do = vendorapi.Lose
		}
		if rows.Both != nil {
			rule.Do = vendorapi.Both
		}
		return rule
	}
	a := r.Answer
	rule.Status, rule.Delay, rule.Headers, rule.Body = cmp.Or(a.Status, http.StatusOK), a.Latency, a.Headers, a.Text
	switch {
	case a.Fault == stub.Reset:
		rule.Do = vendorapi.Reset
	case a.Fault == stub.NoAnswer:
		rule.Do = vendorapi.Hang
	case a.Fault == stub.CloseMidBody:
		rule.Do, rule.Applied = vendorapi.Cut, true
	case a.Status == 0 && a.Latency > 0:
		rule.Do = vendorapi.Slow
	case a.Fault == stub.NotHTTP:
		rule.Do = vendorapi.Shut // it knows no other end that is none of HTTP
	case a.Body == stub.HTML:
		rule.Kind, rule.Body = "text/html", "<html><head><title>Sorry</title></head></html>"
	case rule.Body == "" && a.Body == "":
		rule.Body = fmt.Sprintf(`{"errors":[{"msg":"Sorry","code":%d}]}`, a.Status)
	}
	return rule
}
