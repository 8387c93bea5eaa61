//go:build proof

package proof

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/vendorapi"
)

var variant = flag.String("variant", "", "of the variants of the vendor's API, play this one only")

// variantRun is one run of the service with an API, an account and streams for each of
// some variants. All go on at the same time.
type variantRun struct {
	lab

	cases    []variantCase
	apis     []*harness.Vendor
	contacts [][]feed.Contact
	due      map[contactsync.Position]contactsync.Reason // of the dead letters that must be there
	reasons  map[feed.Contact]contactsync.Reason         // of those that are
	last     int64                                       // state of each contact
}

func newVariantRun(t *testing.T, cases []variantCase) *variantRun {
	r := &variantRun{lab: newLab(t, 3), cases: cases, due: map[contactsync.Position]contactsync.Reason{}, reasons: map[feed.Contact]contactsync.Reason{}}
	for i, v := range cases {
		var streams []string
		for n := range 1 + variantMore {
			streams = append(streams, variantStream(i, n))
		}
		cfg := vendorapi.Config{
			Accounts: []vendorapi.Account{harness.VendorAccount(v.Name, streams...)},
			Known:    func(_, id string) bool { return !strings.HasPrefix(id, "bad0") },
			Latency:  5 * time.Millisecond,
		}
		v.Set(&cfg)
		api, err := r.AddVendor(cfg)
		must(t, err)
		r.apis = append(r.apis, api)
		// Half of the API's budget is left for requests that arrive closer together than they were sent.
		account := r.Account(v.Name, api, cfg.Budget.Requests/2, time.Second, streams...)
		account.Credentials.JTI = cfg.EnforceJTI
		r.Config.Upstream.Accounts = append(r.Config.Upstream.Accounts, account)
		r.contacts = append(r.contacts, variantContacts(i))
	}
	c := &r.Config
	c.Upstream.Timeout, c.Upstream.ThrottleMax = variantTimeout, time.Second
	c.Batcher.Linger = 100 * time.Millisecond
	c.Batcher.BackoffMin, c.Batcher.BackoffMax = 50*time.Millisecond, 400*time.Millisecond
	c.Batcher.AmbiguousRetryDelay = 1500 * time.Millisecond // more than any API here is late, on a busy machine too
	c.Batcher.HoldProbeMax = time.Second
	if cases[0].isolates() {
		c.Batcher.UnansweredAttempts, c.Batcher.UnansweredAfter = 3, 2*time.Second
		c.Upstream.Timeout, c.Batcher.AmbiguousRetryDelay = time.Second, 500*time.Millisecond // nothing here is late, it never comes
	}
	return r
}

const (
	variantRounds  = 25
	variantTimeout = 3 * time.Second // of requests, and long enough for a busy machine

	variantLarge = 40 // contacts of the first stream, two of which the API does not know
	variantMore  = 24 // further streams of two contacts each, so that there are calls to count
)

func variantStream(i, n int) string { return fmt.Sprintf("st-%03d-%02d", i, n) }

func variantContacts(i int) []feed.Contact {
	var all []feed.Contact
	for n := range variantLarge {
		id := fmt.Sprintf("6964AF60%08x%08x", i, n) // an ObjectId is one in any case
		if n == 5 || n == 23 {
			id = "bad0" + id[4:]
		}
		all = append(all, feed.Contact{Stream: variantStream(i, 0), ID: id})
	}
	for n := range variantMore {
		for k := range 2 {
			all = append(all, feed.Contact{Stream: variantStream(i, n+1), ID: fmt.Sprintf("6964af61%08x%08x", i, 2*n+k)})
		}
	}
	return all
}

func unknownContact(c feed.Contact) bool { return strings.HasPrefix(c.ID, "bad0") }

var phoneNumber = regexp.MustCompile(`"phoneNumber":"[0-9]+"`)

// produce writes one state of each contact, or of those that the API takes.
func (r *variantRun) produce(ctx context.Context, seq int64, bad bool) error {
	r.last = seq
	for i, c := range r.cases {
		var events []feed.Event
		for n, contact := range r.contacts[i] {
			class := feed.Update
			if c.reason(n, contact) != "" {
				class = feed.Rejected
			}
			if class == feed.Rejected && !bad {
				continue
			}
			ev := feed.NewUpdate(contact, n, seq, class)
			ev.Key = []byte(contact.Stream) // one partition, so that they are read together
			if c.number != nil {
				ev.Value = phoneNumber.ReplaceAll(ev.Value, []byte(`"phoneNumber":"`+c.number(n, seq)+`"`))
			}
			events = append(events, ev)
		}
		m, err := r.Put(ctx, r.contacts[i], events)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		for _, rec := range m.Records {
			if rec.Class == feed.Rejected {
				r.due[m.Position(&rec)] = c.reason(int(rec.Contact), r.contacts[i][rec.Contact])
			}
		}
	}
	return nil
}

func TestAnswers_Variants(t *testing.T) {
	o := full(t)
	var closed, isolated, open []variantCase
	for _, c := range variantCases() {
		switch {
		case *variant != "" && c.Name != *variant:
		case c.isolates():
			isolated = append(isolated, c)
		case c.open == "":
			closed = append(closed, c)
		default:
			open = append(open, c)
		}
	}
	if len(closed) > 0 {
		hold(t, proveVariants(t, o, closed))
	}
	if !o.small && len(isolated) > 0 {
		fmt.Fprintln(o.out, "\nRows of which no request gets a usable answer:")
		hold(t, proveVariants(t, o, isolated))
	}
	if !o.small && len(open) > 0 {
		fmt.Fprintln(o.out, "\nNot handled by the service, and so only shown:")
		proveVariants(t, o, open)
	}
}

