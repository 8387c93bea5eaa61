package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/contactsync/contactsync/internal/lab/demo"
	"github.com/contactsync/contactsync/internal/terminal"
)

// view shows a run of the demo: in a terminal as a block that is redrawn,
// elsewhere as a line every two seconds. What stays is broken at blanks where the terminal is
// narrower; what is redrawn is cut.
type view struct {
	out   io.Writer
	live  bool
	start time.Time
	last  time.Time
	lines int
}

// narrow is how wide lines are at most, where the terminal is not narrower.
const narrow = 80

func newView(out io.Writer) *view {
	return &view{out: out, start: time.Now(), live: terminal.Redraws(out)}
}

// width is how wide lines may be.
func (v *view) width() int {
	if columns := terminal.Width(v.out); columns > 0 {
		return min(narrow, columns)
	}
	return narrow
}

// Say prints what stays.
func (v *view) Say(format string, args ...any) {
	v.clear()
	line := fmt.Sprintf("%6s  %s", v.clock(), fmt.Sprintf(format, args...))
	fmt.Fprintln(v.out, terminal.Wrap(line, terminal.Width(v.out), "        "))
}

func (v *view) clock() string {
	return fmt.Sprintf("%.1fs", time.Since(v.start).Seconds())
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
	v.clear()
	block := v.block(s)
	if v.live {
		v.lines = len(block)
	}
	for _, line := range block {
		if width := terminal.Width(v.out); v.live && width > 1 && len(line) >= width {
			line = line[:width-1] // what wraps could not be redrawn
		}
		fmt.Fprintln(v.out, line)
	}
}

// block is the state in a few lines; in one where it is not redrawn.
func (v *view) block(s demo.State) []string {
	value := s.Series.Value
	ended := value("batcher_events_completed_total")
	done := min(int(100*ended/float64(max(s.Events, 1))), 100) // rounded down: 100 is the end
	breaker := [...]string{"closed", "half-open", "open"}[int(value("upstream_circuit_breaker_state"))%3]
	if !v.live {
		return []string{fmt.Sprintf("%6s  %3d%%  %.0f of %d events  %.0f calls  API %s, breaker %s",
			v.clock(), done, ended, s.Events, value("upstream_requests_total"), s.API, breaker)}
	}
	bar := max(v.width()-32, 10)
	full := done * bar / 100
	return []string{
		fmt.Sprintf("%6s  [%s%s] %3d%%  API %s", v.clock(), strings.Repeat("#", full), strings.Repeat(".", bar-full), done, s.API),
		fmt.Sprintf("  read     %8.0f   waiting contacts %7.0f   lag %.0f", value("consumer_records_total"), value("batcher_pending_contacts"), value("consumer_lag_records")),
		fmt.Sprintf("  done     %8.0f   merged %9.0f   set aside %.0f", ended, value("batcher_events_completed_total{superseded}"), value("batcher_events_completed_total{dead_letter}")),
		fmt.Sprintf("  calls    %8.0f   unavailable %4.0f   throttled %.0f", value("upstream_requests_total"), value("upstream_requests_total{unavailable}"), value("upstream_requests_total{throttled}")),
		fmt.Sprintf("  oldest   %7.1fs   breaker %-9s   in flight %.0f", value("batcher_oldest_pending_age_seconds"), breaker, value("batcher_in_flight_requests")),
	}
}
