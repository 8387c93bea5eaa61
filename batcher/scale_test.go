package batcher

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// What happens for each event looks at as few streams, however many there are.
func TestWindow_LooksAtFewStreams(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]func(w *testWindow){
		"a new contact": func(w *testWindow) { w.add("st-3/new") },
		"a new stream":  func(w *testWindow) { w.add("new/x") },
		"a merge":       func(w *testWindow) { w.add("st-3/c") },
		"a delete":      func(w *testWindow) { w.remove("st-3/c") },
		"a tombstone that names its stream": func(w *testWindow) {
			ev := w.event("st-3/c")
			ev.Kind = event.Tombstone
			w.Add(w.now, ev)
		},
		"the first tombstone without a stream": func(w *testWindow) {
			ev := w.event("st-3/c3")
			ev.Kind, ev.Contact.Stream = event.Tombstone, ""
			w.Add(w.now, ev)
		},
		"a second that passes": func(w *testWindow) { w.now = w.now.Add(time.Second); w.Expire(w.now) },
		"the end of the catch-up of one of several partitions": func(w *testWindow) {
			w.CaughtUp(w.now, laterClaims(2)[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, streams := range []int{10, 3000} {
				w := newTestWindow(t, func(c *Config) { c.Linger = time.Hour })
				w.Assign(w.now, laterClaims(2), true)
				for i := range streams {
					w.add(fmt.Sprintf("st-%d/c", i))
				}
				w.Next(w.now)
				w.Expire(w.now) // those that are new may be empty
				before := w.schedule.visits
				op(w)
				if w.Next(w.now) != nil {
					t.Fatal("something is ready")
				}
				w.Wake()
				if n := w.schedule.visits - before; n > 2 {
					t.Errorf("%d of %d streams were looked at", n, streams)
				}
			}
		})
	}
}

// laterClaims are partitions besides that of testClaim.
func laterClaims(n int) []contactsync.Claim {
	claims := make([]contactsync.Claim, n)
	for i := range claims {
		claims[i] = contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: int32(i + 10)}, Generation: testClaim.Generation}
	}
	return claims
}

// The end of catch-up makes many contacts and streams ready at once. The loop does that in steps, and decides
// only then what goes first: the oldest event, and not what was placed first.
func TestWindow_CatchUpEndsInSmallSteps(t *testing.T) {
	t.Parallel()
	const partitions, streams = 10, 3 * mostPlaced
	w := newTestWindow(t, func(c *Config) { c.Linger = 0 })
	claims := laterClaims(partitions)
	w.Assign(w.now, claims, true)
	for i := range streams {
		w.addTo(claims[i%partitions], fmt.Sprintf("st-%d/c", i))
	}
	oldest := w.event("oldest/c")
	oldest.Record.TopicPartition, oldest.Record.Time = claims[partitions-1].TopicPartition, w.now.Add(-time.Hour)
	w.claims.owned[claims[partitions-1]].ranked = time.Time{}
	w.Add(w.now, oldest)
	for _, c := range claims {
		w.CaughtUp(w.now, c)
	}
	w.add("st-0/late")
	var req *Request
	steps := 0
	for ; req == nil && steps < 100; steps++ {
		before := w.schedule.visits
		req = w.Next(w.now)
		if wake := w.Wake(); req == nil && !wake.Equal(w.now) {
			t.Fatalf("after %d steps the window wakes at %v", steps, wake)
		}
		if n := w.schedule.visits - before; n > 2*mostPlaced {
			t.Fatalf("%d streams were placed in one step", n)
		}
	}
	if steps < 3 || req.Batch.Stream != "oldest" {
		t.Errorf("after %d steps %s goes first", steps, req.Batch.Stream)
	}
	for w.Next(w.now) != nil {
		continue
	}
	st := w.schedule.streams[streamKey{"a", "st-0"}]
	if w.pending.contacts != streams+2 || len(w.pending.catchUp.caught) > 0 || st.queue.tail != nil && st.queue.tail.id != "late" {
		t.Errorf("%d contacts, %d claims left, %s is the last of its stream", w.pending.contacts, len(w.pending.catchUp.caught), st.queue.tail.id)
	}
}

