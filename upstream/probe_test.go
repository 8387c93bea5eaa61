package upstream

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// one returns the only problem there is.
func one(t *testing.T, problems []setting.Error) setting.Error {
	t.Helper()
	if len(problems) != 1 {
		t.Fatalf("got %v, want one", problems)
	}
	return problems[0]
}

// A host whose credentials are for no known stream is reached without a token.
func TestProbe_WithoutAStreamSendsNoCredentials(t *testing.T) {
	t.Parallel()
	var asked []string
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+r.Header.Get("auth")+r.Header.Get("accountId"))
		w.WriteHeader(http.StatusTeapot)
	})
	faults, notes := newTestClient(t, host, nil).Probe(t.Context(), "")
	if note := one(t, notes); len(faults) > 0 || fmt.Sprint(asked) != "[HEAD /]" || note.Key != "accounts[0].credentials" || !strings.Contains(note.Problem, "--stream") {
		t.Errorf("asked %v: %v, %v", asked, faults, notes)
	}
}

// Each of the credentials is tried, with a stream that it signs for, and asks for one
// contact.
func TestProbe_TriesEachCredential(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		app := "none"
		for name, key := range map[string]string{"own": testSecret, "app": "another-canary-secret-0123456789"} {
			if signedWith(r.Header.Get("auth"), key) {
				app = name
			}
		}
		asked = append(asked, fmt.Sprintf("%s %s signed by %s for %s", r.Method, r.URL, app, r.Header.Get("accountId")))
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write([]byte("{}"))
	})
	c := newTestClient(t, host, func(cfg *Config, _ *Deps) {
		other := t.TempDir() + "/secret"
		writeFile(t, other, "another-canary-secret-0123456789")
		a := &cfg.Accounts[0]
		a.Streams = []string{"st-*", "st-app", "st-own"}
		a.Apps = []App{{Name: "app", Streams: []string{"st-app"}, Credentials: Credentials{ClientID: "x", ClientSecretFile: other}}}
	})
	faults, notes := c.Probe(t.Context(), "")
	want := []string{
		"GET /agentassist/api/v1/public/st-own/contacts?limit=1 signed by own for " + testAccount,
		"GET /agentassist/api/v1/public/st-app/contacts?limit=1 signed by app for " + testAccount,
	}
	if len(faults)+len(notes) > 0 || fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked\n%v, want\n%v: %v, %v", asked, want, faults, notes)
	}
	asked = nil
	c.Probe(t.Context(), "st-42")
	if len(asked) != 2 || !strings.Contains(asked[0], "/st-42/") || !strings.Contains(asked[1], "/st-app/") {
		t.Errorf("with a stream, asked %v", asked)
	}
}

// What an answer says is told by its status and kind; nothing that it holds is repeated.
func TestProbe_TellsTheClassOfAnAnswer(t *testing.T) {
	t.Parallel()
	const canary = "Zebulon"
	for _, tt := range []struct {
		status       int
		content      string
		header       string
		ahead        time.Duration // the API's clock
		key, problem string        // of a fault, or of a note where note is set
		note         bool
	}{
		{200, "application/json", "", 0, "", "", false},
		{200, "application/json", "", time.Hour, "accounts[0].host", "behind the API's", true},
		{200, "text/html; charset=utf-8", "", 0, "accounts[0].host", "of type html", false},
		{200, canary, "", 0, "accounts[0].host", "of type other", false},
		{204, "", "", 0, "accounts[0].host", "status 204", false},
		{302, "", canary, 0, "accounts[0].host", "leads elsewhere (302)", false},
		{400, "application/json", "", 0, "accounts[0].credentials", "stream's name", false},
		{401, "application/json", "", 0, "accounts[0].credentials", "client id and secret", false},
		{403, "application/json", "", 0, "accounts[0].credentials", "scope Configuration", false},
		{403, "text/html", "", 0, "accounts[0].host", "gateway", false},
		{404, "text/html", "", 0, "accounts[0].host", "base path", false},
		{429, "application/json", "", 0, "accounts[0].credentials", "limit", true},
		{503, "", "", 0, "accounts[0].host", "fails (503)", false},
	} {
		t.Run(fmt.Sprintf("%d %s", tt.status, tt.content), func(t *testing.T) {
			t.Parallel()
			host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				h := w.Header()
				h.Set("Content-Type", tt.content)
				h.Set("Date", time.Now().Add(tt.ahead).UTC().Format(http.TimeFormat))
				h.Set("Location", "https://"+canary+"/"+tt.header)
				w.WriteHeader(tt.status)
				if tt.status != http.StatusNoContent {
					_, _ = w.Write([]byte(canary))
				}
			})
			c := newTestClient(t, host, func(cfg *Config, _ *Deps) { cfg.Accounts[0].Streams = []string{testStream} })
			faults, notes := c.Probe(t.Context(), "")
			if strings.Contains(fmt.Sprint(faults, notes), canary) {
				t.Errorf("repeats what was received: %v, %v", faults, notes)
			}
			found := faults
			if tt.note {
				found = notes
			}
			if tt.problem == "" {
				if len(faults)+len(notes) > 0 {
					t.Errorf("got %v, %v", faults, notes)
				}
				return
			}
			if got := one(t, found); got.Key != tt.key || !strings.Contains(got.Problem, tt.problem) || len(faults)+len(notes) != 1 {
				t.Errorf("got %v, %v", faults, notes)
			}
		})
	}
}

func TestProbe_IsBoundedByTheTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		defer func() { _ = p.Close() }()
		c := newPipeClient(t, p, 30*time.Second)
		start := time.Now()
		faults, _ := c.Probe(t.Context(), testStream)
		if took := time.Since(start); took != 30*time.Second || !strings.Contains(one(t, faults).Problem, "no answer in time") {
			t.Errorf("took %v, %v", took, faults)
		}
	})
}

func TestProbe_TellsTheProxyFromTheHostBehindIt(t *testing.T) {
	t.Parallel()
	base := &url.URL{Scheme: "https", Host: "api.example"}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		err       error
		key, name string
	}{
		{refused, "accounts[0].host", "api.example: "},
		{&net.OpError{Op: "proxyconnect", Net: "tcp", Err: refused}, "proxy", "the proxy: "}, // as net/http has it
	} {
		p := probe{acc: &account{base: base}, host: "accounts[0].host"}
		p.unreached(test.err)
		if len(p.faults) != 1 || p.faults[0].Key != test.key || !strings.HasPrefix(p.faults[0].Problem, test.name) {
			t.Errorf("%v: %+v", test.err, p.faults)
		}
	}
}
