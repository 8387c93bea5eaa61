package admin

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

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
