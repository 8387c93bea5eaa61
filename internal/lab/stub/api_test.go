package stub

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const id1, id2 = "6964af60450340957c61a2b3", "6964af806fc554153c0d4e5f"

func TestServer_Judges(t *testing.T) {
	t.Parallel()
	good := array(contactJSON(id1, 1))
	without := func(field string) string { return strings.Replace(good, field, "x", 1) }
	tests := []struct {
		name   string
		config func(*Config)
		change func(*http.Request)
		stream string
		body   string
		status int
		text   string
	}{
		{name: "good", body: good, status: 200, text: `"successful":1`},
		{name: "post", body: good, change: func(r *http.Request) { r.Method = http.MethodPost }, status: 405, text: `{"errors":[{"msg":"Method Not Allowed","code":405}]}`},
		{name: "no token", body: good, change: func(r *http.Request) { r.Header.Del("auth") }, status: 401, text: `{"errors":[{"msg":"Invalid SDK credentials","code":4002}]}`},
		{name: "garbage token", body: good, change: func(r *http.Request) { r.Header.Set("auth", "x.y.z") }, status: 401, text: `{"errors":[{"msg":"Invalid JWT token","code":4002}]}`},
		{name: "bearer prefix", body: good, change: func(r *http.Request) { r.Header.Set("auth", "Bearer "+r.Header.Get("auth")) }, status: 401, text: "Invalid JWT token"},
		{name: "wrong secret", body: good, change: func(r *http.Request) { r.Header.Set("auth", token(t, "other", LabAppID, time.Minute, "")) }, status: 401, text: "Invalid SDK credentials"},
		{name: "wrong app", body: good, change: func(r *http.Request) { r.Header.Set("auth", token(t, LabSecret, "other", time.Minute, "")) }, status: 401, text: "Invalid SDK credentials"},
		{name: "expired", body: good, change: func(r *http.Request) { r.Header.Set("auth", token(t, LabSecret, LabAppID, -time.Second, "")) }, status: 401, text: "Invalid JWT token"},
		{name: "no jti", body: good, config: func(c *Config) { c.EnforceJTI = true }, status: 401, text: "Invalid JWT token"},
		{name: "long jti", body: good, config: func(c *Config) { c.EnforceJTI = true }, change: func(r *http.Request) { r.Header.Set("auth", token(t, LabSecret, LabAppID, 2*time.Hour, "a")) }, status: 401, text: "1 hour"},
		{name: "no account", body: good, change: func(r *http.Request) { r.Header.Del("accountId") }, status: 400, text: "Invalid accountId"},
		{name: "unknown account", body: good, config: func(c *Config) { c.Accounts = map[string]Account{"other": {}} }, status: 401, text: "Invalid SDK credentials"},
		{name: "stream of another account", body: good, config: func(c *Config) {
			c.Accounts = map[string]Account{account: {Secret: LabSecret, AppID: LabAppID, Streams: []string{"st-9*"}}}
		}, status: 401, text: "Invalid SDK credentials"},
		{name: "other path", stream: "st-1/x", body: good, status: 404},
		{name: "escaped slash", stream: "st-1%2f..", body: good, status: 404},
		{name: "dots", stream: "%2e%2e", body: good, status: 404},
		{name: "not json", body: good[:len(good)-3], status: 400, text: `"code":400`},
		{name: "trailing", body: good + "[]", status: 400},
		{name: "object", body: contactJSON(id1, 1), status: 400},
		{name: "array of numbers", body: "[1]", status: 400},
		{name: "duplicate member", body: strings.Replace(good, `"seq"`, `"id"`, 1), status: 400},
		{name: "empty array", body: "[]", status: 412},
		{name: "no id", body: without("id"), status: 412, text: `{"errors":[{"msg":"Validation errors/ Invalid arguments","code":412}]}`},
		{name: "no salutation", body: without("salutation"), status: 412},
		{name: "no country code", body: without("countryCode"), status: 412},
		{name: "phone with plus", body: strings.Replace(good, `"2445612345"`, `"+2445612345"`, 1), status: 412},
		{name: "name is a number", body: strings.Replace(good, `"john"`, `7`, 1), status: 412},
		{name: "partial", config: func(c *Config) { c.Partial = true }, body: without("salutation"), status: 200},
		{name: "contact twice", body: array(contactJSON(id1, 1), contactJSON(id1, 2)), status: 412},
		{name: "too many rows", config: func(c *Config) { c.MaxRows = 1 }, body: array(contactJSON(id1, 1), contactJSON(id2, 1)), status: 413},
		{name: "too many bytes", config: func(c *Config) { c.MaxBytes = 20 }, body: good, status: 413},
		{name: "exact bytes", config: func(c *Config) { c.MaxBytes = int64(len(good)) }, body: good, status: 200},
		{name: "rejected row", body: array(contactJSON("bad"+id1[3:], 1), contactJSON(id2, 1)), status: 200, text: `"failedRecords":[{"id":"bad`},
		{name: "rejected call", config: func(c *Config) { c.RejectCall = true }, body: array(contactJSON("bad"+id1[3:], 1)), status: 412},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.config)
			if tt.stream == "" {
				tt.stream = "st-0001"
			}
			r := request(t, tt.stream, tt.body)
			if tt.change != nil {
				tt.change(r)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.text) {
				t.Errorf("answer %d %s, want %d with %q", w.Code, w.Body, tt.status, tt.text)
			}
			if applied := s.Stats().AppliedRows; (applied > 0) != (tt.status == 200) {
				t.Errorf("%d rows applied with status %d", applied, tt.status)
			}
		})
	}
}

