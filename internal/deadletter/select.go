package deadletter

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// Selection says which dead letters are wanted. All conditions that are given must
// hold; the zero value selects all of them.
type Selection struct {
	Record       contactsync.Position // of the dead letter's record
	Streams      []string             // one of them, as with the next two
	Contacts     []string
	Reasons      []contactsync.Reason
	Since, Until time.Time // bounds of Entry.Failed; Until itself is outside
}

// Match reports whether an entry is selected.
func (s Selection) Match(e *Entry) bool {
	switch at := e.Failed(); {
	case s.Record != contactsync.Position{} && s.Record != e.Record.Position,
		len(s.Streams) > 0 && !slices.Contains(s.Streams, e.Stream),
		len(s.Contacts) > 0 && !slices.ContainsFunc(s.Contacts, func(id string) bool { return contactsync.FoldID(id) == contactsync.FoldID(e.Contact) }),
		len(s.Reasons) > 0 && !slices.Contains(s.Reasons, e.Reason),
		!s.Since.IsZero() && at.Before(s.Since),
		!s.Until.IsZero() && !at.Before(s.Until):
		return false
	}
	return true
}
