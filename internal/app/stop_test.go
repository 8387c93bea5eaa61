package app_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// slowLab has a request with a good and a bad row in flight when it returns. Its API
// takes half a second for an answer.
func slowLab(t *testing.T) (*lab, *harness.Replica) {
	t.Helper()
	l := newLab(t)
	l.Config.Batcher.RowAttempts = 1
	if err := l.api.Put(stub.Rule{Name: "slow", Answer: &stub.Answer{Latency: 500 * time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	l.put(
		event{stream: "st-1", id: "good", seq: 1, key: "k"},
		event{stream: "st-1", id: "bad-1", seq: 1, key: "k", class: feed.Rejected},
	)
	replica := l.start()
	l.until("a request to be in flight", func() bool { return l.api.Stats().InFlight > 0 })
	return l, replica
}

// TestService_StopFinishesWhatIsInFlight: what the API applies is committed, what it
// rejects is in the dead-letter topic, and the pages answer until the end.
func TestService_StopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	l, replica := slowLab(t)
	stopped := make(chan error, 1)
	go func() { stopped <- replica.Stop() }()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	l.until("/readyz to fail while the request is in flight", func() bool {
		res, err := client.Get("http://" + replica.Addr + "/readyz")
		if err != nil {
			t.Fatal("the pages are gone before the request in flight:", err)
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusServiceUnavailable
	})
	if l.api.Stats().InFlight == 0 {
		t.Error("/readyz failed only when nothing was in flight any more")
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if n := l.uncommitted(); n != 0 {
		t.Errorf("%d events are not committed after a stop in order", n)
	}
	report := l.verify(map[contactsync.Position]contactsync.Reason{})
	if st := l.api.Stats(); report.DeadLetters != 1 || st.Calls != 1 {
		t.Errorf("%d dead letters after %d calls, want one each", report.DeadLetters, st.Calls)
	}
}

// TestService_StopIsForcedAfterItsTimeout: a stop takes no longer than configured, and
// the next owner delivers what was given up.
func TestService_StopIsForcedAfterItsTimeout(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if err := l.api.Put(stub.Rule{Name: "silent", Answer: &stub.Answer{Fault: stub.NoAnswer}}); err != nil {
		t.Fatal(err)
	}
	l.put(event{stream: "st-1", id: "a", seq: 1})
	cfg := l.Config
	cfg.Shutdown.Timeout, cfg.Consumer.DrainTimeout = 100*time.Millisecond, 500*time.Millisecond
	cfg.Upstream.SetDefaults()
	service, err := app.New(t.Context(), cfg, app.Options{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- service.Run(ctx) }()
	l.until("a request to be in flight", func() bool { return l.api.Stats().InFlight > 0 })
	stop()
	if err := <-ran; !errors.Is(err, app.ErrForced) {
		t.Errorf("the stop returned %v", err)
	}
	l.api.Turn("silent", false)
	l.start()
	l.drain()
	l.stop()
	l.verify(nil)
}
