//go:build proof

package proof

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

func TestPoison(t *testing.T) {
	onBoth(t, provePoison)
}

func TestPoison_CanFail(t *testing.T) {
	t.Parallel()
	for _, api := range models {
		t.Run(api.String(), func(t *testing.T) {
			t.Parallel()
			faults := provePoison(t, options{small: true, api: api, bug: "trust-status"})
			for _, want := range []string{"I1: ", "dead letters: rejected: "} {
				if !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, want) }) {
					t.Errorf("refused rows were treated as delivered, and no fault begins with %q: %q", want, faults)
				}
			}
		})
	}
}

// It must be known of every bad event and answer of the corpora how it ends.
func TestPoison_CorporaAreUsable(t *testing.T) {
	t.Parallel()
	events, answers := corpora(t)
	if len(events) < 60 || len(answers) < 40 {
		t.Fatalf("%d events, %d answers", len(events), len(answers))
	}
	ends := map[contactsync.Reason]int{}
	for _, a := range answers {
		cfg := stub.DefaultConfig()
		cfg.Scenario.Rules = []stub.Rule{a.rule()}
		if _, err := stub.New(cfg); err != nil { // a small proof plays only some
			t.Errorf("the stub cannot play it: %v", err)
		}
		for row := range a.Rows {
			ends[a.reason(row)]++
		}
	}
	for _, reason := range []contactsync.Reason{"", contactsync.ReasonBadRequest, contactsync.ReasonTooLarge} {
		if ends[reason] == 0 {
			t.Errorf("no row of any bad answer ends as %q: %v", reason, ends)
		}
	}
}

// provePoison runs healthy traffic twice, without poison and with it, prints how
// the healthy events fared, and returns what is wrong.
func provePoison(t *testing.T, o options) (faults []string) {
	ctx, began := limited(t), time.Now()
	events, answers := corpora(t)
	answers = answersOf(o.api, answers)
	scale := poisonScaleOf(o.small)
	base := newPoisonRun(ctx, t, o, nil)
	base.run(ctx, scale.healthy, nil)
	events = slices.DeleteFunc(events, func(e badEvent) bool { return len(e.bytes()) > scale.largest })
	var some []badAnswer
	for i := 0; i < len(answers); i += scale.every {
		some = append(some, answers[i])
	}
	with := newPoisonRun(ctx, t, o, some)
	with.run(ctx, scale.healthy, with.poison(12, scale.each, events))

	f := newFigures(o.out)
	f.line("", "WITHOUT POISON", "WITH POISON", "")
	f.line("healthy events", len(base.healthy.Records), len(with.healthy.Records), "")
	baseAges, ages := base.ages(), with.ages()
	f.check("  delivered", len(baseAges) == len(base.healthy.Records) && len(ages) == len(with.healthy.Records), len(baseAges), len(ages), "all of them")
	for _, q := range []float64{0.5, 0.99, 1} { // by the clock, which a busy machine makes run: TestBeside and TestBeside_Saturated judge ages
		f.line(fmt.Sprintf("  age, %v%% below", 100*q), quantile(baseAges, q).Round(time.Millisecond), quantile(ages, q).Round(time.Millisecond), "")
	}
	f.line("other events", 0, len(with.Manifest.Records)-len(with.healthy.Records), "")
	f.line("calls", base.report.Calls, with.report.Calls, "")
	with.judgeDeadLetters(f)
	with.judgeBadAnswers(f)
	with.judgeIsolation(f)
	f.faults = slices.Concat(f.faults, base.report.Violations, with.report.Violations)
	return f.end("%d events, %d of them poison; %d lost, %d order violations, in %v",
		base.report.Truth.Events+with.report.Truth.Events, len(with.reasons), base.report.Lost+with.report.Lost,
		with.report.OutOfOrder+with.report.Overlaps, time.Since(began).Round(100*time.Millisecond))
}

// judgeDeadLetters compares the dead letters with those that were due, by reason.
func (r *poisonRun) judgeDeadLetters(f *figures) {
	found := map[contactsync.Position]contactsync.Reason{}
	for _, l := range r.deadLetters {
		found[l.At] = l.Reason
	}
	for _, reason := range contactsync.Reasons() {
		want, got := 0, 0
		for at, due := range r.reasons {
			if due == reason {
				want++
				if found[at] == reason {
					got++
				}
			}
		}
		if want > 0 {
			f.check("dead letters: "+string(reason), got == want, 0, got, fmt.Sprintf("%d were due", want))
		}
	}
	f.check("dead letters, all", len(found) == len(r.reasons), 0, len(found), fmt.Sprintf("%d were due", len(r.reasons)))
}

// judgeBadAnswers checks that every bad answer was played, and that the rows that it
// must not cost were delivered.
func (r *poisonRun) judgeBadAnswers(f *figures) {
	unplayed, kept, delivered := 0, 0, 0
	for i, a := range r.answers {
		if r.others[i].Stats().Rules[a.Name] == 0 {
			unplayed++
		}
		state := r.others[i].State()[badStream(i)]
		for j, id := range a.Rows {
			if a.reason(j) == "" {
				kept++
				if state[id] == 1 {
					delivered++
				}
			}
		}
	}
	f.check("bad answers played", unplayed == 0, 0, len(r.answers)-unplayed, fmt.Sprintf("of %d", len(r.answers)))
	f.check("  rows delivered all the same", delivered == kept, 0, delivered, fmt.Sprintf("of %d", kept))
}
