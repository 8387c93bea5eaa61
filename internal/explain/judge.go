package explain

import (
	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// What becomes of events of which no replica knows, as the topics tell it.
const (
	StateHandled batcher.EventState = "handled" // completed: accepted by itself, or as a part of the one in Into
	StateSkipped batcher.EventState = "skipped" // completed: a delete, or a tombstone
	StateStale   batcher.EventState = "stale"   // completed: older than the one in Into, which was read before it
	StateUnread  batcher.EventState = "unread"  // the owner of its partition has not come to it
	StateLeft    batcher.EventState = "left"    // to be read again, when what is on hold has room for it
	StateOpen    batcher.EventState = "open"    // not completed, and no replica that was asked has it
	StateUnknown batcher.EventState = "unknown" // what is committed is not known
)

// read adds an event that was read from its topic, or what it says of itself to what a replica knows of it.
func (s *Story) read(e *Event) {
	known := s.find(e.at)
	if known == nil {
		s.Events = append(s.Events, *e)
		return
	}
	known.version, known.kind = e.version, e.kind
	known.Kind, known.Recorded, known.Version, known.OccurredAt, known.Origin = e.Kind, e.Recorded, e.Version, e.OccurredAt, e.Origin
}

// setAside adds a dead letter. What a replica has done with its events since is younger.
func (s *Story) setAside(d *deadletter.Entry) {
	status := &batcher.DeadLetterStatus{
		Reason: string(d.Reason), Detail: d.Detail, Status: d.Status, Attempts: d.Attempts, Record: d.Record.String(), At: d.At.String(), Written: d.Written,
	}
	if s.find(d.Record.Position) == nil {
		s.Events = append(s.Events, Event{at: d.Record.Position, EventStatus: batcher.EventStatus{Position: d.Record.String(), Recorded: d.Record.Time}})
	}
	for _, at := range append(d.Positions, d.Record.Position) {
		e := s.find(at)
		if e == nil || e.State != "" && e.State != batcher.EventEnded && e.State != batcher.EventDeadLetter {
			continue
		}
		e.State, e.DeadLetter, e.WaitsFor = batcher.EventDeadLetter, status, ""
		if at != d.Record.Position {
			e.Into = d.Record.String()
		}
	}
}

// judge decides what became of the events of which no replica knows, by what is committed.
func (s *Story) judge(commits map[contactsync.TopicPartition]commit) {
	for i := range s.Events {
		e := &s.Events[i]
		c, known := commits[e.at.TopicPartition]
		if known && e.Committed == nil {
			e.Committed, e.Commit = new(e.at.Offset < c.offset), c.offset
		}
		ended := e.State == batcher.EventEnded && e.version != nil // and what it was is known now
		switch {
		case e.State != "" && !ended:
			continue
		case !ended && !known:
			e.State = StateUnknown
		case !ended && !c.completed(e.at.Offset):
			e.State = s.open(e)
		case e.kind == event.Delete || e.kind == event.Tombstone:
			e.State = StateSkipped
		default:
			e.State = StateHandled
		}
	}
	s.order()
}

// completed reports whether an event has ended, as far as the commit tells.
func (c *commit) completed(offset int64) bool {
	return c.offset != kafka.NoOffset && (offset < c.offset || c.ahead.State(offset) != contactsync.Open)
}

// open is what keeps an event that is not completed, and that no replica has.
func (s *Story) open(e *Event) batcher.EventState {
	p := s.owner(e.at.TopicPartition)
	switch {
	case p == nil:
		return StateOpen
	case e.at.Offset >= p.Next:
		return StateUnread
	}
	for i := range s.Parked {
		if s.Parked[i].Topic == p.Topic && s.Parked[i].Partition == p.Partition {
			return StateLeft
		}
	}
	return StateOpen
}

// order finds, within each partition, the events that were older than one before them, and those that
// a later one came after.
func (s *Story) order() {
	var newest *Event // that was accepted, or is pending
	for i := range s.Events {
		e := &s.Events[i]
		if newest != nil && newest.at.TopicPartition != e.at.TopicPartition {
			newest = nil
		}
		switch {
		case e.version == nil || e.State == batcher.EventDeadLetter:
		case e.kind != event.Update:
			newest = nil // what comes after a delete may count from the beginning
		case newest != nil && e.State == StateHandled && e.version.CompareDeclared(*newest.version) < 0:
			e.State, e.Into = StateStale, newest.Position
		default:
			newest = e
		}
	}
	var later *Event // that is completed too
	for i := len(s.Events) - 1; i >= 0; i-- {
		e := &s.Events[i]
		if later != nil && later.at.TopicPartition == e.at.TopicPartition && e.State == StateHandled {
			e.Into = later.Position
		}
		if e.State == StateHandled || e.State == batcher.EventDelivered {
			later = e
		}
	}
}
