package deadletter

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// Selection says which letters are wanted. All conditions that are given must
// hold; the zero value selects every letter.
type Selection struct {
	Record       contactsync.Position // of the record that the letter holds
	Streams      []string             // one of them, as with the next two
	Contacts     []string
	Reasons      []contactsync.Reason
	Since, Until time.Time // bounds of Found.Failed; Until itself is outside
}

// Match reports whether a letter is selected.
func (s Selection) Match(f *Found) bool {
	switch at := f.Failed(); {
	case s.Record != contactsync.Position{} && s.Record != f.Record.Position,
		len(s.Streams) > 0 && !slices.Contains(s.Streams, f.Stream),
		len(s.Contacts) > 0 && !slices.Contains(s.Contacts, f.Contact),
		len(s.Reasons) > 0 && !slices.Contains(s.Reasons, f.Reason),
		!s.Since.IsZero() && at.Before(s.Since),
		!s.Until.IsZero() && !at.Before(s.Until):
		return false
	}
	return true
}
