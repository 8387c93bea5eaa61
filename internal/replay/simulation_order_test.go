package replay_test

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// contactID names a contact.
type contactID struct{ stream, id string }

// sourceEvent is an event as it was produced.
type sourceEvent struct {
	contacts   []contactID // that it is about; a tombstone may name one of any stream
	kind       event.Kind
	at         contactsync.Position
	time       time.Time // of its record
	version    int64     // 0 where it has none
	occurredAt time.Time // zero where it has none
}

// compareDeclared compares two events by what their producer declares; 0 where that is nothing.
func (a *sourceEvent) compareDeclared(b *sourceEvent) int {
	switch {
	case a.version > 0 && b.version > 0:
		return int(a.version - b.version)
	case !a.occurredAt.IsZero() && !b.occurredAt.IsZero():
		return a.occurredAt.Compare(b.occurredAt)
	}
	return 0
}

// compare compares two events of a contact as docs/deadletters.md defines it: above 0
// where a is the newer one, 0 where that is unknown.
func (a *sourceEvent) compare(b *sourceEvent) int {
	if declared := a.compareDeclared(b); declared != 0 {
		return declared
	}
	if a.at.TopicPartition == b.at.TopicPartition {
		return int(a.at.Offset - b.at.Offset)
	}
	return a.time.Compare(b.time)
}

// newerThan calls each with the events of a contact that are newer than one of them, or
// may be.
func (sim *simulation) newerThan(contact contactID, seq int, each func(n int, e *sourceEvent)) {
	than := &sim.events[seq]
	for n := 1; n < len(sim.events); n++ {
		e := &sim.events[n]
		if n == seq || !slices.Contains(e.contacts, contact) {
			continue
		}
		if order := e.compare(than); order > 0 || order == 0 && e.at.TopicPartition != than.at.TopicPartition {
			each(n, e)
		}
	}
}

// cyclic reports whether a third event of the contact makes the order of two a
// circle, in which none is the newest: where some events have a version and others
// not, or where the times of a partition's records go back.
func (sim *simulation) cyclic(contact contactID, older, newer int) bool {
	found := false
	sim.newerThan(contact, newer, func(n int, e *sourceEvent) {
		found = found || n != older && sim.events[older].compare(e) >= 0
	})
	return found
}

// hasCycles reports whether a contact has such events at all.
func (sim *simulation) hasCycles(contact contactID) bool {
	for older := 1; older < len(sim.events); older++ {
		if !slices.Contains(sim.events[older].contacts, contact) {
			continue
		}
		found := false
		sim.newerThan(contact, older, func(newer int, _ *sourceEvent) { found = found || sim.cyclic(contact, older, newer) })
		if found {
			return true
		}
	}
	return false
}
