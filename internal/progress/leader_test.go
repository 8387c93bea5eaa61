package progress_test

import (
	"testing"

	"github.com/contactsync/contactsync/internal/progress"
)

// TestTracker_CommitsWhoWroteWhatLiesBelow, whatever the progress itself is known of.
func TestTracker_CommitsWhoWroteWhatLiesBelow(t *testing.T) {
	t.Parallel()
	log := progress.NewLog("c", [16]byte{1})
	next := func(tr *progress.Tracker) *progress.Tracker {
		t.Helper()
		a := tr.ToCommit(progress.TextRuns).Ahead
		a.Log = log
		text, _ := a.Text(progress.MaxText)
		ahead, err := progress.Parse(text, a.Offset, log)
		if err != nil {
			t.Fatal(err)
		}
		tr = progress.NewTracker()
		tr.Resume(a.Offset, ahead)
		tr.Start(a.Offset)
		return tr
	}
	want := func(tr *progress.Tracker, leader int32, what string) {
		t.Helper()
		if got := tr.Leader(); got != leader {
			t.Errorf("%s: leader %d, want %d", what, got, leader)
		}
	}
	tr := progress.NewTracker()
	tr.Start(0)
	want(tr, -1, "nothing was read")
	tr.Inherited(0, 3)
	tr.Opened([]int64{0})
	want(tr, 3, "an event was read")
	tr.Passed(2, 5)
	want(tr, 5, "a marker of a later leader was passed")
	tr = next(tr)
	want(tr, 5, "the next owner")
	tr = next(tr)
	want(tr, 5, "the next but one, which has read nothing")
	elsewhere := progress.NewTracker()
	elsewhere.Resume(0, &progress.Ahead{Offset: 0, Leader: 5})
	elsewhere.Start(7)
	want(elsewhere, -1, "reading begins elsewhere")
	tr.Passed(9, -1)
	want(tr, -1, "what retention has removed was skipped")
	tr = next(tr)
	want(tr, -1, "the owner after that")
	tr.Inherited(9, 6)
	want(tr, 6, "an event behind it")
}
