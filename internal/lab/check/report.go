package check

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/contactsync/contactsync/internal/lab/feed"
)

// Report is what a check found. Counts that stand for a violation say so.
type Report struct {
	Truth         feed.Sum // what was produced
	Contacts      int      // distinct ones that were delivered
	Delivered     int      // events whose state, or a newer one, was applied
	Superseded    int      // of those: never sent themselves
	DeadLetters   int
	Calls         int
	Rows          int
	Floor         int     // the fewest calls that could have done it; 0 = not asked for
	CallsPerFloor float64 // 1 is perfect

	Duplicates    int // the same state applied again
	Repeated      int // the same event in the dead-letter topic again
	LateBackwards int // older over newer, by calls that were given up: no violation
	LateStale     int // contacts left so
	Refused       int // calls above the rate limit

	// Each of these is a violation.
	Lost         int
	CommitAhead  int
	Uncommitted  int
	OutOfOrder   int
	Overlaps     int
	Stale        int
	Aborted      int // events of aborted transactions sent
	Odd          int // broken events, tombstones or deletes sent
	Unknown      int // states sent that nobody produced
	GoodBuried   int // good events in the dead-letter topic
	WrongLetters int
	CrossTalk    int
	NamedTwice   int
	Unreadable   int

	// Violations tells of each kind the first few.
	Violations []string
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Violations) == 0 }

// String is the report as a table, with the violations under it.
func (r Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	line("events", r.Truth.Events)
	for class := range feed.Aborted + 1 {
		if n := r.Truth.Classes[class]; n > 0 {
			line("  "+class.String(), n)
		}
	}
	line("delivered", r.Delivered)
	line("  superseded", r.Superseded)
	line("contacts", r.Contacts)
	line("dead letters", r.DeadLetters)
	line("calls", r.Calls)
	if r.Floor > 0 {
		line("  floor", r.Floor)
		line("  calls / floor", fmt.Sprintf("%.2f", r.CallsPerFloor))
	}
	if r.Calls > 0 {
		line("  rows a call", fmt.Sprintf("%.1f", float64(r.Rows)/float64(r.Calls)))
	}
	line("duplicates", r.Duplicates)
	for _, v := range []struct {
		name string
		n    int
	}{
		{"dead letters repeated", r.Repeated},
		{"late, over newer", r.LateBackwards},
		{"contacts left so", r.LateStale},
		{"refused for the rate", r.Refused},
		{"LOST", r.Lost},
		{"COMMITTED AHEAD", r.CommitAhead},
		{"NOT COMMITTED", r.Uncommitted},
		{"OUT OF ORDER", r.OutOfOrder},
		{"OVERLAPS", r.Overlaps},
		{"STALE CONTACTS", r.Stale},
		{"ABORTED, SENT", r.Aborted},
		{"BROKEN, SENT", r.Odd},
		{"UNKNOWN, SENT", r.Unknown},
		{"GOOD, DEAD-LETTERED", r.GoodBuried},
		{"WRONG DEAD LETTERS", r.WrongLetters},
		{"CROSS-TALK", r.CrossTalk},
		{"NAMED TWICE", r.NamedTwice},
		{"UNREADABLE", r.Unreadable},
	} {
		if v.n > 0 {
			line(v.name, v.n)
		}
	}
	_ = w.Flush() // into a strings.Builder
	if r.OK() {
		b.WriteString("every check holds\n")
		return b.String()
	}
	for _, v := range r.Violations {
		b.WriteString("VIOLATION  " + v + "\n")
	}
	return b.String()
}
