package main

import (
	"cmp"
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
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// provePoison runs healthy traffic twice, without poison and with it, and
// compares what became of the healthy events.
func provePoison(ctx context.Context, o proveOptions, out io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not done within %v", o.limit))
	defer cancel()
	began := time.Now()
	events, answers, err := corpora(o.root)
	if err != nil {
		return err
	}
	scale := poisonScaleOf(o.small)
	base, err := poisonPhase(ctx, o, scale, nil, nil)
	if err != nil {
		return fmt.Errorf("without poison: %w", err)
	}
	events = slices.DeleteFunc(events, func(e badEvent) bool { return len(e.bytes()) > scale.largest })
	var some []badAnswer
	for i := 0; i < len(answers); i += scale.every {
		some = append(some, answers[i])
	}
	with, err := poisonPhase(ctx, o, scale, some, events)
	if err != nil {
		return fmt.Errorf("with poison: %w", err)
	}
	p := proof{out: out, w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	p.line("", "WITHOUT POISON", "WITH POISON", "")
	p.line("healthy events", base.healthy, with.healthy, "")
	baseAges, ages := base.ages(), with.ages()
	p.check("  delivered", len(baseAges) == base.healthy && len(ages) == with.healthy, len(baseAges), len(ages), "all of them")
	for _, q := range []float64{0.5, 0.99} {
		a, b := quantile(baseAges, q), quantile(ages, q)
		name, a, b := fmt.Sprintf("  age, %v%% below", 100*q), a.Round(time.Millisecond), b.Round(time.Millisecond)
		if o.small { // a few events on a busy machine: times say nothing
			p.line(name, a, b, "")
			continue
		}
		p.check(name, a > 0 && b <= 2*a, a, b, "at most twice")
	}
	p.line("  oldest", quantile(baseAges, 1).Round(time.Millisecond), quantile(ages, 1).Round(time.Millisecond), "")
	p.line("other events", 0, len(with.manifest.Records)-with.healthy, "")
	p.line("calls", base.report.Calls, with.report.Calls, "")
	with.deadLetters(&p)
	with.keptAnswers(&p)
	with.isolation(&p)
	lost := base.report.Lost + with.report.Lost
	p.faults = slices.Concat(p.faults, base.report.Violations, with.report.Violations)
	return p.end("%d events, %d of them poison; %d lost, %d order violations, in %v",
		base.report.Truth.Events+with.report.Truth.Events, len(with.reasons), lost,
		with.report.OutOfOrder+with.report.Overlaps, time.Since(began).Round(100*time.Millisecond))
}

func poisonPhase(ctx context.Context, o proveOptions, scale poisonScale, answers []badAnswer, events []badEvent) (_ *poisonRun, err error) {
	r, err := newPoisonRun(ctx, o, answers)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	var doses []dose
	if events != nil {
		doses = r.doses(12, scale.each, events)
	}
	return r, r.run(ctx, scale.healthy, doses)
}

// deadLetters compares the dead letters with what was to become one, by reason.
func (r *poisonRun) deadLetters(p *proof) {
	found := map[contactsync.Position]contactsync.Reason{}
	for _, l := range r.letters {
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
			p.check("dead letters: "+string(reason), got == want, 0, got, fmt.Sprintf("%d were due", want))
		}
	}
	p.check("dead letters, all", len(found) == len(r.reasons), 0, len(found), fmt.Sprintf("%d were due", len(r.reasons)))
}

// keptAnswers checks that every bad answer was played, and that what it must not
// cost is there in the end. The checker has looked for each event; here is
// counted what it saw.
func (r *poisonRun) keptAnswers(p *proof) {
	unplayed, kept, delivered := 0, 0, 0
	for i, a := range r.answers {
		if r.others[i].api.Stats().Rules[a.Name] == 0 {
			unplayed++
		}
		state := r.others[i].api.State()[badStream(i)]
		for j, id := range a.Rows {
			if a.ends(j) == "" {
				kept++
				if state[id] == 1 {
					delivered++
				}
			}
		}
	}
	p.check("bad answers played", unplayed == 0, 0, len(r.answers)-unplayed, fmt.Sprintf("of %d", len(r.answers)))
	p.check("  rows delivered all the same", delivered == kept, 0, delivered, fmt.Sprintf("of %d", kept))
}

// hunt is the search for the bad rows of one refused request.
type hunt struct {
	rows   map[string]bool // what the request carried
	open   map[string]bool // of these, what has not been answered since
	poison int
	calls  int
}

// most is what finding the bad rows may cost: for each, two calls whenever the
// rows halve.
func (h *hunt) most() int { return h.poison * 2 * bits.Len(uint(len(h.rows)-1)) }

// hunts finds them in the log of the stub. A hunt begins with a request that was
// refused as a whole and belongs to no hunt; every later call of the stream that
// carries nothing but rows of it belongs to it, healthy halves included, until
// each row was answered for: in an answer about rows, or refused alone. So what
// is counted is more rather than less than what the search for the row costs.
func hunts(calls []stub.Call) (all []*hunt) {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b stub.Call) int { return cmp.Compare(a.Received, b.Received) })
	open := map[string][]*hunt{} // by stream
	for _, c := range calls {
		whole := slices.ContainsFunc(refusedRows, func(q refusedRow) bool { return q.whole && q.prefix == c.Rule })
		i := slices.IndexFunc(open[c.Stream], func(h *hunt) bool {
			return !slices.ContainsFunc(c.Rows, func(r stub.Row) bool { return !h.rows[r.ID] })
		})
		if i >= 0 {
			h := open[c.Stream][i]
			h.calls++
			if !whole || len(c.Rows) == 1 {
				for _, r := range c.Rows {
					delete(h.open, r.ID)
				}
			}
			if len(h.open) == 0 {
				open[c.Stream] = slices.Delete(open[c.Stream], i, i+1)
			}
			continue
		}
		if !whole {
			continue
		}
		h := &hunt{rows: map[string]bool{}, open: map[string]bool{}}
		for _, r := range c.Rows {
			h.rows[r.ID], h.open[r.ID] = true, true
			if slices.ContainsFunc(refusedRows, func(q refusedRow) bool { return q.whole && strings.HasPrefix(r.ID, q.prefix) }) {
				h.poison++
			}
		}
		all = append(all, h)
		if len(h.rows) > 1 {
			open[c.Stream] = append(open[c.Stream], h)
		}
	}
	return all
}

// isolation checks what finding the bad rows has cost.
func (r *poisonRun) isolation(p *proof) {
	rows, poison, calls, over := 0, 0, 0, 0
	worst := &hunt{}
	all := hunts(r.host.api.Calls())
	for _, h := range all {
		rows, poison, calls = rows+len(h.rows), poison+h.poison, calls+h.calls
		if h.calls > h.most() {
			over++
		}
		if h.calls > worst.calls {
			worst = h
		}
	}
	p.line("requests refused as a whole", 0, len(all), fmt.Sprintf("with %d rows, %d of them bad", rows, poison))
	p.check("  calls to find the bad rows", over == 0 && poison > 0, 0, calls,
		fmt.Sprintf("at most 2·log2(rows) a bad row; the most: %d of %d for %d rows, %d of them bad", worst.calls, worst.most(), len(worst.rows), worst.poison))
}
