//go:build proof

package proof

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

// phase is a part of the outage.
type phase struct {
	name     string
	duration time.Duration
	answer   *stub.Answer // nil: the port is closed
	kind     contactsync.Kind
	breaker  bool // it opens the circuit breaker, so that calls are few
}

// phases are an hour without the API, and ten minutes in which it refuses the
// credentials, for an hour of the given length.
func phases(hour time.Duration) []phase {
	return []phase{
		{"15 min of 503 with HTML", hour / 4, &stub.Answer{Status: 503, Body: stub.HTML}, contactsync.Unavailable, true},
		{"15 min of closed port", hour / 4, nil, contactsync.Unavailable, true},
		{"15 min of silence", hour / 4, &stub.Answer{Fault: stub.NoAnswer}, contactsync.Unavailable, true},
		{"15 min of 502", hour / 4, &stub.Answer{Status: 502}, contactsync.Unavailable, true},
		{"10 min of 401", hour / 6, &stub.Answer{Status: 401}, contactsync.Unauthorized, false},
	}
}

const outagePartitions = 6

// outageRun is two replicas that share a group, and one API.
type outageRun struct {
	lab

	hour       time.Duration
	host       host
	replicas   []*harness.Replica
	unanswered unanswered
	small      bool    // so short that a busy machine shows: how long things take is not judged
	most       float64 // bytes that a window held at most
	full       bool    // a window was full at some time, so that fetching paused
}

// scaleDown scales every wait of the service as the hour is scaled, as far as the
// settings allow.
func scaleDown(cfg *config.Config, hour time.Duration) {
	scaled := func(d, least time.Duration) time.Duration {
		return max(least, time.Duration(float64(d)*hour.Seconds()/time.Hour.Seconds()))
	}
	u, b, c := &cfg.Upstream, &cfg.Batcher, &cfg.Consumer
	u.Timeout = scaled(30*time.Second, 400*time.Millisecond) // an API in the same process is slow when the machine is
	u.Breaker.Open = scaled(15*time.Second, 100*time.Millisecond)
	u.Breaker.Interval = max(scaled(time.Minute, 0), 2*u.Timeout)
	b.BackoffMin, b.BackoffMax = scaled(500*time.Millisecond, time.Millisecond), scaled(time.Minute, 100*time.Millisecond)
	b.HoldProbeMax = scaled(10*time.Minute, 100*time.Millisecond)
	b.AmbiguousRetryDelay, b.Linger = scaled(5*time.Second, 10*time.Millisecond), 20*time.Millisecond
	// A window that the outage fills: fetching must pause, and heartbeats must not.
	cfg.Event.MaxEventBytes, b.MaxBytes, b.WindowBytes = 4<<10, 64<<10, 256<<10
	c.FetchMinBytes, c.FetchMaxBytes, c.FetchMaxWait = 4<<10, 16<<10, 50*time.Millisecond
	// Shorter than the outage, so that the partitions are lost if heartbeats stop for it.
	c.SessionTimeout = max(1500*time.Millisecond, hour/4)
	c.RebalanceTimeout, c.HeartbeatInterval, c.DrainTimeout = c.SessionTimeout, c.SessionTimeout/10, c.SessionTimeout/3
}

func newOutageRun(ctx context.Context, t *testing.T, o options) *outageRun {
	r := &outageRun{
		lab: newLab(t, outagePartitions), hour: 12 * time.Second, small: o.small,
		unanswered: unanswered{requests: map[string]int{}},
	}
	if r.small {
		r.hour = 3 * time.Second
	}
	const calls = 300 // a second: the vendor's 60 a minute, where an hour lasts 12 s
	if o.api == vendorAPI {
		r.host = r.vendor(vendorOutage(r.hour, calls))
	} else {
		r.host = r.api(stubOutage(r.hour, calls))
	}
	r.Config.Upstream.Accounts = append(r.Config.Upstream.Accounts, r.Account("lab", r.host, calls, time.Second, "st-*"))
	scaleDown(&r.Config, r.hour)
	if r.small { // a stall of the machine must not look like a replica that died
		c := &r.Config.Consumer
		c.SessionTimeout, c.RebalanceTimeout, c.DrainTimeout = 30*time.Second, 30*time.Second, 10*time.Second
	}
	if o.change != nil {
		o.change(&r.Config)
	}
	for range 2 {
		r.replicas = append(r.replicas, r.start(o, r.unanswered.wrap))
	}
	must(t, harness.Wait(ctx, func() bool {
		for _, one := range r.replicas {
			if one.Series().Value("consumer_assigned_partitions") != outagePartitions/2 {
				return false
			}
		}
		return true
	}))
	return r
}

// stubOutage is the first model with a rule for each phase, off.
func stubOutage(hour time.Duration, calls int) stub.Config {
	api := stub.DefaultConfig()
	api.RateLimit, api.RateWindow = harness.RateLimit(calls, 2), time.Second
	api.Latency, api.Jitter = 5*time.Millisecond, 5*time.Millisecond
	for _, p := range phases(hour) {
		if p.answer != nil {
			api.Scenario.Rules = append(api.Scenario.Rules, stub.Rule{Name: p.name, Off: true, Answer: p.answer})
		}
	}
	return api
}

