package replay

import (
	"time"

	"contactsync"
	"contactsync/event"
)

// place is where an event stands in the order of its contact's events.
type place struct {
	version    int64
	hasVersion bool
	occurred   time.Time            // zero where the event does not say
	origin     contactsync.Position // where the event was first read, also of a replay
	time       time.Time            // of the record at that place
}

// placeOf returns the place of an event that came in a record. A replay stands
// where it was first read, not where it was written back.
func placeOf(e event.Event) place {
	p := place{
		version: e.Contact.Version, hasVersion: e.Contact.HasVersion, occurred: e.Contact.OccurredAt,
		origin: e.Record.Position, time: e.Record.Time,
	}
	if e.Replay != nil {
		p.origin, p.time = e.Replay.Origin, e.Replay.OriginTime
	}
	return p
}

// after reports whether an event at p is newer than one at q. Versions decide where
// both have one, else what both say of their time; where that is equal or missing,
// the order within a partition. Between partitions there is only the time of the
// records, and an equal one counts as newer: in doubt nothing is overwritten.
func (p place) after(q place) bool {
	switch {
	case p.hasVersion && q.hasVersion && p.version != q.version:
		return p.version > q.version
	case p.hasVersion && q.hasVersion: // as the service does: equal versions leave it to the log
	case !p.occurred.IsZero() && !q.occurred.IsZero() && !p.occurred.Equal(q.occurred):
		return p.occurred.After(q.occurred)
	}
	if p.origin.Claim == q.origin.Claim {
		return p.origin.Offset > q.origin.Offset
	}
	return !p.time.Before(q.time)
}
