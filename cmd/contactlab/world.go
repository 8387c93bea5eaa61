package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"contactsync/app"
	"contactsync/config"
	"contactsync/lab/broker"
	"contactsync/lab/plant"
	"contactsync/lab/stub"
	"contactsync/upstream"
)

const (
	demoTopic   = "contacts"
	demoLetters = "contacts-dead"
	demoGroup   = "contactsync-demo"
)

// world is everything that a run needs in one process: an embedded broker, the
// API's stand-in, and the service.
type world struct {
	broker *broker.Broker
	api    *stub.Server
	reg    *prometheus.Registry
	dir    string

	running sync.WaitGroup
	stop    context.CancelFunc
	mu      sync.Mutex
	err     error // why the service ended, guarded by mu
}

// newWorld starts the broker and the API.
func newWorld(partitions int32, api stub.Config) (*world, error) {
	w := &world{reg: prometheus.NewRegistry()}
	var err error
	if w.broker, err = broker.Start(broker.Options{Topics: map[string]int32{demoTopic: partitions, demoLetters: 1}}); err != nil {
		return nil, err
	}
	if w.api, err = stub.New(api); err == nil {
		err = w.api.Start("127.0.0.1:0")
	}
	if err == nil {
		w.dir, err = os.MkdirTemp("", "contactlab-")
	}
	if err == nil {
		err = os.WriteFile(w.secret(), []byte(stub.LabSecret), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *world) secret() string { return filepath.Join(w.dir, "client-secret") }

// settings are those of the service in this world; change may alter them.
func (w *world) settings(requests int, window time.Duration) config.Config {
	cfg := config.DefaultConfig()
	cfg.Kafka.Brokers = w.broker.Addrs()
	cfg.Consumer.Topics, cfg.Consumer.Group = []string{demoTopic}, demoGroup
	cfg.Consumer.FetchMaxWait = 100 * time.Millisecond
	cfg.Consumer.CommitInterval = 200 * time.Millisecond
	cfg.Batcher.BackoffMin, cfg.Batcher.BackoffMax = 100*time.Millisecond, time.Second
	cfg.Batcher.AmbiguityHold = 500 * time.Millisecond
	cfg.DeadLetter.Topic = demoLetters
	cfg.Admin.Listen = "127.0.0.1:0"
	cfg.Upstream.Breaker.Open = time.Second
	cfg.Upstream.Accounts = []upstream.Account{{
		ID: "demo", Host: w.api.URL(), AllowPlaintext: true, Streams: []string{"st-*"},
		Credentials: upstream.Credentials{ClientID: stub.LabAppID, ClientSecretFile: w.secret()},
		Budget:      upstream.Budget{Requests: &requests, Window: window},
	}}
	cfg.Upstream.SetDefaults()
	return cfg
}

// run starts the service, with a bug planted where one is named.
func (w *world) run(ctx context.Context, cfg config.Config, bug string, log *slog.Logger) error {
	o := app.Options{Version: "lab", Log: log, Registry: w.reg}
	if err := plant.Plant(bug, &o); err != nil {
		return err
	}
	if faults := cfg.Validate(); len(faults) > 0 {
		return fmt.Errorf("settings of the run: %v", faults)
	}
	service, err := app.New(ctx, cfg, o)
	if err != nil {
		return err
	}
	ctx, w.stop = context.WithCancel(ctx)
	w.running.Go(func() {
		err := service.Run(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
	})
	return nil
}

// halt stops the service in order and returns why it ended.
func (w *world) halt() error {
	if w.stop == nil {
		return nil
	}
	w.stop()
	w.running.Wait()
	return w.failed()
}

// failed is why the service ended, or nil while it runs.
func (w *world) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// drained reports whether everything that was produced is committed.
func (w *world) drained(ctx context.Context) (bool, error) {
	ends, err := broker.EndOffsets(ctx, w.broker.Addrs(), demoTopic)
	if err != nil {
		return false, err
	}
	committed, err := broker.Committed(ctx, w.broker.Addrs(), demoGroup)
	if err != nil {
		return false, err
	}
	for p, end := range ends {
		if committed[p] < end {
			return false, nil
		}
	}
	return true, nil
}

func (w *world) close() error {
	var errs []error
	if w.api != nil {
		errs = append(errs, w.api.Close())
	}
	w.broker.Close()
	if w.dir != "" {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// figures are the service's own series, summed over their labels or looked up by
// one of them as name{value}.
func (w *world) figures() map[string]float64 {
	families, err := w.reg.Gather()
	if err != nil {
		return nil
	}
	got := map[string]float64{}
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), "contactsync_")
		for _, m := range f.GetMetric() {
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
			got[name] += v
			for _, l := range m.GetLabel() {
				got[name+"{"+l.GetValue()+"}"] += v
			}
		}
	}
	return got
}
