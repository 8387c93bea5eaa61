//go:build proof

package proof

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestBeside_Saturated plays each fault of a row with one row in ten of some of the streams, while every call of the
// account is wanted: of all calls what looks for bad rows, and sends again, gets its share and no more, and the other streams get
// older by no more than that takes.
func TestBeside_Saturated(t *testing.T) {
	faults := func(model) []besideFault {
		return append([]besideFault{{name: "nothing"}}, poisoned(besideFaults())...)
	}
	playAll(t, "beside", faults, func(f besideFault) string { return f.name }, playSaturated, judgeSaturated)
}

const (
	saturatedStreams = 24 // of which every fourth one has bad rows
	saturatedMinutes = 20
	saturatedFrom    = 5                      // the minute from which it counts
	saturatedEvery   = 100 * time.Millisecond // between two events: each stream has some for each of its calls

	// isolationShare is what isolation, retries and probes may have of the calls: a quarter while other work
	// waits, and some that it leaves over.
	isolationShare = 0.27
)

const poisonIDs = "e000af60*"

// poisoned are the faults of a row, of many rows.
func poisoned(faults []besideFault) (all []besideFault) {
	for _, f := range faults {
		if !strings.HasPrefix(f.name, "a row: ") {
			continue
		}
		r := f.rules[0]
		r.Match.IDs = []string{poisonIDs}
		if r.Rows != nil {
			rows := *r.Rows
			for _, ids := range []*[]string{&rows.Fail, &rows.Drop, &rows.Both} {
				if *ids != nil {
					*ids = r.Match.IDs
				}
			}
			r.Rows = &rows
		}
		f.rules = []stub.Rule{r}
		all = append(all, f)
	}
	return all
}

// saturated is what is known after a run.
type saturated struct {
	fault       besideFault
	age         time.Duration // of the events of the healthy streams; of 99 in 100
	events      int           // of them
	left        int           // that were not delivered
	calls       float64       // in the time that counts
	purposes    map[contactsync.Purpose]float64
	deadLetters int
}

func playSaturated(t *testing.T, api model, f besideFault) saturated {
	r := newBubble(t, brokenAPI(t, api, f.rules), nil)
	random := rand.New(rand.NewPCG(1, 2)) // alike in all runs
	start := time.Now()
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	got := saturated{fault: f}
	var calls float64
	var before map[contactsync.Purpose]float64
	for n := 0; time.Now().Before(at(saturatedMinutes)); n++ {
		if before == nil && !time.Now().Before(at(saturatedFrom)) {
			calls, before = r.spent(), r.purposes()
		}
		stream, contact := random.IntN(saturatedStreams), random.IntN(1000)
		ev := healthyEvent(stream, contact, n)
		if stream%4 == 1 && contact < 100 && f.rules != nil && !time.Now().Before(at(saturatedFrom-2)) {
			ev = feed.NewUpdate(feed.Contact{Stream: feed.StreamName(stream), ID: fmt.Sprintf("e000af60%016x", contact)}, contact, int64(n), feed.Update)
		}
		r.add(int32(stream%2), ev)
		time.Sleep(spread(random, saturatedEvery))
	}
	got.calls, got.purposes = r.spent()-calls, r.purposes()
	for p, n := range before {
		got.purposes[p] -= n
	}
	time.Sleep(5 * time.Minute)
	ages, left := r.took(at(saturatedFrom))
	got.age, got.events, got.left, got.deadLetters = quantile(ages, 0.99), len(ages)+left, left, len(r.deadLetters())
	return got
}

// judgeSaturated prints the runs, of which the first is that without a fault, and returns what is wrong.
func judgeSaturated(to io.Writer, results []saturated) (faults []string) {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	defer out.Flush() // to a test's output
	fmt.Fprintln(out, "FAULT OF ONE ROW IN TEN\tHEALTHY\tAGE, 99 %\tRATIO\tCALLS\tDELIVERY\tRETRY\tISOLATION\tPROBE\tSHARE\tDEAD LETTERS\t")
	for _, r := range results {
		ratio := r.age.Seconds() / results[0].age.Seconds()
		share := (r.calls - r.purposes[contactsync.Delivery]) / r.calls
		fmt.Fprintf(out, "%s\t%d\t%v\t%.2f\t%v\t%v\t%v\t%v\t%v\t%.3f\t%d\t\n", r.fault.name, r.events-r.left, r.age.Round(time.Millisecond), ratio, r.calls,
			r.purposes[contactsync.Delivery], r.purposes[contactsync.Retry], r.purposes[contactsync.Isolation], r.purposes[contactsync.Probe], share, r.deadLetters)
		switch full := float64(54 * (saturatedMinutes - saturatedFrom)); {
		case r.left > 0:
			faults = append(faults, fmt.Sprintf("%s: %d healthy events were not delivered", r.fault.name, r.left))
		case r.calls < 0.95*full:
			faults = append(faults, fmt.Sprintf("%s: %v calls, and %v were to be had", r.fault.name, r.calls, full))
		case share > isolationShare:
			faults = append(faults, fmt.Sprintf("%s: %.3f of the calls are not for delivery", r.fault.name, share))
		case ratio > 1.5:
			faults = append(faults, fmt.Sprintf("%s: healthy events get %.2f times as old", r.fault.name, ratio))
		}
	}
	return faults
}

