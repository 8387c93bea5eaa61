//go:build proof

package proof

import (
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/upstream"
)

func TestAnswers(t *testing.T) {
	hold(t, proveAnswers(t, full(t)))
}

func TestAnswers_CanFail(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	// 502 and others, which the bug touches; 405, which it does not
	faults := proveAnswers(t, options{small: true, bug: "drop-on-error", only: "5", out: &out})
	for _, want := range []string{`(?m)^502, 504, 524 .*WRONG`, `I1: `, `(?m)^405 .* ok$`} {
		if len(faults) == 0 || !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("%d faults, and the output lacks %q:\n%s", len(faults), want, &out)
		}
	}
}

// A line of the table that no case plays would be a promise that nothing checks.
func TestAnswers_CasesCoverTheTable(t *testing.T) {
	t.Parallel()
	cases := answerCases("http://canary.test")
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.name] {
			t.Errorf("two cases are called %q: the stub could not tell them apart", c.name)
		}
		names[c.name] = true
		if !slices.ContainsFunc(upstream.Table(), func(r upstream.Rule) bool { return r.Condition == c.condition }) {
			t.Errorf("%s: the table has no condition %q", c.name, c.condition)
		}
	}
	number := regexp.MustCompile(`\b[2-5]\d\d\b`)
	for _, rule := range upstream.Table() {
		var played []string
		for _, c := range cases {
			if c.condition != rule.Condition {
				continue
			}
			played = append(played, c.name)
			if c.answer != nil {
				played = append(played, strconv.Itoa(max(200, c.answer.Status)))
			}
		}
		if len(played) == 0 {
			t.Errorf("%q is not played", rule.Condition)
		}
		for _, status := range number.FindAllString(rule.Condition, -1) {
			if !slices.Contains(played, status) {
				t.Errorf("%q: status %s is not played: %q", rule.Condition, status, played)
			}
		}
	}
}

// proveAnswers plays every case, one after the other, prints a line for each and
// returns what is wrong.
func proveAnswers(t *testing.T, o options) (faults []string) {
	ctx, began := limited(t), time.Now()
	r := newAnswersRun(t, o)
	all := make([]observed, len(r.cases))
	for i := range r.cases {
		if all[i] = r.play(ctx, i); all[i].err != nil {
			r.cases, all = r.cases[:i+1], all[:i+1] // its unfinished work would be counted as the next one's
			break
		}
	}
	report, reasons := r.verify(ctx, all)
	rules := map[string]upstream.Rule{}
	for _, rule := range upstream.Table() {
		rules[rule.Condition] = rule
	}
	f := newFigures(o.out)
	w := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ANSWER\tPLAYED AS\tCOUNTED AS\tEND OF THE EVENTS\t")
	wrong := 0
	last := ""
	for i := range r.cases {
		c := &r.cases[i]
		rule := rules[c.condition]
		end, found := r.judge(i, rule, &all[i], reasons)
		verdict := "ok"
		if len(found) > 0 {
			verdict = "WRONG: " + strings.Join(found, "; ")
			faults = append(faults, c.name+": "+verdict)
			wrong++
		}
		title := shortened(rule.Condition)
		if rule.Condition == last {
			title = ""
		}
		last = rule.Condition
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", title, c.name, counted(c, rule, &all[i]), end, verdict)
	}
	_ = w.Flush() // to a test's output
	if n := r.canary.Stats().Calls; n > 0 {
		wrong++
		faults = append(faults, fmt.Sprintf("%d redirects were followed", n))
		fmt.Fprintf(f.out, "WRONG: %d redirects were followed\n", n)
	}
	for _, v := range report.Violations {
		fmt.Fprintln(f.out, "VIOLATION  "+v)
	}
	conditions := map[string]bool{}
	for _, c := range r.cases {
		conditions[c.condition] = true
	}
	fmt.Fprintf(f.out, "\n%d of %d rows of the table, %d answers played, %d wrong, %d violations; %d events, %d lost, %d dead letters, in %v\n",
		len(conditions), len(upstream.Table()), len(r.cases), wrong, len(report.Violations), report.Truth.Events, report.Lost,
		report.DeadLetters, time.Since(began).Round(100*time.Millisecond))
	if o.only == "" && len(conditions) != len(upstream.Table()) {
		faults = append(faults, "not every row of the table was played")
	}
	return append(faults, report.Violations...)
}

