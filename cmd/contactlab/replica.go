package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/loopback"
	"github.com/contactsync/contactsync/internal/lab/plant"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// replica is one running service, with counters of its own.
type replica struct {
	reg     *prometheus.Registry
	stop    context.CancelFunc
	running sync.WaitGroup

	mu  sync.Mutex
	err error // why the service ended, guarded by mu
}

// start starts the service, with a bug planted where one is named. A sender may
// be put around the service's own; the bug lies outside of it.
func start(ctx context.Context, cfg config.Config, bug string, log *slog.Logger, wrap func(batcher.Sender) batcher.Sender) (*replica, error) {
	r := &replica{reg: prometheus.NewRegistry()}
	o := app.Options{Version: "lab", Log: log, Registry: r.reg}
	if err := plant.Plant(bug, &o); err != nil {
		return nil, err
	}
	if planted := o.WrapSender; wrap != nil {
		o.WrapSender = func(s batcher.Sender) batcher.Sender {
			if planted == nil {
				return wrap(s)
			}
			return planted(wrap(s))
		}
	}
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, fmt.Errorf("settings of the run: %v", faults)
	}
	service, err := app.New(ctx, cfg, o)
	if err != nil {
		return nil, err
	}
	ctx, r.stop = context.WithCancel(ctx)
	r.running.Go(func() {
		err := service.Run(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	})
	return r, nil
}

// halt stops the service in order and returns why it ended. nil is a service that never ran.
func (r *replica) halt() error {
	if r == nil {
		return nil
	}
	r.stop()
	r.running.Wait()
	return r.failed()
}

// failed is why the service ended, or nil while it runs.
func (r *replica) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// figures are the service's own series, summed over their labels or looked up by
// one of them as name{value}.
func (r *replica) figures() map[string]float64 {
	families, err := r.reg.Gather()
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

// door is a stub behind a listener that can be shut and opened again at the same
// address, as the host of an API that goes away and comes back.
type door struct {
	api  *stub.Server
	addr string

	srv     *http.Server
	serving sync.WaitGroup
}

// newDoor takes an address and leaves the door shut.
func newDoor(cfg stub.Config) (*door, error) {
	api, err := stub.New(cfg)
	if err != nil {
		return nil, err
	}
	addrs, err := loopback.Free(context.Background(), 1)
	if err != nil {
		return nil, errors.Join(err, api.Close())
	}
	return &door{api: api, addr: addrs[0]}, nil
}

func (d *door) open() error {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", d.addr)
	if err != nil {
		return fmt.Errorf("open the API at %s: %w", d.addr, err)
	}
	srv := &http.Server{Handler: d.api.Handler(), ReadHeaderTimeout: 10 * time.Second}
	d.srv = srv
	d.serving.Go(func() { _ = srv.Serve(ln) }) // it ends when the door is shut
	return nil
}

// shut cuts off what is at work: whoever calls now is refused the connection.
func (d *door) shut() {
	if d.srv != nil {
		_ = d.srv.Close() // nobody is told: that is the fault
		d.serving.Wait()
		d.srv = nil
	}
}

func (d *door) url() string { return "http://" + d.addr }

func (d *door) close() error {
	d.shut()
	return d.api.Close()
}
