package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/loopback"
)

// TestSend_Golden sends the vendor's sample request and reads its sample answer.
func TestSend_Golden(t *testing.T) {
	t.Parallel()
	request, err := os.ReadFile("testdata/request.json")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := os.ReadFile("testdata/answer.json")
	if err != nil {
		t.Fatal(err)
	}
	var contacts []json.RawMessage
	if err := json.Unmarshal(request, &contacts); err != nil {
		t.Fatal(err)
	}
	b := contactsync.Batch{Stream: testStream, Account: testAccount, Purpose: contactsync.Probe}
	for _, raw := range contacts {
		var id struct{ ID string }
		if err := json.Unmarshal(raw, &id); err != nil {
			t.Fatal(err)
		}
		b.Rows = append(b.Rows, contactsync.Row{ID: id.ID, Body: raw})
	}
	wantBody := "[" + string(contacts[0]) + "," + string(contacts[1]) + "]"
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != wantBody {
			t.Errorf("bytes were changed: %s", body)
		}
		got, want := jsontext.Value(body), jsontext.Value(bytes.Clone(request))
		if got.Compact() != nil || want.Compact() != nil || string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
		if r.Method != http.MethodPut || r.RequestURI != "/agentassist/api/v1/public/"+testStream+"/contacts/bulk-update" {
			t.Errorf("got %s %s", r.Method, r.RequestURI)
		}
		for name, want := range map[string]string{
			"accountId": testAccount, "Content-Type": "application/json", "Accept": "application/json",
			"User-Agent": "contactsync/test", "Accept-Encoding": "gzip", "Authorization": "", "Referer": "",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("header %s is %q, want %q", name, got, want)
			}
		}
		if !strings.HasPrefix(r.Header.Get("auth"), "eyJ") || r.ContentLength != int64(len(wantBody)) {
			t.Errorf("auth %.10q…, content length %d", r.Header.Get("auth"), r.ContentLength)
		}
		_, _ = w.Write(answer)
	})
	c := newTestClient(t, host, nil)
	if n := testutil.CollectAndCount(c.metrics.Requests); n != len(contactsync.Kinds())*len(contactsync.Purposes()) {
		t.Errorf("%d series of requests before the first, want one for each kind and purpose", n)
	}
	got := c.Send(t.Context(), b)
	if v, _ := verdicts(got.Rows); got.Kind != contactsync.Answered || v != "DD" || got.Detail != "" {
		t.Errorf("got %+v", got)
	}
	for name, series := range map[string]float64{
		"requests":  testutil.ToFloat64(c.metrics.Requests.WithLabelValues(testAccount, "answered", "probe")),
		"delivered": testutil.ToFloat64(c.metrics.Rows.WithLabelValues(testAccount, "delivered")) - 1,
		"tokens":    testutil.ToFloat64(c.metrics.TokensIssued.WithLabelValues(testAccount)),
	} {
		if series != 1 {
			t.Errorf("%s counted %v", name, series)
		}
	}
}

func TestSend_NoConnectionIsNotAmbiguous(t *testing.T) {
	t.Parallel()
	closed, err := loopback.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	tlsServer := httptest.NewUnstartedServer(http.NotFoundHandler())
	tlsServer.Config.ErrorLog = log.New(io.Discard, "", 0)
	tlsServer.StartTLS()
	t.Cleanup(tlsServer.Close)
	for name, host := range map[string]string{
		"refused": "http://" + closed[0], "unknown authority": tlsServer.URL, "plaintext server": "https" + strings.TrimPrefix(serve(t, http.NotFound), "http"),
	} {
		c := newTestClient(t, host, nil)
		got := c.Send(t.Context(), batchOf("a"))
		if got.Kind != contactsync.Unavailable || got.Ambiguous || !strings.HasPrefix(got.Detail, "connect: ") {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestSend_CAFile(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.TLS.Version < tls.VersionTLS12 {
			t.Errorf("spoke HTTP/%d over TLS %x", r.ProtoMajor, r.TLS.Version)
		}
		_, _ = w.Write(goodAnswer(batchOf("a")))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	c := newTestClient(t, s.URL, func(cfg *Config, _ *Deps) { cfg.CAFile = ca })
	if got := c.Send(t.Context(), batchOf("a")); got.Kind != contactsync.Answered {
		t.Errorf("got %+v", got)
	}
}

func TestSend_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	canary := serve(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", canary+"/agentassist")
			w.WriteHeader(status)
		})
		got := newTestClient(t, host, nil).Send(t.Context(), batchOf("a"))
		if got.Kind != contactsync.Unavailable || got.Status != status || !strings.Contains(got.Detail, "redirects are not followed") ||
			strings.Contains(got.Detail, "127.0.0.1") {
			t.Errorf("got %+v", got)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests reached the other host", hits.Load())
	}
}

func TestSend_RefusedBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	host := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) })
	c := newTestClient(t, host, nil)
	b := batchOf("a")
	b.Rows[0].Body = []byte(`{"id":"a","x":"` + strings.Repeat("x", 200<<10) + `"}`)
	if got := c.Send(t.Context(), b); got.Kind != contactsync.TooLarge {
		t.Errorf("got %+v", got)
	}
}