// vendorOutage is the second model with the same. What it answers in an outage it says at
// the door, in words of its own.
func vendorOutage(hour time.Duration, calls int) vendorapi.Config {
	api := vendorapi.Config{
		Accounts: []vendorapi.Account{harness.VendorAccount("lab")},
		Budget:   vendorapi.Budget{Requests: harness.RateLimit(calls, 2), Window: time.Second, FreeIfOver: true},
		Latency:  7 * time.Millisecond,
	}
	for _, p := range phases(hour) {
		if p.answer == nil {
			continue
		}
		rule := vendorapi.Rule{Name: p.name, Off: true, Do: vendorapi.Answer, Status: p.answer.Status}
		switch {
		case p.answer.Fault == stub.NoAnswer:
			rule.Do = vendorapi.Hang
		case p.answer.Body == stub.HTML:
			rule.Kind, rule.Body = "text/html", "<html><head><title>Service Unavailable</title></head></html>"
		default:
			rule.Body = fmt.Sprintf(`{"errors":[{"msg":%q,"code":%d}]}`, http.StatusText(rule.Status), rule.Status)
		}
		api.Rules = append(api.Rules, rule)
	}
	return api
}

// sum is a series of both replicas together.
func (r *outageRun) sum(name string) float64 { return r.Series().Value(name) }

// watch waits for a time and records how full the windows are.
func (r *outageRun) watch(ctx context.Context, d time.Duration) {
	r.t.Helper()
	end := time.Now().Add(d)
	err := harness.Wait(ctx, func() bool {
		for _, one := range r.replicas {
			s := one.Series()
			r.most = max(r.most, s.Value("batcher_window_bytes"))
			r.full = r.full || s.Value("batcher_window_full") > 0
		}
		return !time.Now().Before(end) || r.Err() != nil
	})
	must(r.t, errors.Join(err, r.Err()))
}

// pass lets one phase of the outage pass and returns the attempts that the service made.
func (r *outageRun) pass(ctx context.Context, p phase) (attempts float64) {
	r.t.Helper()
	before := r.sum(requestsOf(p.kind))
	if p.answer == nil {
		r.host.Suspend()
	} else {
		r.host.Turn(p.name, true)
		must(r.t, r.host.Resume()) // after the rule is on, so that nothing gets through in between
	}
	r.watch(ctx, p.duration)
	return r.sum(requestsOf(p.kind)) - before
}

// mostAttempts is how many attempts the replicas together may make while the host
// is down: what opens the breaker, what is in flight then, and one probe each time
// that the breaker has been open for its time.
func (r *outageRun) mostAttempts(d time.Duration) int {
	// By the default, not by the run's settings: otherwise a breaker that never opens would be allowed everything.
	failures := config.DefaultConfig().Upstream.Breaker.Consecutive
	return len(r.replicas) * (failures + batcher.LeastInFlight + int(d/r.Config.Upstream.Breaker.Open) + 1)
}

// verify has the checker judge the run.
func (r *outageRun) verify(ctx context.Context) check.Report {
	r.t.Helper()
	in, err := r.Input(ctx)
	must(r.t, err)
	in.MaxRows = r.Config.Batcher.MaxRows
	// What the API applied although the service has no answer is sent again, and
	// rightly so: on a busy machine an answer comes after the time-out.
	in.GivenUp = map[feed.Contact]bool{}
	for _, c := range in.Calls {
		key := requestKey(c.Stream, c.Rows, func(r stub.Row) string { return r.ID })
		if c.Order == 0 || r.unanswered.requests[key] == 0 {
			continue
		}
		r.unanswered.requests[key]--
		in.MaxDuplicates += len(c.Rows)
		for _, row := range c.Rows {
			in.GivenUp[feed.Contact{Stream: c.Stream, ID: row.ID}] = true
		}
	}
	return check.Run(in)
}

// unanswered counts the requests that ended without a usable answer, by requestKey.
type unanswered struct {
	mu       sync.Mutex
	requests map[string]int
}

func requestKey[R any](stream string, rows []R, id func(R) string) string {
	var key strings.Builder
	key.WriteString(stream)
	for _, r := range rows {
		key.WriteString(" " + id(r))
	}
	return key.String()
}

func (u *unanswered) wrap(next batcher.Sender) batcher.Sender { return recorded{next, u} }

type recorded struct {
	batcher.Sender
	u *unanswered
}

func (s recorded) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	r := s.Sender.Send(ctx, b)
	if r.Ambiguous {
		s.u.mu.Lock()
		defer s.u.mu.Unlock()
		s.u.requests[requestKey(b.Stream, b.Rows, func(r contactsync.Row) string { return r.ID })]++
	}
	return r
}