// A walk over all streams is counted, so that the tests above see it.
func TestSchedule_WalksAreCounted(t *testing.T) {
	t.Parallel()
	walk := regexp.MustCompile(`range (maps\.\w+\()?([\w.]*schedule\.(streams|quiet|onHold)|s\.(streams|quiet))\b`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if walk.MatchString(line) {
				found = append(found, file+": "+strings.TrimSpace(line))
			}
		}
	}
	want := []string{"schedule.go: for _, st := range s.streams {", "schedule.go: for st := range s.quiet {"}
	if !slices.Equal(found, want) {
		t.Errorf("walks: %q, want those of each and dropEmpty: %q", found, want)
	}
}

// windowOfHolds is a window with so many streams on hold, which have one contact each to be probed with, and together more than
// their part of the window.
func windowOfHolds(tb testing.TB, streams int) *testWindow {
	tb.Helper()
	w := newTestWindow(tb, func(c *Config) { c.WindowBytes, c.Linger = 1<<12, 0 })
	for i := range streams {
		w.add(fmt.Sprintf("dead-%d/c", i))
		st := w.schedule.streams[streamKey{"a", fmt.Sprintf("dead-%d", i)}]
		st.health.hold, st.health.backoff = &hold{kind: holdGone, since: w.now}, w.now.Add(1000*time.Hour)
		w.schedule.countHeld(st)
	}
	w.Expire(w.now)
	for w.Next(w.now) != nil || w.Wake().Equal(w.now) {
		continue
	}
	if w.schedule.held <= (Parking{w.Window}).room() {
		tb.Fatal("they have no more than their part")
	}
	return w
}

// deliver has an event read, sent and accepted.
func (w *testWindow) deliver(id string) {
	w.add(id)
	req := w.Next(w.now)
	if req == nil {
		w.t.Fatal("no request may start")
	}
	w.settle(req, allDelivered(req.Batch))
	w.TakeEnded()
}

// However many streams on hold can give nothing more back, an event of another stream looks at few of them, and so does a second
// that passes.
func TestParking_LooksAtFewStreams(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]func(w *testWindow){
		"an event":             func(w *testWindow) { w.deliver("good/c") },
		"a second that passes": func(w *testWindow) { w.now = w.now.Add(time.Second); w.Expire(w.now) },
		"a delete of the contact of one of them": func(w *testWindow) {
			w.remove("dead-3/c")
			w.Expire(w.now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := windowOfHolds(t, 3000)
			w.deliver("good/first")
			w.Expire(w.now)
			before := w.schedule.visits
			op(w)
			if n := w.schedule.visits - before; n > 12 {
				t.Errorf("%d streams were looked at", n)
			}
		})
	}
}

// What could give nothing back, because its partition caught up, does when that is over.
func TestParking_LooksAgainAtWhatHasChanged(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.WindowBytes = 1 << 12 })
	claim := laterClaims(1)
	w.Assign(w.now, claim, true)
	for i := range 20 {
		w.addTo(claim[0], fmt.Sprintf("dead/c%d", i))
	}
	st := w.schedule.streams[streamKey{"a", "dead"}]
	st.health.hold = &hold{kind: holdGone, since: w.now}
	w.schedule.countHeld(st)
	parking := Parking{w.Window}
	if w.Expire(w.now); len(parking.TakeParked()) > 0 {
		t.Fatal("something was left of a partition that catches up")
	}
	w.CaughtUp(w.now, claim[0])
	if w.Expire(w.now); len(parking.TakeParked()) == 0 || len(st.contacts) > 1 {
		t.Errorf("%d contacts are left, of which one is to be probed with", len(st.contacts))
	}
}

// An event of a new contact takes one piece of memory: each costs where there are many.
func TestPending_ANewContactIsOnePieceOfMemory(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	w := newTestWindow(t, nil)
	w.add("a")
	ev, st, src := w.event("b"), w.schedule.streams[streamKey{"a", "st"}], source{claim: w.claims.last}
	if n := testing.AllocsPerRun(100, func() { w.pending.add(w.now, st, ev, src) }); n != 1 {
		t.Errorf("a contact is %v pieces of memory", n)
	}
}
