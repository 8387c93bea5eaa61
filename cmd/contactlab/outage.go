package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// trouble is a part of the outage.
type trouble struct {
	name string
	long time.Duration
	rule *stub.Answer // nil: the port is closed
	kind string       // how the service counts it
	// breaker says that it opens the breaker, so that calls are few.
	breaker bool
}

// troubles are an hour without the API, and ten minutes in which it refuses the
// credentials, with an hour of the given length.
func troubles(hour time.Duration) []trouble {
	return []trouble{
		{"15 min of 503 with HTML", hour / 4, &stub.Answer{Status: 503, Body: stub.HTML}, "unavailable", true},
		{"15 min of closed port", hour / 4, nil, "unavailable", true},
		{"15 min of silence", hour / 4, &stub.Answer{Fault: stub.NoAnswer}, "unavailable", true},
		{"15 min of 502", hour / 4, &stub.Answer{Status: 502}, "unavailable", true},
		{"10 min of 401", hour / 6, &stub.Answer{Status: 401}, "unauthorized", false},
	}
}

const outagePartitions = 6

// outageRun is two replicas that share a group, and one API.
type outageRun struct {
	*ground
	cfg      config.Config
	hour     time.Duration
	api      *door
	replicas []*replica
	given    givenUp
	small    bool    // so short that a busy machine is seen: what takes how long is not judged
	most     float64 // bytes that a window held at most
	full     bool    // whether one was full, so that fetching paused
}

// outageSettings scale every wait of the service as the hour is scaled, down to
// what the settings allow.
func outageSettings(cfg *config.Config, hour time.Duration) {
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
	// Shorter than the outage, so that heartbeats that stop for it cost the partitions.
	c.SessionTimeout = max(1500*time.Millisecond, hour/4)
	c.RebalanceTimeout, c.HeartbeatInterval, c.DrainTimeout = c.SessionTimeout, c.SessionTimeout/10, c.SessionTimeout/3
}

func newOutageRun(ctx context.Context, o proveOptions) (_ *outageRun, err error) {
	r := &outageRun{hour: 12 * time.Second, given: givenUp{contacts: map[feed.Contact]bool{}}}
	if r.small = o.small; r.small {
		r.hour = 3 * time.Second
	}
	if r.ground, err = newGround(outagePartitions); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	const calls = 300 // a second: the vendor's 60 a minute, where an hour lasts 12 s
	api := stub.DefaultConfig()
	api.RateLimit, api.RateWindow = arrivals(calls, 2), time.Second
	api.Latency, api.Jitter = 5*time.Millisecond, 5*time.Millisecond
	for _, t := range troubles(r.hour) {
		if t.rule != nil {
			api.Scenario.Rules = append(api.Scenario.Rules, stub.Rule{Name: t.name, Off: true, Answer: t.rule})
		}
	}
	if r.api, err = openDoor(api); err != nil {
		return nil, err
	}
	r.cfg = r.settings(r.account("demo", r.api.url(), calls, time.Second, "st-*"))
	outageSettings(&r.cfg, r.hour)
	if r.small { // a stall of the machine must not look like a replica that died
		c := &r.cfg.Consumer
		c.SessionTimeout, c.RebalanceTimeout, c.DrainTimeout = 30*time.Second, 30*time.Second, 10*time.Second
	}
	if o.change != nil {
		o.change(&r.cfg)
	}
	log := o.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for range 2 {
		one, err := start(ctx, r.cfg, o.bug, log, r.given.wrap)
		if err != nil {
			return nil, err
		}
		r.replicas = append(r.replicas, one)
	}
	return r, waitFor(ctx, func() bool {
		for _, one := range r.replicas {
			if one.figures()["consumer_assigned_partitions"] != outagePartitions/2 {
				return false
			}
		}
		return true
	})
}

func (r *outageRun) close() error {
	var errs []error
	for _, one := range r.replicas {
		errs = append(errs, one.halt())
	}
	if r.api != nil {
		errs = append(errs, r.api.close())
	}
	return errors.Join(append(errs, r.ground.close())...)
}

func (r *outageRun) failed() error {
	var errs []error
	for _, one := range r.replicas {
		errs = append(errs, one.failed())
	}
	return errors.Join(errs...)
}

