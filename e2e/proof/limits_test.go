//go:build proof

package proof

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/check"
)

// limitCase is an API whose limits the service has to find.
type limitCase struct {
	name     string
	has      limits
	lifted   time.Duration // after it they are gone; 0: never
	maxRows  int           // batcher.max_rows; 0: the default
	contacts int           // 0: 20,000
	note     int           // bytes that each has besides
	within   time.Duration // in which all is delivered; 0: half an hour
	least    int           // rows of a call of the last third, on the average
}

func limitCases() []limitCase {
	const rows = 37
	return []limitCase{
		{name: "0.31 s a row", has: limits{perRow: 310 * time.Millisecond}, within: 1300 * time.Second, least: 60},
		{name: "37 rows", has: limits{rows: rows}, least: 33},
		{name: "37 rows, others dropped", has: limits{rows: rows, truncates: true}, least: 33},
		{name: "64 KiB, of rows of 1.7 KiB", has: limits{bytes: 64 << 10}, note: 1400, least: 33},
		{name: "37 rows for five minutes", has: limits{rows: rows}, lifted: 5 * time.Minute, contacts: 30_000, within: 12 * time.Minute, least: 90},
		{name: "37 rows, others dropped for five minutes", has: limits{rows: rows, truncates: true}, lifted: 5 * time.Minute, contacts: 30_000, within: 12 * time.Minute, least: 90},
		{name: "none, max_rows 500", maxRows: 500, within: 2 * time.Minute, least: 400},
	}
}

// TestLimits has the service find what an API takes in a request, where it is not told: one above
// it meets a reset, a time-out, or only its first rows are applied and answered. Time is virtual, so that the
// calls that finding it costs are the same on every machine.
func TestLimits(t *testing.T) {
	playAll(t, "limits", func(model) []limitCase { return limitCases() }, func(c limitCase) string { return c.name }, playLimit, judgeLimits)
}

func TestLimits_CanFail(t *testing.T) {
	for name, got := range map[string]limitResult{
		"too many calls":    {known: 100, calls: 111},
		"contacts are lost": {report: check.Report{Violations: []string{"I1: lost"}}},
		"dead letters":      {letters: 1},
		"late":              {left: 1},
		"small requests":    {limitCase: limitCase{least: 2}, rows: 1},
	} {
		if faults := judgeLimits(io.Discard, []limitResult{got}); len(faults) != 1 {
			t.Errorf("%s: %q", name, faults)
		}
	}
}

const limitStreams = 10

// limitResult is what is known after a run.
type limitResult struct {
	limitCase
	calls, above, known int // known: that would do where the limit is known; 0 if that changes or is no number
	rows                float64
	took                time.Duration
	letters, left       int
	report              check.Report
}

func playLimit(t *testing.T, api model, c limitCase) limitResult {
	g := &gateway{simulated: brokenAPI(t, api, nil), has: c.has}
	r := newBubble(t, g, func(cfg *config.Config) {
		if c.maxRows > 0 {
			cfg.Batcher.MaxRows = c.maxRows
		}
	})
	r.network.change(func() { r.network.resets = true })
	c.contacts, c.within, r.note = cmp.Or(c.contacts, 20_000), cmp.Or(c.within, 30*time.Minute), strings.Repeat("x", c.note)
	start := time.Now()
	r.populate(limitStreams, c.contacts)
	for i := range c.contacts {
		r.put(i, 1)
	}
	if c.lifted > 0 {
		time.AfterFunc(c.lifted, func() { g.set(limits{}) })
	}
	time.Sleep(c.within)
	got := limitResult{limitCase: c, letters: len(r.deadLetters()), left: r.left()}
	for _, e := range r.completed() {
		got.took = max(got.took, e.opened.Add(e.age).Sub(start))
	}
	got.calls = len(g.calls)
	last, bytes := g.calls[got.calls*2/3:], 0
	for _, call := range last {
		got.rows += float64(call.rows) / float64(len(last))
	}
	for _, call := range g.calls {
		if call.above {
			got.above++
		} else {
			bytes += call.bytes
		}
	}
	switch each := c.contacts / limitStreams; {
	case c.lifted > 0:
	case c.has.rows > 0:
		got.known = limitStreams * ((each + c.has.rows - 1) / c.has.rows)
	case c.has.bytes > 0:
		got.known = limitStreams * ((bytes/limitStreams + c.has.bytes - 1) / c.has.bytes)
	}
	_, got.report = r.judge(g, c.contacts)
	return got
}

// judgeLimits prints the runs and returns what is wrong.
func judgeLimits(to io.Writer, results []limitResult) (faults []string) {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	defer out.Flush() // to a test's output
	fmt.Fprintln(out, "LIMIT\tCONTACTS\tLEFT\tTOOK\tCALLS\tKNOWING IT\tABOVE IT\tROWS/CALL, LAST THIRD\tAPPLIED AGAIN\tDEAD LETTERS\tLOST")
	for _, r := range results {
		fmt.Fprintf(out, "%s\t%d\t%d\t%v\t%d\t%d\t%d\t%.1f\t%d\t%d\t%d\n", r.name, r.contacts, r.left, r.took.Round(time.Second), r.calls, r.known, r.above, r.rows, r.report.Duplicates, r.letters, r.report.Lost)
		wrong := func(format string, args ...any) {
			faults = append(faults, r.name+": "+fmt.Sprintf(format, args...))
		}
		if r.known > 0 && r.calls > r.known*110/100 {
			wrong("%d calls, with the limit known %d: want at most a tenth more", r.calls, r.known)
		}
		if r.rows < float64(r.least) {
			wrong("%.1f rows a call in the last third, want at least %d", r.rows, r.least)
		}
		if r.left > 0 || r.letters > 0 {
			wrong("%d contacts were not delivered within %v, %d dead letters", r.left, r.within, r.letters)
		}
		for _, violation := range r.report.Violations {
			wrong("%s", violation)
		}
	}
	return faults
}
