package check

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/contactsync/contactsync/internal/lab/feed"
)

// Report is what a check found.
type Report struct {
	Truth         feed.Sum // what was produced
	Contacts      int      // distinct ones that were delivered
	Delivered     int      // events whose state, or a newer one, was applied
	Superseded    int      // of those, the ones that were never sent themselves
	SetAside      int      // events that dead letters ended
	NothingToSend int      // tombstones, deletes, aborted ones
	DeadLetters   int
	Calls         int
	Rows          int
	Floor         int     // the fewest calls that could have done it; 0 without Input.MaxRows
	CallsPerFloor float64 // 1 is perfect

	Duplicates    int // the same state applied again
	Repeated      int // the same event in the dead-letter topic again
	LateBackwards int // older over newer, by calls that were given up: no violation
	LateStale     int // contacts that this left in an older state
	Refused       int // calls above the rate limit

	// Each of these is a violation.
	Lost             int
	CommitAhead      int
	Uncommitted      int
	OutOfOrder       int
	Overlaps         int
	Stale            int
	AbortedSent      int // events of aborted transactions
	UnsendableSent   int // broken events, tombstones or deletes
	UnknownSent      int // states that nobody produced
	GoodDeadLettered int
	WrongDeadLetters int
	CrossTalk        int
	NamedTwice       int
	Unreadable       int

	// Violations describes the first few of each kind.
	Violations []string
}

// Headline is the report in one line, which names every kind of violation.
func (r Report) Headline() string {
	if r.OK() {
		return fmt.Sprintf("every check holds: 0 lost, 0 order violations, calls / floor %.2f", r.CallsPerFloor)
	}
	var found []string
	for _, v := range append([]finding{{"LOST", r.Lost}}, r.findings()...) {
		if v.n > 0 {
			found = append(found, fmt.Sprintf("%s %d", v.name, v.n))
		}
	}
	if len(found) == 0 {
		found = append(found, fmt.Sprintf("%d, as above", len(r.Violations)))
	}
	return "VIOLATIONS: " + strings.Join(found, ", ")
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Violations) == 0 }

// String is the report as a table, with the violations under it.
func (r Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	line("events produced", r.Truth.Events)
	for class := range feed.Aborted + 1 {
		if n := r.Truth.Classes[class]; n > 0 {
			line("  "+class.String(), n)
		}
	}
	line("how they ended", "")
	line("  delivered", r.Delivered)
	line("  set aside", fmt.Sprintf("%d in %d dead letters", r.SetAside, r.DeadLetters))
	line("  nothing to send", r.NothingToSend)
	line("  lost", r.Lost)
	line("merged into newer ones", r.Superseded)
	line("contacts", r.Contacts)
	line("calls", r.Calls)
	if r.Floor > 0 {
		line("  floor", r.Floor)
		line("  calls / floor", fmt.Sprintf("%.2f", r.CallsPerFloor))
	}
	if r.Calls > 0 {
		line("  rows a call", fmt.Sprintf("%.1f", float64(r.Rows)/float64(r.Calls)))
	}
	line("duplicates", r.Duplicates)
	for _, v := range append([]finding{
		{"dead letters repeated", r.Repeated},
		{"applied late over newer", r.LateBackwards},
		{"contacts left stale by that", r.LateStale},
		{"calls above the rate limit", r.Refused},
	}, r.findings()...) {
		if v.n > 0 {
			line(v.name, v.n)
		}
	}
	_ = w.Flush() // a strings.Builder takes everything
	for _, v := range r.Violations {
		b.WriteString("VIOLATION  " + v + "\n")
	}
	return b.String()
}

type finding struct {
	name string
	n    int
}

// findings are the violations, but for events that were lost, which the table counts itself.
func (r Report) findings() []finding {
	return []finding{
		{"COMMITTED AHEAD", r.CommitAhead},
		{"NOT COMMITTED", r.Uncommitted},
		{"OUT OF ORDER", r.OutOfOrder},
		{"OVERLAPS", r.Overlaps},
		{"STALE CONTACTS", r.Stale},
		{"ABORTED, BUT SENT", r.AbortedSent},
		{"BROKEN, BUT SENT", r.UnsendableSent},
		{"UNKNOWN, BUT SENT", r.UnknownSent},
		{"GOOD, BUT DEAD-LETTERED", r.GoodDeadLettered},
		{"WRONG DEAD LETTERS", r.WrongDeadLetters},
		{"CROSS-TALK", r.CrossTalk},
		{"NAMED TWICE", r.NamedTwice},
		{"UNREADABLE", r.Unreadable},
	}
}

// examples is how many violations of one kind are described; the others are only counted.
const examples = 5

func (c *checker) add(format string, args ...any) {
	c.r.Violations = append(c.r.Violations, fmt.Sprintf(format, args...))
}

// violation counts a violation and describes the first few of its kind.
func (c *checker) violation(count *int, format string, args ...any) {
	c.limited(count, 0, format, args...)
}

// limited counts something that is a violation above a limit only.
func (c *checker) limited(count *int, limit int, format string, args ...any) {
	*count++
	if *count <= limit {
		return
	}
	if c.reported[count]++; c.reported[count] <= examples {
		c.add(format, args...)
	}
}

// take sets a count that was counted elsewhere; above limit it is a violation.
func (c *checker) take(count *int, n, limit int, format string) {
	*count = n
	if n > limit {
		c.add(format, n)
	}
}
