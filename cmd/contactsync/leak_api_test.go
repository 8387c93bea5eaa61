package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/authority"
	"github.com/contactsync/contactsync/internal/lab/leak"
)

// leakyAPI is an API that says planted texts in one way, on a host of its own, so that it
// harms no other's circuit breaker.
type leakyAPI struct {
	name, url string
	calls     atomic.Int64
}

// leakyAPIs are hosts of every kind, and what they were sent but for bodies.
type leakyAPIs struct {
	t    *testing.T
	all  []*leakyAPI
	root *authority.Authority // that the service trusts

	mu       sync.Mutex
	requests strings.Builder // line and headers of each
	tokens   map[string]bool
}

// said is what one answer has to say: all planted texts, from another one on each time, since
// only the beginning of an answer is kept.
type said []string

func saidBy(n int64) said {
	all := leak.Planted()
	from := int(n) * 37 % len(all)
	return append(append(said{}, all[from:]...), all[:from]...)
}

func (s said) line() string { return strings.Join(s, " ") }

func (s said) json() string { return quoted(strings.Join(s, ", ")) }

func quoted(v any) string {
	text, _ := json.Marshal(v) // of texts: it cannot fail
	return string(text)
}

// rowsOf reads the ids of a request.
func rowsOf(body []byte) []string {
	var rows []struct{ ID string }
	if json.Unmarshal(body, &rows) != nil {
		return nil
	}
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// records is a list of an answer, with the members that each says.
func records(ids []string, members func(i int) string) string {
	var list []string
	for i, id := range ids {
		list = append(list, fmt.Sprintf(`{"id":%q,%s}`, id, members(i)))
	}
	return "[" + strings.Join(list, ",") + "]"
}

func answerOf(good, bad string, n, failed int) string {
	return fmt.Sprintf(`{"totalRequested":%d,"successful":%d,"failed":%d,"successfulRecords":%s,"failedRecords":%s}`, n, n-failed, failed, good, bad)
}

// reasonOf is the reason of a refused row, in each form that is read.
func reasonOf(i int, text string) string {
	q := quoted("Duplicate: " + text + " has this number")
	switch i % 4 {
	case 1:
		return `"error":{"message":` + q + `,"code":409}`
	case 2:
		return `"errors":[{"msg":` + q + `,"code":400}]`
	case 3:
		return `"message":` + q
	}
	return `"reason":` + q
}

// plain are answers that are HTTP.
var plain = []struct {
	name   string
	answer func(w http.ResponseWriter, s said, ids []string, r *http.Request)
}{
	{"refused-200", func(w http.ResponseWriter, _ said, ids []string, _ *http.Request) {
		all := leak.Planted()
		var good []string // so that the others are refused beside accepted ones
		bad := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return strings.HasPrefix(id, "good") })
		for _, id := range ids {
			if !slices.Contains(bad, id) {
				good = append(good, id)
			}
		}
		refused := records(bad, func(i int) string {
			var n int
			_, _ = fmt.Sscanf(bad[i], "c%d", &n) // as the test names them
			return reasonOf(n, all[n])
		})
		_, _ = io.WriteString(w, answerOf(records(good, func(int) string { return `"status":"ACTIVE"` }), refused, len(ids), len(bad)))
	}},
	{"refused-207", func(w http.ResponseWriter, s said, ids []string, _ *http.Request) {
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = io.WriteString(w, answerOf("[]", records(ids, func(i int) string { return reasonOf(i, s.line()) }), len(ids), len(ids)))
	}},
	{"accepted", func(w http.ResponseWriter, s said, ids []string, _ *http.Request) {
		w.Header().Set("Set-Cookie", "name="+s[0])
		_, _ = io.WriteString(w, answerOf(records(ids, func(int) string { return `"contact":{"firstName":` + s.json() + `}` }), "[]", len(ids), 0))
	}},
	{"foreign-ids", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		good := fmt.Sprintf(`[{"id":%s},%s]`, quoted(s[0]), quoted(s[1]))
		_, _ = io.WriteString(w, answerOf(good, fmt.Sprintf(`[{"id":%s,"reason":%s},{%s:%[2]s}]`, quoted(s[2]), s.json(), quoted(s[3])), 4, 2))
	}},
	{"foreign-200", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{%s:%s,"message":%[2]s,"code":%[1]s}`, quoted(s[0]), s.json())
	}},
	{"broken-json", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"failedRecords":[{"id":"c0","reason":%s`, s.json())
	}},
	{"member-twice", func(w http.ResponseWriter, s said, ids []string, _ *http.Request) {
		_, _ = io.WriteString(w, answerOf("[]", records(ids, func(int) string { return `"reason":` + s.json() + `,"reason":` + quoted(s[1]) }), len(ids), len(ids)))
	}},
	{"bad-request", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"errors":[{"msg":%s,"code":%s}]}`, s.json(), quoted(s[0]))
	}},
	{"echo-400", func(w http.ResponseWriter, _ said, _ []string, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest) // and all that it was sent, the token too
		text, _ := httputil.DumpRequest(r, true)
		_, _ = fmt.Fprintf(w, `{"errors":[{"msg":%s}]}`, quoted(string(text)))
	}},
	{"unauthorized", func(w http.ResponseWriter, s said, _ []string, r *http.Request) {
		w.Header().Set("WWW-Authenticate", s.line())
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"errors":[{"msg":%s,"code":4002}]}`, quoted(s.line()+r.Header.Get("auth")))
	}},
	{"forbidden-html", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; name="+s[0])
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, "<html><title>%s</title>%s</html>", s[0], s.line())
	}},
	{"not-found", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, `{"status":404,"message":%s}`, s.json())
	}},
	{"throttled", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		w.Header().Set("Retry-After", s[0])
		w.Header().Set("X-RateLimit-Reset", s[1])
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = fmt.Fprintf(w, `{"errors":[{"msg":%s}]}`, s.json())
	}},
	{"failed-html", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "<h1>"+s.line()+"</h1>")
	}},
	{"headers", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		for _, name := range []string{"Server", "Date", "Content-Type", "Content-Encoding", "Content-Language", "Via", "Link", "X-Name"} {
			w.Header().Set(name, s.line())
		}
		w.WriteHeader(http.StatusBadGateway)
	}},
	{"redirect", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		w.Header().Set("Location", "https://"+s.line())
		w.WriteHeader(http.StatusTemporaryRedirect)
	}},
	{"hints-trailers", func(w http.ResponseWriter, s said, _ []string, _ *http.Request) {
		w.Header().Set("Link", s.line())
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Name")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, s.line())
		w.Header().Set("X-Name", s.line())
	}},
	{"too-late", func(w http.ResponseWriter, s said, _ []string, r *http.Request) {
		_, _ = io.WriteString(w, `{"failedRecords":[{"reason":`+s.json())
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}},
}

