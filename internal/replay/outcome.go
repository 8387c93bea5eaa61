package replay

import "github.com/contactsync/contactsync/internal/deadletter"

// Result says in one word what became of a letter.
type Result string

// The results. All but Replayed leave the letter where it is.
const (
	Replayed Result = "replayed" // written back, or delivered; in a dry run: it would be
	Newer    Result = "newer"    // its contact has a newer event, or a newer letter that was chosen too
	Already  Result = "already"  // an earlier run has replayed it
	Broken   Result = "broken"   // its record is no event that could be sent, with the present settings either
	Loop     Result = "loop"     // it was replayed too often already
	// Incomplete: the topic had no room for the record, and it is no longer where it came from.
	Incomplete Result = "incomplete"
	// Unverifiable: its source topic no longer reaches back to the event, so nobody can
	// tell whether something newer came after it.
	Unverifiable Result = "unverifiable"
	Elsewhere    Result = "elsewhere" // its topic is not one that the service reads, or the partition is gone
	Failed       Result = "failed"    // the topic or the API refused it
	Left         Result = "left"      // not looked at: the limit, or the run was stopped
)

// Results lists every result, in the order in which a person wants to read them.
func Results() []Result {
	return []Result{Replayed, Newer, Already, Broken, Loop, Incomplete, Unverifiable, Elsewhere, Failed, Left}
}

// Outcome is what became of one letter.
type Outcome struct {
	Letter *deadletter.Entry
	Result Result
	Detail string // for a person; empty where the result says it all, and without a contact's fields
}

// Summary counts outcomes.
type Summary map[Result]int
