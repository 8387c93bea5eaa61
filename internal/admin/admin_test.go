package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer_Pages(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	metrics.New(reg)
	wedged := ""
	s, err := Listen(t.Context(), "127.0.0.1:0", Deps{
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
	if code, body := get("/livez"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/livez of a working service: %d %q", code, body)
	}
	wedged = "the loop does not turn"
	if code, body := get("/livez"); code != http.StatusServiceUnavailable || !strings.Contains(body, wedged) {
		t.Errorf("/livez of a wedged service: %d %q", code, body)
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no partitions yet") {
		t.Errorf("/readyz: %d %q", code, body)
	}
	if code, body := get("/metrics"); code != http.StatusOK || !strings.Contains(body, `contactsync_upstream_rows_total{result="unresolved"} 0`) {
		t.Errorf("/metrics: %d, without the series that must be there at start", code)
	}
	if code, body := get("/status"); code != http.StatusOK || body != "{\n  \"stream\": \"st-<1>\"\n}\n" {
		t.Errorf("/status: %d %q", code, body)
	}
	if code, _ := get("/debug/pprof/goroutine?debug=1"); code != http.StatusOK {
		t.Errorf("/debug/pprof/goroutine: %d", code)
	}
	if code, _ := get("/"); code != http.StatusNotFound {
		t.Errorf("/: %d", code)
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
	s, err := Listen(t.Context(), "127.0.0.1:0", deps)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Listen(t.Context(), s.Addr(), deps); err == nil || !strings.Contains(err.Error(), "admin.listen") {
		t.Fatalf("second listener on the port: %v", err)
	}
}
