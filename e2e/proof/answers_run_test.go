//go:build proof

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// answersRun is one run of the service with a stub for each case.
type answersRun struct {
	lab

	o       options
	cases   []answerCase
	apis    []*stub.Server
	secrets []string // file of each case's own secret, where it has one
	canary  *stub.Server
	tamper  tamperer
	claim   *claim
	replica *harness.Replica // that runs now
}

// observed is what the service counted and the stub saw of one case.
type observed struct {
	rise    harness.Series // what the service's series rose by
	calls   []stub.Call    // in the order of arrival
	records []feed.Record  // the newest of each contact
	err     error          // why the case did not come to its end
}

func newAnswersRun(t *testing.T, o options) *answersRun {
	r := &answersRun{lab: newLab(t, 3), o: o, claim: &claim{}, tamper: tamperer{todo: map[string]func(*contactsync.Batch){}}}
	r.canary = r.api(stub.DefaultConfig())
	r.cases = answerCases(r.canary.URL())
	if o.small {
		r.cases = firstOfEachCondition(r.cases)
	}
	r.cases = slices.DeleteFunc(r.cases, func(c answerCase) bool { return !strings.Contains(c.condition, o.only) })
	r.secrets = make([]string, len(r.cases))
	for i := range r.cases {
		r.serve(i)
	}
	cfg := &r.Config
	cfg.Upstream.Timeout = time.Second
	cfg.Consumer.FetchMaxWait, cfg.Consumer.CommitInterval = 20*time.Millisecond, 50*time.Millisecond
	cfg.Consumer.SessionTimeout, cfg.Consumer.HeartbeatInterval = 6*time.Second, 500*time.Millisecond
	cfg.Consumer.DrainTimeout = 300 * time.Millisecond // less than the API's time-out, so that a stop cuts a request off
	cfg.Batcher.Linger = 50 * time.Millisecond
	cfg.Batcher.BackoffMin, cfg.Batcher.AmbiguousRetryDelay = 60*time.Millisecond, 1200*time.Millisecond // in which newer events come, on a busy machine too
	r.replica = r.start(o, r.tamper.wrap)
	return r
}

func firstOfEachCondition(cases []answerCase) []answerCase {
	var few []answerCase
	seen := map[string]bool{}
	for _, c := range cases {
		if !seen[c.condition] {
			seen[c.condition] = true
			few = append(few, c)
		}
	}
	return few
}

func answerStream(i int) string { return fmt.Sprintf("an-%02d", i) }

// serve sets up the stub and the account of a case.
func (r *answersRun) serve(i int) {
	c, stream := &r.cases[i], answerStream(i)
	cfg := stub.DefaultConfig()
	cfg.Scenario.Rules = c.rules()
	api := r.api(cfg)
	r.apis = append(r.apis, api)
	a := r.Account(stream, api, 0, time.Second, stream)
	switch c.guard {
	case guardPort:
		api.Suspend()
	case guardToken:
		a.Credentials.Claims = map[string]any{"lab": r.claim}
	case guardSecret:
		var err error
		r.secrets[i], err = r.Secret(stream, c.secret)
		must(r.t, err)
		a.Credentials.ClientSecretFile = r.secrets[i]
	}
	r.Config.Upstream.Accounts = append(r.Config.Upstream.Accounts, a)
}

