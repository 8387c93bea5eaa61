package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/metrics"
	"github.com/contactsync/contactsync/upstream"
)

// The names that the settings of the lab use.
const (
	Topic       = "contacts"
	DeadLetters = "contacts-dead"
	Group       = "contactsync-lab"
)

// Lab is a run on an embedded broker, with replicas of the service in this process.
type Lab struct {
	Run
	// Config is what replicas are started with from now on. Its waits are short; it
	// has no account.
	Config config.Config

	broker   *broker.Broker
	dir      string
	replicas []*Replica
}

// New starts a broker with the topics. The topic for dead letters has one partition.
func New(partitions int32) (*Lab, error) {
	b, err := broker.Start(broker.Options{Topics: map[string]int32{Topic: partitions, DeadLetters: 1}})
	if err != nil {
		return nil, err
	}
	l := &Lab{Run: Run{Brokers: b.Addrs(), Topic: Topic, DeadLetters: DeadLetters, Group: Group}, broker: b}
	if l.dir, err = os.MkdirTemp("", "contactlab-"); err == nil {
		_, err = l.Secret("client-secret", stub.LabSecret)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	cfg := config.DefaultConfig()
	cfg.Kafka.Brokers = l.Brokers
	cfg.Consumer.Topics, cfg.Consumer.Group = []string{Topic}, Group
	cfg.Consumer.FetchMaxWait, cfg.Consumer.CommitInterval = 100*time.Millisecond, 200*time.Millisecond
	cfg.Batcher.MaxInFlight = batcher.LeastInFlight // RateLimit counts on it
	cfg.Batcher.BackoffMin, cfg.Batcher.BackoffMax = 100*time.Millisecond, time.Second
	cfg.Batcher.AmbiguousRetryDelay = 500 * time.Millisecond
	cfg.DeadLetter.Topic = DeadLetters
	cfg.Admin.Listen = "127.0.0.1:0"
	cfg.Upstream.Breaker.Open = time.Second
	l.Config = cfg
	return l, nil
}

// PutRaw has a partition of the topic hold bytes as its next batch, as of a broker that checks nothing.
func (l *Lab) PutRaw(ctx context.Context, partition int32, batch func(offset int64) []byte) error {
	return l.broker.PutRaw(ctx, contactsync.TopicPartition{Topic: l.Topic, Partition: partition}, batch)
}

// RefuseCommits has the broker refuse every commit from now on, with an error code of Kafka.
func (l *Lab) RefuseCommits(code int16) { l.broker.RefuseCommits(code) }

// Close stops the replicas, closes the stubs and the broker, and removes the secrets.
func (l *Lab) Close() error {
	err := errors.Join(l.Stop(), l.CloseAPIs())
	l.broker.Close()
	return errors.Join(err, os.RemoveAll(l.dir))
}

// Secret writes a file with a secret, or replaces it, and returns its path.
func (l *Lab) Secret(name, text string) (string, error) {
	path := filepath.Join(l.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// Account returns an account of the API with the lab's credentials, for
// Config.Upstream.Accounts. 0 requests are no limit.
func (l *Lab) Account(id string, api API, requests int, window time.Duration, streams ...string) upstream.Account {
	return upstream.Account{
		ID: id, Host: api.URL(), AllowPlaintext: true, Streams: streams,
		Credentials: upstream.Credentials{ClientID: stub.LabAppID, ClientSecretFile: filepath.Join(l.dir, "client-secret")},
		Budget:      upstream.Budget{Requests: &requests, Window: window},
	}
}

// RateLimit is how many calls an API must accept in a window from replicas that
// together may start that many requests in it: on a busy machine, requests that
// were started in the window before arrive together with them.
func RateLimit(requests, replicas int) int {
	return requests + replicas*batcher.LeastInFlight
}

// Start starts a replica, which runs until it is stopped or ctx ends. Without a
// logger its log is discarded.
func (l *Lab) Start(ctx context.Context, o app.Options) (*Replica, error) {
	l.Config.Upstream.SetDefaults()
	if wrong := l.Config.Validate(); len(wrong) > 0 {
		return nil, fmt.Errorf("settings of the lab: %v", wrong)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Replica{reg: prometheus.NewRegistry()}
	// Replicas share a process here. Alerts ask when each has started.
	started := prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_start_time_seconds", Help: "When the replica was started."})
	started.SetToCurrentTime()
	r.reg.MustRegister(started)
	metrics.RegisterBuildInfo(r.reg, "lab", "", runtime.Version())
	o.Version, o.Registry = "lab", r.reg
	service, err := app.New(ctx, l.Config, o)
	if err != nil {
		return nil, err
	}
	r.Addr = service.Addr()
	r.run(ctx, service)
	l.replicas = append(l.replicas, r)
	return r, nil
}

// Stop stops all replicas and returns why they ended.
func (l *Lab) Stop() error {
	var errs []error
	for _, r := range l.replicas {
		errs = append(errs, r.Stop())
	}
	return errors.Join(errs...)
}

// Err returns why replicas have ended, and nil while all run.
func (l *Lab) Err() error {
	var errs []error
	for _, r := range l.replicas {
		errs = append(errs, r.Err())
	}
	return errors.Join(errs...)
}

// Series returns the series of all replicas, ended ones included, added up.
func (l *Lab) Series() Series {
	sum := Series{}
	for _, r := range l.replicas {
		for name, v := range r.Series() {
			sum[name] += v
		}
	}
	return sum
}

// Drain waits until everything that was produced is committed.
func (l *Lab) Drain(ctx context.Context) error {
	err := Wait(ctx, func() bool {
		n, err := l.Uncommitted(ctx)
		return err == nil && n == 0 || l.Err() != nil
	})
	return errors.Join(err, l.Err())
}
