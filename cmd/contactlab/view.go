package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/contactsync/contactsync/internal/lab/demo"
)

// view shows a run of the demo: in a terminal as a block that is redrawn,
// elsewhere as a line every two seconds.
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

// Say prints one line that stays.
func (v *view) Say(format string, args ...any) {
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

// Show draws the state of a run.
func (v *view) Show(s demo.State) {
	if !v.live && time.Since(v.last) < 2*time.Second {
		return
	}
	v.last = time.Now()
	value := s.Series.Value
	ended := value("batcher_events_completed_total")
	done := ended / float64(max(s.Events, 1))
	breaker := [...]string{"closed", "half-open", "open"}[int(value("upstream_circuit_breaker_state"))%3]
	calls := value("upstream_requests_total")
	if !v.live {
		fmt.Fprintf(v.out, "%s  %3.0f%%  completed %.0f of %d  pending %.0f  calls %.0f  breaker %s  API %s\n",
			v.clock(), 100*done, ended, s.Events, value("batcher_pending_contacts"), calls, breaker, s.API)
		return
	}
	v.clear()
	const width = 50
	full := min(int(done*width), width)
	block := []string{
		fmt.Sprintf("%s  [%s%s] %3.0f%%  API %s", v.clock(), strings.Repeat("#", full), strings.Repeat(".", width-full), 100*done, s.API),
		fmt.Sprintf("  events   read %.0f   delivered %.0f   superseded %.0f   skipped %.0f   dead letters %.0f",
			value("consumer_records_total"), value("batcher_events_completed_total{delivered}"), value("batcher_events_completed_total{superseded}"),
			value("batcher_events_completed_total{skipped}"), value("batcher_events_completed_total{dead_letter}")),
		fmt.Sprintf("  window   %.0f contacts   %.1f MiB   oldest %.1fs   in flight %.0f requests, %.0f rows   backing off %.0f streams",
			value("batcher_pending_contacts"), value("batcher_window_bytes")/(1<<20), value("batcher_oldest_pending_age_seconds{active}"),
			value("batcher_in_flight_requests"), value("batcher_in_flight_rows"), value("batcher_streams_backing_off")),
		fmt.Sprintf("  calls    %.0f   answered %.0f   unavailable %.0f   throttled %.0f   breaker %s   budget left %.0f",
			calls, value("upstream_requests_total{answered}"), value("upstream_requests_total{unavailable}"),
			value("upstream_requests_total{throttled}"), breaker, value("upstream_budget_remaining_requests")),
		fmt.Sprintf("  kafka    lag %.0f   pending %.0f   commits %.0f",
			value("consumer_lag_records"), value("consumer_pending_records"), value("consumer_commits_total{ok}")),
	}
	for _, line := range block {
		fmt.Fprintln(v.out, line)
	}
	v.lines = len(block)
}
