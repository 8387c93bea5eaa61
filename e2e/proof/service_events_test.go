//go:build proof

package proof

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
	"github.com/contactsync/contactsync/upstream"
)

func TestService_NullInOptionalMembersIsAbsent(t *testing.T) {
	onEachModel(t, nil, nil, func(_ *testing.T, s *scene) {
		for n, with := range []struct{ envelope, contact string }{
			{`"accountId":null,`, ""},
			{`"version":null,`, ""},
			{`"occurredAt":null,`, ""},
			{`"op":null,`, ""},
			{`"accountId":null,"version":null,"occurredAt":null,"op":null,`, ""},
			{"", `"fullName":null,`},
		} {
			id := healthyID(n)
			s.raw("st-healthy0/"+id, template("st-healthy0", id, with.envelope, with.contact))
			time.Sleep(time.Minute)
			if !s.has("st-healthy0", id, 1) || len(s.deadLetters()) > 0 {
				s.t.Fatalf("with %s%s the contact is not delivered, dead letters: %+v", with.envelope, with.contact, s.deadLetters())
			}
		}
	})
}

func TestService_AnOrderHintThatCannotBeReadCostsOnlyTheHint(t *testing.T) {
	onEachModel(t, nil, nil, func(_ *testing.T, s *scene) {
		hints := []string{`"version":"17a",`, `"version":1.5,`, `"version":{},`, `"occurredAt":"yesterday",`, `"occurredAt":1768204484,`, `"occurredAt":[],`}
		for n, hint := range hints {
			id := healthyID(n)
			s.raw("st-healthy0/"+id, template("st-healthy0", id, hint, ""))
			time.Sleep(time.Minute)
			if !s.has("st-healthy0", id, 1) || len(s.deadLetters()) > 0 {
				s.t.Fatalf("with %s the contact is not delivered, dead letters: %+v", hint, s.deadLetters())
			}
		}
		if counted := s.sum("batcher_order_hints_ignored_total", "reason", ""); counted != float64(len(hints)) {
			s.t.Errorf("%v hints are counted, want %d", counted, len(hints))
		}
	})
}

func TestService_ATimeFarAheadMakesNoUpdateStale(t *testing.T) {
	onEachModel(t, nil, nil, func(_ *testing.T, s *scene) {
		id := healthyID(1)
		s.raw("st-healthy0/"+id, template("st-healthy0", id, `"occurredAt":"2062-01-12T09:55:04Z",`, ""))
		time.Sleep(time.Minute)
		for range 5 {
			at := time.Now().UTC().Format(time.RFC3339)
			s.raw("st-healthy0/"+id, template("st-healthy0", id, fmt.Sprintf(`"occurredAt":%q,`, at), ""))
			time.Sleep(time.Minute)
		}
		if calls := len(s.callsOf("st-healthy0")); calls != 6 {
			s.t.Errorf("%d of 6 states were sent", calls)
		}
		if counted := s.sum("batcher_order_hints_ignored_total", "reason", "occurred_at_ahead"); counted != 1 {
			s.t.Errorf("%v times ahead are counted, want 1", counted)
		}
	})
}

func TestService_TombstonesOfTheUsualConnectorsDelete(t *testing.T) {
	onEachModel(t, nil, nil, func(_ *testing.T, s *scene) {
		s.network.change(func() { s.network.refuses = true }) // so that the contacts wait
		forms := []string{"st-healthy0/%s", "%s", `"%s"`, `{"id":"%s"}`, `{"schema":{"type":"struct"},"payload":{"id":"%s"}}`}
		for n := range forms {
			s.change("st-healthy0", healthyID(n))
		}
		s.change("st-healthy0", healthyID(len(forms)))
		for n, form := range forms {
			s.raw(fmt.Sprintf(form, healthyID(n)), "")
		}
		s.raw("[1,2]", "") // names nobody
		time.Sleep(time.Minute)
		s.network.change(func() { s.network.refuses = false })
		time.Sleep(10 * time.Minute)
		if sent := s.api.State()["st-healthy0"]; len(sent) != 1 || len(s.deadLetters()) > 0 {
			s.t.Errorf("%v were sent, want only the last, which was not deleted", sent)
		}
		if counted := s.sum("batcher_events_skipped_total", "reason", "unnamed_tombstone"); counted != 1 {
			s.t.Errorf("%v tombstones that name nobody are counted, want 1", counted)
		}
	})
}

func TestService_AnEventOfAnotherAccountIsSentWithItsCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := vendorapi.Config{Accounts: []vendorapi.Account{harness.VendorAccount("a"), harness.VendorAccount("b")}}
		api := harness.NewVendor(cfg)
		t.Cleanup(api.API.Close)
		s := &scene{api: api, bubble: newBubble(t, api, func(cfg *config.Config) {
			other := cfg.Upstream.Accounts[0]
			cfg.Upstream.Accounts[0].Streams = []string{"st-*"}
			other.ID = "b"
			cfg.Upstream.Accounts = append(cfg.Upstream.Accounts, other)
		})}
		s.raw("", template("st-1", healthyID(1), `"accountId":"b",`, ""))
		s.raw("", template("st-1", healthyID(2), "", ""))
		time.Sleep(time.Minute)
		s.raw("", template("st-1", healthyID(3), `"accountId":"b",`, ""))
		time.Sleep(time.Minute)
		want := map[string]string{healthyID(1): "b", healthyID(2): "a", healthyID(3): "b"}
		for _, c := range api.Calls() {
			for _, row := range c.Rows {
				if c.Account != want[row.ID] {
					t.Errorf("%s was sent with the credentials of %q, want %s", row.ID, c.Account, want[row.ID])
				}
				delete(want, row.ID)
			}
		}
		if len(want) > 0 {
			t.Errorf("%v were not sent", want)
		}
	})
}