// The shape is the vendor's: counters first, an id outside and _id inside.
func TestServer_AnswersAsTheVendorDoes(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	w := put(t, s, "st-0001", array(contactJSON(id1, 1), contactJSON("bad0", 1)))
	var got struct {
		TotalRequested, Successful, Failed int
		SuccessfulRecords                  []struct {
			ID      string
			Contact struct {
				ID            string `json:"_id"`
				FullName      string
				InstanceBotID string `json:"instanceBotId"`
				AccountID     string `json:"accountId"`
				CellPhone     struct{ PhoneNumber, CountryCode, Extension string }
			}
		}
		FailedRecords []struct{ ID, Reason string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.TotalRequested != 2 || got.Successful != 1 || got.Failed != 1 || len(got.SuccessfulRecords) != 1 || len(got.FailedRecords) != 1 {
		t.Fatalf("counters and lists: %+v", got)
	}
	r := got.SuccessfulRecords[0]
	if r.ID != id1 || r.Contact.ID != id1 || r.Contact.CellPhone.PhoneNumber != "+912445612345" ||
		r.Contact.InstanceBotID != "st-0001" || r.Contact.AccountID != account || r.Contact.FullName != "john doe" {
		t.Errorf("record: %+v", r)
	}
	if f := got.FailedRecords[0]; f.ID != "bad0" || f.Reason == "" {
		t.Errorf("failed record: %+v", f)
	}
	one := put(t, s, "st-0001", array(contactJSON(id2, 1)))
	if n := one.Body.Len(); n < 700 || n > 850 {
		t.Errorf("an answer about one contact has %d bytes, want about 740", n)
	}
	terse := newServer(t, func(c *Config) { c.Terse = true })
	if n := put(t, terse, "st-0001", array(contactJSON(id2, 1))).Body.Len(); n > 150 {
		t.Errorf("a terse answer has %d bytes", n)
	}
}

func TestServer_AccountsHaveTheirOwnSecretAndStreams(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) {
		c.Accounts = map[string]Account{account: {Secret: "own", AppID: LabAppID, Streams: []string{"st-0*"}}}
	})
	call := func(secret, stream string) int {
		r := request(t, stream, array(contactJSON(id1, 1)))
		r.Header.Set("auth", token(t, secret, LabAppID, time.Minute, ""))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	if a, b := call("own", "st-0001"), call(LabSecret, "st-0001"); a != 200 || b != 401 {
		t.Errorf("answers %d and %d, want 200 and 401", a, b)
	}
	if call("own", "st-1001"); s.Stats().CrossTalk != 1 {
		t.Errorf("cross talk counted %d times", s.Stats().CrossTalk)
	}
}

func TestServer_RefusesAReplayedToken(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *Config) { c.EnforceJTI = true })
	once := token(t, LabSecret, LabAppID, time.Minute, "one")
	for _, want := range []int{200, 401} {
		r := request(t, "st-0001", array(contactJSON(id1, 1)))
		r.Header.Set("auth", once)
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != want {
			t.Errorf("status %d, want %d: %s", w.Code, want, w.Body)
		}
	}
}

func TestServer_LimitsTheRatePerAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *Config) {
			c.RateLimit, c.RateWindow, c.RetryAfter = 2, time.Minute, 1500*time.Millisecond
		})
		call := func(account string) *httptest.ResponseRecorder {
			r := request(t, "st-0001", array(contactJSON(id1, 1)))
			r.Header.Set("accountId", account)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w
		}
		call("a")
		time.Sleep(40 * time.Second)
		call("a")
		w := call("a")
		if w.Code != 429 || w.Header().Get("Retry-After") != "2" || !strings.Contains(w.Body.String(), rateLimitText) {
			t.Errorf("third call in the window: %d %v %s", w.Code, w.Header(), w.Body)
		}
		if w := call("b"); w.Code != 200 {
			t.Errorf("another account's call: %d", w.Code)
		}
		time.Sleep(20 * time.Second) // the first call leaves the window, the second stays
		if a, b := call("a").Code, call("a").Code; a != 200 || b != 429 {
			t.Errorf("after the window slid: %d and %d, want 200 and 429", a, b)
		}
		if n := s.Stats().RateRefused; n != 2 {
			t.Errorf("%d refused calls counted, want 2", n)
		}
	})
}

func TestServer_LatencyAndSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *Config) { c.Latency, c.MaxInFlight = time.Second, 1 })
		start := time.Now()
		done := make(chan time.Duration, 2)
		for _, id := range []string{id1, id2} {
			go func() {
				put(t, s, "st-0001", array(contactJSON(id, 1)))
				done <- time.Since(start)
			}()
		}
		if a, b := <-done, <-done; a != time.Second || b != 2*time.Second {
			t.Errorf("calls ended after %v and %v, want 1s and 2s", a, b)
		}
		if n := s.Stats().MaxInFlight; n != 2 {
			t.Errorf("most in flight %d, want 2", n)
		}
	})
}
