package app_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// slowLab has a request with a good row in flight when it returns, and one with a bad row beside one.
// Its API takes half a second for an answer.
func slowLab(t *testing.T) (*lab, *harness.Replica) {
	t.Helper()
	l := newLab(t)
	l.Config.Batcher.RowAttempts = 1
	if err := l.api.Put(stub.Rule{Name: "slow", Answer: &stub.Answer{Latency: 500 * time.Millisecond}, Rows: &stub.Rows{Fail: []string{"bad-*"}, ReasonAs: "none"}}); err != nil {
		t.Fatal(err)
	}
	l.put(
		event{stream: "st-1", id: "good", seq: 1, key: "k"},
		event{stream: "st-2", id: "fine", seq: 1, key: "k"},
		event{stream: "st-2", id: "bad-1", seq: 1, key: "k", class: feed.Rejected},
	)
	replica := l.start()
	l.until("both requests to be in flight", func() bool { return l.api.Stats().InFlight == 2 })
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
	if st := l.api.Stats(); report.DeadLetters != 1 || st.Calls != 2 {
		t.Errorf("%d dead letters after %d calls, want 1 after 2", report.DeadLetters, st.Calls)
	}
}

// run runs a service whose settings need not be valid, until ctx ends.
func (l *lab) run(ctx context.Context, cfg config.Config, o app.Options) (addr string, ran <-chan error) {
	l.t.Helper()
	cfg.Upstream.SetDefaults()
	o.Log, o.Registry = slog.New(slog.NewTextHandler(&l.log, nil)), prometheus.NewRegistry()
	service, err := app.New(ctx, cfg, o)
	if err != nil {
		l.t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- service.Run(ctx) }()
	return service.Addr(), end
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
	cfg.Shutdown.Timeout = 100 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	_, ran := l.run(ctx, cfg, app.Options{})
	l.until("a request to be in flight", func() bool { return l.api.Stats().InFlight > 0 })
	start := time.Now()
	stop()
	if err := <-ran; !errors.Is(err, app.ErrForced) {
		t.Errorf("the stop returned %v", err)
	}
	if took := time.Since(start); took >= cfg.Consumer.DrainTimeout {
		t.Errorf("the stop took %v although its time-out is %v", took, cfg.Shutdown.Timeout)
	}
	l.api.Turn("silent", false)
	l.start()
	l.drain()
	l.stop()
	l.verify(nil)
}

// TestService_PartThatFailsStopsIt: the service ends with the error of that part, also
// if the stop fails then.
func TestService_PartThatFailsStopsIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cfg := l.Config
	cfg.Consumer.Topics = []string{"missing"}
	patient, hasty := cfg, cfg
	hasty.Shutdown.Timeout = time.Nanosecond
	_, first := l.run(t.Context(), patient, app.Options{})
	_, second := l.run(t.Context(), hasty, app.Options{})
	for range 2 {
		var err error
		select {
		case err = <-first:
		case err = <-second:
		case <-time.After(20 * time.Second):
			t.Fatal("runs on without its consumer")
		}
		if !errors.Is(err, kafka.ErrNoTopic) {
			t.Errorf("ended with %v", err)
		}
	}
}

func TestNew_ReportsWhatPreventsTheStart(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	replica := l.start()
	for want, change := range map[string]func(*config.Config){
		"admin.listen":            func(c *config.Config) { c.Admin.Listen = replica.Addr },
		"accounts[0].credentials": func(c *config.Config) { c.Upstream.Accounts[0].Credentials.ClientSecretFile = "/missing" },
		"event setting format":    func(c *config.Config) { c.Event.Format = "xml" },
	} {
		cfg := l.Config
		cfg.Upstream.Accounts = slices.Clone(cfg.Upstream.Accounts)
		change(&cfg)
		_, err := app.New(t.Context(), cfg, app.Options{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	l.stop()
}
