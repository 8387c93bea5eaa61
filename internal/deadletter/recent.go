package deadletter

import (
	"slices"
	"sync"
	"time"

	"github.com/contactsync/contactsync"
)

// MostRecent bounds what is remembered of the dead letters that were written.
const MostRecent = 50

// Written is what is remembered of a dead letter: no word of the API and nothing of the
// contact but its id, which is not shown.
type Written struct {
	At       time.Time          `json:"at"`
	Reason   contactsync.Reason `json:"reason"`
	Position string             `json:"position"` // of the event, as topic/partition@offset
	Command  string             `json:"command"`  // that shows it
	Events   int                `json:"events"`   // that it ends
	Status   int                `json:"status,omitzero"`
	Attempts int                `json:"attempts,omitzero"`

	stream, contact string // the latter folded
}

// Of reports whether it is one of a contact.
func (w *Written) Of(stream, contact string) bool {
	return w.contact != "" && w.stream == stream && w.contact == contactsync.FoldID(contact)
}

// recent remembers the last dead letters.
type recent struct {
	mu   sync.Mutex
	list []Written // the oldest first
}

func (r *recent) add(l contactsync.DeadLetter, command string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == MostRecent {
		r.list = slices.Delete(r.list, 0, 1)
	}
	r.list = append(r.list, Written{
		At: time.Now(), Reason: l.Reason, Position: l.Record.String(), Command: command, Events: len(l.Positions), Status: l.Status, Attempts: l.Attempts,
		stream: l.Stream, contact: contactsync.FoldID(l.Contact),
	})
}

// Recent returns the last dead letters that were written, the newest first.
func (w *Writer) Recent() []Written {
	w.recent.mu.Lock()
	defer w.recent.mu.Unlock()
	list := slices.Clone(w.recent.list)
	slices.Reverse(list)
	return list
}