// sum is a figure of both replicas together.
func (r *outageRun) sum(name string) float64 {
	n := 0.0
	for _, one := range r.replicas {
		n += one.figures()[name]
	}
	return n
}

// watch lets time go by, and looks at the memory meanwhile.
func (r *outageRun) watch(ctx context.Context, long time.Duration) error {
	end := time.Now().Add(long)
	return waitFor(ctx, func() bool {
		for _, one := range r.replicas {
			f := one.figures()
			r.most = max(r.most, f["batcher_window_bytes"])
			r.full = r.full || f["batcher_window_full"] > 0
		}
		return !time.Now().Before(end) || r.failed() != nil
	})
}

// suffer lives through one part of the outage and returns the attempts that it cost.
func (r *outageRun) suffer(ctx context.Context, t trouble) (calls float64, err error) {
	before := r.sum(requests + t.kind + "}")
	if t.rule == nil {
		r.api.shut()
	} else {
		r.api.api.Turn(t.name, true)
		if r.api.srv == nil { // after the rule is on, so that nothing gets through in between
			if err := r.api.open(); err != nil {
				return 0, err
			}
		}
	}
	err = r.watch(ctx, t.long)
	return r.sum(requests+t.kind+"}") - before, err
}

// mostCalls is what the replicas together may attempt while the host is down: what
// opens the breaker and is on its way then, and one probe each time it has been open.
func (r *outageRun) mostCalls(long time.Duration) int {
	// By the default, whatever the run's settings are: else a breaker that never opens would be allowed everything.
	failures := config.DefaultConfig().Upstream.Breaker.Consecutive
	return len(r.replicas) * (failures + r.cfg.Batcher.MaxInFlight + int(long/r.cfg.Upstream.Breaker.Open) + 1)
}

