package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

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
	b := contactsync.Batch{Stream: testStream, Account: testAccount}
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
			"User-Agent": "contactsync/test", "Accept-Encoding": "", "Authorization": "", "Referer": "",
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
	if n := testutil.CollectAndCount(c.metrics.Requests); n != len(contactsync.Kinds()) {
		t.Errorf("%d series of requests before the first, want one for each kind", n)
	}
	got := c.Send(t.Context(), b)
	if v, _ := verdicts(got.Rows); got.Kind != contactsync.Answered || v != "DD" || got.Detail != "" {
		t.Errorf("got %+v", got)
	}
	for name, series := range map[string]float64{
		"requests":  testutil.ToFloat64(c.metrics.Requests.WithLabelValues(testAccount, "answered")),
		"delivered": testutil.ToFloat64(c.metrics.Rows.WithLabelValues("delivered")) - 1,
		"tokens":    testutil.ToFloat64(c.metrics.TokensIssued),
	} {
		if series != 1 {
			t.Errorf("%s counted %v", name, series)
		}
	}
}

// rawServer hands each connection to handle once a request has been read from
// it up to the end of its headers, and counts them.
func rawServer(t *testing.T, handle func(net.Conn)) (host string, conns *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			handle(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String(), conns
}

func readRequest(conn net.Conn) {
	var got []byte
	one := make([]byte, 4096)
	for !bytes.HasSuffix(got, []byte("}]")) {
		n, err := conn.Read(one)
		if err != nil {
			return
		}
		got = append(got, one[:n]...)
	}
}

func TestSend_BrokenAnswers(t *testing.T) {
	t.Parallel()
	full := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name      string
		answer    string
		kind      contactsync.Kind
		status    int
		ambiguous bool
		detail    string
	}{
		{"closed without an answer", "", contactsync.Unavailable, 0, true, "cut off"},
		{"not HTTP", "SSH-2.0-nothing\r\n", contactsync.Unavailable, 0, true, "cut off"},
		{"headers cut", full, contactsync.Unavailable, 0, true, "cut off"},
		{"endless headers", full + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100), contactsync.Unavailable, 0, true, "cut off"},
		{"body cut by length", full + "Content-Length: 500\r\n\r\n{\"totalRequested\":1", contactsync.Unavailable, 200, true, "cut off"},
		{"body cut in a chunk", full + "Transfer-Encoding: chunked\r\n\r\n20\r\n{\"tot", contactsync.Unavailable, 200, true, "cut off"},
		{"complete answer, closed", full + "\r\n{\"totalRequested\":1,\"successful\":1,\"failed\":0}", contactsync.Answered, 200, false, ""},
		{"refusal with its body cut", "HTTP/1.1 413 Too Large\r\nContent-Length: 500\r\n\r\nmuch", contactsync.TooLarge, 413, false, "413 Request Entity Too Large: much"},
		{"refusal with an endless body", "HTTP/1.1 400 Bad\r\n\r\n" + strings.Repeat("no ", 100_000), contactsync.BadRequest, 400, false, "no no"},
		{"switching protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", contactsync.Unknown, 101, false, ""},
		{"continue for ever", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), contactsync.Unavailable, 0, true, "cut off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			host, conns := rawServer(t, func(conn net.Conn) {
				readRequest(conn)
				_, _ = io.WriteString(conn, tt.answer)
			})
			c := newTestClient(t, host, nil)
			got := c.Send(t.Context(), batchOf("a"))
			if got.Kind != tt.kind || got.Status != tt.status || got.Ambiguous != tt.ambiguous || !strings.Contains(got.Detail, tt.detail) {
				t.Errorf("got %+v", got)
			}
			if conns.Load() != 1 {
				t.Errorf("%d connections for one attempt", conns.Load())
			}
		})
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
		if errs := c.Probe(t.Context()); len(errs) != 1 || !strings.Contains(errs[0].Error(), host) {
			t.Errorf("%s: probe says %v", name, errs)
		}
	}
}

