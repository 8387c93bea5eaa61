package deadletter

import (
	"slices"
	"time"

	"contactsync"
)

// Selection says which letters are wanted. All conditions that are given must
// hold; the zero value selects every letter.
type Selection struct {
	Record       contactsync.Position // of the record that the letter holds
	Stream       string
	Contact      string
	Reasons      []contactsync.Reason // one of them
	Since, Until time.Time            // bounds of Found.Failed; Until itself is outside
}

// Match reports whether a letter is selected.
func (s Selection) Match(f *Found) bool {
	switch at := f.Failed(); {
	case s.Record != contactsync.Position{} && s.Record != f.Record.Position,
		s.Stream != "" && s.Stream != f.Stream,
		s.Contact != "" && s.Contact != f.Contact,
		len(s.Reasons) > 0 && !slices.Contains(s.Reasons, f.Reason),
		!s.Since.IsZero() && at.Before(s.Since),
		!s.Until.IsZero() && !at.Before(s.Until):
		return false
	}
	return true
}