func TestSend_NothingIsSent(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	host := serve(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	c := newTestClient(t, host, nil)
	for name, tt := range map[string]struct {
		batch contactsync.Batch
		kind  contactsync.Kind
	}{
		"no rows":         {contactsync.Batch{Stream: testStream, Account: testAccount}, contactsync.Answered},
		"unknown account": {contactsync.Batch{Stream: testStream, Account: "x", Rows: batchOf("a").Rows}, contactsync.Unknown},
		"path in stream":  {contactsync.Batch{Stream: "../x", Account: testAccount, Rows: batchOf("a").Rows}, contactsync.StreamGone},
	} {
		if got := c.Send(t.Context(), tt.batch); got.Kind != tt.kind || got.Status != 0 || got.Ambiguous {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if got := c.Send(stopped, batchOf("a")); got.Kind != contactsync.Canceled || got.Ambiguous {
		t.Errorf("stopped: got %+v", got)
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests were sent", hits.Load())
	}
	counted := 0.0
	for _, kind := range contactsync.Kinds() {
		counted += testutil.ToFloat64(c.metrics.Requests.WithLabelValues(testAccount, kind.String(), "delivery"))
	}
	if n := testutil.CollectAndCount(c.metrics.Requests); counted != 1 || n != len(contactsync.Kinds())*len(contactsync.Purposes()) {
		t.Errorf("%v requests counted in %d series, want the stopped one only", counted, n)
	}
}

// TestSend_WritesNoSecret lets hosts quote everything that they were sent: the
// token, the body, and a secret that they should not even know. The text keeps the body only.
func TestSend_WritesNoSecret(t *testing.T) {
	t.Parallel()
	quote := func(w http.ResponseWriter, r *http.Request) string {
		body := make([]byte, 1024)
		n, _ := r.Body.Read(body)
		return "no " + r.Header.Get("auth") + " " + r.Header.Get("auth")[:20] + " " + testSecret + " " + string(body[:n])
	}
	var seen []contactsync.Result
	var log string
	var token atomic.Value
	for _, status := range []int{200, 201, 302, 400, 401, 403, 404, 409, 413, 429, 500, 503} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			token.Store(r.Header.Get("auth"))
			w.Header().Set("Location", "http://"+testSecret+".test/"+r.Header.Get("auth"))
			w.WriteHeader(status)
			_, _ = w.Write([]byte(quote(w, r)))
		})
		c := newTestClient(t, host, nil)
		seen = append(seen, c.Send(t.Context(), batchOf("a")))
		log += c.log.String()
	}
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"failedRecords":[{"id":"a","reason":"no ` + r.Header.Get("auth") + ` for ZEBULON 2445612345 ` + testSecret + `"}]}`))
	})
	c := newTestClient(t, host, nil)
	seen = append(seen, c.Send(t.Context(), batchOf("a")))
	if got := seen[len(seen)-1].Rows[0].Text.Reveal(); got != "no *** for ZEBULON 2445612345 ***" {
		t.Errorf("got reason %q", got)
	}
	parts := strings.Split(token.Load().(string), ".")
	for _, r := range seen {
		written := fmt.Sprintf("%v %+v %#v", r, r, r) + log + c.log.String()
		for _, o := range r.Rows {
			written += o.Reason
		}
		for _, canary := range []string{testSecret[:secretPrefix], parts[0][:8], parts[1][:secretPrefix], parts[2][:secretPrefix], "Zebulon", "zebulon", "ZEBULON", "2445612345"} {
			if strings.Contains(written, canary) {
				t.Errorf("%v: %q is in %q", r.Kind, canary, written)
			}
		}
		if text := r.Text.Reveal(); strings.Contains(text, testSecret[:secretPrefix]) || strings.Contains(text, parts[2][:secretPrefix]) {
			t.Errorf("%v: our own secrets are in %q", r.Kind, text)
		}
	}
}

func TestSend_RefusedTokenIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	tokens := make(chan string, 10)
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tokens <- r.Header.Get("auth")
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusUnauthorized)
	})
	// Without jti, two tokens of one second are equal.
	c := newTestClient(t, host, func(cfg *Config, _ *Deps) { cfg.Accounts[0].Credentials.JTI = true })
	got := c.Send(t.Context(), batchOf("a"))
	if got.Kind != contactsync.Unauthorized || !strings.Contains(got.Detail, "our clock is 1h0m0s ahead") &&
		!strings.Contains(got.Detail, "our clock is 59m59s ahead") && !strings.Contains(got.Detail, "our clock is 1h0m1s ahead") {
		t.Errorf("got %+v", got)
	}
	c.Send(t.Context(), batchOf("a"))
	if first, second := <-tokens, <-tokens; first == second {
		t.Error("the refused token was sent again")
	}
}

// Only a 401 is about the token: it is replaced after each, and kept after a 403.
func TestSend_TokenIsReplacedAfter401Only(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]float64{http.StatusUnauthorized: 3, http.StatusForbidden: 1, http.StatusBadRequest: 1} {
		c := newTestClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }), nil)
		for range 3 {
			c.Send(t.Context(), batchOf("a"))
		}
		if got := testutil.ToFloat64(c.metrics.TokensIssued.WithLabelValues(testAccount)); got != want {
			t.Errorf("%d: %v tokens issued for three requests, want %v", status, got, want)
		}
	}
}

func TestSend_RowsAreCountedByResult(t *testing.T) {
	t.Parallel()
	host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"successfulRecords":["a"],"failedRecords":["b","c"]}`)
	})
	c := newTestClient(t, host, nil)
	c.Send(t.Context(), batchOf("a", "b", "c", "d", "e", "f"))
	for result, want := range map[string]float64{"delivered": 1, "failed": 2, "unresolved": 3} {
		if got := testutil.ToFloat64(c.metrics.Rows.WithLabelValues(testAccount, result)); got != want {
			t.Errorf("%v rows counted as %s, want %v", got, result, want)
		}
	}
}

func TestBufferPool_LargeBuffersAreNotKept(t *testing.T) {
	t.Parallel()
	var pool bufferPool
	for range 10 {
		buf := pool.get()
		if buf.Cap() > maxPooledBytes {
			t.Fatalf("a buffer of %d bytes was kept", buf.Cap())
		}
		buf.Grow(maxPooledBytes + 1)
		pool.put(buf)
	}
}
