package consumer

import (
	"math"
	"sync/atomic"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/progress"
)

// What the fuse of a partition goes by.
const (
	fewestEvents = 20   // with how many it begins to judge
	recentEvents = 100  // how many it remembers
	aheadRecords = 1000 // how many it looks at behind the offset at which the partition waits
)

const (
	nowhere       = -1            // as an offset: nothing waits
	untilReadable = math.MaxInt64 // as an offset: until the events can be read again
)

// fuse ends the reading of a partition when most of its events cannot be read: a feed in
// another format must not become dead letters event by event. It belongs to the
// fetcher's goroutine, but for the offsets, which go with the commits.
type fuse struct {
	policy string
	recent sample       // of the events that were read
	waits  atomic.Int64 // the offset from which on everything waits; nowhere while the partition is read
	passes atomic.Int64 // unreadable events below this offset become dead letters, however many they are

	ahead sample // of the records that were looked at behind waits
	next  int64  // offset to look at next
	left  int    // how many more may be looked at
}

// holds reports whether the event at an offset has to wait.
func (u *fuse) holds(offset int64) bool {
	at := u.waits.Load()
	return at != nowhere && offset >= at
}

// note judges the feed by one more event, and reports whether that changes something:
// the fuse has blown, or the events can be read again.
func (u *fuse) note(ev *event.Event) (blown, readable bool) {
	if u.policy == Off || ev.Before != contactsync.Open || event.IsReplay(ev.Record.Headers) {
		return false, false // it costs no dead letter, or says nothing of the feed
	}
	offset := ev.Record.Offset
	u.recent.add(ev)
	switch {
	case u.passes.Load() == untilReadable:
		if u.recent.readable() {
			u.passes.Store(offset + 1)
			return false, true
		}
	case offset < u.passes.Load(), u.waits.Load() != nowhere:
	case isUnreadable(ev) && u.recent.unreadable():
		return true, false
	}
	return false, false
}

// wait has everything from an offset on wait. What lies before it was let through.
func (u *fuse) wait(offset int64) {
	u.waits.Store(offset)
	u.ahead, u.next, u.left = sample{}, offset, aheadRecords
}

// pass ends the waiting, and lets unreadable events below an offset become dead letters.
func (u *fuse) pass(below int64) {
	u.passes.Store(below)
	u.waits.Store(nowhere)
}

// kept is what a commit of that offset tells the next owner: what waits, or what an
// operator lets pass. A policy is not kept, since it may be another one then.
func (u *fuse) kept(committed int64) *progress.Feed {
	waits, passes := u.waits.Load(), u.passes.Load()
	switch {
	case waits != nowhere:
		return &progress.Feed{Waits: true, Offset: waits}
	case passes > committed && u.policy == Halt:
		return &progress.Feed{Offset: passes}
	}
	return nil
}

// look notes a record behind the offset at which the partition waits, and reports
// whether the events there can be read.
func (u *fuse) look(ev *event.Event) (readable bool) {
	u.left--
	if event.IsReplay(ev.Record.Headers) {
		return false
	}
	u.ahead.add(ev)
	return u.ahead.readable()
}

// sample is which of the last events could not be read.
type sample struct {
	faults [recentEvents]fault
	events int // how many of faults are used
	at     int // the next one
	unread int
}

// fault is why an event could not be read. Where it could, err is nil.
type fault struct {
	offset int64
	err    *event.DecodeError
}

func (s *sample) add(ev *event.Event) {
	if s.faults[s.at].err != nil {
		s.unread--
	}
	s.faults[s.at] = fault{}
	if isUnreadable(ev) {
		s.faults[s.at] = fault{ev.Record.Offset, ev.Err}
		s.unread++
	}
	s.at = (s.at + 1) % recentEvents
	s.events = min(s.events+1, recentEvents)
}

// unreadable reports whether nine of ten events could not be read.
func (s *sample) unreadable() bool { return s.events >= fewestEvents && s.unread*10 >= s.events*9 }

// readable reports whether nine of ten could.
func (s *sample) readable() bool { return s.events == recentEvents && s.unread*10 <= s.events }

// first is the oldest event that could not be read. There must be one.
func (s *sample) first() fault {
	for i := range recentEvents {
		if f := s.faults[(s.at+i)%recentEvents]; f.err != nil {
			return f
		}
	}
	panic("BUG: none of the events is unreadable")
}

// isUnreadable reports whether a record is no event. One of a stream that no account
// takes is one: its form is right.
func isUnreadable(ev *event.Event) bool {
	return ev.Err != nil && (ev.Err.Reason == contactsync.ReasonUndecodable || ev.Err.Reason == contactsync.ReasonInvalid)
}
