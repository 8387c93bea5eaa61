package harness

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

const vendorID = "6964af60000000000000000" // and one digit, the seq

func put(t *testing.T, v *Vendor, stream string, seqs ...string) {
	t.Helper()
	var rows []string
	for _, seq := range seqs {
		rows = append(rows, `{"id":"`+vendorID+seq+`","firstName":"a","lastName":"b","salutation":"mr","cellPhone":{"extension":"+","phoneNumber":"1","countryCode":"+91"},"seq":`+seq+`}`)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/agentassist/api/v1/public/"+stream+"/contacts/bulk-update", strings.NewReader("["+strings.Join(rows, ",")+"]"))
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"appId": stub.LabAppID}).SignedString([]byte(stub.LabSecret))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("auth", token)
	r.Header.Set("accountId", "acme")
	r.Header.Set("Content-Type", "application/json")
	v.ServeHTTP(httptest.NewRecorder(), r)
}

func TestVendor_TellsItsLogInTheWordsOfTheStub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &Vendor{start: time.Now(), API: vendorapi.New(vendorapi.Config{
			Accounts:       []vendorapi.Account{VendorAccount("acme", "st-a", "st-b")},
			PerRow:         time.Second,
			GatewayTimeout: 1500 * time.Millisecond,
			Rules:          []vendorapi.Rule{{Name: "refused", Contact: "*3", Do: vendorapi.RefuseRow}},
		})}
		put(t, v, "st-a", "1")
		put(t, v, "st-b", "2", "3") // answered 504 after 1.5 s, applied after 2 s
		put(t, v, "st-c", "4")      // a stream of nobody

		calls := v.Calls()
		if len(calls) != 4 {
			t.Fatalf("calls %+v", calls)
		}
		want := stub.Call{
			Done: int64(time.Second), Order: 1, Status: 200, Stream: "st-a", Account: "acme",
			Rows: []stub.Row{{ID: vendorID + "1", Seq: 1, Applied: true}},
		}
		if !reflect.DeepEqual(calls[0], want) {
			t.Errorf("%+v, want %+v", calls[0], want)
		}
		if c := calls[1]; c.Status != 504 || c.Order != 0 || len(c.Rows) != 2 || c.Rows[0].Applied || c.Rows[1].Applied {
			t.Errorf("what was given up applied nothing at its time: %+v", c)
		}
		if c := calls[3]; !c.Late || c.Order != 2 || c.Received != c.Done || c.Received != int64(3*time.Second) || len(c.Rows) != 1 || c.Rows[0].Seq != 2 || !c.Rows[0].Applied {
			t.Errorf("the row that was applied later is a call of its own: %+v", c)
		}
		if state := v.State(); state["st-b"][vendorID+"2"] != 2 || len(state) != 2 {
			t.Errorf("state %v", state)
		}
		if n := v.Stats(); n.Calls != 3 || n.CrossTalk != 1 || n.AppliedRows != 2 || n.Statuses[504] != 1 || n.Statuses[400] != 1 {
			t.Errorf("stats %+v", n)
		}
	})
}

func TestVendor_SuspendedRefusesConnectionsAndComesBackAtItsAddress(t *testing.T) {
	t.Parallel()
	var r Run
	v, err := r.AddVendor(vendorapi.Config{Accounts: []vendorapi.Account{VendorAccount("acme")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	url := v.URL()
	reached := func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"started", func() error { return nil }, true},
		{"resumed without a reason", v.Resume, true},
		{"suspended", func() error { v.Suspend(); return nil }, false},
		{"suspended again", func() error { v.Suspend(); return nil }, false},
		{"resumed", v.Resume, true},
		{"suspended at the end", func() error { v.Suspend(); return nil }, false},
	} {
		if err := step.do(); err != nil || reached() != step.want || v.URL() != url {
			t.Errorf("%s: error %v, want reached: %v, at %s, was %s", step.name, err, step.want, v.URL(), url)
		}
	}
}
