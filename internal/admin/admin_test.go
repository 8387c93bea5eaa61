package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/metrics"
)

func TestMain(m *testing.M) {
	if os.Getenv(crampedEnv) != "" {
		serveCramped()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestServer_Pages(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	metrics.New(reg)
	wedged := ""
	s, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0"}, Deps{
		Gatherer: reg, Log: slog.New(slog.DiscardHandler),
		Stuck:    func() string { return wedged },
		NotReady: func() string { return "no partitions yet" },
		Status:   func() any { return map[string]string{"stream": "st-<1>"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	get := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get("http://" + s.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	if code, body := get("/livez"); code != http.StatusOK || body != "ok\n" { // although it is not ready
		t.Errorf("/livez of a working service: %d %q", code, body)
	}
	wedged = "the loop does not turn"
	if code, body := get("/livez"); code != http.StatusServiceUnavailable || !strings.Contains(body, wedged) {
		t.Errorf("/livez of a wedged service: %d %q", code, body)
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no partitions yet") {
		t.Errorf("/readyz: %d %q", code, body)
	}
	if code, body := get("/metrics"); code != http.StatusOK || !strings.Contains(body, `contactsync_batcher_events_completed_total{outcome="delivered"} 0`) {
		t.Errorf("/metrics: %d, without the series that must be there at start", code)
	}
	if code, body := get("/status"); code != http.StatusOK || body != "{\n  \"stream\": \"st-<1>\"\n}\n" {
		t.Errorf("/status: %d %q", code, body)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/pprof/cmdline", "/debug/requests", "/debug/vars"} {
		if code, _ := get(path); code != http.StatusNotFound { // nobody has asked for profiles
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, body := get("/api/status"); code != http.StatusOK || !strings.Contains(body, "st-<1>") {
		t.Errorf("/api/status: %d %q", code, body)
	}
	if code, _ := get("/favicon.ico"); code != http.StatusNotFound {
		t.Errorf("/favicon.ico: %d", code)
	}
	res, err := http.Post("http://"+s.Addr()+"/livez", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /livez: %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

func TestListen_PortInUse(t *testing.T) {
	t.Parallel()
	deps := Deps{Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)}
	s, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0"}, deps)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for key, cfg := range map[string]Config{
		"admin.listen":       {Listen: s.Addr()},
		"admin.probe_listen": {Listen: "127.0.0.1:0", ProbeListen: s.Addr()},
	} {
		if _, err := Listen(t.Context(), cfg, deps); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("a second listener on the port for %s: %v", key, err)
		}
	}
}

func TestServer_ProfilesWhereAskedFor(t *testing.T) {
	t.Parallel()
	h := handler(Config{Pprof: true}, Deps{Gatherer: prometheus.NewRegistry()})
	res := httptest.NewRecorder()
	h.ServeHTTP(res, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/goroutine?debug=1", http.NoBody))
	if res.Code != http.StatusOK || !strings.Contains(res.Body.String(), "goroutine profile:") {
		t.Errorf("/debug/pprof/goroutine: %d", res.Code)
	}
}

// pipeListener is a network of one connection inside a bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// TestServer_StopWaitsForARequest stops the server while a page is being made: a
// last scrape gets its answer, and one that takes too long does not block the stop.
func TestServer_StopWaitsForARequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ takes, stops time.Duration }{
		{shutdownTimeout - time.Second, shutdownTimeout - time.Second},
		{time.Minute, shutdownTimeout},
	} {
		t.Run(tt.takes.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				log := slog.New(slog.DiscardHandler)
				s := &Server{log: log, pages: &endpoint{listener: l, http: newHTTP(handler(Config{}, Deps{
					Gatherer: prometheus.NewRegistry(),
					Status:   func() any { time.Sleep(tt.takes); return "made" },
				}), pageConnections, log)}}
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- s.Serve(ctx) }()
				ours, theirs := net.Pipe()
				l.conns <- theirs
				answer := make(chan string, 1)
				go func() {
					_, _ = io.WriteString(ours, "GET /status HTTP/1.0\r\n\r\n")
					got, _ := io.ReadAll(ours)
					answer <- string(got)
				}()
				synctest.Wait()
				start := time.Now()
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
				// Shutdown polls, so it ends up to half a second later.
				if took := time.Since(start); took < tt.stops || took > tt.stops+500*time.Millisecond {
					t.Errorf("the stop took %v, want %v", took, tt.stops)
				}
				if got, want := strings.Contains(<-answer, "made"), tt.takes < shutdownTimeout; got != want {
					t.Errorf("the request was answered: %v, want %v", got, want)
				}
				time.Sleep(tt.takes) // the page that took too long ends, and with it its goroutine
			})
		})
	}
}

// TestServer_WaitsForNobody has clients that leave a request or its answer undone: each loses its
// connection in time.
func TestServer_WaitsForNobody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text  string
		after time.Duration // most
	}{
		"nothing is sent":   {"", headerTimeout},
		"half a header":     {"GET /status HTTP/1.1\r\nHost: x\r\nX-", headerTimeout},
		"half a body":       {"POST /hold/release HTTP/1.1\r\nHost: localhost:1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\nstream=", readTimeout},
		"no answer is read": {"GET /status HTTP/1.1\r\nHost: x\r\n\r\n", writeTimeout},
		"one request":       {"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", idleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
				log := slog.New(slog.DiscardHandler)
				s := &Server{log: log, pages: &endpoint{listener: l, http: newHTTP(handler(Config{}, Deps{
					Status:      func() any { return "made" },
					ReleaseHold: func(string, string) error { return nil },
				}), pageConnections, log)}}
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- s.Serve(ctx) }()
				ours, theirs := net.Pipe()
				left := &leaving{Conn: theirs, gone: make(chan struct{})}
				l.conns <- left
				start := time.Now()
				_, _ = io.WriteString(ours, test.text)
				if name != "no answer is read" {
					go func() { _, _ = io.Copy(io.Discard, ours) }()
				}
				<-left.gone
				if took := time.Since(start); took > test.after+time.Second {
					t.Errorf("the connection ended after %v", took)
				}
				_ = ours.Close()
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// leaving tells when a connection is closed.
type leaving struct {
	net.Conn

	once sync.Once
	gone chan struct{}
}

func (c *leaving) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

func TestConfig_TwoPortsAreNotOne(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cfg  Config
		want int
	}{
		{Config{Listen: ":8080", ProbeListen: ":8080"}, 1},
		{Config{Listen: ":8080", ProbeListen: ":8081"}, 0},
		{Config{Listen: ":0", ProbeListen: ":0"}, 0},
		{Config{Listen: ":8080", ProbeListen: "8081"}, 1},
		{DefaultConfig(), 0},
	} {
		if errs := test.cfg.Validate(); len(errs) != test.want {
			t.Errorf("%+v: %v", test.cfg, errs)
		}
	}
}