func TestAnswers_VariantsCanFail(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	few := slices.DeleteFunc(variantCases(), func(c variantCase) bool { return c.Name != "page" && c.Name != "some-503" })
	faults := proveVariants(t, options{bug: "trust-status", out: &out}, few)
	for _, want := range []string{"page: WRONG: 2 contacts have not ended", "I1: "} {
		if !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, want) }) {
			t.Errorf("refused rows were treated as delivered, and no fault begins with %q: %q", want, faults)
		}
	}
}

// proveVariants plays some cases, prints a line for each and returns what is wrong.
func proveVariants(t *testing.T, o options, cases []variantCase) (faults []string) {
	ctx, began := limited(t), time.Now()
	r := newVariantRun(t, cases)
	replica := r.start(o, nil)
	must(t, r.produce(ctx, 1, true))
	f := newFigures(o.out)
	errNotEnded := errors.New("I9: not all events have ended")
	ended := func(share float64, most time.Duration) error {
		waiting, cancel := context.WithTimeoutCause(ctx, most, errNotEnded)
		defer cancel()
		n := share * float64(len(r.Manifest.Records))
		return harness.Wait(waiting, func() bool { return replica.Series().Value("batcher_events_completed_total") >= n })
	}
	_ = ended(0.5, 10*time.Second) // so that newer events come between calls and after them
	must(t, r.produce(ctx, 2, false))
	err := ended(1, 30*time.Second/variantRounds)
	for round := 1; err != nil && round < variantRounds && cases[0].open == ""; round++ {
		if cases[0].isolates() { // the streams go on
			must(t, r.produce(ctx, r.last+1, false))
		}
		err = ended(1, 30*time.Second/variantRounds)
	}
	if err != nil {
		faults = append(faults, err.Error())
	}
	draining, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_ = r.Drain(draining) // the checker finds what is not committed
	in, err := r.Input(ctx)
	must(t, err)
	in.Reasons = r.due
	in.MaxDuplicates = len(r.Manifest.Records) // each case is judged by itself
	report := check.Run(in)
	r.collect(in.DeadLetters)
	w := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "THE API\tQUESTION\tCALLS\tSTATUSES\tAPPLIED AGAIN\tDEAD LETTERS\t")
	for i, c := range cases {
		line, wrong := r.judge(i)
		verdict := "ok"
		if len(wrong) > 0 {
			verdict = "WRONG: " + strings.Join(wrong, "; ")
			faults = append(faults, c.Name+": "+verdict)
		}
		if c.open != "" {
			verdict += " (" + c.open + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, c.Question, line, verdict)
	}
	_ = w.Flush() // to a test's output
	for _, v := range report.Violations {
		fmt.Fprintln(f.out, "VIOLATION  "+v)
	}
	fmt.Fprintf(f.out, "\n%d APIs, %d violations; %d events, %d lost, %d order violations, %d left stale by what came late, %d dead letters, in %v\n", len(cases),
		len(report.Violations), report.Truth.Events, report.Lost, report.OutOfOrder+report.Overlaps, report.LateStale, report.DeadLetters, time.Since(began).Round(100*time.Millisecond))
	return append(faults, report.Violations...)
}

// collect notes the reasons of the dead letters by contact.
func (r *variantRun) collect(letters []check.DeadLetter) {
	at := map[contactsync.Position]feed.Contact{}
	for i := range r.Manifest.Records {
		rec := &r.Manifest.Records[i]
		at[r.Manifest.Position(rec)] = r.Manifest.Contacts[rec.Contact]
	}
	for _, l := range letters {
		r.reasons[at[l.At]] = l.Reason
	}
}

// judge returns how the contacts of a case ended, and what of it is wrong.
func (r *variantRun) judge(i int) (line string, faults []string) {
	wrong := func(n int, format string) {
		if n > 0 {
			faults = append(faults, fmt.Sprintf(format, n))
		}
	}
	c, api := r.cases[i], r.apis[i]
	stats, state, log := api.Stats(), api.State(), api.Log()
	dead := map[contactsync.Reason]int64{}
	open, good := 0, 0
	for n, contact := range r.contacts[i] {
		reason := r.reasons[contact]
		if reason != "" {
			dead[reason]++
		}
		switch known := c.reason(n, contact) == ""; {
		case known && reason != "":
			good++
		case known && state[contact.Stream][contact.ID] != r.last, !known && reason == "":
			open++
		}
	}
	wrong(open, "%d contacts have not ended")
	wrong(good, "%d good contacts became dead letters")
	again, by := 0, map[string]time.Time{} // when the call came that applied a state
	for _, change := range log.Changes {
		at := log.Calls[change.Call-1].At
		before, applied := by[string(change.Sent)]
		if applied && at.Sub(before) < variantTimeout/2 { // otherwise a busy machine let the answer come too late
			again++
		}
		by[string(change.Sent)] = at
	}
	if c.again == "" {
		wrong(again, "%d states were applied again")
	}
	for _, complaint := range log.Complaints {
		if complaint.Fault != vendorapi.Abandoned { // which the service cannot see
			faults = append(faults, complaint.String())
			break
		}
	}
	return fmt.Sprintf("%d\t%s\t%d\t%s", stats.Calls, counts(stats.Statuses), again, counts(dead)), faults
}

// counts lists what was counted, and how often.
func counts[K cmp.Ordered](n map[K]int64) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(n)) {
		all = append(all, fmt.Sprintf("%v: %d", k, n[k]))
	}
	return strings.Join(all, ", ")
}
