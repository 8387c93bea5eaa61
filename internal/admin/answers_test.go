package admin

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/authority"
)

// What the API wrote is for the replica's own machine, and for whom the web configuration lets in.
func TestAnswers_AreForTheOwnMachineAndUsers(t *testing.T) {
	t.Parallel()
	users, _ := usersAndTLS(t)
	none := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(none, []byte("http_server_config: {http2: false}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	verified := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}
	const here, there = "127.0.0.1:40000", "10.1.2.3:40000"
	for _, test := range []struct {
		name, from, host, web string
		user                  bool
		tls                   *tls.ConnectionState
		want                  int
	}{
		{"own machine", here, "", "", false, nil, http.StatusOK},
		{"IPv6", "[::1]:40000", "[::1]:8080", "", false, nil, http.StatusOK},
		{"another machine", there, "", "", false, nil, http.StatusForbidden},
		{"a name that another site has for this machine", here, "rebound.example:8080", "", false, nil, http.StatusForbidden},
		{"a password that nobody has asked for", there, "", "", true, nil, http.StatusForbidden},
		{"no users", there, "", none, true, nil, http.StatusForbidden},
		{"a user", there, "replica:8080", users, true, nil, http.StatusOK},
		{"users, but none is named", there, "replica:8080", users, false, nil, http.StatusForbidden},
		{"a configuration that is gone", there, "replica:8080", "no-such.yaml", true, nil, http.StatusForbidden},
		{"TLS alone", there, "replica:8080", users, false, &tls.ConnectionState{}, http.StatusForbidden},
		{"a certificate that was verified", there, "replica:8080", none, false, verified, http.StatusOK},
	} {
		h := handler(Config{WebConfigFile: test.web}, Deps{
			Answers: func() any { return []string{"the list"} },
			Answer:  func(hash string) (any, bool) { return "Jane Doe of " + hash, hash == "a3f91c02" },
		})
		for path, want := range map[string]string{AnswersPath: "the list", AnswersPath + "/a3f91c02": "Jane Doe of a3f91c02"} {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
			req.RemoteAddr, req.Host, req.TLS = test.from, cmp.Or(test.host, "localhost:8080"), test.tls
			if test.user {
				req.SetBasicAuth(authority.WebUser, authority.WebPassword)
			}
			res := httptest.NewRecorder()
			h.ServeHTTP(res, req)
			if shown := strings.Contains(res.Body.String(), want); res.Code != test.want || shown != (test.want == http.StatusOK) || res.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: status %d: %s", test.name, path, res.Code, res.Body)
			}
		}
	}
}

func TestAnswer_ThatIsNotKept(t *testing.T) {
	t.Parallel()
	h := handler(Config{}, Deps{Answer: func(string) (any, bool) { return nil, false }})
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, AnswersPath+"/00000000", http.NoBody)
	req.RemoteAddr, req.Host = "127.0.0.1:40000", "127.0.0.1:8080"
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	if res.Code != http.StatusNotFound || !strings.Contains(res.Body.String(), "no text with this hash is kept") {
		t.Errorf("status %d: %s", res.Code, res.Body)
	}
}
