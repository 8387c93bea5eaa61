package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/contactsync/contactsync"
)

func TestSetAside_TakesADecisionOfTheOwnMachineOnly(t *testing.T) {
	t.Parallel()
	const whole = "/set-aside?topic=contacts&partition=3&first=5&last=9"
	for _, test := range []struct {
		name, method, url, from, site, host string
		refusal                             error
		want                                int
		decided                             bool
	}{
		{"whole", http.MethodPost, whole, "127.0.0.1:40000", "", "", nil, http.StatusAccepted, true},
		{"IPv6", http.MethodPost, whole, "[::1]:40000", "", "", nil, http.StatusAccepted, true},
		{"refused", http.MethodPost, whole, "127.0.0.1:40000", "", "", errors.New("not halted"), http.StatusConflict, true},
		{"another machine", http.MethodPost, whole, "10.1.2.3:40000", "", "", nil, http.StatusForbidden, false},
		{"another site in a browser", http.MethodPost, whole, "127.0.0.1:40000", "cross-site", "", nil, http.StatusForbidden, false},
		{"a name that another site has for this machine", http.MethodPost, whole, "127.0.0.1:40000", "same-origin", "rebound.example:8080", nil, http.StatusForbidden, false},
		{"no number", http.MethodPost, "/set-aside?topic=contacts&partition=3&first=5", "127.0.0.1:40000", "", "", nil, http.StatusBadRequest, false},
		{"only looked at", http.MethodGet, whole, "127.0.0.1:40000", "", "", nil, http.StatusMethodNotAllowed, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			decided := false
			h := handler(Config{}, Deps{SetAside: func(p contactsync.TopicPartition, first, last int64) error {
				decided = true
				if p != (contactsync.TopicPartition{Topic: "contacts", Partition: 3}) || first != 5 || last != 9 {
					t.Errorf("decided %v, %d to %d", p, first, last)
				}
				return test.refusal
			}})
			req := httptest.NewRequestWithContext(t.Context(), test.method, test.url, http.NoBody)
			req.RemoteAddr, req.Host = test.from, cmp.Or(test.host, "localhost:8080")
			if test.site != "" {
				req.Header.Set("Sec-Fetch-Site", test.site)
			}
			res := httptest.NewRecorder()
			h.ServeHTTP(res, req)
			if res.Code != test.want || decided != test.decided {
				t.Errorf("status %d, decided %t: want %d and %t", res.Code, decided, test.want, test.decided)
			}
			if test.refusal != nil && !strings.Contains(res.Body.String(), test.refusal.Error()) {
				t.Errorf("the answer is %q", res.Body)
			}
		})
	}
}

func TestResumeFeed_PassesADecisionOn(t *testing.T) {
	t.Parallel()
	type decided struct {
		p             contactsync.TopicPartition
		records       int64
		untilReadable bool
	}
	contacts := contactsync.TopicPartition{Topic: "contacts", Partition: 3}
	for _, test := range []struct {
		name, query, from string
		refusal           error
		status            int
		want              decided
	}{
		{"another try", "topic=contacts&partition=3&records=0", "127.0.0.1:40000", nil, http.StatusAccepted, decided{contacts, 0, false}},
		{"records", "topic=contacts&partition=3&records=500&until_readable=false", "[::1]:40000", nil, http.StatusAccepted, decided{contacts, 500, false}},
		{"until readable", "topic=contacts&partition=3&records=0&until_readable=true", "127.0.0.1:40000", nil, http.StatusAccepted, decided{contacts, 0, true}},
		{"refused", "topic=contacts&partition=3&records=0", "127.0.0.1:40000", errors.New("it does not wait"), http.StatusConflict, decided{contacts, 0, false}},
		{"another machine", "topic=contacts&partition=3&records=0", "10.1.2.3:40000", nil, http.StatusForbidden, decided{}},
		{"no number", "topic=contacts&partition=3", "127.0.0.1:40000", nil, http.StatusBadRequest, decided{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got decided
			h := handler(Config{}, Deps{ResumeFeed: func(p contactsync.TopicPartition, records int64, untilReadable bool) error {
				got = decided{p, records, untilReadable}
				return test.refusal
			}})
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, ResumeFeedPath+"?"+test.query, http.NoBody)
			req.RemoteAddr, req.Host = test.from, "127.0.0.1:8080"
			res := httptest.NewRecorder()
			h.ServeHTTP(res, req)
			if res.Code != test.status || got != test.want {
				t.Errorf("status %d (%s), decided %+v: want %d and %+v", res.Code, res.Body, got, test.status, test.want)
			}
		})
	}
}

func TestHolds_PassADecisionOn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, url, from string
		refusal         error
		status          int
		want            string
	}{
		{"release", "/hold/release?stream=st-1&account=a", "127.0.0.1:40000", nil, http.StatusAccepted, "release st-1 of a"},
		{"set aside", "/hold/set-aside?stream=st-1&reason=closed", "[::1]:40000", nil, http.StatusAccepted, "set aside st-1 of : closed"},
		{"refused", "/hold/release?stream=st-1", "127.0.0.1:40000", errors.New("it is not on hold"), http.StatusConflict, "release st-1 of "},
		{"no stream", "/hold/release?account=a", "127.0.0.1:40000", nil, http.StatusBadRequest, ""},
		{"another machine", "/hold/set-aside?stream=st-1", "10.1.2.3:40000", nil, http.StatusForbidden, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			h := handler(Config{}, Deps{
				ReleaseHold: func(account, stream string) error {
					got = "release " + stream + " of " + account
					return test.refusal
				},
				SetHoldAside: func(account, stream, reason string) error {
					got = "set aside " + stream + " of " + account + ": " + reason
					return test.refusal
				},
			})
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, test.url, http.NoBody)
			req.RemoteAddr, req.Host = test.from, "127.0.0.1:8080"
			res := httptest.NewRecorder()
			h.ServeHTTP(res, req)
			if res.Code != test.status || got != test.want {
				t.Errorf("status %d (%s), decided %q: want %d and %q", res.Code, res.Body, got, test.status, test.want)
			}
		})
	}
}

// What a proxy on the machine forwards comes from somebody else, although the proxy speaks from the machine itself and
// may name it as the host.
func TestOwnMachine_IsNobodyBehindAProxy(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"", "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "x-envoy-external-address"} {
		decided, want := false, header == ""
		h := handler(Config{}, Deps{
			Answers: func() any { return "told" },
			Explain: func(context.Context, string, string) (any, error) { return "told", nil },
			ReleaseHold: func(string, string) error {
				decided = true
				return nil
			},
		})
		ask := func(method, url string) *httptest.ResponseRecorder {
			req := httptest.NewRequestWithContext(t.Context(), method, url, http.NoBody)
			req.RemoteAddr, req.Host = "127.0.0.1:40000", "127.0.0.1:8080"
			if header != "" {
				req.Header.Set(header, "")
			}
			res := httptest.NewRecorder()
			h.ServeHTTP(res, req)
			return res
		}
		for _, url := range []string{AnswersPath, ExplainPath + "?stream=st&contact=c"} {
			if res := ask(http.MethodGet, url); strings.Contains(res.Body.String(), "told") != want {
				t.Errorf("%q, %s: status %d: %s", header, url, res.Code, res.Body)
			}
		}
		if res := ask(http.MethodPost, ReleaseHoldPath+"?stream=st"); decided != want {
			t.Errorf("%q: status %d, decided %t", header, res.Code, decided)
		}
	}
}
