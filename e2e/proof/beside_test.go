//go:build proof

package proof

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestBeside plays each single fault beside healthy traffic that takes half of the account's
// calls, on both models of the API, and compares how old its events get with a run without a
// fault. The rows of the stream that has the fault count too. Time is virtual, for a busy machine makes
// every event seconds old: the service's loop and HTTP client talk to the API's server over connections in memory.
func TestBeside(t *testing.T) {
	faults := append([]besideFault{{name: "nothing"}}, besideFaults()...)
	playAll(t, "beside", func(model) []besideFault { return faults }, func(f besideFault) string { return f.name }, playBeside, judgeBeside)
}

func TestBeside_CanFail(t *testing.T) {
	slow := besideFault{name: "a healthy stream is slow", rules: []stub.Rule{{
		Name: "fault", Match: stub.Match{Streams: []string{feed.StreamName(0)}}, Answer: &stub.Answer{Latency: 10 * time.Second},
	}}, letters: 1}
	for _, api := range models {
		t.Run(api.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				results := []besideResult{{age: 700 * time.Millisecond}, playBeside(t, api, slow)}
				if faults := judgeBeside(io.Discard, results); len(faults) != 2 {
					t.Errorf("contacts wait ten times as long, a dead letter is missing, and the faults are %q", faults)
				}
			})
		})
	}
}

const (
	besideMinutes = 20
	besideFrom    = 3 // the minute from which it counts
	besideStreams = 10
	besideEvery   = 2 * time.Second // between two healthy events, on the average: half of the calls
)

// besideResult is what is known after a run.
type besideResult struct {
	fault       besideFault
	age, oldest time.Duration // of the healthy events; of 99 in 100
	delivered   int
	events      int // healthy ones
	calls       float64
	purposes    map[contactsync.Purpose]float64
	deadLetters int
}

// playBeside plays a fault in a minute when it is known which streams are healthy. Strangers come before what counts:
// that most of them are refused is known after ten calls.
func playBeside(t *testing.T, api model, f besideFault) besideResult {
	r := newBubble(t, brokenAPI(t, api, f.rules), nil)
	arrivals := rand.New(rand.NewPCG(1, 2)) // alike in all runs
	start := time.Now()
	next, broken, n := start, start.Add(besideFrom*time.Minute), 0
	if f.strange {
		broken = start.Add(time.Minute)
	}
	if f.feed == nil {
		broken = start.Add(24 * time.Hour)
	}
	for end := start.Add(besideMinutes * time.Minute); ; n++ {
		at := next
		if broken.Before(at) {
			at = broken
		}
		if at.After(end) {
			break
		}
		time.Sleep(time.Until(at))
		if at.Equal(broken) {
			r.add(1, f.feed(n))
			if broken = at.Add(time.Duration(f.every * float64(time.Minute))); f.once {
				broken = start.Add(24 * time.Hour)
			}
			continue
		}
		r.add(0, healthyEvent(arrivals.IntN(besideStreams), arrivals.IntN(100), n))
		next = at.Add(spread(arrivals, besideEvery))
	}
	time.Sleep(2 * time.Minute)
	got := besideResult{fault: f, calls: r.calls(""), purposes: r.purposes()}
	ages, left := r.took(start.Add(besideFrom * time.Minute))
	got.deadLetters, got.delivered, got.events = len(r.deadLetters()), len(ages), len(ages)+left
	got.age, got.oldest = quantile(ages, 0.99), quantile(ages, 1)
	return got
}

// judgeBeside prints the runs, of which the first is that without a fault, and returns what is wrong.
func judgeBeside(to io.Writer, results []besideResult) (faults []string) {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	defer out.Flush() // to a test's output
	fmt.Fprintln(out, "FAULT\tDELIVERED\tAGE, 99 %\tRATIO\tOLDEST\tCALLS\tDELIVERY\tRETRY\tISOLATION\tPROBE\tDEAD LETTERS")
	for _, r := range results {
		ratio := r.age.Seconds() / results[0].age.Seconds()
		due := fmt.Sprint(r.fault.letters)
		if r.fault.letters < 0 {
			due = "any"
		}
		fmt.Fprintf(out, "%s\t%d of %d\t%v\t%.2f\t%v\t%v\t%v\t%v\t%v\t%v\t%d of %s\n", r.fault.name, r.delivered, r.events, r.age.Round(time.Millisecond), ratio,
			r.oldest.Round(time.Millisecond), r.calls, r.purposes[contactsync.Delivery], r.purposes[contactsync.Retry], r.purposes[contactsync.Isolation],
			r.purposes[contactsync.Probe], r.deadLetters, due)
		if r.delivered < r.events || ratio > 2 {
			faults = append(faults, fmt.Sprintf("%s: %d of %d healthy events delivered, the age below which 99 of 100 are is %.2f times that without", r.fault.name, r.delivered, r.events, ratio))
		}
		if n := r.fault.letters; n >= 0 && (r.deadLetters > n || r.deadLetters < n && !r.fault.atMost) {
			faults = append(faults, fmt.Sprintf("%s: %d dead letters, %d are due", r.fault.name, r.deadLetters, r.fault.letters))
		}
	}
	return faults
}
