package event

import (
	"cmp"
	"time"

	"github.com/contactsync/contactsync"
)

// Version orders the states of one contact.
type Version struct {
	Number     int64 // the producer's; meaningful with HasNumber
	HasNumber  bool
	OccurredAt time.Time            // zero where the event has none
	Origin     contactsync.Position // where the event was first read, also of a replay
	Time       time.Time            // of the record at Origin
}

// Version returns the version of the state that the event carries. A replay keeps the
// one of the event that it repeats.
func (e *Event) Version() Version {
	v := Version{
		Number: e.Contact.Version, HasNumber: e.Contact.HasVersion, OccurredAt: e.Contact.OccurredAt,
		Origin: e.Record.Position, Time: e.Record.Time,
	}
	if e.Replay != nil {
		v.Origin, v.Time = e.Replay.Origin, e.Replay.OriginTime
	}
	return v
}

// CompareDeclared compares by what the producer declares: the numbers where both have
// one, else occurredAt where both have it. It is negative where v is older, and 0 where
// they are equal or cannot be compared; then the log decides.
func (v Version) CompareDeclared(w Version) int {
	switch {
	case v.HasNumber && w.HasNumber:
		return cmp.Compare(v.Number, w.Number)
	case !v.OccurredAt.IsZero() && !w.OccurredAt.IsZero():
		return v.OccurredAt.Compare(w.OccurredAt)
	}
	return 0
}

// NewerThan compares by what the producer declares, else by the offsets within a
// partition, else by the times of the records. Equal times in two partitions count as
// newer in both directions, so that a replay overwrites nothing when in doubt.
func (v Version) NewerThan(w Version) bool {
	if declared := v.CompareDeclared(w); declared != 0 {
		return declared > 0
	}
	if v.Origin.TopicPartition == w.Origin.TopicPartition {
		return v.Origin.Offset > w.Origin.Offset
	}
	return !v.Time.Before(w.Time)
}
