//go:build proof

package proof

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
)

func TestOutage(t *testing.T) {
	onBoth(t, proveOutage)
}

func TestOutage_CanFail(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, bug string
		change    func(*config.Config)
		want      string
	}{
		{"events dropped on an error", "drop-on-error", nil, "I1: "},
		{"a breaker that never opens", "", func(c *config.Config) {
			c.Upstream.Breaker.Consecutive, c.Upstream.Breaker.MinRequests = 1_000_000, 1_000_000
			c.Batcher.BackoffMax = c.Batcher.BackoffMin
		}, "15 min of "},
	}
	for i := range 2 * len(tests) {
		tt, api := tests[i/2], models[i%2]
		t.Run(tt.name+", "+api.String(), func(t *testing.T) {
			t.Parallel()
			faults := proveOutage(t, options{small: true, api: api, bug: tt.bug, change: tt.change})
			if !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, tt.want) }) {
				t.Errorf("no fault begins with %q: %q", tt.want, faults)
			}
		})
	}
}

// proveOutage takes the API away while events arrive, prints how the service
// behaves, and returns what is wrong.
func proveOutage(t *testing.T, o options) (faults []string) {
	ctx, began := limited(t), time.Now()
	r := newOutageRun(ctx, t, o)
	f := newFigures(o.out)
	f.line("AN HOUR LASTS "+r.hour.String(), "BEFORE", "AFTER", "")
	rebalances := r.sum("consumer_rebalances_total")

	traffic := feed.DefaultConfig()
	traffic.Streams, traffic.Contacts, traffic.Rate = 20, 8000, 500
	traffic.Events = int((r.hour/8 + r.hour + r.hour/6 + r.hour/8).Seconds() * traffic.Rate)
	producing := r.ProduceInBackground(ctx, traffic)
	r.watch(ctx, r.hour/8)
	must(t, harness.Wait(ctx, func() bool { return r.sum("batcher_events_completed_total") > 0 || r.Err() != nil }))
	completed := r.sum("batcher_events_completed_total")
	f.check("events completed", completed > 0, 0, completed, "some, before the outage")
	probes := 0.0
	for _, p := range phases(r.hour) {
		attempts, most := r.pass(ctx, p), r.mostAttempts(p.duration)
		if p.breaker {
			probes += attempts
			f.check(p.name+", attempts", int(attempts) <= most, 0, attempts, fmt.Sprintf("at most %d with the breaker's probes", most))
		} else {
			// Streams that wait for the breaker ask it once a second, which is not scaled: a shorter phase may pass unnoticed.
			f.check(p.name+", attempts", attempts > 0 || p.duration < time.Second, 0, attempts, "some, to see whether it is over")
		}
		r.host.Turn(p.name, false)
	}
	back := time.Now()
	waiting, err := r.Uncommitted(ctx)
	must(t, err)
	lag := r.sum("consumer_lag_records")
	must(t, errors.Join(<-producing, r.Drain(ctx))) // nobody helps
	took := time.Since(back)
	f.check("attempts while it was down", probes > 0, 0, probes, "some: it was noticed")
	left, err := r.Uncommitted(ctx)
	must(t, err)
	f.check("events not committed", waiting > 0 && left == 0, waiting, left, "some when the API came back, none now")
	f.check("  by the service's own lag", lag >= float64(waiting)/2 || r.small, lag, r.sum("consumer_lag_records"), "most of them, although the window was full")
	f.check("drained", took < r.hour || r.small, "", took.Round(10*time.Millisecond), fmt.Sprintf("sooner than the outage lasted (%v)", r.hour))
	now := r.sum("consumer_rebalances_total")
	f.check("generations of the group", rebalances > 0 && now == rebalances, rebalances, now, "no heartbeat missed")
	cut := r.sum("consumer_drain_timeouts_total")
	f.check("drains cut off", cut == 0, 0, cut, "none")
	limit := float64(r.Config.Batcher.WindowBytes)
	slack := 4 * float64(r.Config.Consumer.FetchMaxBytes) // one fetch is let in whole, and a contact weighs up to three times its event
	f.check("window, KiB at most", r.most > 0 && r.most <= limit+slack, limit/1024, fmt.Sprintf("%.0f", r.most/1024), "its limit, and one fetch")
	f.check("window full", r.full, false, r.full, "it was, so that fetching paused")
	must(t, r.Stop())
	report := r.verify(ctx)
	f.check("dead letters", report.DeadLetters == 0, 0, report.DeadLetters, "none")
	f.faults = append(f.faults, report.Violations...)
	return f.end("%d events, %d calls; %d lost, %d order violations, %d duplicates, in %v", report.Truth.Events, report.Calls, report.Lost,
		report.OutOfOrder+report.Overlaps, report.Duplicates, time.Since(began).Round(100*time.Millisecond))
}
