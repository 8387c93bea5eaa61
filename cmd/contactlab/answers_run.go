package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// What keeps a request from being answered, where no stub can bring it about.
const (
	guardAccount = "account" // the batch names another account once
	guardStream  = "stream"  // the batch names no stream once
	guardToken   = "token"   // the token cannot be signed for a while
	guardDoor    = "door"    // the port is closed for a while
	guardSecret  = "secret"  // the secret is wrong for a while
	guardStop    = "stop"    // the service is stopped meanwhile
)

// answersRun is one run of the service against all stubs.
type answersRun struct {
	*ground
	cfg      config.Config
	bug      string
	log      *slog.Logger
	doors    []*door // one for each case
	canary   *door
	tamper   *tamper
	claim    *claim
	replicas []*replica
	manifest feed.Manifest
}

// took is what the service counted and the stub saw of one case.
type took struct {
	figures map[string]float64 // what the service's series rose by
	calls   []stub.Call        // in the order of arrival
	records []feed.Record      // of each contact the newest
	err     error              // why it did not come to its end
}

// newAnswersRun opens a stub for each case and starts the service.
func newAnswersRun(ctx context.Context, o proveOptions) (_ *answersRun, cases []played, err error) {
	r := &answersRun{bug: o.bug, tamper: newTamper(), claim: &claim{}}
	if r.log = o.log; r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.ground, err = newGround(3); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.canary, err = newDoor(stub.DefaultConfig()); err != nil {
		return nil, nil, err
	}
	if err := r.canary.open(); err != nil {
		return nil, nil, err
	}
	cases = answersPlayed(r.canary.url())
	if o.small {
		cases = firstOfEachRow(cases)
	}
	cases = slices.DeleteFunc(cases, func(p played) bool { return !strings.Contains(p.row, o.only) })
	r.cfg = r.settings()
	for i := range cases {
		if err := r.openFor(i, &cases[i]); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", cases[i].name, err)
		}
	}
	r.cfg.Upstream.SetDefaults()
	r.cfg.Upstream.Timeout = time.Second
	r.cfg.Consumer.FetchMaxWait, r.cfg.Consumer.CommitInterval = 20*time.Millisecond, 50*time.Millisecond
	r.cfg.Consumer.SessionTimeout, r.cfg.Consumer.HeartbeatInterval = 6*time.Second, 500*time.Millisecond
	r.cfg.Consumer.DrainTimeout = 300 * time.Millisecond // less than the API's time-out, so that a stop cuts a request off
	r.cfg.Batcher.Linger = 50 * time.Millisecond
	r.cfg.Batcher.BackoffMin, r.cfg.Batcher.AmbiguousRetryDelay = 60*time.Millisecond, 400*time.Millisecond
	return r, cases, r.start(ctx)
}

func firstOfEachRow(cases []played) []played {
	var few []played
	seen := map[string]bool{}
	for _, p := range cases {
		if !seen[p.row] {
			seen[p.row] = true
			few = append(few, p)
		}
	}
	return few
}

func streamOf(i int) string { return fmt.Sprintf("an-%02d", i) }

// openFor makes the stub and the account of a case.
func (r *answersRun) openFor(i int, p *played) error {
	api := stub.DefaultConfig()
	api.Scenario.Rules = p.rule()
	d, err := newDoor(api)
	if err != nil {
		return err
	}
	r.doors = append(r.doors, d)
	if p.guard != guardDoor {
		if err := d.open(); err != nil {
			return err
		}
	}
	a := r.account(streamOf(i), d.url(), 0, time.Second, streamOf(i))
	switch p.guard {
	case guardToken:
		a.Credentials.Claims = map[string]any{"lab": r.claim}
	case guardSecret:
		a.Credentials.ClientSecretFile = filepath.Join(r.dir, streamOf(i))
		if err := os.WriteFile(a.Credentials.ClientSecretFile, []byte(p.secret), 0o600); err != nil {
			return err
		}
	}
	r.cfg.Upstream.Accounts = append(r.cfg.Upstream.Accounts, a)
	return nil
}

func (r *answersRun) start(ctx context.Context) error {
	one, err := start(ctx, r.cfg, r.bug, r.log, r.tamper.wrap)
	if err == nil {
		r.replicas = append(r.replicas, one)
	}
	return err
}

func (r *answersRun) close() error {
	var errs []error
	for _, one := range r.replicas {
		errs = append(errs, one.halt())
	}
	for _, d := range append(r.doors, r.canary) {
		if d != nil {
			errs = append(errs, d.close())
		}
	}
	return errors.Join(append(errs, r.ground.close())...)
}

