package event

import (
	"cmp"
	"time"

	"github.com/contactsync/contactsync"
)

// Place is where an event stands in the order of its contact's events.
type Place struct {
	Version    int64 // meaningful with HasVersion
	HasVersion bool
	OccurredAt time.Time            // zero where the event does not say
	Origin     contactsync.Position // where the event was first read, also of a replay
	Time       time.Time            // of the record at that place
}

// Place returns where the event stands. A replay stands where it was first read, not
// where it was written back.
func (e *Event) Place() Place {
	p := Place{
		Version: e.Contact.Version, HasVersion: e.Contact.HasVersion, OccurredAt: e.Contact.OccurredAt,
		Origin: e.Record.Position, Time: e.Record.Time,
	}
	if e.Replay != nil {
		p.Origin, p.Time = e.Replay.Origin, e.Replay.OriginTime
	}
	return p
}

// Said compares two places by what the producer says of the order: their versions
// where both have one, else their times. It is negative where p is the older one, and
// 0 where they are equal or nothing is said: then it is left to the log.
func (p Place) Said(q Place) int {
	switch {
	case p.HasVersion && q.HasVersion:
		return cmp.Compare(p.Version, q.Version)
	case !p.OccurredAt.IsZero() && !q.OccurredAt.IsZero():
		return p.OccurredAt.Compare(q.OccurredAt)
	}
	return 0
}

// After reports whether an event at p is newer than one at q: by what the producer
// says, else by the order within a partition. Between partitions there is only the
// time of the records, and an equal one counts as newer, on either side: in doubt a
// replay overwrites nothing.
func (p Place) After(q Place) bool {
	if said := p.Said(q); said != 0 {
		return said > 0
	}
	if p.Origin.TopicPartition == q.Origin.TopicPartition {
		return p.Origin.Offset > q.Origin.Offset
	}
	return !p.Time.Before(q.Time)
}
