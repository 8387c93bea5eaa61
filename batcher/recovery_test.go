package batcher

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// recovering is a window whose streams, of one contact each, fail for a while.
type recovering struct {
	*testWindow
	passed []time.Time // when requests did since
}

const recoveringStreams = 30

func newRecovering(t *testing.T, outage time.Duration) *recovering {
	w := &recovering{testWindow: newTestWindow(t, nil)}
	for _, answer := range []func(contactsync.Batch) contactsync.Result{allDelivered, func(contactsync.Batch) contactsync.Result { return fails }} {
		for n := range recoveringStreams {
			w.add(fmt.Sprintf("s%02d/c", n))
		}
		w.live(outage, answer)
	}
	w.passed = nil
	return w
}

// live answers what is sent for some time.
func (w *recovering) live(d time.Duration, answer func(contactsync.Batch) contactsync.Result) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(100 * time.Millisecond) {
		for f := w.Next(w.now); f != nil; f = w.Next(w.now) {
			r := answer(f.Batch)
			if w.settle(f, r); r.Kind == contactsync.Answered {
				w.passed = append(w.passed, w.now)
			}
		}
	}
}

// Once six streams in a row have passed, and none failed in between, no other waits any longer.
func TestRecovery_OnceSomeHavePassedNoStreamWaits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fail []int // of the requests after the outage
		want int   // pass before all others do
	}{
		{nil, 6},
		{[]int{5}, 5 + 6},
		{[]int{3, 9}, 3 + 5 + 6},
	} {
		w := newRecovering(t, 10*time.Minute)
		sent := 0
		w.live(2*time.Minute, func(b contactsync.Batch) contactsync.Result {
			if sent++; slices.Contains(tt.fail, sent-1) {
				return fails
			}
			return allDelivered(b)
		})
		if len(w.passed) != recoveringStreams {
			t.Fatalf("%v fail: %d requests have passed, want one for each of %d streams", tt.fail, len(w.passed), recoveringStreams)
		}
		last := w.passed[recoveringStreams-1]
		if got := slices.IndexFunc(w.passed, last.Equal) + 1; got != tt.want {
			t.Errorf("%v fail: all others pass with number %d, want %d", tt.fail, got, tt.want)
		}
	}
}

// What was concluded meanwhile about streams that were not sent, and about the size of requests, is forgotten.
func TestRecovery_NothingIsLeftOfTheOutage(t *testing.T) {
	t.Parallel()
	w := newRecovering(t, 10*time.Second)
	w.add("quiet/c") // it may be the next to fail
	st := w.schedule.streams[streamKey{"a", "quiet"}]
	size := &st.account.health.size
	size.rows.limit, size.rows.refused = 1, 2
	if w.schedule.countHeld(st); !st.withheld() || w.schedule.held == 0 {
		t.Fatal("no stream is in doubt")
	}
	for range acquitAfter {
		w.health.stalledPassed(st.account)
	}
	if rows, _ := size.next(); rows != size.rows.most || w.schedule.held != 0 {
		t.Errorf("requests have %d rows, and %d bytes count as on hold", rows, w.schedule.held)
	}
}

// A stream that is on hold says nothing of those that fail, and they nothing of it. Nor does another account.
func TestRecovery_IsNotForWhatIsOnHold(t *testing.T) {
	t.Parallel()
	w := newRecovering(t, 10*time.Minute)
	w.add("gone/c")
	other := w.event("elsewhere/c")
	other.Contact.Account = "b"
	w.Add(w.now, other)
	w.live(time.Minute, func(b contactsync.Batch) contactsync.Result {
		if b.Stream == "gone" {
			return contactsync.Result{Kind: contactsync.StreamGone, Status: 404}
		}
		return fails
	})
	gone, elsewhere := w.schedule.streams[streamKey{"a", "gone"}], w.schedule.streams[streamKey{"b", "elsewhere"}]
	if gone.health.hold == nil || elsewhere.health.failures == 0 {
		t.Fatal("one is not on hold, or the other does not fail")
	}
	probe, failures := gone.health.backoff, elsewhere.health.failures
	for range acquitAfter {
		w.health.stalledPassed(gone.account)
	}
	if gone.health.hold == nil || !gone.health.backoff.Equal(probe) || elsewhere.health.failures != failures {
		t.Error("streams of the account pass: the other one does not wait any more, or the one on hold")
	}
}

// That an answer refuses the row of a probe says nothing of streams that fail either.
func TestRecovery_ProbesDoNotCount(t *testing.T) {
	t.Parallel()
	w := &recovering{testWindow: newTestWindow(t, nil)}
	for n := range 10 {
		w.add(fmt.Sprintf("bad/%d", n))
	}
	probes := 0
	w.live(time.Hour, func(contactsync.Batch) contactsync.Result {
		if st := w.schedule.streams[streamKey{"a", "bad"}]; st.onHold() && st.stalls() {
			probes++
		}
		return contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{{Verdict: contactsync.Failed, Reason: "no"}}}
	})
	if n := w.schedule.account("a").health.stalledPassed; probes < acquitAfter-1 || n != 0 {
		t.Errorf("of %d probes %d count", probes, n)
	}
}