// figures are those of all replicas, one after the other.
func (r *answersRun) figures() map[string]float64 {
	sum := map[string]float64{}
	for _, one := range r.replicas {
		for name, v := range one.figures() {
			sum[name] += v
		}
	}
	return sum
}

func (r *answersRun) count(name string) float64 { return r.figures()[name] }

// play plays one case to its end. Nothing else goes on meanwhile, so what the
// service's counters rise by belongs to it.
func (r *answersRun) play(ctx context.Context, i int, p *played) (t took) {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errors.New("its events have not ended"))
	defer cancel()
	before := r.figures()
	door, stream := r.doors[i], streamOf(i)
	switch p.guard {
	case guardAccount:
		r.tamper.once(stream, func(b *contactsync.Batch) { b.Account = "nobody" })
	case guardStream:
		r.tamper.once(stream, func(b *contactsync.Batch) { b.Stream = "../x" })
	case guardToken:
		r.claim.broken.Store(true)
	}
	t.records, t.err = r.produce(ctx, stream, p, 1)
	risen := func(name string, n float64) func() bool {
		return func() bool { return r.count(name)-before[name] >= n }
	}
	then := func(until func() bool, do func() error) {
		if t.err == nil {
			t.err = errors.Join(waitFor(ctx, until), do())
		}
	}
	rounds := 1
	if p.newer {
		rounds++
		then(risen("upstream_requests_total{unavailable}", 1), func() (err error) {
			t.records, err = r.produce(ctx, stream, p, 2)
			return err
		})
	}
	switch p.guard {
	case guardToken:
		then(risen("batcher_rows_retried_total{unauthorized}", 2*float64(p.events)), func() error { r.claim.broken.Store(false); return nil })
	case guardDoor:
		then(risen("upstream_requests_total{unavailable}", 1), door.open)
	case guardSecret:
		file := filepath.Join(r.dir, stream)
		then(risen("upstream_requests_total{unauthorized}", 2), func() error { return os.WriteFile(file, []byte(stub.LabSecret), 0o600) })
	case guardStop:
		then(func() bool { return door.api.Stats().InFlight == 1 }, func() error {
			return errors.Join(r.replicas[len(r.replicas)-1].halt(), r.start(context.WithoutCancel(ctx)))
		})
	}
	if t.err == nil {
		t.err = waitFor(ctx, risen("batcher_events_completed_total", float64(p.events*rounds)))
	}
	t.figures = r.figures()
	for name, v := range before {
		t.figures[name] -= v
	}
	// What a call applied later is a call of its own in the stub's log, and none of the service's.
	t.calls = slices.DeleteFunc(door.api.Calls(), func(c stub.Call) bool { return c.Late && c.Received == c.Done })
	return t
}

func (r *answersRun) produce(ctx context.Context, stream string, p *played, seq int64) ([]feed.Record, error) {
	contacts, events := make([]feed.Contact, p.events), make([]feed.Event, p.events)
	for n := range p.events {
		class := feed.Update
		if p.reasons[n] != "" {
			class = feed.Rejected
		}
		contacts[n] = feed.Contact{Stream: stream, ID: p.contact(n)}
		events[n] = feed.NewUpdate(contacts[n], n, seq, class)
		events[n].Key = []byte(stream) // one partition, so that they are read together
	}
	m, err := feed.Put(ctx, r.broker.Addrs(), demoTopic, contacts, events)
	if err != nil {
		return nil, err
	}
	r.manifest.Append(m)
	return m.Records, nil
}

// waitFor asks until the answer is yes.
func waitFor(ctx context.Context, until func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !until() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// tamper changes batches on their way to the client that makes the requests, as
// only a defect of the service could.
type tamper struct {
	mu   sync.Mutex
	todo map[string]func(*contactsync.Batch) // by stream
}

func newTamper() *tamper { return &tamper{todo: map[string]func(*contactsync.Batch){}} }

func (t *tamper) once(stream string, change func(*contactsync.Batch)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.todo[stream] = change
}

func (t *tamper) wrap(next batcher.Sender) batcher.Sender { return tampered{next, t} }

type tampered struct {
	batcher.Sender
	t *tamper
}

func (s tampered) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	s.t.mu.Lock()
	change := s.t.todo[b.Stream]
	delete(s.t.todo, b.Stream)
	s.t.mu.Unlock()
	if change != nil {
		change(&b)
	}
	return s.Sender.Send(ctx, b)
}

// claim is a claim of a token that at times cannot be written. A file of
// credentials that turns bad would not do: the service keeps the former one.
type claim struct{ broken atomic.Bool }

func (c *claim) MarshalJSON() ([]byte, error) {
	if c.broken.Load() {
		return nil, errors.New("broken by the lab")
	}
	return json.Marshal("whole")
}
