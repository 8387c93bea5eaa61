//go:build proof

package proof

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

// forIDs is a rule for requests with one of some contacts.
func forIDs(a stub.Answer, id string) []stub.Rule {
	return []stub.Rule{{Name: "bad", Match: stub.Match{IDs: []string{id}}, Answer: &a}}
}

// forStream is a rule for requests of a stream.
func forStream(a stub.Answer, stream string) []stub.Rule {
	return []stub.Rule{{Name: "bad", Match: stub.Match{Streams: []string{stream}}, Answer: &a}}
}

const badID = "6964af60bad0000000000000"

func TestService_ARowThatEveryRequestFailsWithStopsOnlyItself(t *testing.T) {
	for name, answer := range map[string]stub.Answer{
		"a firewall refuses it with 403 and HTML": {Status: 403, Body: stub.HTML},
		"the API breaks at it with 500":           {Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			onEachModel(t, forIDs(answer, badID), nil, func(_ *testing.T, s *scene) {
				for n := range 169 { // the stream's contacts, with the bad one among them
					if n == 80 {
						s.change("st-healthy0", badID)
					}
					s.change("st-healthy0", healthyID(n))
				}
				for n := range 119 {
					s.change("st-healthy1", healthyID(n))
				}
				time.Sleep(time.Minute)
				if _, left := s.took(time.Time{}); left != 1 {
					s.t.Errorf("a minute later %d contacts wait, want the bad one only", left)
				}
				s.traffic(20*time.Minute, 2*time.Second, 2)
				time.Sleep(time.Minute)
				s.wantLetters(contactsync.ReasonUnanswered, badID)
				if opened := s.sum("upstream_circuit_breaker_state", "host", ""); opened != 0 {
					s.t.Errorf("the breaker is in state %v", opened)
				}
			})
		})
	}
}

// A limit of the account's own would not spare its other streams: what is throttled again while they are answered waits alone.
func TestService_WhatIsThrottledBesideOthersWaitsAlone(t *testing.T) {
	later := map[string]string{"Retry-After": "120"}
	for name, tt := range map[string]struct {
		rules []stub.Rule
		left  int // contacts
	}{
		"429 for a row":                       {forIDs(stub.Answer{Status: 429}, badID), 1},
		"503 with Retry-After for a row":      {forIDs(stub.Answer{Status: 503, Headers: later}, badID), 1},
		"429 for a stream":                    {forStream(stub.Answer{Status: 429}, "st-bad"), 2},
		"503 with Retry-After for one stream": {forStream(stub.Answer{Status: 503, Headers: later}, "st-bad"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			onEachModel(t, tt.rules, nil, func(_ *testing.T, s *scene) {
				s.traffic(time.Minute, time.Second, 4)
				if tt.left == 1 {
					s.change("st-healthy0", badID)
				} else {
					s.change("st-bad", healthyID(1))
					s.change("st-bad", healthyID(2))
				}
				s.traffic(20*time.Minute, time.Second, 4)
				from := time.Now()
				s.traffic(10*time.Minute, time.Second, 4)
				time.Sleep(time.Minute)
				ages, _ := s.took(from)
				if oldest := quantile(ages, 0.99); oldest > 10*time.Second || s.left() != tt.left || len(s.deadLetters()) > 0 {
					s.t.Errorf("twenty minutes later events get %v old; %d wait, want %d; %d dead letters", oldest, s.left(), tt.left, len(s.deadLetters()))
				}
			})
		})
	}
}

func TestService_AnAPIThatIsTooSlowForLargeRequestsGetsSmallerOnes(t *testing.T) {
	slow := []stub.Rule{{Name: "slow", Match: stub.Match{RowsOver: 50}, Answer: &stub.Answer{Status: 504, Latency: 29 * time.Second}}}
	onEachModel(t, slow, nil, func(_ *testing.T, s *scene) {
		for n := range 2000 {
			s.change(fmt.Sprint("st-healthy", n%4), healthyID(n))
		}
		time.Sleep(10 * time.Minute)
		if ages, left := s.took(time.Time{}); left > 0 || len(s.deadLetters()) > 0 {
			s.t.Errorf("%d of 2000 contacts are delivered, %d wait, %d dead letters", len(ages), left, len(s.deadLetters()))
		}
	})
}