// raw are bytes that come as an answer; %s is what is said.
var raw = []struct{ name, answer string }{
	{"no-http", "%s\r\n\r\n"},
	{"protocol", "HTTP/1.1 %s\r\n\r\n"},
	{"status-text", "HTTP/1.1 400 %s\r\nContent-Length: 0\r\n\r\n"},
	{"length", "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n"},
	{"transfer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n"},
	{"header", "HTTP/1.1 200 OK\r\n%s\r\n\r\n"},
	{"chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n\r\n"},
	{"location", "HTTP/1.1 302 Found\r\nLocation: http://%%zz%s\r\nContent-Length: 0\r\n\r\n"},
	{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{\"message\":\"%s"},
	{"gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9999\r\n\r\n%s"},
	{"twice", "twice"}, // a right answer, and one that nobody asked for behind it
}

func newLeakyAPIs(t *testing.T) *leakyAPIs {
	t.Helper()
	root, err := authority.New()
	stranger, err2 := authority.New()
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	a := &leakyAPIs{t: t, root: root, tokens: map[string]bool{}}
	for _, p := range plain {
		a.serve(p.name, "http", nil, func(w http.ResponseWriter, r *http.Request, n int64) {
			body, _ := io.ReadAll(r.Body) // what is cut off has no ids
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			p.answer(w, saidBy(n), rowsOf(body), r)
		})
	}
	for _, p := range raw {
		a.serve(p.name, "http", nil, func(w http.ResponseWriter, r *http.Request, n int64) {
			body, _ := io.ReadAll(r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return // the client has gone
			}
			line, end := saidBy(n).line(), true
			text := fmt.Sprintf(p.answer, line)
			if p.name == "twice" {
				ids := rowsOf(body)
				good := answerOf(records(ids, func(int) string { return `"n":1` }), "[]", len(ids), 0)
				text, end = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s%s\r\n\r\n", len(good), good, line), false
			}
			_, _ = io.WriteString(conn, text)
			if !end { // the client is to find what is behind the answer
				_, _ = bufio.NewReader(conn).ReadByte()
			}
			_ = conn.Close()
		})
	}
	var ascii []string // names of certificates have no other letters
	for _, text := range leak.Planted() {
		if strings.Trim(text, "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~ ") == "" {
			ascii = append(ascii, text)
		}
	}
	subject := pkix.Name{CommonName: ascii[0], Organization: leak.Planted()}
	a.serve("other-names", "https", a.issue(root, x509.Certificate{Subject: subject, DNSNames: ascii}), nil)
	a.serve("stranger", "https", a.issue(stranger, x509.Certificate{Subject: subject, DNSNames: []string{"localhost"}}), nil)
	a.noTLS()
	return a
}

func (a *leakyAPIs) issue(by *authority.Authority, template x509.Certificate) *tls.Config {
	a.t.Helper()
	pair, err := by.Issue(template)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// serve starts a host; without an answer none can be asked of it.
func (a *leakyAPIs) serve(name, scheme string, config *tls.Config, answer func(http.ResponseWriter, *http.Request, int64)) {
	api := &leakyAPI{name: name}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.keep(r)
		answer(w, r, api.calls.Add(1))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail, as they should
	if config != nil {
		s.TLS = config
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				api.calls.Add(1)
			}
		}
		s.StartTLS()
	} else {
		s.Start()
	}
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	api.url = scheme + "://localhost:" + port
	a.all = append(a.all, api)
	a.t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
}

// noTLS starts a host that says planted texts where a handshake should be.
func (a *leakyAPIs) noTLS() {
	var lc net.ListenConfig
	ln, err := lc.Listen(a.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	api := &leakyAPI{name: "no-tls", url: "https://localhost:" + fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)}
	a.all = append(a.all, api)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, saidBy(api.calls.Add(1)).line())
			_ = conn.Close()
		}
	}()
	a.t.Cleanup(func() { _ = ln.Close(); <-ended })
}

// keep notes the line and the headers of a request, the token apart.
func (a *leakyAPIs) keep(r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintf(&a.requests, "%s %s %s\n", r.Method, r.RequestURI, r.Host)
	for name, values := range r.Header {
		if name == "Auth" {
			a.tokens[r.Header.Get(name)] = true
			continue
		}
		fmt.Fprintf(&a.requests, "%s: %q\n", name, values)
	}
}