// play plays one case to its end. Nothing else goes on meanwhile, so whatever the
// service counts belongs to it.
func (r *answersRun) play(ctx context.Context, i int) (got observed) {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errors.New("its events have not ended"))
	defer cancel()
	before := r.Series()
	c, api, stream := &r.cases[i], r.apis[i], answerStream(i)
	switch c.guard {
	case guardAccount:
		r.tamper.once(stream, func(b *contactsync.Batch) { b.Account = "nobody" })
	case guardStream:
		r.tamper.once(stream, func(b *contactsync.Batch) { b.Stream = "../x" })
	case guardToken:
		r.claim.broken.Store(true)
	}
	got.records, got.err = r.produce(ctx, stream, c, 1)
	rose := func(name string, n float64) func() bool {
		return func() bool { return r.Series().Value(name)-before.Value(name) >= n }
	}
	then := func(until func() bool, do func() error) {
		if got.err == nil {
			got.err = errors.Join(harness.Wait(ctx, until), do())
		}
	}
	rounds := 1
	if c.newer {
		rounds++
		then(rose("upstream_requests_total{unavailable}", 1), func() (err error) {
			got.records, err = r.produce(ctx, stream, c, 2)
			return err
		})
	}
	switch c.guard {
	case guardToken:
		then(rose("batcher_rows_retried_total{unauthorized}", 2*float64(c.events)), func() error { r.claim.broken.Store(false); return nil })
	case guardPort:
		then(rose("upstream_requests_total{unavailable}", 1), api.Resume)
	case guardSecret:
		then(rose("upstream_requests_total{unauthorized}", 2), func() error {
			return os.WriteFile(r.secrets[i], []byte(stub.LabSecret), 0o600)
		})
	case guardStop:
		then(func() bool { return api.Stats().InFlight == 1 }, func() error {
			err := r.replica.Stop()
			r.replica = r.start(r.o, r.tamper.wrap)
			return err
		})
	}
	if got.err == nil {
		got.err = harness.Wait(ctx, rose("batcher_events_completed_total", float64(c.events*rounds)))
	}
	got.rise = r.Series()
	for name, v := range before {
		got.rise[name] -= v
	}
	// Rows that a call applied after its answer are a call of their own in the stub's log.
	got.calls = slices.DeleteFunc(api.Calls(), func(call stub.Call) bool { return call.Late && call.Received == call.Done })
	return got
}

func (r *answersRun) produce(ctx context.Context, stream string, c *answerCase, seq int64) ([]feed.Record, error) {
	contacts, events := make([]feed.Contact, c.events), make([]feed.Event, c.events)
	for n := range c.events {
		class := feed.Update
		if c.deadLetters[n] != "" {
			class = feed.Rejected
		}
		contacts[n] = feed.Contact{Stream: stream, ID: c.contact(n)}
		events[n] = feed.NewUpdate(contacts[n], n, seq, class)
		events[n].Key = []byte(stream) // one partition, so that they are read together
	}
	m, err := r.Put(ctx, contacts, events)
	if err != nil {
		return nil, err
	}
	return m.Records, nil
}

// verify has the checker judge the whole run. It returns the reasons of the dead
// letters as well.
func (r *answersRun) verify(ctx context.Context, all []observed) (check.Report, map[contactsync.Position]contactsync.Reason) {
	draining, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = r.Drain(draining) // the checker finds what is not committed
	in, err := r.Input(ctx)
	must(r.t, err)
	in.Reasons = map[contactsync.Position]contactsync.Reason{}
	for i, got := range all {
		for n, rec := range got.records {
			if reason := r.cases[i].deadLetters[n]; reason != "" {
				in.Reasons[r.Manifest.Position(&rec)] = reason
			}
		}
		in.MaxDuplicates += r.cases[i].duplicates
	}
	reasons := map[contactsync.Position]contactsync.Reason{}
	for _, l := range in.DeadLetters {
		reasons[l.At] = l.Reason
	}
	return check.Run(in), reasons
}

// tamperer changes batches between the batcher and the client that makes the
// requests, as only a defect of the service could.
type tamperer struct {
	mu   sync.Mutex
	todo map[string]func(*contactsync.Batch) // by stream
}

func (t *tamperer) once(stream string, change func(*contactsync.Batch)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.todo[stream] = change
}

func (t *tamperer) wrap(next batcher.Sender) batcher.Sender { return tampered{next, t} }

type tampered struct {
	batcher.Sender
	t *tamperer
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

// claim is a claim of a token that cannot be encoded while it is broken. Broken
// credentials in a file would not do: the service keeps the former ones.
type claim struct{ broken atomic.Bool }

func (c *claim) MarshalJSON() ([]byte, error) {
	if c.broken.Load() {
		return nil, errors.New("broken by the lab")
	}
	return json.Marshal("whole")
}
