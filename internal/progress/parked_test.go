package progress_test

import (
	"testing"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/progress"
)

func park(t *progress.Tracker, offsets ...int64) {
	var left []contactsync.Parked
	for _, o := range offsets {
		left = append(left, contactsync.Parked{Offset: o})
	}
	t.Park(left)
}

func end(t *progress.Tracker, offsets ...int64) {
	var ended []contactsync.Ended
	for _, o := range offsets {
		ended = append(ended, contactsync.Ended{Offset: o})
	}
	t.Done(ended)
}

// What is parked stays open, until it is read again and ends, or is gone.
func TestTracker_ParkedEventsStayOpen(t *testing.T) {
	t.Parallel()
	tr := progress.NewTracker()
	tr.Opened([]int64{0, 1, 2, 600, 601, 5000})
	park(tr, 600, 1, 5000, 1, 3, 9999)
	if n, first := tr.Parked(0); n != 3 || first != 1 {
		t.Fatalf("%d are parked, the first at %d", n, first)
	}
	for from, want := range map[int64]int64{2: 600, 600: 600, 601: 5000, 5001: -1} {
		if _, first := tr.Parked(from); first != want {
			t.Errorf("the first from %d on is %d, want %d", from, first, want)
		}
	}
	end(tr, 0, 2)
	if s := tr.State(); s.Watermark != 1 || s.Open != 4 || s.Parked != 3 {
		t.Fatalf("%+v", s)
	}
	if parked, gone := tr.Reread(0, 1); !parked || gone != 0 {
		t.Errorf("1: %v, %d gone", parked, gone)
	}
	if parked, _ := tr.Reread(1, 1); parked {
		t.Error("1 is read again twice")
	}
	if parked, gone := tr.Reread(2, 601); parked || gone != 1 { // 600 was compacted
		t.Errorf("601: %v, %d gone", parked, gone)
	}
	if s := tr.State(); s.Watermark != 1 || s.Open != 3 || s.Parked != 1 {
		t.Fatalf("%+v", s)
	}
	end(tr, 1, 601)
	if n := tr.Gone(602, 5000); n != 0 {
		t.Errorf("%d are gone", n)
	}
	if n := tr.Gone(602, 5001); n != 1 {
		t.Errorf("%d are gone", n)
	}
	if s := tr.State(); s.Watermark != 5001 || s.Open != 0 || s.Parked != 0 {
		t.Errorf("%+v", s)
	}
	if n, first := tr.Parked(0); n != 0 || first != -1 {
		t.Errorf("%d are parked, the first at %d", n, first)
	}
}

// What ends while it is parked is not to be read again.
func TestTracker_WhatEndsIsNotParked(t *testing.T) {
	t.Parallel()
	tr := progress.NewTracker()
	tr.Opened([]int64{0, 1})
	park(tr, 0, 1)
	end(tr, 0)
	if n, first := tr.Parked(0); n != 1 || first != 1 {
		t.Errorf("%d are parked, the first at %d", n, first)
	}
}
