package consumer

import (
	"testing"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

func TestFuse_Blows(t *testing.T) {
	t.Parallel()
	unreadable := func(reason contactsync.Reason) event.Event {
		return event.Event{Err: &event.DecodeError{Reason: reason}}
	}
	good, bad := event.Event{Kind: event.Update}, unreadable(contactsync.ReasonInvalid)
	before, replayed := bad, bad
	before.Before = contactsync.SetAside
	replayed.Record.Headers = []contactsync.Header{{Key: event.HeaderReplayOf}}
	times := func(n int, ev event.Event) (all []event.Event) {
		for range n {
			all = append(all, ev)
		}
		return all
	}
	join := func(parts ...[]event.Event) (all []event.Event) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	var mixed, most []event.Event
	for i := range 1000 {
		if i%100 < 11 { // of which the first are good, and one more
			mixed = append(mixed, good)
		} else {
			mixed = append(mixed, bad)
		}
	}
	for i := range 30 {
		if i == 3 || i == 7 {
			most = append(most, event.Event{Kind: event.Delete})
		} else {
			most = append(most, unreadable(contactsync.ReasonUndecodable))
		}
	}
	for _, test := range []struct {
		name   string
		policy string
		events []event.Event
		want   int // the number of the event with which it blows, from 1; 0 for never
	}{
		{"all are invalid", Halt, times(50, bad), 20},
		{"most are undecodable", Halt, most, 20},
		{"too few", Halt, times(19, bad), 0},
		{"nobody looks", Off, times(50, bad), 0},
		{"a good feed turns bad", Halt, join(times(500, good), times(200, bad)), 590},
		{"a burst", Halt, join(times(500, good), times(89, bad), times(500, good)), 0},
		{"one of nine is good", Halt, mixed, 0},
		{"no account takes the streams", Halt, times(200, unreadable(contactsync.ReasonUnmapped)), 0},
		{"tombstones", Halt, times(200, event.Event{Kind: event.Tombstone}), 0},
		{"an earlier owner had ended them", Halt, times(200, before), 0},
		{"replays", Halt, times(200, replayed), 0},
		{"replays among others", Halt, join(times(19, bad), times(50, replayed), times(1, bad)), 70},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := fuse{policy: test.policy}
			u.waits.Store(nowhere)
			got := 0
			for i, ev := range test.events {
				ev.Record.Offset = int64(i)
				if blown, readable := u.note(&ev); readable {
					t.Fatalf("event %d: it is said to be readable again", i+1)
				} else if blown && got == 0 {
					got = i + 1
				}
			}
			if got != test.want {
				t.Errorf("it blows with event %d, want %d", got, test.want)
			}
		})
	}
}

func TestFuse_SeesWhenEventsCanBeReadAgain(t *testing.T) {
	t.Parallel()
	bad := &event.DecodeError{Reason: contactsync.ReasonInvalid}
	for _, test := range []struct {
		name             string
		bad, every, want int
	}{
		{"all are good", 0, 0, 100},
		{"one of ten is bad", 0, 10, 100},
		{"behind bad ones", 300, 0, 390},
		{"one of nine is bad", 0, 9, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var u fuse
			u.wait(0)
			got := 0
			for i := range aheadRecords {
				ev := event.Event{}
				if i < test.bad || test.every > 0 && i%test.every == 0 {
					ev.Err = bad
				}
				if u.look(&ev) && got == 0 {
					got = i + 1
				}
			}
			if got != test.want || u.left != 0 {
				t.Errorf("readable with event %d, want %d; %d may still be looked at", got, test.want, u.left)
			}
		})
	}
}
