package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/upstream"
)

// proveAnswers plays every case, one after the other, and prints a line for each.
func proveAnswers(ctx context.Context, o proveOptions, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not done within %v", o.limit))
	defer cancel()
	began := time.Now()
	r, cases, err := newAnswersRun(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	all := make([]took, len(cases))
	for i := 0; i < len(cases); i++ {
		if all[i] = r.play(ctx, i, &cases[i]); all[i].err != nil {
			cases, all = cases[:i+1], all[:i+1] // what is left of it would be counted as the next one's
		}
	}
	report, err := r.check(ctx, cases, all)
	if err != nil {
		return err
	}
	rows := map[string]upstream.Rule{}
	for _, row := range upstream.Table() {
		rows[row.Condition] = row
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT CAME BACK\tPLAYED AS\tCOUNTED AS\tWHAT BECAME OF THE EVENTS\t")
	wrong := 0
	last := ""
	for i := range cases {
		p, row := &cases[i], rows[cases[i].row]
		end, faults := r.judge(p, row, &all[i], i, report.letters)
		verdict := "ok"
		if len(faults) > 0 {
			verdict = "WRONG: " + strings.Join(faults, "; ")
			wrong++
		}
		title := short(row.Condition)
		if row.Condition == last {
			title = ""
		}
		last = row.Condition
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", title, p.name, counted(p, row, &all[i]), end, verdict)
	}
	_ = w.Flush() // out is a person's terminal
	if n := r.canary.api.Stats().Calls; n > 0 {
		wrong++
		fmt.Fprintf(out, "WRONG: %d redirects were followed\n", n)
	}
	for _, v := range report.Violations {
		fmt.Fprintln(out, "VIOLATION  "+v)
	}
	fmt.Fprintf(out, "\n%d of %d rows of the table, %d answers played, %d wrong, %d violations; %d events, %d lost, %d dead letters, in %v\n",
		countRows(cases), len(upstream.Table()), len(cases), wrong, len(report.Violations), report.Truth.Events, report.Lost,
		report.DeadLetters, time.Since(began).Round(100*time.Millisecond))
	if wrong > 0 || !report.OK() {
		return errProof
	}
	return nil
}

// short cuts what would make a table too wide.
func short(text string) string {
	const most = 44
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func countRows(cases []played) int {
	seen := map[string]bool{}
	for _, p := range cases {
		seen[p.row] = true
	}
	return len(seen)
}

// answersReport is what the checker found in all that was played, and the reasons
// of the dead letters by the place of their event.
type answersReport struct {
	check.Report
	letters map[contactsync.Position]contactsync.Reason
}

func (r *answersRun) check(ctx context.Context, cases []played, all []took) (answersReport, error) {
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// What is not committed in time, the check tells.
	_ = waitFor(waiting, func() bool { done, err := drained(waiting, r.broker); return done && err == nil })
	in := check.Input{Manifest: &r.manifest, Reasons: map[contactsync.Position]contactsync.Reason{}}
	for i, t := range all {
		for n, rec := range t.records {
			if reason := cases[i].reasons[n]; reason != "" {
				in.Reasons[r.manifest.Position(&rec)] = reason
			}
		}
		in.MaxDuplicates += cases[i].again
	}
	var apis []*stub.Server
	for _, d := range r.doors {
		apis = append(apis, d.api)
	}
	in.Stub(apis...)
	if err := in.Kafka(ctx, r.broker.Addrs(), demoGroup, demoLetters); err != nil {
		return answersReport{}, err
	}
	report := answersReport{check.Run(in), map[contactsync.Position]contactsync.Reason{}}
	for _, l := range in.DeadLetters {
		report.letters[l.At] = l.Reason
	}
	return report, nil
}

// hit tells whether a call was answered by the rule that is played, or by what
// stands for it.
func (p *played) hit(c stub.Call) bool {
	return c.Rule == p.name || p.guard == guardSecret && c.Status == 401
}

// judge says what became of a case's events, and what of it is wrong.
func (r *answersRun) judge(p *played, row upstream.Rule, t *took, i int, letters map[contactsync.Position]contactsync.Reason) (end string, faults []string) {
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if t.err != nil {
		wrong("%v", t.err)
	}
	delivered, buried := 0, []string{}
	state := r.doors[i].api.State()[streamOf(i)]
	for n, rec := range t.records {
		id := p.contact(n)
		reason := letters[r.manifest.Position(&rec)]
		if state[id] == rec.Seq {
			delivered++
		}
		if reason != "" {
			buried = append(buried, string(reason))
		}
		if want := p.reasons[n]; reason != want {
			wrong("%s: dead letter %q, want %q", id, reason, want)
		}
		if gone := p.reasons[n] != ""; gone == (state[id] == rec.Seq) {
			wrong("%s applied: %v", id, !gone)
		}
	}
	hits, gap := 0, time.Duration(0)
	for j, c := range t.calls {
		if p.hit(c) {
			hits++
			if j+1 < len(t.calls) {
				gap = time.Duration(t.calls[j+1].Received - min(c.Done, c.Received+int64(r.cfg.Upstream.Timeout)))
			}
		}
	}
	// As few as halving takes: two calls for each time that the rows halve.
	most := 1 + 2*bits.Len(uint(p.events-1))
	switch {
	case p.calls > 0 && len(t.calls) != p.calls:
		wrong("%d calls, want %d", len(t.calls), p.calls)
	case p.calls == 0 && p.guard == "" && len(t.calls) > most:
		wrong("%d calls, want at most %d", len(t.calls), most)
	}
	faults = append(faults, miscounted(p, row, t, hits)...)
	need := r.wait(p, row)
	// Half is enough to tell a wait from none: where the service gives up by itself, the stub learns of it later.
	if need > 0 && gap < need/2 {
		wrong("sent again after %v, want at least %v", gap.Round(time.Millisecond), need)
	}
	if delivered > 0 {
		end = fmt.Sprintf("%d delivered", delivered)
	}
	if len(buried) > 0 {
		end = strings.TrimPrefix(fmt.Sprintf("%s, %d dead: %s", end, len(buried), strings.Join(slices.Compact(buried), ", ")), ", ")
	}
	if row.Kind == contactsync.Unauthorized || row.Kind == contactsync.StreamGone {
		end = "held, then " + end
	}
	end += fmt.Sprintf(", %d calls", len(t.calls))
	if need > 0 {
		end += fmt.Sprintf(", %v apart (least %v)", gap.Round(time.Millisecond), need)
	}
	return end, faults
}

// wait is how long the service must wait before it sends the rows again.
func (r *answersRun) wait(p *played, row upstream.Rule) time.Duration {
	first := r.cfg.Batcher.BackoffMin / 2 // jitter takes up to half away
	switch {
	case p.guard != "": // nothing is sent, or another owner sends it
		return 0
	case row.Ambiguous:
		return r.cfg.Batcher.AmbiguousRetryDelay
	case row.Kind == contactsync.Throttled:
		return time.Second // what the answer asks for, and else the budget's window
	case row.Kind == contactsync.Unavailable, row.Kind == contactsync.Unknown, row.Kind == contactsync.StreamGone:
		return first << (p.times - 1)
	case row.Kind == contactsync.Unauthorized:
		return first // the first is answered with a new token, at once
	}
	return 0
}

// Rows that are kept are counted by kind too, sent or not.
const (
	requests = "upstream_requests_total{"
	retried  = "batcher_rows_retried_total{"
)

// unsent tells whether the service's guards kept the request from being made.
func (p *played) unsent() bool {
	return p.guard == guardAccount || p.guard == guardStream || p.guard == guardToken
}

// miscounted compares the service's counters with what the stub saw.
func miscounted(p *played, row upstream.Rule, t *took, hits int) (faults []string) {
	for _, k := range contactsync.Kinds() {
		got, want := t.figures[requests+k.String()+"}"], 0
		if k == row.Kind && !p.unsent() {
			want = hits
		}
		if k == contactsync.Answered {
			want += len(t.calls) - hits
		}
		if p.guard == guardDoor && k == row.Kind { // the stub sees no call
			want = max(1, int(got))
		}
		if int(got) != want {
			faults = append(faults, fmt.Sprintf("%v counted %v times, want %d", k, got, want))
		}
		if kept := t.figures[retried+k.String()+"}"]; p.unsent() && (kept > 0) != (k == row.Kind) {
			faults = append(faults, fmt.Sprintf("%v rows kept for %v", kept, k))
		}
	}
	if hits == 0 && p.rule() != nil {
		faults = append(faults, "it was never played")
	}
	return faults
}

// counted lists the kinds that the service counted.
func counted(p *played, row upstream.Rule, t *took) string {
	if p.unsent() {
		return fmt.Sprintf("%v, unsent", row.Kind)
	}
	var kinds []string
	for _, k := range contactsync.Kinds() {
		if n := t.figures[requests+k.String()+"}"]; n > 0 && (k != contactsync.Answered || row.Kind == k) {
			kinds = append(kinds, fmt.Sprintf("%v %v", k, n))
		}
	}
	return strings.Join(kinds, ", ")
}
