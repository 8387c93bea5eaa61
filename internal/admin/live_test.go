package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// statusServer serves a status that counts how often it was made, until stop is called.
func statusServer(t *testing.T) (url string, stop func()) {
	t.Helper()
	var made atomic.Int64
	s, err := Listen(t.Context(), Config{Listen: "127.0.0.1:0"}, Deps{
		Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Status: func() any { return map[string]int64{"made": made.Add(1)} },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	stop = func() {
		cancel()
		if err, ok := <-served; ok && err != nil {
			t.Error(err)
		}
		close(served)
	}
	return "http://" + s.Addr(), stop
}

func view(t *testing.T, url string) *http.Response {
	t.Helper()
	res, err := http.Get(url + "/api/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestEvents_AreTheStatusAsSoonAsSomebodyLooks(t *testing.T) {
	t.Parallel()
	url, stop := statusServer(t)
	defer stop()
	res := view(t, url)
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil || line != "data: {\"made\":1}\n" {
		t.Errorf("first line %q, %v", line, err)
	}
}

func TestEvents_OfManyViewersAreMadeOnce(t *testing.T) {
	t.Parallel()
	made := 0
	l := &live{content: func() any { made++; return made }}
	for range 10 {
		if text, err := l.status(); err != nil || string(text) != "1" {
			t.Fatalf("%s, %v", text, err)
		}
	}
	l.made = l.made.Add(-interval)
	if text, err := l.status(); err != nil || string(text) != "2" {
		t.Errorf("a second later: %s, %v", text, err)
	}
}

// Each status walks all streams: who asks for it often must not make the service slow.
func TestStatus_IsMadeOnceASecondAndAfterADecision(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		made := 0
		h := handler(Config{}, Deps{
			Gatherer: prometheus.NewRegistry(), Status: func() any { made++; return map[string]int{"made": made} },
			ReleaseHold: func(string, string) error { return nil },
		})
		ask := func(method, path string) string {
			r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
			r.RemoteAddr, r.Host = "127.0.0.1:40000", "127.0.0.1:8080"
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Body.String()
		}
		want := func(when string, n int) {
			t.Helper()
			for _, path := range []string{"/status", StatusPath} {
				if got := ask(http.MethodGet, path); got != fmt.Sprintf("{\n  \"made\": %d\n}\n", n) {
					t.Errorf("%s: %q", when, got)
				}
			}
		}
		want("at first", 1)
		time.Sleep(interval - 1)
		want("within a second", 1)
		time.Sleep(time.Nanosecond)
		want("a second later", 2)
		ask(http.MethodPost, ReleaseHoldPath+"?stream=s")
		want("after a decision", 3)
	})
}

func TestEvents_AreForSoManyViewersOnly(t *testing.T) {
	t.Parallel()
	url, stop := statusServer(t)
	defer stop()
	for i := range mostViewers {
		if res := view(t, url); res.StatusCode != http.StatusOK {
			t.Fatalf("viewer %d: %s", i+1, res.Status)
		}
	}
	res := view(t, url)
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "/api/status") {
		t.Errorf("one more: %s %s", res.Status, text)
	}
}

func TestEvents_EndWithTheServer(t *testing.T) {
	t.Parallel()
	url, stop := statusServer(t)
	res := view(t, url)
	stop() // waits for it; shutdownTimeout would be an error of the shutdown
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Errorf("the events end with %v", err)
	}
}

func TestPage_IsOneDocumentThatLoadsNothing(t *testing.T) {
	t.Parallel()
	url, stop := statusServer(t)
	defer stop()
	res, err := http.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"/*page.", "http://www.example", "src=", "@import", "innerHTML", "insertAdjacentHTML"} {
		if strings.Contains(string(text), left) {
			t.Errorf("the page has %q", left)
		}
	}
	policy := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", digest(pageCSS), digest(pageJS), "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
}