func TestService_ANameLikeTheRateLimitThrottlesNobody(t *testing.T) {
	for name, rule := range map[string]stub.Rule{
		"in a row's reason":     {Rows: &stub.Rows{Fail: []string{badID}, Reason: "lastName Rate limit for this API is not allowed"}},
		"in a request's answer": {Match: stub.Match{IDs: []string{badID}}, Answer: &stub.Answer{Status: 400, Text: `{"errors":[{"msg":"lastName Rate limit for this API is not allowed","code":400}]}`}},
	} {
		rule.Name = "bad"
		if rule.Rows != nil {
			rule.Match.IDs = []string{badID}
		}
		t.Run(name, func(t *testing.T) {
			onEachModel(t, []stub.Rule{rule}, nil, func(_ *testing.T, s *scene) {
				s.traffic(2*time.Minute, 2*time.Second, 4)
				s.change("st-healthy0", badID)
				s.traffic(10*time.Minute, 2*time.Second, 4)
				time.Sleep(time.Minute)
				if len(s.deadLetters()) != 1 || s.deadLetters()[0].Contact != badID {
					s.t.Errorf("%d dead letters, want that of the refused contact", len(s.deadLetters()))
				}
				if old := s.oldest(); old > 10*time.Second {
					s.t.Errorf("a contact waited for %v", old)
				}
			})
		})
	}
}

func TestService_AnUnknownStreamIsHeldAfterAFewCalls(t *testing.T) {
	unknown := stub.Answer{Status: 400, Text: `{"errors":[{"msg":"Invalid StreamId","code":400}]}`}
	onEachModel(t, forStream(unknown, "st-unknown"), nil, func(_ *testing.T, s *scene) {
		s.traffic(time.Minute, 2*time.Second, 2)
		for n := range 100 {
			s.change("st-unknown", healthyID(n))
		}
		s.traffic(124*time.Second, 2*time.Second, 2)
		if calls := len(s.callsOf("st-unknown")); calls > 20 || len(s.deadLetters()) > 0 {
			s.t.Errorf("%d calls for the stream in two minutes, %d dead letters", calls, len(s.deadLetters()))
		}
		if ages, _ := s.took(time.Time{}); quantile(ages, 1) > 5*time.Second {
			s.t.Errorf("a healthy contact waited for %v", quantile(ages, 1))
		}
	})
}

func TestService_ManyBadRowsHoldUpNoOtherStream(t *testing.T) {
	bad := []stub.Rule{{Name: "bad", Match: stub.Match{IDs: []string{"bad00af60*"}}, Answer: &stub.Answer{Status: 400}}}
	onEachModel(t, bad, nil, func(_ *testing.T, s *scene) {
		for n := range 2000 {
			id := healthyID(n)
			if n%10 == 5 {
				id = fmt.Sprintf("bad00af60%015x", n)
			}
			s.change("st-imported", id)
		}
		start := time.Now()
		s.traffic(20*time.Minute, 2*time.Second, 2)
		time.Sleep(time.Minute)
		for _, e := range s.completed() {
			most := 5 * time.Second
			if e.opened.Before(start.Add(time.Minute)) {
				most = 30 * time.Second // behind what was imported before it
			}
			if e.opened.After(start) && e.age > most {
				s.t.Errorf("a contact of another stream waited for %v, from %v on", e.age, e.opened.Sub(start))
			}
		}
	})
}

func TestService_AStreamThatTimesOutTakesItsTurnOnly(t *testing.T) {
	onEachModel(t, forStream(stub.Answer{Fault: stub.NoAnswer}, "st-silent"), nil, func(_ *testing.T, s *scene) {
		s.traffic(time.Minute, 2*time.Second, 4)
		for n := range 300 {
			s.change("st-silent", healthyID(n))
		}
		start := time.Now()
		s.traffic(20*time.Minute, 2*time.Second, 4)
		late := s.late(start, 5*time.Second)
		all := len(s.api.Calls())
		if calls := len(s.callsOf("st-silent")); calls > all/4 || late > 0 || len(s.deadLetters()) > 0 {
			s.t.Errorf("%d of %d calls are for the stream that times out, %d contacts of others waited for more than 5s, %d dead letters", calls, all, late, len(s.deadLetters()))
		}
	})
}

