package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/plant"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// demoOptions say what the demo runs.
type demoOptions struct {
	feed     feed.Config
	requests int           // calls that the API takes in a window
	window   time.Duration // the vendor's minute, scaled down
	outage   time.Duration // how long the API is away in the middle
	throttle time.Duration // how long it throttles after that
	limit    time.Duration // the run fails when it takes longer
	bug      string
	logFile  string
	scenario string // a file with further faults
}

func defaultDemo() demoOptions {
	f := feed.DefaultConfig()
	f.Topic, f.Events, f.Contacts, f.Streams = demoTopic, 100_000, 40_000, 20
	f.Seed, f.Skew = 1, 0
	f.PoisonShare, f.RejectShare, f.TombstoneShare = 0.0005, 0.001, 0.0005
	return demoOptions{
		feed: f, requests: 60, window: time.Second,
		outage: 4 * time.Second, throttle: 2 * time.Second, limit: 55 * time.Second,
	}
}

// errBroken says that the checker found violations; they have been printed.
var errBroken = errors.New("an invariant broke")

func demoCommand() *cobra.Command {
	o := defaultDemo()
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole service in one process, break the API under it, and check what came out",
		Long: `Demo starts an embedded Kafka broker and an API that behaves like the real one,
its minute scaled down to a second; puts a backlog of events into the topic, some
of them broken; and runs the service on it, wired as in production. When part of
the backlog is through, the API goes away for some seconds and then throttles.
At the end a checker that knows every event compares it with what the API saw,
what was committed and what is in the dead-letter topic. The exit code is 0 when
every check holds and 1 when one does not.

To see the checker find something, plant a bug:
` + bugList(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	fl := cmd.Flags()
	fl.IntVar(&o.feed.Events, "events", o.feed.Events, "events in the backlog")
	fl.IntVar(&o.feed.Contacts, "contacts", o.feed.Contacts, "contacts that the events are about")
	fl.IntVar(&o.feed.Streams, "streams", o.feed.Streams, "streams that the contacts belong to")
	fl.Uint64Var(&o.feed.Seed, "seed", o.feed.Seed, "seed of the events")
	fl.IntVar(&o.requests, "requests", o.requests, "calls that the API takes in a second")
	fl.DurationVar(&o.outage, "outage", o.outage, "how long the API is away")
	fl.DurationVar(&o.throttle, "throttle", o.throttle, "how long the API throttles")
	fl.DurationVar(&o.limit, "limit", o.limit, "fail when the run takes longer")
	fl.StringVar(&o.bug, "plant", "", "plant a bug for the checker to find")
	fl.StringVar(&o.logFile, "log", "", "write the service's log to this file")
	fl.StringVar(&o.scenario, "scenario", "", "file with further faults of the API (docs/scenarios.md)")
	return cmd
}

func bugList() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(plant.Bugs)) {
		fmt.Fprintf(&b, "  --plant %-15s %s\n", name, plant.Bugs[name])
	}
	return b.String()
}

func demo(ctx context.Context, o demoOptions, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("I9: not drained within %v", o.limit))
	defer cancel()
	log, closeLog, err := demoLog(o.logFile)
	if err != nil {
		return err
	}
	defer closeLog()
	api := stub.DefaultConfig()
	api.RateLimit, api.RateWindow = arrivals(o.requests, 1), o.window
	api.Latency, api.Jitter = 15*time.Millisecond, 10*time.Millisecond
	if api.Scenario, err = readScenario(o.scenario); err != nil {
		return err
	}
	w, err := newWorld(6, api)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	v := newView(out)
	v.say("embedded broker on %s, API on %s: %d calls in %v", w.broker.Addrs()[0], w.api.URL(), o.requests, o.window)
	manifest, err := feed.Produce(ctx, w.broker.Addrs(), o.feed, nil)
	if err != nil {
		return err
	}
	truth := manifest.Sum()
	v.say("backlog of %d events about %d contacts in %d streams", truth.Events, truth.Distinct(), o.feed.Streams)
	cfg := w.settings(w.account("demo", w.api.URL(), o.requests, o.window, "st-*"))
	if w.replica, err = start(ctx, cfg, o.bug, log, nil); err != nil {
		return err
	}
	if o.bug != "" {
		v.say("planted: %s", plant.Bugs[o.bug])
	}
	live := &liveFeed{cfg: o.feed}
	early, runErr := watch(ctx, w, o, v, manifest, live)
	if later, err := live.wait(); err != nil {
		runErr = errors.Join(runErr, err)
	} else if later != nil {
		manifest.Append(later)
	}
	v.clear()
	haltErr := w.halt()

	in := check.Input{Manifest: manifest, MaxRows: cfg.Batcher.MaxRows}
	o.allow(&in)
	in.Stub(w.api)
	asking, stopAsking := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stopAsking()
	if err := in.Kafka(asking, w.broker.Addrs(), demoGroup, demoLetters); err != nil {
		return err
	}
	report := check.Run(in)
	report.Violations = append(early, report.Violations...)
	fmt.Fprintf(out, "\n%v\n%d lost, %d order violations, calls / floor %.2f, in %v\n", report,
		report.Lost, report.OutOfOrder+report.Overlaps, report.CallsPerFloor, time.Since(v.start).Round(100*time.Millisecond))
	if !report.OK() {
		return errors.Join(errBroken, runErr, haltErr)
	}
	return errors.Join(runErr, haltErr)
}

