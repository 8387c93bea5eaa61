package admin

import (
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
		name, method, url, from, site string
		refusal                       error
		want                          int
		decided                       bool
	}{
		{"whole", http.MethodPost, whole, "127.0.0.1:40000", "", nil, http.StatusAccepted, true},
		{"IPv6", http.MethodPost, whole, "[::1]:40000", "", nil, http.StatusAccepted, true},
		{"refused", http.MethodPost, whole, "127.0.0.1:40000", "", errors.New("not halted"), http.StatusConflict, true},
		{"another machine", http.MethodPost, whole, "10.1.2.3:40000", "", nil, http.StatusForbidden, false},
		{"another site in a browser", http.MethodPost, whole, "127.0.0.1:40000", "cross-site", nil, http.StatusForbidden, false},
		{"no number", http.MethodPost, "/set-aside?topic=contacts&partition=3&first=5", "127.0.0.1:40000", "", nil, http.StatusBadRequest, false},
		{"only looked at", http.MethodGet, whole, "127.0.0.1:40000", "", nil, http.StatusMethodNotAllowed, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			decided := false
			h := handler(Deps{SetAside: func(p contactsync.TopicPartition, first, last int64) error {
				decided = true
				if p != (contactsync.TopicPartition{Topic: "contacts", Partition: 3}) || first != 5 || last != 9 {
					t.Errorf("decided %v, %d to %d", p, first, last)
				}
				return test.refusal
			}})
			req := httptest.NewRequestWithContext(t.Context(), test.method, test.url, http.NoBody)
			req.RemoteAddr = test.from
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