// A bug in a page harms that request alone, and is told without what it was about.
func TestServer_SurvivesABugInAPage(t *testing.T) {
	t.Parallel()
	var panics atomic.Pointer[any]
	log := &logbuffer.Buffer{}
	s, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0"}, Deps{
		Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Status: func() any {
			if value := panics.Load(); value != nil {
				panic(*value)
			}
			return "fine"
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	ask := func() (int, error) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + s.Addr() + StatusPath)
		if err != nil {
			return 0, err
		}
		return res.StatusCode, res.Body.Close()
	}
	for _, value := range []any{"Zebulon", errors.New("Zebulon"), []string{"Zebulon"}} {
		panics.Store(&value)
		if code, err := ask(); code != http.StatusInternalServerError || err != nil {
			t.Errorf("%T: %d, %v", value, code, err)
		}
		if want := fmt.Sprintf("a value of type %T, which is not printed", value); !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	panics.Store(new(any(http.ErrAbortHandler)))
	if _, err := ask(); err == nil {
		t.Error("a handler that gives up is answered for")
	}
	panics.Store(nil)
	if code, err := ask(); code != http.StatusOK || err != nil {
		t.Errorf("the next request: %d, %v", code, err)
	}
	if strings.Contains(log.String(), "Zebulon") || strings.Contains(log.String(), "ErrAbort") {
		t.Errorf("the log has the value of a panic:\n%s", log)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
