package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// view shows a run while it goes on: in a terminal as a block that is drawn anew,
// elsewhere as a line now and then.
type view struct {
	out   io.Writer
	live  bool
	start time.Time
	last  time.Time
	lines int
}

func newView(out io.Writer) *view {
	v := &view{out: out, start: time.Now()}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		v.live = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	return v
}

// say prints one line that stays.
func (v *view) say(format string, args ...any) {
	v.clear()
	fmt.Fprintf(v.out, "%s  %s\n", v.clock(), fmt.Sprintf(format, args...))
}

func (v *view) clock() string {
	return time.Since(v.start).Round(100 * time.Millisecond).String()
}

func (v *view) clear() {
	if v.live && v.lines > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA\x1b[J", v.lines)
	}
	v.lines = 0
}

// show draws the state of a run.
func (v *view) show(events int, weather string, f map[string]float64) {
	if !v.live && time.Since(v.last) < 2*time.Second {
		return
	}
	v.last = time.Now()
	ended := f["batcher_events_completed_total"]
	done := ended / float64(max(events, 1))
	breaker := [...]string{"closed", "half-open", "open"}[int(f["upstream_circuit_breaker_state"])%3]
	if !v.live {
		fmt.Fprintf(v.out, "%s  %3.0f%%  ended %.0f of %d  pending %.0f  calls %.0f  breaker %s  api %s\n",
			v.clock(), 100*done, ended, events, f["batcher_pending_contacts"], v.calls(f), breaker, weather)
		return
	}
	v.clear()
	const width = 50
	full := min(int(done*width), width)
	block := []string{
		fmt.Sprintf("%s  [%s%s] %3.0f%%  api %s", v.clock(), strings.Repeat("#", full), strings.Repeat(".", width-full), 100*done, weather),
		fmt.Sprintf("  events   read %.0f   delivered %.0f   superseded %.0f   skipped %.0f   dead letters %.0f",
			f["consumer_records_total"], f["batcher_events_completed_total{delivered}"], f["batcher_events_completed_total{superseded}"],
			f["batcher_events_completed_total{skipped}"], f["batcher_events_completed_total{dead_letter}"]),
		fmt.Sprintf("  window   %.0f contacts   %.1f MiB   oldest %.1fs   in flight %.0f requests, %.0f rows   backing off %.0f streams",
			f["batcher_pending_contacts"], f["batcher_window_bytes"]/(1<<20), f["batcher_oldest_pending_age_seconds"],
			f["batcher_in_flight_requests"], f["batcher_in_flight_rows"], f["batcher_streams_backing_off"]),
		fmt.Sprintf("  calls    %.0f   answered %.0f   unavailable %.0f   throttled %.0f   breaker %s   budget left %.0f",
			v.calls(f), f["upstream_requests_total{answered}"], f["upstream_requests_total{unavailable}"],
			f["upstream_requests_total{throttled}"], breaker, f["upstream_budget_remaining_requests"]),
		fmt.Sprintf("  kafka    lag %.0f   open %.0f   commits %.0f", f["consumer_lag_records"], f["consumer_pending_records"], f["consumer_commits_total{ok}"]),
	}
	for _, line := range block {
		fmt.Fprintln(v.out, line)
	}
	v.lines = len(block)
}

func (v *view) calls(f map[string]float64) float64 { return f["upstream_requests_total"] }