func TestSend_CAFile(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.TLS.Version < tls.VersionTLS12 {
			t.Errorf("spoke HTTP/%d over TLS %x", r.ProtoMajor, r.TLS.Version)
		}
		_, _ = w.Write(goodAnswer(batchOf("a")))
	}))
	s.EnableHTTP2 = true
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	c := newTestClient(t, s.URL, func(cfg *Config, _ *Deps) { cfg.CAFile = ca })
	if got := c.Send(t.Context(), batchOf("a")); got.Kind != contactsync.Answered {
		t.Errorf("got %+v", got)
	}
	if errs := c.Probe(t.Context()); errs != nil {
		t.Errorf("probe says %v", errs)
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
		if got.Kind != contactsync.Unavailable || got.Status != status || !strings.Contains(got.Detail, "redirects are not followed") {
			t.Errorf("got %+v", got)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests reached the other host", hits.Load())
	}
}

// TestSend_NothingIsReplayed keeps a connection alive and closes it when the
// second request has come in, which is where a transport would like to repeat.
func TestSend_NothingIsReplayed(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if calls.Add(1) == 2 {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
			return
		}
		_, _ = w.Write(goodAnswer(batchOf("a")))
	})
	c := newTestClient(t, host, nil)
	for i, want := range []contactsync.Kind{contactsync.Answered, contactsync.Unavailable, contactsync.Answered} {
		got := c.Send(t.Context(), batchOf("a"))
		if got.Kind != want || got.Ambiguous != (want == contactsync.Unavailable) || calls.Load() != int64(i+1) {
			t.Errorf("request %d: got %+v after %d calls", i, got, calls.Load())
		}
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

func TestSend_Gzip(t *testing.T) {
	t.Parallel()
	zip := func(data []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(data)
		_ = w.Close()
		return b.Bytes()
	}
	good := zip(goodAnswer(batchOf("a", "b")))
	zeros := bytes.Repeat([]byte(" "), 8<<20)
	big := append([]byte(`{"totalRequested":2,"successful":2,"failed":0,"x":"`), bytes.Repeat([]byte("a"), 200<<10)...)
	tests := []struct {
		name   string
		body   []byte
		kind   contactsync.Kind
		detail string
	}{
		{"not asked for", good, contactsync.Answered, ""},
		{"truncated", good[:len(good)-10], contactsync.Unavailable, "not complete JSON"},
		{"wrong checksum", append(bytes.Clone(good[:len(good)-8]), 1, 2, 3, 4, 5, 6, 7, 8), contactsync.Unavailable, "not complete JSON"},
		{"bomb", zip(zeros), contactsync.Unavailable, errBomb.Error()},
		{"bomb in a bomb", zip(zip(zeros)), contactsync.Unavailable, "not complete JSON"},
		{"decompresses beyond the limit", zip(big), contactsync.Unavailable, errTooLong.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(tt.body)
			})
			c := newTestClient(t, host, func(cfg *Config, _ *Deps) {
				if tt.name != "bomb" {
					cfg.MaxAnswerBytes = 100 << 10
				}
			})
			got := c.Send(t.Context(), batchOf("a", "b"))
			if got.Kind != tt.kind || got.Ambiguous || !strings.Contains(got.Detail, tt.detail) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestSend_EndlessAnswer(t *testing.T) {
	t.Parallel()
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"totalRequested":1,"successful":1,"failed":0,"successfulRecords":[`)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat(`{"id":"b"},`, 1000)); err != nil {
				return
			}
		}
	})
	c := newTestClient(t, host, func(cfg *Config, _ *Deps) { cfg.MaxAnswerBytes = 1 << 20 })
	got := c.Send(t.Context(), batchOf("a"))
	if got.Kind != contactsync.Unavailable || !strings.Contains(got.Detail, "max_answer_bytes") {
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
}
