package contactsync

import "time"

// Reason says why a record is in the dead-letter topic, in one word that serves
// as header and as metric label.
type Reason string

// The reasons for a dead letter.
const (
	ReasonUndecodable Reason = "undecodable" // not JSON, not UTF-8, a duplicate key, too deep, too large
	ReasonInvalid     Reason = "invalid"     // well-formed, but a field is missing or has the wrong form
	ReasonUnmapped    Reason = "unmapped"    // no account is configured for the stream
	ReasonRejected    Reason = "rejected"    // the API refused the row
	ReasonBadRequest  Reason = "bad_request" // the API refused a request with this row alone
	ReasonTooLarge    Reason = "too_large"   // the row alone is larger than the API or the limit takes
	ReasonUnresolved  Reason = "unresolved"  // the API's answers never accounted for the row

	ReasonUnanswered Reason = "unanswered" // requests with this row alone got no usable answer, while those with others did

	ReasonUnauthorized Reason = "unauthorized" // the stream was refused for longer than holds may last
	ReasonStreamGone   Reason = "stream_gone"  // the stream was unknown for longer than holds may last
	ReasonUnreadable   Reason = "unreadable"   // a record batch that cannot be read: it is described, and its events are not in the dead letter
	ReasonUnverifiable Reason = "unverifiable" // a replay of which the service can no longer tell whether it is the newest state
)

// Reasons lists every reason, so that each label value can be set to zero at start.
func Reasons() []Reason {
	return []Reason{
		ReasonUndecodable, ReasonInvalid, ReasonUnmapped, ReasonRejected, ReasonBadRequest,
		ReasonTooLarge, ReasonUnresolved, ReasonUnanswered, ReasonUnauthorized, ReasonStreamGone, ReasonUnreadable, ReasonUnverifiable,
	}
}

// DeadLetter is what goes to the dead-letter topic: the record, why it is there, and
// every position that it ends.
type DeadLetter struct {
	Record    Record     // the newest event; its Value holds the merged contact where older events were merged into it
	Positions []Position // every event that this dead letter ends, the record's own included
	Stream    string     // empty where the record could not be read that far
	Contact   string     // the contact's id; empty likewise
	Reason    Reason
	Detail    string // for a person, in words of our own: bounded
	Answer    Text   // what the API wrote of it last
	Status    int    // HTTP status of the last answer; 0 where none is behind it
	Attempts  int    // requests that carried the row
	First     time.Time
	Last      time.Time // first and last failure
}