func TestService_ANumberThatMovesBetweenContactsIsNoDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := harness.NewVendor(vendorapi.Config{
			Accounts: []vendorapi.Account{harness.VendorAccount("a")}, Latency: 200 * time.Millisecond,
			Unknowns: vendorapi.Unknowns{Phones: true, Update: vendorapi.MergePatch},
		})
		t.Cleanup(api.API.Close)
		s := &scene{bubble: newBubble(t, api, nil), api: api}
		set := func(id, number string) {
			s.raw("st-healthy0", fmt.Sprintf(`{"streamId":"st-healthy0","contact":{"id":%q,"firstName":"Ann","lastName":"Doe","salutation":"Mrs",`+
				`"cellPhone":{"extension":"+","phoneNumber":%q,"countryCode":"+91"}}}`, id, number))
		}
		a, b := healthyID(1), healthyID(2)
		set(a, "111")
		time.Sleep(time.Minute)
		set(b, "222")
		set(a, "333")
		set(b, "111") // merged into the first, which goes before a
		time.Sleep(5 * time.Minute)
		if _, left := s.took(time.Time{}); left > 0 || len(s.deadLetters()) > 0 {
			t.Errorf("%d contacts wait, %d dead letters", left, len(s.deadLetters()))
		}
		for id, want := range map[string]string{a: "333", b: "111"} {
			fields, _ := api.Contact("st-healthy0", id)
			phone, _ := fields["cellPhone"].(map[string]any)
			if phone["phoneNumber"] != want {
				t.Errorf("%s has %v, want %s", id, phone, want)
			}
		}
	})
}

func TestService_AStreamThatFailsDoesNotKeepTheBreakerOpen(t *testing.T) {
	broken := []stub.Rule{{Name: "bad", Match: stub.Match{IDs: []string{badID}}, Answer: &stub.Answer{Status: 500}}}
	onEachModel(t, broken, nil, func(_ *testing.T, s *scene) {
		for n := range 10 {
			s.change(fmt.Sprint("st-broken", n), badID)
		}
		s.traffic(time.Minute, 2*time.Second, 2)
		s.network.change(func() { s.network.refuses = true })
		s.traffic(15*time.Second, 2*time.Second, 2)
		s.network.change(func() { s.network.refuses = false })
		back := time.Now()
		s.traffic(8*time.Minute, 2*time.Second, 2)
		late := s.late(back.Add(time.Minute), 5*time.Second)
		if _, left := s.took(back); left > 5 || late > 0 {
			s.t.Errorf("after the outage %d contacts waited for more than 5s, and %d wait", late, left)
		}
	})
}

// contradicting answers each request in a way that contradicts itself.
type contradicting struct {
	simulated
	answer string // with the id of the first row twice
}

func (c contradicting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var rows []struct{ ID string }
	if json.NewDecoder(r.Body).Decode(&rows) != nil || len(rows) == 0 {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, c.answer, rows[0].ID)
}

func TestService_AnAnswerThatContradictsItselfDeliversNothing(t *testing.T) {
	for name, answer := range map[string]string{
		"a failure counted, and none listed": `{"totalRequested":1,"successful":0,"failed":1,"successfulRecords":[{"id":%q}],"failedRecords":[]}`,
		"a success that says it failed":      `{"totalRequested":1,"successful":1,"failed":0,"successfulRecords":[{"id":%q,"success":false,"reason":"duplicate"}],"failedRecords":[]}`,
		"a success with the status failed":   `{"totalRequested":1,"successful":1,"failed":0,"successfulRecords":[{"id":%q,"status":"failed","reason":"duplicate"}],"failedRecords":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scene{bubble: newBubble(t, contradicting{answer: answer}, nil)}
				s.change("st-healthy0", healthyID(1))
				time.Sleep(20 * time.Minute)
				if ages, _ := s.took(time.Time{}); len(ages) > 0 {
					t.Error("the contact counts as delivered")
				}
			})
		})
	}
}

func TestService_TheAnswersOwnWordsAreInTheDeadLetter(t *testing.T) {
	const words = "Vorname fehlt"
	for name, answer := range map[string]string{
		"a failure without an id":      `{"totalRequested":1,"successful":0,"failed":1,"successfulRecords":[],"failedRecords":[{"index":0,"id":null,"was":%q,"errorMessage":"` + words + `"}]}`,
		"a failure in another element": `{"totalRequested":1,"successful":0,"failed":1,"successfulRecords":[],"failedRecords":[{"contact":{"_id":%q},"errorMessage":"` + words + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scene{bubble: newBubble(t, contradicting{answer: answer}, nil)}
				s.change("st-healthy0", healthyID(1))
				time.Sleep(20 * time.Minute)
				if len(s.deadLetters()) != 1 || !strings.Contains(s.deadLetters()[0].Answer.Reveal(), words) {
					t.Errorf("the dead letters are %+v, want one with %q", s.deadLetters(), words)
				}
			})
		})
	}
}
