package replay

import "github.com/contactsync/contactsync/internal/deadletter"

// Result says in one word what was done with a dead letter.
type Result string

// The results.
const (
	Replayed        Result = "replayed"         // written back; in a dry run: it would be
	Superseded      Result = "superseded"       // its contact has a newer event, or a newer dead letter that was chosen too
	AlreadyReplayed Result = "already_replayed" // by an earlier run
	Undeliverable   Result = "undeliverable"    // with the present settings, too, its record is no event that could be sent
	ReplayLimit     Result = "replay_limit"     // it was replayed too often already
	// Truncated: the dead-letter topic had no room for the record, and the source topic no longer has it.
	Truncated Result = "truncated"
	// Unverifiable: the source topic no longer reaches back to the event, so something
	// newer may have been there.
	Unverifiable Result = "unverifiable"
	NotConsumed  Result = "not_consumed"  // its topic is not one that the service reads, or the partition is gone
	Failed       Result = "failed"        // the topic refused it
	NotAttempted Result = "not_attempted" // the limit was reached, or the run ended early
)

// Results lists every result in the order in which they are printed.
func Results() []Result {
	return []Result{Replayed, Superseded, AlreadyReplayed, Undeliverable, ReplayLimit, Truncated, Unverifiable, NotConsumed, Failed, NotAttempted}
}

// Outcome is the result of one dead letter.
type Outcome struct {
	Entry  *deadletter.Entry
	Result Result
	Detail string // for a person; may be empty, and has no field of a contact
}

// Summary counts outcomes.
type Summary map[Result]int
