package explain

import (
	"cmp"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/event"
)

// Story is what is known of a contact. Its names are stable.
type Story struct {
	Time     time.Time              `json:"time"`
	Stream   string                 `json:"stream"`
	Contact  string                 `json:"contact"`
	Replicas []Replica              `json:"replicas"` // that were asked
	Events   []Event                `json:"events"`   // by partition, in the order of the log
	Holds    []batcher.HoldStatus   `json:"holds"`    // of the stream
	Parked   []batcher.ParkedStatus `json:"parked"`   // partitions in which events of the stream are left to be read again
	// WaitUntil is until when a new event of the contact waits; see batcher.ContactStatus.
	WaitUntil time.Time `json:"wait_until,omitzero"`

	// Of the topics, where they were read.
	Topics          []Looked         `json:"topics"`
	DeadLetterTopic *DeadLettersRead `json:"dead_letter_topic,omitzero"`
	Left            int              `json:"left,omitzero"`         // older events of the contact that were read and are not shown
	CommitError     string           `json:"commit_error,omitzero"` // why it is not known of all what is committed
	Owners          []Owner          `json:"owners"`                // of partitions that no replica owns that was asked
}

// DeadLettersRead is what was read of the dead-letter topic.
type DeadLettersRead struct {
	Topic       string `json:"topic"`
	Error       string `json:"error,omitzero"`
	DeadLetters int    `json:"dead_letters"` // in it, of all contacts
}

// Owner is a member of the group and a partition that it owns.
type Owner struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Client    string `json:"client"` // kafka.client_id
	Host      string `json:"host"`
}

// Replica is one that was asked.
type Replica struct {
	Admin string    `json:"admin"`
	Error string    `json:"error,omitzero"` // why it did not answer
	Since time.Time `json:"started,omitzero"`
	// Known says whether it remembers anything of the contact.
	Known      bool                 `json:"known"`
	Partitions []consumer.Partition `json:"partitions"` // that it owns
}

// Event is one event of the contact.
type Event struct {
	batcher.EventStatus

	Replica string `json:"replica,omitzero"` // that knows of it
	// Committed says whether it lies before the committed offset; absent where that is not known.
	Committed *bool `json:"committed,omitzero"`
	// Commit is that offset: of the record to be read next by whoever owns the partition.
	Commit int64 `json:"commit,omitzero"`

	at contactsync.Position

	// Of what was read from its topic; version is nil where it was not.
	version *event.Version
	kind    event.Kind
}

// New returns a story that nobody has told anything of.
func New(now time.Time, stream, contact string) *Story {
	return &Story{
		Time: now, Stream: stream, Contact: contact,
		Replicas: []Replica{}, Events: []Event{}, Holds: []batcher.HoldStatus{}, Parked: []batcher.ParkedStatus{},
		Topics: []Looked{}, Owners: []Owner{},
	}
}

// Failed adds a replica that did not answer.
func (s *Story) Failed(admin string, err error) {
	s.Replicas = append(s.Replicas, Replica{Admin: admin, Error: err.Error(), Partitions: []consumer.Partition{}})
}

// Told adds what a replica knows.
func (s *Story) Told(admin string, e *app.Explanation) {
	s.Replicas = append(s.Replicas, Replica{Admin: admin, Since: e.Started, Known: e.Known, Partitions: e.Partitions})
	s.Holds = append(s.Holds, e.Holds...)
	s.Parked = append(s.Parked, e.Parked...)
	if e.WaitUntil.After(s.WaitUntil) {
		s.WaitUntil = e.WaitUntil
	}
	events := e.Events
	for _, d := range e.DeadLetters {
		events = append(events, batcher.EventStatus{
			Position: d.Position, State: batcher.EventDeadLetter, Sends: d.Attempts,
			DeadLetter: &batcher.DeadLetterStatus{Reason: string(d.Reason), Status: d.Status, Attempts: d.Attempts, Record: d.Position, Written: d.At},
		})
	}
	for i := range events {
		s.add(admin, &events[i], e.Partitions)
	}
	s.sort()
}

func (s *Story) sort() {
	slices.SortStableFunc(s.Events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.at.Topic, b.at.Topic), cmp.Compare(a.at.Partition, b.at.Partition), cmp.Compare(a.at.Offset, b.at.Offset))
	})
}

// find returns the event at a position, or nil.
func (s *Story) find(at contactsync.Position) *Event {
	if i := slices.IndexFunc(s.Events, func(e Event) bool { return e.at == at }); i >= 0 {
		return &s.Events[i]
	}
	return nil
}

// owner returns what the replica that owns a partition says of it, or nil.
func (s *Story) owner(of contactsync.TopicPartition) *consumer.Partition {
	for i := range s.Replicas {
		for n := range s.Replicas[i].Partitions {
			if p := &s.Replicas[i].Partitions[n]; p.Topic == of.Topic && p.Partition == of.Partition {
				return p
			}
		}
	}
	return nil
}

// concerns reports whether the contact has events in a partition.
func (s *Story) concerns(p contactsync.TopicPartition) bool {
	return slices.ContainsFunc(s.Events, func(e Event) bool { return e.at.TopicPartition == p })
}

// Known reports whether anybody knew of an event of the contact.
func (s *Story) Known() bool { return len(s.Events) > 0 }

// add adds what a replica knows of an event, in place of what was known before if that says less:
// an earlier owner of a partition remembers what it had done there.
func (s *Story) add(admin string, status *batcher.EventStatus, owned []consumer.Partition) {
	e := Event{EventStatus: *status, Replica: admin}
	e.at, _ = contactsync.ParsePosition(status.Position) // as the zero one it comes first
	owns := false
	for i := range owned {
		if p := &owned[i]; p.Topic == e.at.Topic && p.Partition == e.at.Partition {
			committed := e.at.Offset < p.Committed
			e.Committed, e.Commit, owns = &committed, p.Committed, true
		}
	}
	i := slices.IndexFunc(s.Events, func(o Event) bool { return o.Position == e.Position })
	switch {
	case i < 0:
		s.Events = append(s.Events, e)
	case s.Events[i].State == batcher.EventEnded || s.Events[i].Committed == nil && owns:
		if !owns {
			e.Committed, e.Commit = s.Events[i].Committed, s.Events[i].Commit
		}
		s.Events[i] = e
	}
}
