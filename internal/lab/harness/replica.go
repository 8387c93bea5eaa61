package harness

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/metrics"
)

// Replica is one running service, with counters of its own.
type Replica struct {
	Addr string // of its admin pages

	reg     *prometheus.Registry
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu  sync.Mutex
	err error // why the service ended, guarded by mu
}

func (r *Replica) run(ctx context.Context, service *app.App) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.running.Go(func() {
		err := service.Run(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	})
}

// Stop stops the service in order and returns why it ended. It may be called again.
func (r *Replica) Stop() error {
	r.cancel()
	r.running.Wait()
	return r.Err()
}

// Err is why the service ended; nil while it runs, and after a stop in order.
func (r *Replica) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Series are the values of time series at one moment: by name without the prefix
// "contactsync_", and by name{value} for each value of a label. Either is a sum
// over the labels that it does not name.
type Series map[string]float64

// Value returns one value. It panics where the service has no such series or
// label value, because zero would pass for an answer.
func (s Series) Value(name string) float64 {
	base, value, labeled := strings.Cut(strings.TrimSuffix(name, "}"), "{")
	i := slices.IndexFunc(described(), func(d metrics.Series) bool { return d.Name == metrics.Namespace+"_"+base })
	if i < 0 || labeled && !slices.ContainsFunc(described()[i].Labels, func(l metrics.Label) bool {
		return l.Values == nil || slices.Contains(l.Values, value)
	}) {
		panic("BUG: the service has no series " + name)
	}
	return s[name]
}

var described = sync.OnceValue(metrics.Describe)

// Series returns the service's own series.
func (r *Replica) Series() Series {
	families, err := r.reg.Gather()
	if err != nil {
		return nil
	}
	got := Series{}
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), metrics.Namespace+"_")
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
