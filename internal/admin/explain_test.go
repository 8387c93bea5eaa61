package admin

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/internal/lab/authority"
)

func TestExplain_AnswersTheOwnMachineOnly(t *testing.T) {
	t.Parallel()
	const whole = ExplainPath + "?stream=st-1&contact=c1"
	for _, test := range []struct {
		name, method, url, from, host string
		refusal                       error
		want                          int
		body                          string
	}{
		{"whole", http.MethodGet, whole, "127.0.0.1:40000", "", nil, http.StatusOK, `"st-1 c1"`},
		{"IPv6", http.MethodGet, whole, "[::1]:40000", "", nil, http.StatusOK, `"st-1 c1"`},
		{"another machine", http.MethodGet, whole, "10.1.2.3:40000", "", nil, http.StatusForbidden, "own machine"},
		{"a name that another site has for this machine", http.MethodGet, whole, "127.0.0.1:40000", "rebound.example:8080", nil, http.StatusForbidden, "own machine"},
		{"no contact", http.MethodGet, ExplainPath + "?stream=st-1", "127.0.0.1:40000", "", nil, http.StatusBadRequest, "stream and contact"},
		{"a hostile contact", http.MethodGet, ExplainPath + "?stream=st-1&contact=%1b%5b2J%e2%80%ae", "127.0.0.1:40000", "", nil, http.StatusBadRequest, "stream and contact"},
		{"a long stream", http.MethodGet, ExplainPath + "?contact=c&stream=" + strings.Repeat("a", 65), "127.0.0.1:40000", "", nil, http.StatusBadRequest, "stream and contact"},
		{"stuck", http.MethodGet, whole, "127.0.0.1:40000", "", errors.New("it does not turn"), http.StatusServiceUnavailable, "it does not turn"},
		{"another method", http.MethodPost, whole, "127.0.0.1:40000", "", nil, http.StatusMethodNotAllowed, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := handler(Config{}, Deps{Explain: func(ctx context.Context, stream, contact string) (any, error) {
				if _, bounded := ctx.Deadline(); !bounded {
					t.Error("the question has no time-out")
				}
				return stream + " " + contact, test.refusal
			}})
			req := httptest.NewRequestWithContext(t.Context(), test.method, test.url, http.NoBody)
			req.RemoteAddr, req.Host = test.from, cmp.Or(test.host, "localhost:8080")
			req.SetBasicAuth("nobody", "x") // the settings have no users
			res := httptest.NewRecorder()
			h.ServeHTTP(res, req)
			if res.Code != test.want || !strings.Contains(res.Body.String(), test.body) || strings.ContainsAny(res.Body.String(), "\x1b\u202e") {
				t.Errorf("status %d, %q: want %d and %q", res.Code, res.Body, test.want, test.body)
			}
		})
	}
}

func TestExplain_AnswersOneQuestionAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		h := handler(Config{}, Deps{Explain: func(ctx context.Context, _, contact string) (any, error) {
			if contact == "slow" {
				<-ctx.Done()
				<-free
				return nil, context.Cause(ctx)
			}
			return contact, nil
		}})
		ask := func(contact string) *httptest.ResponseRecorder {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, ExplainPath+"?stream=st&contact="+contact, http.NoBody)
			req.RemoteAddr, req.Host = "127.0.0.1:4", "localhost:8080"
			res := httptest.NewRecorder()
			h.ServeHTTP(res, req)
			return res
		}
		slow := make(chan *httptest.ResponseRecorder)
		go func() { slow <- ask("slow") }()
		synctest.Wait()
		if res := ask("c"); res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
			t.Errorf("beside another question: %d", res.Code)
		}
		before := time.Now()
		close(free)
		if res := <-slow; res.Code != http.StatusServiceUnavailable || time.Since(before) != explainTimeout {
			t.Errorf("after %v: %d", time.Since(before), res.Code)
		}
		if res := ask("c"); res.Code != http.StatusOK {
			t.Errorf("after it: %d", res.Code)
		}
	})
}

// From another machine it answers those that the web configuration has let in.
func TestExplain_AnswersUsersOfTheWebConfiguration(t *testing.T) {
	t.Parallel()
	web, _ := usersAndTLS(t)
	for _, test := range []struct {
		name, file string
		change     func(r *http.Request)
		want       int
	}{
		{"a user", web, func(r *http.Request) { r.SetBasicAuth(authority.WebUser, authority.WebPassword) }, http.StatusOK},
		{"a certificate", web, func(r *http.Request) { r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}} }, http.StatusOK},
		{"a certificate that nobody has verified", web, func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, http.StatusForbidden},
		{"nobody", web, func(*http.Request) {}, http.StatusForbidden},
		{"a user where there are none", "", func(r *http.Request) { r.SetBasicAuth("a", "b") }, http.StatusForbidden},
		{"a file that is gone", web + ".gone", func(r *http.Request) { r.SetBasicAuth("a", "b") }, http.StatusForbidden},
	} {
		h := handler(Config{WebConfigFile: test.file}, Deps{Explain: func(context.Context, string, string) (any, error) { return 1, nil }})
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, ExplainPath+"?stream=st&contact=c", http.NoBody)
		req.RemoteAddr = "10.1.2.3:4"
		test.change(req)
		res := httptest.NewRecorder()
		if h.ServeHTTP(res, req); res.Code != test.want {
			t.Errorf("%s: %d, want %d", test.name, res.Code, test.want)
		}
	}
}