// allow lets the check pass what a scenario of the user's own may bring about: it
// may refuse any row, and hide that it has taken one.
func (o demoOptions) allow(in *check.Input) {
	if o.scenario == "" {
		return
	}
	in.AllowReasons = []contactsync.Reason{
		contactsync.ReasonRejected, contactsync.ReasonBadRequest, contactsync.ReasonTooLarge, contactsync.ReasonUnresolved,
	}
	in.MaxDuplicates = len(in.Manifest.Records)
}

// demoLog is where the service's log goes: nowhere, or to a file.
func demoLog(path string) (*slog.Logger, func(), error) {
	if path == "" {
		return slog.New(slog.DiscardHandler), func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewTextHandler(f, nil)), func() { _ = f.Close() }, nil
}

// The rules with which the demo breaks the API.
const (
	outage   = "outage"
	throttle = "throttle"
)

// watch shows the run, changes the API's weather on the way, and returns when all
// is committed. In the middle of the outage it has the checker look at what is
// committed by then.
func watch(ctx context.Context, w *world, o demoOptions, v *view, m *feed.Manifest, live *liveFeed) (violations []string, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	weather, since, round := "fine", time.Now(), 0
	change := func(next, name string, on bool) {
		if name != "" {
			w.api.Turn(name, on)
		}
		weather, since = next, time.Now()
		v.say("the API is %s", next)
	}
	rules := []stub.Rule{
		{Name: outage, Off: true, Answer: &stub.Answer{Status: 503, Body: stub.HTML}},
		{Name: throttle, Off: true, Answer: &stub.Answer{Status: 429, Body: stub.RateLimitText}},
	}
	for _, r := range rules {
		if err := w.api.Put(r); err != nil {
			return nil, err
		}
	}
	checked := false
	for ; ; round++ {
		select {
		case <-ctx.Done():
			return violations, context.Cause(ctx)
		case <-tick.C:
		}
		if err := w.failed(); err != nil {
			return violations, err
		}
		f := w.figures()
		v.show(len(m.Records), weather, f)
		done := f["batcher_events_completed_total"] / float64(len(m.Records))
		age := time.Since(since)
		switch {
		case weather == "fine" && done >= 0.3 && o.outage > 0:
			change("away", outage, true)
		case weather == "away" && !checked && age > o.outage/2:
			checked = true
			report, err := snapshot(ctx, w, o, m)
			if err != nil {
				return violations, err
			}
			violations = append(violations, report.Violations...)
			live.start(ctx, w.broker.Addrs(), o.outage/2) // after the snapshot, which knows the backlog only
		case weather == "away" && age > o.outage:
			w.api.Turn(outage, false)
			change("throttling", throttle, true)
		case weather == "throttling" && age > o.throttle:
			change("fine again", throttle, false)
		}
		if round%5 == 0 && live.done() && (o.outage == 0 || weather == "fine again") {
			if all, err := drained(ctx, w.broker); err != nil || all {
				return violations, err
			}
		}
	}
}

// liveRate is how many events a second arrive while the API is away.
const liveRate = 1000

// liveFeed makes newer events of the same contacts while the API is away, so that
// contacts that were delivered already must be delivered again, and in order.
type liveFeed struct {
	cfg    feed.Config
	finish chan struct{} // nil before start; closed at the end
	made   *feed.Manifest
	err    error
}

func (l *liveFeed) start(ctx context.Context, brokers []string, outage time.Duration) {
	l.finish = make(chan struct{})
	l.cfg.Seed++
	l.cfg.SeqBase = int64(l.cfg.Events) + 1
	l.cfg.Events, l.cfg.Rate = max(1, int(outage.Seconds()*liveRate)), liveRate
	go func() {
		defer close(l.finish)
		l.made, l.err = feed.Produce(ctx, brokers, l.cfg, nil)
	}()
}

func (l *liveFeed) done() bool {
	if l.finish == nil {
		return true
	}
	select {
	case <-l.finish:
		return true
	default:
		return false
	}
}

func (l *liveFeed) wait() (*feed.Manifest, error) {
	if l.finish == nil {
		return nil, nil
	}
	<-l.finish
	return l.made, l.err
}

// snapshot checks a run that goes on: what is committed must have ended by now.
func snapshot(ctx context.Context, w *world, o demoOptions, m *feed.Manifest) (check.Report, error) {
	in := check.Input{Manifest: m, Running: true}
	o.allow(&in)
	if err := in.Kafka(ctx, w.broker.Addrs(), demoGroup, ""); err != nil {
		return check.Report{}, err
	}
	committed := in.Committed // asked for first: what is read next can only be more
	if err := in.Kafka(ctx, w.broker.Addrs(), demoGroup, demoLetters); err != nil {
		return check.Report{}, err
	}
	in.Committed = committed
	in.Stub(w.api)
	return check.Run(in), nil
}
