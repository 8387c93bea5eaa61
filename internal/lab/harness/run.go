package harness

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/loopback"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// Run is one run of the service: the topics and the group that it uses on some
// Kafka, the APIs that it calls, and what was produced for it.
type Run struct {
	Brokers     []string
	Topic       string
	DeadLetters string // topic
	Group       string

	APIs []API
	// Manifest is everything that Produce and Put have written. It must not be read
	// while one of them is at work.
	Manifest feed.Manifest

	mu sync.Mutex // guards Manifest
}

// API is a model of the vendor's API on an address of its own: a stub.Server or a Vendor.
type API interface {
	check.API
	URL() string
	Close() error
}

// AddAPI starts a stub. Its address is one that no other process takes while the
// stub is suspended.
func (r *Run) AddAPI(cfg stub.Config) (*stub.Server, error) {
	api, err := stub.New(cfg)
	if err != nil {
		return nil, err
	}
	addrs, err := loopback.Free(context.Background(), 1)
	if err == nil {
		err = api.Start(addrs[0])
	}
	if err != nil {
		return nil, errors.Join(err, api.Close())
	}
	r.APIs = append(r.APIs, api)
	return api, nil
}

// CloseAPIs closes the stubs. Their counters and logs stay readable.
func (r *Run) CloseAPIs() error {
	var errs []error
	for _, api := range r.APIs {
		errs = append(errs, api.Close())
	}
	return errors.Join(errs...)
}

// Produce writes generated events to the run's topic and returns them.
func (r *Run) Produce(ctx context.Context, cfg feed.Config) (*feed.Manifest, error) {
	cfg.Topic = r.Topic
	m, err := feed.Produce(ctx, r.Brokers, cfg, nil)
	if err != nil {
		return nil, err
	}
	r.append(m)
	return m, nil
}

// ProduceInBackground is Produce in a goroutine; the channel takes its error at the end.
func (r *Run) ProduceInBackground(ctx context.Context, cfg feed.Config) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := r.Produce(ctx, cfg)
		done <- err
	}()
	return done
}

// Put writes events of the caller's own to the run's topic.
func (r *Run) Put(ctx context.Context, contacts []feed.Contact, events []feed.Event) (*feed.Manifest, error) {
	m, err := feed.Put(ctx, r.Brokers, r.Topic, contacts, events)
	if err != nil {
		return nil, err
	}
	r.append(m)
	return m, nil
}

func (r *Run) append(m *feed.Manifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Manifest.Append(m)
}

// Uncommitted counts the offsets of the topic that the group has not committed.
func (r *Run) Uncommitted(ctx context.Context) (int64, error) {
	ends, err := broker.EndOffsets(ctx, r.Brokers, r.Topic)
	if err != nil {
		return 0, err
	}
	committed, err := broker.Committed(ctx, r.Brokers, r.Group)
	if err != nil {
		return 0, err
	}
	n := int64(0)
	for p, end := range ends {
		n += max(0, end-committed[p])
	}
	return n, nil
}

// Input collects what is known of the run. The committed offsets are read first:
// while the service runs, what is read after them can only be more.
func (r *Run) Input(ctx context.Context) (check.Input, error) {
	var apis []check.API
	in := check.Input{Manifest: &r.Manifest}
	if err := in.Kafka(ctx, r.Brokers, r.Group, r.DeadLetters); err != nil {
		return check.Input{}, err
	}
	for _, api := range r.APIs {
		apis = append(apis, api)
	}
	in.APIs(apis...)
	return in, nil
}

// Wait returns when ok does, or the cause of ctx when that ends first. It asks
// every five milliseconds.
func Wait(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
