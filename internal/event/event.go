package event

import (
	"time"

	"github.com/contactsync/contactsync"
)

// Kind is what an event requests.
type Kind uint8

// The kinds of events. The zero value requests nothing.
const (
	Broken    Kind = iota // no event that could be sent: see Err
	Update                // the contact has the state in Contact.Body
	Delete                // the contact is gone
	Tombstone             // the record has no value; its key names a contact, see tombstoneKey
	kindCount
)

var kindNames = [kindCount]string{"broken", "update", "delete", "tombstone"}

// String names the kind as metrics and logs do.
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return kindNames[Broken]
}

// Contact is the state of one contact in an event.
type Contact struct {
	Stream  string
	ID      string
	Account string // that the stream belongs to, or without a Route the one that the event names, if any

	// Body is the contact object as it came: a part of the record's value, or with Copied
	// a copy without a member that is null where it may be absent. Nobody may write to it.
	Body   []byte
	Copied bool
	// Shape is a hash of the names of all members in Body, at every level outside
	// arrays and in any order. Of two bodies of equal shape the newer one leaves
	// nothing of the older, so it replaces it without Merge. It means nothing
	// outside this process.
	Shape uint64

	Version    int64 // meaningful with HasVersion
	HasVersion bool
	OccurredAt time.Time // in UTC; zero where the event does not say
	Ignored    Hints     // what the event says of its order and is not used
}

// Hints are what an event says of its order and is not used, as bits. The event itself is
// good: it is taken in the order in which it is read.
type Hints uint8

// The hints that are not used, and why.
const (
	VersionUnreadable    Hints = 1 << iota // version is no integer of 64 bits
	OccurredAtUnreadable                   // occurredAt is no time as in RFC 3339
	OccurredAtAhead                        // occurredAt lies far ahead of the record: it would beat all that follows
	allHints             = iota
)

// Names returns the names of the hints, as metrics and logs use them.
func (h Hints) Names() []string {
	var names []string
	for i, name := range [allHints]string{"version_unreadable", "occurred_at_unreadable", "occurred_at_ahead"} {
		if h&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Event is one record and what it means.
type Event struct {
	Record contactsync.Record
	Kind   Kind
	// Contact is complete in an update. A delete has the members that its record
	// has, Stream and ID among them. In a broken event whose reason is invalid,
	// Stream and ID hold what could be read of them; in an unmapped one it is complete;
	// in an undecodable one it is zero. A tombstone has Stream and ID as far as its key
	// names them: without Stream it means the contact of any stream, and without ID nobody.
	Contact Contact
	Err     *DecodeError // of a broken event; else nil
	// Replay is set where the record is a replay.
	Replay *Replay
	// Before is how far the event had got under an earlier owner of its partition. The
	// consumer sets it.
	Before contactsync.State
	// Again says that the event was handed over before and was left to be read again. The
	// consumer sets it.
	Again bool
}

// DecodeError is why a record is no event, or none that could be sent.
type DecodeError struct {
	// Reason is undecodable, invalid or unmapped where Decode made the error.
	Reason contactsync.Reason
	// Detail is what is wrong and where, in at most 200 bytes of ASCII: names of
	// members that the format defines and byte offsets, never a value. Of an unmapped
	// event it has the names of the stream and the account.
	Detail string
}

// Error returns the reason and the detail.
func (e *DecodeError) Error() string { return string(e.Reason) + ": " + e.Detail }