// proveOutage takes the API away while events arrive, and looks at what that does.
func proveOutage(ctx context.Context, o proveOptions, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("I9: not drained within %v", o.limit))
	defer cancel()
	began := time.Now()
	r, err := newOutageRun(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	p := proof{out: out, w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	p.line("AN HOUR LASTS "+r.hour.String(), "BEFORE", "AFTER", "")
	generations := r.sum("consumer_rebalances_total")

	traffic := r.hour/8 + r.hour + r.hour/6 + r.hour/8
	f := feed.DefaultConfig()
	f.Topic, f.Streams, f.Contacts, f.Rate = demoTopic, 20, 8000, 500
	f.Events = int(traffic.Seconds() * f.Rate)
	feeding := make(chan error, 1)
	var manifest *feed.Manifest
	go func() {
		var err error
		manifest, err = feed.Produce(ctx, r.broker.Addrs(), f, nil)
		feeding <- err
	}()
	if err := r.watch(ctx, r.hour/8); err != nil {
		return err
	}
	if err := waitFor(ctx, func() bool { return r.sum("batcher_events_completed_total") > 0 || r.failed() != nil }); err != nil {
		return err
	}
	delivered := r.sum("batcher_events_completed_total")
	p.check("events ended", delivered > 0, 0, delivered, "some, before the outage")
	probes := 0.0
	for _, t := range troubles(r.hour) {
		calls, err := r.suffer(ctx, t)
		if err != nil {
			return err
		}
		most := r.mostCalls(t.long)
		if t.breaker {
			probes += calls
			p.check(t.name+", attempts", int(calls) <= most, 0, calls, fmt.Sprintf("at most %d with the breaker's probes", most))
		} else {
			// What waits for the breaker asks it once a second, which is not scaled: a shorter part may go unnoticed.
			p.check(t.name+", attempts", calls > 0 || t.long < time.Second, 0, calls, "some, to see whether it is over")
		}
		r.api.api.Turn(t.name, false)
	}
	back := time.Now()
	waiting, err := r.waiting(ctx)
	if err != nil {
		return err
	}
	lag := r.sum("consumer_lag_records")
	if err := <-feeding; err != nil {
		return err
	}
	if err := r.drain(ctx); err != nil {
		return err
	}
	took := time.Since(back)
	p.check("attempts while it was away", probes > 0, 0, probes, "some: it was noticed")
	left, err := r.waiting(ctx)
	if err != nil {
		return err
	}
	p.check("events not committed", waiting > 0 && left == 0, waiting, left, "some when the API came back, none now")
	p.check("  by the service's own lag", lag >= float64(waiting)/2 || r.small, lag, r.sum("consumer_lag_records"), "most of them, although the window was full")
	p.check("drained", took < r.hour || r.small, "", took.Round(10*time.Millisecond), fmt.Sprintf("sooner than the outage lasted (%v)", r.hour))
	p.check("generations of the group", r.sum("consumer_rebalances_total") == generations, generations, r.sum("consumer_rebalances_total"), "no heartbeat missed")
	p.check("drains cut off", r.sum("consumer_drain_timeouts_total") == 0, 0, r.sum("consumer_drain_timeouts_total"), "none")
	limit := float64(r.cfg.Batcher.WindowBytes)
	slack := 4 * float64(r.cfg.Consumer.FetchMaxBytes) // one fetch is let in whole, and a contact weighs up to thrice its event
	p.check("window, KiB at most", r.most > 0 && r.most <= limit+slack, limit/1024, fmt.Sprintf("%.0f", r.most/1024), "its limit, and one fetch")
	p.check("window full", r.full, false, r.full, "it was, so that fetching paused")
	for _, one := range r.replicas {
		if err := one.halt(); err != nil {
			return err
		}
	}
	report, err := r.examine(ctx, manifest)
	if err != nil {
		return err
	}
	p.check("dead letters", report.DeadLetters == 0, 0, report.DeadLetters, "none")
	p.faults = append(p.faults, report.Violations...)
	return p.end("%d events, %d calls; %d lost, %d order violations, %d duplicates, in %v", report.Truth.Events, report.Calls, report.Lost,
		report.OutOfOrder+report.Overlaps, report.Duplicates, time.Since(began).Round(100*time.Millisecond))
}

// drain waits until all is committed, without a hand's help.
func (r *outageRun) drain(ctx context.Context) error {
	return waitFor(ctx, func() bool {
		done, err := drained(ctx, r.broker)
		return done && err == nil || r.failed() != nil
	})
}

// waiting is how many events are in Kafka and not committed.
func (r *outageRun) waiting(ctx context.Context) (int64, error) {
	committed, err := broker.Committed(ctx, r.broker.Addrs(), demoGroup)
	if err != nil {
		return 0, err
	}
	ends, err := broker.EndOffsets(ctx, r.broker.Addrs(), demoTopic)
	n := int64(0)
	for p, end := range ends {
		n += end - committed[p]
	}
	return n, err
}

func (r *outageRun) examine(ctx context.Context, m *feed.Manifest) (check.Report, error) {
	in := check.Input{Manifest: m, MaxRows: r.cfg.Batcher.MaxRows}
	in.Stub(r.api.api)
	// An answer that comes when the service has given up is to a request that it
	// sends again: a machine that is busy must not be taken for a fault. In a few
	// seconds it can be so busy that the stub does not even learn of it.
	for _, c := range in.Calls {
		if time.Duration(c.Done-c.Received) >= r.cfg.Upstream.Timeout/2 && c.Order > 0 {
			in.MaxDuplicates += len(c.Rows)
		}
	}
	if r.small {
		r.given.mu.Lock()
		defer r.given.mu.Unlock()
		in.MaxDuplicates, in.GivenUp = r.given.rows, r.given.contacts
	}
	if err := in.Kafka(ctx, r.broker.Addrs(), demoGroup, demoLetters); err != nil {
		return check.Report{}, err
	}
	return check.Run(in), nil
}

// givenUp notes the rows of requests of which nobody knows what became.
type givenUp struct {
	mu       sync.Mutex
	rows     int
	contacts map[feed.Contact]bool
}

func (g *givenUp) wrap(next batcher.Sender) batcher.Sender { return giving{next, g} }

type giving struct {
	batcher.Sender
	g *givenUp
}

func (s giving) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	r := s.Sender.Send(ctx, b)
	if r.Ambiguous {
		s.g.mu.Lock()
		defer s.g.mu.Unlock()
		s.g.rows += len(b.Rows)
		for _, row := range b.Rows {
			s.g.contacts[feed.Contact{Stream: b.Stream, ID: row.ID}] = true
		}
	}
	return r
}
