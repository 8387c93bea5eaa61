//go:build proof

package proof

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

// The streams of the two accounts.
var (
	streamsOfA = []string{"st-0000", "st-0001", "st-0002", "st-0003", deadStream}
	streamsOfB = []string{"st-0004", "st-0005", "st-0006", "st-0007"}
)

// refusedRow is a kind of row that an API refuses.
type refusedRow struct {
	prefix string // of their contacts' ids
	reason contactsync.Reason
	status int            // of the whole request that has one; 0: the others are applied
	rows   *stub.Rows     // what becomes of the row alone, on the first model
	deed   vendorapi.Deed // and on the second; empty: it cannot play that
}

var refusedRows = []refusedRow{
	{prefix: "e400", reason: contactsync.ReasonBadRequest, status: http.StatusBadRequest},
	{prefix: "e412", reason: contactsync.ReasonBadRequest, status: http.StatusPreconditionFailed},
	{prefix: "e422", reason: contactsync.ReasonBadRequest, status: http.StatusUnprocessableEntity},
	{prefix: "e413", reason: contactsync.ReasonTooLarge, status: http.StatusRequestEntityTooLarge},
	{prefix: "d0d0", reason: contactsync.ReasonUnresolved, rows: &stub.Rows{Drop: []string{"d0d0*"}}, deed: vendorapi.Lose},
	{prefix: "fa11", reason: contactsync.ReasonRejected, rows: &stub.Rows{Fail: []string{"fa11*"}, Reason: "Duplicate phone number"}, deed: vendorapi.RefuseRow},
	// Not for the second model, which has one form of failed records for all of its rows:
	// its variant failed-bare-id is played by TestAnswers_Variants.
	{prefix: "7e45e", reason: contactsync.ReasonRejected, rows: &stub.Rows{Fail: []string{"7e45e*"}, IDAs: "string"}},
}

func (q refusedRow) whole() bool { return q.status > 0 }

// id is that of the n-th contact: an ObjectId, because the vendor's page takes nothing else.
func (q refusedRow) id(n int) string { return fmt.Sprintf("%s%0*x", q.prefix, 24-len(q.prefix), n) }

// refusedBy are the rows that a model can refuse.
func refusedBy(api model) []refusedRow {
	return slices.DeleteFunc(slices.Clone(refusedRows), func(q refusedRow) bool {
		return api == vendorAPI && !q.whole() && q.deed == ""
	})
}

// addHost starts the API of the healthy streams, which refuses some rows, and a whole
// stream until that is turned off.
func (r *poisonRun) addHost(api model) host {
	if api == vendorAPI {
		cfg := vendorapi.Config{
			Accounts: []vendorapi.Account{harness.VendorAccount("a", streamsOfA...), harness.VendorAccount("b", streamsOfB...)},
			Budget:   vendorapi.Budget{Requests: harness.RateLimit(labRequests, 1), Window: labWindow, FreeIfOver: true},
			Latency:  15 * time.Millisecond,
			Rules:    []vendorapi.Rule{{Name: deadStream, Stream: deadStream, Do: vendorapi.Answer, Status: http.StatusNotFound}},
		}
		for _, q := range r.refused {
			rule := vendorapi.Rule{Name: q.prefix, Contact: q.prefix + "*", Do: q.deed, Reason: "Contact with the same phone number already exists"}
			if q.whole() {
				rule.Status = q.status
				rule.Body = fmt.Sprintf(`{"errors":[{"msg":"Validation errors/ Invalid arguments","code":%d}]}`, q.status)
			}
			cfg.Rules = append(cfg.Rules, rule)
		}
		return r.vendor(cfg)
	}
	cfg := stub.DefaultConfig()
	cfg.RateLimit, cfg.RateWindow = harness.RateLimit(labRequests, 1), labWindow
	cfg.Latency, cfg.Jitter = 10*time.Millisecond, 10*time.Millisecond
	cfg.Scenario.Rules = []stub.Rule{{Name: slowAPI, Off: true, Answer: &stub.Answer{Latency: 5 * time.Second}}, {Name: deadStream, Match: stub.Match{Streams: []string{deadStream}}, Answer: &stub.Answer{Status: http.StatusNotFound}}}
	for _, q := range r.refused {
		rule := stub.Rule{Name: q.prefix, Match: stub.Match{IDs: []string{q.prefix + "*"}}, Rows: q.rows}
		if q.whole() {
			rule.Answer = &stub.Answer{Status: q.status}
		}
		cfg.Scenario.Rules = append(cfg.Scenario.Rules, rule)
	}
	cfg.Accounts = map[string]stub.Account{ // so that the stub notices a stream under the wrong account (I12)
		"a": {Secret: stub.LabSecret, AppID: stub.LabAppID, Streams: streamsOfA},
		"b": {Secret: stub.LabSecret, AppID: stub.LabAppID, Streams: streamsOfB},
	}
	return r.api(cfg)
}

// addOther starts an API that gives one bad answer.
func (r *poisonRun) addOther(api model, stream string, a badAnswer) host {
	if api == vendorAPI {
		return r.vendor(vendorapi.Config{Accounts: []vendorapi.Account{harness.VendorAccount(stream, stream)}, Rules: a.vendorRules()})
	}
	cfg := stub.DefaultConfig()
	cfg.Scenario.Rules = []stub.Rule{a.rule()}
	return r.api(cfg)
}

// answersOf are the bad answers that a model can give. Those about contacts whose ids are
// no ObjectIds are for the first one only: the second applies no such row.
func answersOf(api model, all []badAnswer) []badAnswer {
	return slices.DeleteFunc(slices.Clone(all), func(a badAnswer) bool {
		return api == vendorAPI && slices.ContainsFunc(a.Rows, func(id string) bool { return len(id) != 24 })
	})
}

// vendorRules plays the answer on the second model: the same as rule does on the first.
func (a badAnswer) vendorRules() []vendorapi.Rule {
	same := a.rule()
	answer := vendorapi.Rule{Name: a.Name, Times: same.Last, Do: vendorapi.Answer, Status: a.Status, Body: a.Body, Headers: a.Headers}
	rules := []vendorapi.Rule{}
	if same.Rows != nil && len(same.Rows.Drop) < len(a.Rows) {
		answer.Applied = true
		for _, id := range same.Rows.Drop {
			rules = append(rules, vendorapi.Rule{Name: "not applied", Contact: strings.ToLower(id), Times: 1, Do: vendorapi.Lose})
		}
	}
	return append(rules, answer)
}