func TestService_AppsOfAnAccountSignForTheirOwnStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := func(id, stream string) vendorapi.App {
			return vendorapi.App{ClientID: id, Secret: stub.LabSecret, Streams: []string{stream}}
		}
		api := harness.NewVendor(vendorapi.Config{Accounts: []vendorapi.Account{{ID: "a", Apps: []vendorapi.App{app("one", "st-1"), app("two", "st-2")}}}})
		t.Cleanup(api.API.Close)
		s := &scene{api: api, bubble: newBubble(t, api, func(cfg *config.Config) {
			a := &cfg.Upstream.Accounts[0]
			for _, of := range []struct{ id, stream string }{{"one", "st-1"}, {"two", "st-2"}} {
				credentials := a.Credentials
				credentials.ClientID = of.id
				a.Apps = append(a.Apps, upstream.App{Name: of.id, Streams: []string{of.stream}, Credentials: credentials})
			}
			a.Streams, a.Credentials = nil, upstream.Credentials{}
		})}
		s.change("st-1", healthyID(1))
		s.change("st-2", healthyID(2))
		time.Sleep(time.Minute)
		if ages, left := s.took(time.Time{}); len(ages) != 2 || left > 0 {
			t.Errorf("%d of 2 contacts are delivered", len(ages))
		}
		for _, c := range api.Log().Complaints {
			t.Error(c)
		}
	})
}

func TestService_ADeleteDoesNotShortenTheWaitAfterATimeOut(t *testing.T) {
	onEachModel(t, forStream(stub.Answer{Fault: stub.NoAnswer}, "st-silent"), nil, func(_ *testing.T, s *scene) {
		id := healthyID(1)
		s.change("st-silent", id)
		time.Sleep(29 * time.Second)
		s.api.Turn("bad", false)
		start := time.Now()
		time.Sleep(1500 * time.Millisecond) // the request has timed out
		s.raw("st-silent/"+id, "")
		s.change("st-silent", id)
		time.Sleep(time.Minute)
		calls := s.callsOf("st-silent")
		if len(calls) != 2 {
			s.t.Fatalf("%d calls, want 2", len(calls))
		}
		if waited := time.Duration(calls[1].Received - calls[0].Done); waited < config.DefaultConfig().Batcher.AmbiguousRetryDelay {
			s.t.Errorf("the next state was sent %v after the time-out, at %v", waited, start)
		}
	})
}

func TestService_RefusedCredentialsHoldTheAccountWhateverItsStreamsWereHeldFor(t *testing.T) {
	rules := []stub.Rule{
		{Name: "refused", Off: true, Match: stub.Match{Streams: []string{"st-healthy*"}}, Answer: &stub.Answer{Status: 401}},
		{Name: "bad", Match: stub.Match{IDs: []string{"6964af60*"}}, Rows: &stub.Rows{Fail: []string{"6964af60*"}, Reason: "Duplicate phone number"}},
	}
	onEachModel(t, rules, nil, func(_ *testing.T, s *scene) {
		for n := range 600 { // more than the dead-letter budget takes
			s.change(fmt.Sprint("st-healthy", n%60), healthyID(n))
		}
		time.Sleep(2 * time.Minute)
		s.api.Turn("refused", true)
		time.Sleep(10 * time.Minute)
		before := len(s.api.Calls())
		time.Sleep(10 * time.Minute)
		if calls := len(s.api.Calls()) - before; calls > 25 {
			s.t.Errorf("%d calls in ten minutes, although all credentials are refused", calls)
		}
	})
}

func TestService_AServerThatClosesUsedConnectionsDoesNotFail(t *testing.T) {
	onEachModel(t, nil, nil, func(_ *testing.T, s *scene) {
		s.network.forgets = true
		s.traffic(10*time.Minute, 2*time.Second, 2)
		time.Sleep(time.Minute)
		if ages, left := s.took(time.Time{}); left > 0 || quantile(ages, 1) > 5*time.Second {
			s.t.Errorf("%d contacts wait, one waited for %v", left, quantile(ages, 1))
		}
		if redials := s.sum("upstream_redials_total", "account", "a"); redials == 0 {
			s.t.Error("no request was made once more")
		}
		if retries := s.calls(contactsync.Retry.String()); retries > 0 {
			s.t.Errorf("%v requests count as retries after a failure", retries)
		}
	})
}

func TestService_ConnectionsAreRenewed(t *testing.T) {
	onEachModel(t, nil, nil, func(_ *testing.T, s *scene) {
		go s.client.Run(s.t.Context())
		s.traffic(time.Hour, 2*time.Second, 2)
		if s.network.dials < 5 || s.network.dials > 20 {
			s.t.Errorf("%d connections in an hour, want one about each ten minutes", s.network.dials)
		}
	})
}

func TestService_AnAuthorityThatIsReplacedIsTrustedWithoutARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var file string
		before, first := newCertificate(t)
		after, second := newCertificate(t)
		host := brokenAPI(t, vendorAPI, nil)
		s := &scene{api: host, bubble: newBubble(t, host, func(cfg *config.Config) {
			trustOnly(t, cfg, before)
			file = cfg.Upstream.CAFile
		})}
		go s.client.Run(t.Context())
		s.network.cert = first
		s.traffic(time.Minute, 2*time.Second, 1)
		must(t, os.WriteFile(file, after, 0o600))
		s.network.change(func() { s.network.cert = second })
		s.traffic(time.Minute, 2*time.Second, 1)
		time.Sleep(time.Minute)
		if ages, left := s.took(time.Time{}); len(ages) != 60 || left > 0 {
			t.Errorf("%d of 60 contacts are delivered", len(ages))
		}
	})
}
