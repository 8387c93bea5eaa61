// Package demo runs the whole service in one process while its API breaks, and
// has the checker judge the run.
//
// Everything that a run starts has ended when it returns.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/plant"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// Options say what the demo runs.
type Options struct {
	Feed     feed.Config
	Requests int           // calls that the API accepts in a window
	Window   time.Duration // the vendor's minute, scaled down
	Outage   time.Duration // how long the API is down in the middle; 0: it stays up
	Throttle time.Duration // how long it throttles after that
	Limit    time.Duration // the run fails when it takes longer
	Bug      string        // of package plant; empty: none
	API      string        // which model of the API: Stub or Vendor
	Scenario stub.Scenario // further faults of the stub
	Variant  string        // of the vendor's API, as package vendorapi names it; empty: the page, read plainly
	Log      *slog.Logger  // of the service; nil: discarded
}

// The models of the API.
const (
	Stub   = "stub"
	Vendor = "vendor"
)

// DefaultOptions is a run of half a minute.
func DefaultOptions() Options {
	f := feed.DefaultConfig()
	f.Events, f.Contacts, f.Streams = 100_000, 40_000, 20
	f.PoisonShare, f.RejectShare, f.TombstoneShare = 0.0005, 0.001, 0.0005
	return Options{
		API: Stub, Feed: f, Requests: 60, Window: time.Second,
		Outage: 4 * time.Second, Throttle: 2 * time.Second, Limit: 55 * time.Second,
	}
}

// Display shows a run while it goes on.
type Display interface {
	// Say shows one line that stays.
	Say(format string, args ...any)
	// Show shows the state of the run. It is called ten times a second.
	Show(State)
}

// State is what Display shows of a run.
type State struct {
	Events int    // produced, or about to be
	API    string // how it is
	Series harness.Series
}

// How the API is.
const (
	up         = "up"
	down       = "down"
	throttling = "throttling"
	upAgain    = "up again"
)

// live is how many events a second arrive while the API is down.
const live = 1000

type run struct {
	Options
	*harness.Lab
	api     breakable
	display Display
}

// breakable is an API whose rules are turned on and off.
type breakable interface {
	harness.API
	Turn(rule string, on bool) bool
}

// Run runs the demo. The report is nil where the run could not be judged; the
// error is about the run itself, whatever the report says.
func Run(ctx context.Context, o Options, display Display) (report *check.Report, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("I9: not drained within %v", o.Limit))
	defer cancel()
	wiring := app.Options{Log: o.Log}
	if err := plant.Plant(o.Bug, &wiring); err != nil {
		return nil, err
	}
	lab, err := harness.New(6)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	r := &run{Options: o, Lab: lab, display: display}
	if r.api, err = r.startAPI(); err != nil {
		return nil, err
	}
	display.Say("embedded broker on %s, API on %s", r.Brokers[0], r.api.URL())
	if _, err := r.Produce(ctx, o.Feed); err != nil {
		return nil, err
	}
	truth := r.Manifest.Sum()
	display.Say("backlog of %d events about %d contacts in %d streams", truth.Events, truth.Distinct(), o.Feed.Streams)
	r.Config.Upstream.Accounts = append(r.Config.Upstream.Accounts, r.Account(account, r.api, o.Requests, o.Window, "st-*"))
	service, err := r.Start(ctx, wiring)
	if err != nil {
		return nil, err
	}
	display.Say("status page: http://%s/", service.Addr)
	if o.Bug != "" {
		display.Say("planted: %s", plant.Bugs[o.Bug])
	}
	early, runErr := r.watch(ctx)
	stopErr := r.Stop()

	asking, stopAsking := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer stopAsking()
	last, err := r.check(asking, false)
	if err != nil {
		return nil, errors.Join(runErr, stopErr, err)
	}
	last.Violations = append(early, last.Violations...)
	return &last, errors.Join(runErr, stopErr)
}

// watch shows the run, breaks the API, and returns when everything is committed.
// It returns what the checker finds in the middle of the outage.
func (r *run) watch(ctx context.Context) (violations []string, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	api, since := up, time.Now()
	change := func(next string) {
		api, since = next, time.Now()
		r.display.Say("the API is %s", next)
	}
	checked, produced := false, r.Feed.Events
	var producing <-chan error // nil while nothing arrives
	defer func() {
		if producing != nil {
			err = errors.Join(err, <-producing)
		}
	}()
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return violations, context.Cause(ctx)
		case err := <-producing:
			producing = nil
			if err != nil {
				return violations, err
			}
		case <-tick.C:
		}
		if err := r.Err(); err != nil {
			return violations, err
		}
		series := r.Series()
		r.display.Show(State{produced, api, series})
		age := time.Since(since)
		switch {
		case api == up && r.Outage > 0 && series.Value("batcher_events_completed_total") >= 0.3*float64(r.Feed.Events):
			r.api.Turn(down, true)
			change(down)
		case api == down && !checked && age > r.Outage/2:
			checked = true
			report, err := r.check(ctx, true)
			if err != nil {
				return violations, err
			}
			violations = append(violations, report.Violations...)
			newer := r.newer()
			produced += newer.Events
			producing = r.ProduceInBackground(ctx, newer) // after the check, which reads what was produced
		case api == down && age > r.Outage:
			r.api.Turn(down, false)
			r.api.Turn(throttling, true)
			change(throttling)
		case api == throttling && age > r.Throttle:
			r.api.Turn(throttling, false)
			change(upAgain)
		}
		if round%5 == 0 && producing == nil && (r.Outage == 0 || api == upAgain) {
			if n, err := r.Uncommitted(ctx); err != nil || n == 0 {
				return violations, err
			}
		}
	}
}

// newer is a feed of newer states of the same contacts for half of the outage:
// some of them were delivered already and must be delivered again, in order.
func (r *run) newer() feed.Config {
	f := r.Feed
	f.Seed++
	f.SeqBase = int64(f.Events) + 1
	f.Events, f.Rate = max(1, int((r.Outage/2).Seconds()*live)), live
	return f
}

// check has the checker judge the run.
func (r *run) check(ctx context.Context, running bool) (check.Report, error) {
	in, err := r.Input(ctx)
	if err != nil {
		return check.Report{}, err
	}
	in.Running, in.MaxRows = running, r.Config.Batcher.MaxRows
	if len(r.Scenario.Rules) > 0 || r.Variant != "" { // it may refuse any row, and hide that it has applied one
		in.AllowReasons = []contactsync.Reason{
			contactsync.ReasonRejected, contactsync.ReasonBadRequest, contactsync.ReasonTooLarge, contactsync.ReasonUnresolved,
		}
		in.MaxDuplicates = len(in.Manifest.Records)
	}
	return check.Run(in), nil
}