// What is judged finds a share that is too large, calls that are not used, and healthy events that are late or left.
func TestBeside_SaturatedCanFail(t *testing.T) {
	t.Parallel()
	nothing := saturated{fault: besideFault{name: "nothing"}, age: 10 * time.Second, events: 100, calls: 810, purposes: map[contactsync.Purpose]float64{contactsync.Delivery: 810}}
	all := []saturated{nothing}
	for _, change := range []func(*saturated){
		func(r *saturated) {
			r.purposes = map[contactsync.Purpose]float64{contactsync.Delivery: 580, contactsync.Retry: 230}
		},
		func(r *saturated) { r.calls = 700 },
		func(r *saturated) { r.age = 16 * time.Second },
		func(r *saturated) { r.left = 1 },
	} {
		r := nothing
		r.fault.name = "a row: 400"
		change(&r)
		all = append(all, r)
	}
	if faults := judgeSaturated(io.Discard, all); len(faults) != len(all)-1 {
		t.Errorf("%q", faults)
	}
}

// Of 2,000 rows of a stream one in ten makes the API refuse whole requests: they are found with 1,200 calls. Healthy
// streams that take half of the calls get at most twice as old meanwhile, and not afterwards.
func TestBeside_TwoThousandRows(t *testing.T) {
	if testing.Short() { // as in playAll
		t.Skip("it computes much: make beside")
	}
	onEachModel(t, []stub.Rule{{Name: "fault", Match: stub.Match{IDs: []string{poisonIDs}}, Answer: &stub.Answer{Status: 400}}}, nil, playTwoThousandRows)
}

func playTwoThousandRows(t *testing.T, r *scene) {
	random := rand.New(rand.NewPCG(1, 2))
	healthy := func(d time.Duration) time.Duration { // plays them, and returns how old they got
		begin := time.Now()
		for n := 0; time.Since(begin) < d; n++ {
			r.add(0, healthyEvent(random.IntN(besideStreams), random.IntN(100), n))
			time.Sleep(spread(random, besideEvery))
		}
		time.Sleep(time.Minute)
		ages, left := r.took(begin)
		if left > 0 {
			t.Errorf("%d healthy events were not delivered", left)
		}
		return quantile(ages, 0.99)
	}
	const rows, bad = 2000, 200
	before := healthy(20 * time.Minute)
	for i, n := range random.Perm(rows) {
		c := feed.Contact{Stream: "st-poison", ID: fmt.Sprintf("6964af61%016x", n)}
		if n < bad {
			c.ID = fmt.Sprintf("e000af60%016x", n)
		}
		r.add(1, feed.NewUpdate(c, i, 1, feed.Update))
	}
	during := healthy(90 * time.Minute)
	calls := r.calls(contactsync.Isolation.String()) + r.calls(contactsync.Retry.String())
	after, letters := healthy(20*time.Minute), len(r.deadLetters())
	t.Logf("%d of %d rows bad: %v calls, %d dead letters; 99 in 100 healthy events took %v before, %v meanwhile, %v afterwards", bad, rows, calls, letters, before, during, after)
	if calls > 1200 || letters != bad || during > 2*before || after > 2*before {
		t.Error("that is too many calls, not all dead letters, or too old")
	}
}

// As many streams as there are calls in a minute have a row each that makes requests fail, and these rows are older than all others: so it is
// after a restart. Healthy streams that take half of the calls go on meanwhile: neither is the breaker open for them for each of
// the rows, nor do their retries take the calls.
func TestBeside_BadRowsOfManyStreams(t *testing.T) {
	if testing.Short() { // as in playAll
		t.Skip("it computes much: make beside")
	}
	for name, a := range map[string]stub.Answer{"500": {Status: 500}, "reset": {Fault: stub.Reset}} {
		t.Run(name, func(t *testing.T) {
			onEachModel(t, []stub.Rule{{Name: "fault", Match: stub.Match{IDs: []string{poisonIDs}}, Answer: &a}}, nil, playManyStreams)
		})
	}
}

func playManyStreams(t *testing.T, r *scene) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 50 {
		c := feed.Contact{Stream: fmt.Sprintf("st-bad%d", n), ID: fmt.Sprintf("e000af60%016x", n)}
		r.add(1, feed.NewUpdate(c, n, 1, feed.Update))
	}
	ages := func(d time.Duration) time.Duration { // how old healthy events get
		begin := time.Now()
		for n := 0; time.Since(begin) < d; n++ {
			r.add(0, healthyEvent(random.IntN(besideStreams), random.IntN(100), n))
			time.Sleep(spread(random, besideEvery))
		}
		time.Sleep(10 * time.Second)
		ages, left := r.took(begin)
		if left > 0 {
			t.Errorf("%d healthy events wait", left)
		}
		return quantile(ages, 0.99)
	}
	first, then := ages(5*time.Minute), ages(20*time.Minute)
	t.Logf("99 in 100 healthy events took %v in the first minutes, %v then", first, then)
	if first > 90*time.Second || then > 10*time.Second || len(r.deadLetters()) > 0 {
		t.Errorf("that is too old, or %d dead letters", len(r.deadLetters()))
	}
}