// shortened cuts text that would make a table too wide.
func shortened(text string) string {
	const most = 44
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// judge returns how the events of a case ended, and what of it is wrong.
func (r *answersRun) judge(i int, rule upstream.Rule, got *observed, reasons map[contactsync.Position]contactsync.Reason) (end string, faults []string) {
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if got.err != nil {
		wrong("%v", got.err)
	}
	c := &r.cases[i]
	delivered, dead := 0, []string{}
	state := r.apis[i].State()[answerStream(i)]
	for n, rec := range got.records {
		id := c.contact(n)
		applied, reason, want := state[id] == rec.Seq, reasons[r.Manifest.Position(&rec)], c.deadLetters[n]
		if applied {
			delivered++
		}
		if reason != "" {
			dead = append(dead, string(reason))
		}
		if reason != want {
			wrong("%s: dead letter %q, want %q", id, reason, want)
		}
		if applied != (want == "") {
			wrong("%s: applied: %v", id, applied)
		}
	}
	hits, gap := 0, time.Duration(0)
	for j, call := range got.calls {
		if c.answers(call) {
			hits++
			if j+1 < len(got.calls) {
				gap = time.Duration(got.calls[j+1].Received - min(call.Done, call.Received+int64(r.Config.Upstream.Timeout)))
			}
		}
	}
	// As few as halving takes: two calls each time that the rows are halved.
	most := max(c.atMost, 1+2*bits.Len(uint(c.events-1)))
	switch {
	case c.calls > 0 && len(got.calls) != c.calls:
		wrong("%d calls, want %d", len(got.calls), c.calls)
	case c.calls == 0 && c.guard == "" && len(got.calls) > most:
		wrong("%d calls, want at most %d", len(got.calls), most)
	}
	faults = append(faults, miscounted(c, rule, got, hits)...)
	need := r.delay(c, rule)
	// Half of it is enough to tell a delay from none: where the service gives up a request, the stub notices it later.
	if need > 0 && gap < need/2 {
		wrong("sent again after %v, want at least %v", gap.Round(time.Millisecond), need)
	}
	if delivered > 0 {
		end = fmt.Sprintf("%d delivered", delivered)
	}
	if len(dead) > 0 {
		end = strings.TrimPrefix(fmt.Sprintf("%s, %d dead: %s", end, len(dead), strings.Join(slices.Compact(dead), ", ")), ", ")
	}
	if rule.Kind == contactsync.Unauthorized || rule.Kind == contactsync.StreamGone {
		end = "held, then " + end
	}
	end += fmt.Sprintf(", calls: %d", len(got.calls))
	if need > 0 {
		end += fmt.Sprintf(", %v apart (least: %v)", gap.Round(time.Millisecond), need)
	}
	return end, faults
}

// delay is how long the service must wait before it sends the rows again.
func (r *answersRun) delay(c *answerCase, rule upstream.Rule) time.Duration {
	first := r.Config.Batcher.BackoffMin / 2 // jitter takes up to half away
	switch {
	case c.guard != "": // nothing is sent, or another owner sends it
		return 0
	case rule.Ambiguous:
		return r.Config.Batcher.AmbiguousRetryDelay
	case rule.Kind == contactsync.Throttled:
		return time.Second // what the answer asks for, otherwise the budget's window
	case rule.Kind == contactsync.Unavailable, rule.Kind == contactsync.Unknown, rule.Kind == contactsync.StreamGone:
		return first << (c.times - 1)
	case rule.Kind == contactsync.Unauthorized:
		return first // after the first one, a new token is tried immediately
	}
	return 0
}

func requestsOf(k contactsync.Kind) string { return fmt.Sprintf("upstream_requests_total{%v}", k) }

// miscounted compares the service's counters with what the stub saw.
func miscounted(c *answerCase, rule upstream.Rule, got *observed, hits int) (faults []string) {
	for _, k := range contactsync.Kinds() {
		n, want := int(got.rise.Value(requestsOf(k))), 0
		if k == rule.Kind && !c.unsent() {
			want = hits
		}
		if k == contactsync.Answered {
			want += len(got.calls) - hits
		}
		if c.guard == guardPort && k == rule.Kind { // the stub sees no call
			want = max(1, n)
		}
		if n != want {
			faults = append(faults, fmt.Sprintf("%v counted %d times, want %d", k, n, want))
		}
		kept := got.rise.Value(fmt.Sprintf("batcher_rows_retried_total{%v}", k))
		if c.unsent() && (kept > 0) != (k == rule.Kind) {
			faults = append(faults, fmt.Sprintf("%v rows retried for %v", kept, k))
		}
	}
	if hits == 0 && c.rules() != nil {
		faults = append(faults, "it was never played")
	}
	return faults
}

// counted lists the kinds that the service counted.
func counted(c *answerCase, rule upstream.Rule, got *observed) string {
	if c.unsent() {
		return fmt.Sprintf("%v, unsent", rule.Kind)
	}
	var kinds []string
	for _, k := range contactsync.Kinds() {
		if n := got.rise.Value(requestsOf(k)); n > 0 && (k != contactsync.Answered || rule.Kind == k) {
			kinds = append(kinds, fmt.Sprintf("%v %v", k, n))
		}
	}
	return strings.Join(kinds, ", ")
}
