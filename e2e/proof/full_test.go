//go:build proof

package proof

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/setting"
)

// TestBeside_FullWindow has more rows arrive than the window has room for whose requests all fail, for an hour. Other streams are
// delivered as ever but for the first minutes: neither is the reading stopped, nor does anything become a dead letter. When the
// API takes the rows, they are delivered within ten minutes, however many they are.
func TestBeside_FullWindow(t *testing.T) {
	playAll(t, "beside", func(model) []fullCase { return fullCases() }, func(c fullCase) string { return c.name }, playFull, judgeFull)
}

const (
	fullRows = 4000 // twice as many as the window holds
	fullFrom = 2 * time.Minute
	fullFor  = time.Hour
	fullOver = 10 * time.Minute
	fullLate = 5 * time.Second // about two calls more
)

// fullCase is how the rows fail.
type fullCase struct {
	name     string
	answer   stub.Answer
	streams  int // that they are of; healthy ones lie in others
	window   int // MiB
	steadily bool
	outage   bool          // the rows of all streams fail
	late     time.Duration // of how old other streams' events may become
}

func fullCases() []fullCase {
	failing := stub.Answer{Status: 500}
	return []fullCase{
		{name: "nothing", answer: failing, window: 2},
		{name: "500", answer: failing, streams: 2, window: 2},
		{name: "500 for one stream", answer: failing, streams: 1, window: 2},
		{name: "500 for many streams", answer: failing, streams: 100, window: 2, late: 6 * time.Minute}, // each is to be tried first
		{name: "500, a small window", answer: failing, streams: 2, window: 1},
		{name: "500, as the hour goes", answer: failing, streams: 2, window: 2, steadily: true},
		{name: "reset", answer: stub.Answer{Fault: stub.Reset}, streams: 2, window: 2},
		{name: "time-out", answer: stub.Answer{Fault: stub.NoAnswer}, streams: 2, window: 2},
		{name: "200 without a body", answer: stub.Answer{Body: stub.Empty}, streams: 2, window: 2},
		{name: "404", answer: stub.Answer{Status: 404}, streams: 2, window: 2},
		{name: "500 for all", answer: failing, streams: 2, window: 2, outage: true},
	}
}

// fullResult is what is known after a run.
type fullResult struct {
	fullCase

	age, oldest, after time.Duration // of the healthy events: of 99 in 100 after fullFrom, of all, and of 99 in 100 later still
	events, left       int           // of them; left when the hour was over
	parked             int           // then
	stay               int           // events that are to be read again, or contacts that wait, after fullOver
	deadLetters        int
}

func playFull(t *testing.T, api model, c fullCase) fullResult {
	match := stub.Match{IDs: []string{poisonIDs}}
	if c.outage {
		match = stub.Match{Streams: []string{"*"}}
	}
	host := brokenAPI(t, api, []stub.Rule{{Name: "fault", Off: c.outage, Match: match, Answer: &c.answer}})
	r := newTopic(newBubble(t, host, func(cfg *config.Config) {
		cfg.Batcher.WindowBytes = setting.Size(c.window) << 20
		cfg.Batcher.MaxBytes = 256 << 10
	}))
	defer r.close()
	random, n, bad := rand.New(rand.NewPCG(1, 2)), 0, 0
	healthy := func(d time.Duration, meanwhile func()) {
		for end := time.Now().Add(d); time.Now().Before(end); n++ {
			r.write(0, healthyEvent(random.IntN(besideStreams), random.IntN(100), n))
			meanwhile()
			time.Sleep(spread(random, besideEvery))
		}
	}
	fail := func(rows int) {
		for ; bad < rows && c.streams > 0; bad++ {
			of := feed.Contact{Stream: fmt.Sprint("st-bad", bad%c.streams), ID: fmt.Sprintf("e000af60%016x", bad)}
			r.write(1, feed.NewUpdate(of, bad, 1, feed.Update))
		}
	}
	healthy(besideFrom*time.Minute, func() {})
	host.Turn("fault", true)
	begin := time.Now()
	if !c.steadily {
		fail(fullRows)
	}
	healthy(fullFor, func() { fail(fullRows * int(time.Since(begin).Seconds()) / int(fullFor.Seconds())) })
	time.Sleep(30 * time.Second)
	got := fullResult{fullCase: c, parked: r.left(0) + r.left(1)}
	ages, left := r.took(begin)
	got.events, got.left, got.oldest = len(ages)+left, left, quantile(ages, 1)
	ages, _ = r.took(begin.Add(fullFrom))
	got.age = quantile(ages, 0.99)
	host.Turn("fault", false)
	healthy(fullOver, func() {})
	over := time.Now()
	healthy(fullOver, func() {})
	time.Sleep(30 * time.Second)
	ages, left = r.took(over)
	status, err := r.batcher.Status(t.Context())
	must(t, err)
	got.after, got.stay, got.deadLetters = quantile(ages, 0.99), left+r.left(0)+r.left(1)+status.PendingContacts, len(r.deadLetters())
	return got
}

// judgeFull prints the runs, of which the first is that without a fault, and returns what is wrong.
func judgeFull(to io.Writer, results []fullResult) (faults []string) {
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	defer out.Flush() // to a test's output
	fmt.Fprintln(out, "ROWS THAT FAIL\tDELIVERED\tAGE, 99 %\tOLDEST\tPARKED\tAGE AFTER IT\tSTAY\tDEAD LETTERS")
	for _, r := range results {
		fmt.Fprintf(out, "%s\t%d of %d\t%v\t%v\t%d\t%v\t%d\t%d\n", r.name, r.events-r.left, r.events, r.age.Round(time.Millisecond), r.oldest.Round(time.Millisecond), r.parked,
			r.after.Round(time.Millisecond), r.stay, r.deadLetters)
		if most := max(2*results[0].age, fullLate); !r.outage && (r.left > 0 || r.age > max(most, r.late) || r.oldest > max(fullFrom, r.late)) || r.after > most {
			faults = append(faults, fmt.Sprintf("%s: %d healthy events of %d wait, or they are too old", r.name, r.left, r.events))
		}
		if r.stay > 0 || r.deadLetters > 0 {
			faults = append(faults, fmt.Sprintf("%s: %d rows stay, %d dead letters", r.name, r.stay, r.deadLetters))
		}
	}
	return faults
}

// What is judged finds events that wait, that are old, during the failures or later, rows that stay, and dead letters.
func TestBeside_FullWindowCanFail(t *testing.T) {
	t.Parallel()
	nothing := fullResult{fullCase: fullCase{name: "nothing"}, age: time.Second, oldest: time.Second, after: time.Second, events: 1800}
	all := []fullResult{nothing}
	for _, change := range []func(*fullResult){
		func(r *fullResult) { r.left = 1 },
		func(r *fullResult) { r.age = 6 * time.Second },
		func(r *fullResult) { r.oldest = time.Hour },
		func(r *fullResult) { r.after = 6 * time.Second },
		func(r *fullResult) { r.stay = 1 },
		func(r *fullResult) { r.deadLetters = 1 },
	} {
		r := nothing
		change(&r)
		all = append(all, r)
	}
	if faults := judgeFull(io.Discard, all); len(faults) != len(all)-1 {
		t.Errorf("%q", faults)
	}
}
