package batcher

import (
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// standing is the place of a state in the order of its contact's states.
type standing struct {
	event.Version

	replayed bool
	read     int64 // offset of the event itself, of a replay too
}

func standingOf(ev *event.Event) standing {
	return standing{Version: ev.Version(), replayed: ev.Replay != nil, read: ev.Record.Offset}
}

// olderThan reports whether the state has to give way to another one of its contact.
// Where the producer says nothing of the order, only a replay does, by where its event
// was first read. All others are taken in the order in which they are read, out of two
// partitions too: nothing brings back one that is left out.
func (s standing) olderThan(known standing) bool {
	if !s.replayed {
		return s.CompareDeclared(known.Version) < 0
	}
	return known.NewerThan(s.Version)
}

// contactKey is the unit of order.
type contactKey struct{ stream, id string }

// memory is the standing of the newest accepted state of the contacts seen last.
// It bounds its own size, and knows what it has forgotten.
type memory struct {
	known  *simplelru.LRU[contactKey, standing] // nil: nothing is remembered
	forgot map[contactsync.TopicPartition]int64 // by partition, over all generations: the highest offset of what was forgotten
}

func newMemory(most int) memory {
	m := memory{forgot: map[contactsync.TopicPartition]int64{}}
	if most > 0 {
		m.known, _ = simplelru.NewLRU(most, func(_ contactKey, s standing) {
			p := s.Origin.TopicPartition
			m.forgot[p] = max(m.forgot[p], s.read)
		}) // it fails only for a size below 1
	}
	return m
}

func (m *memory) find(stream, id string) (standing, bool) {
	if m.known == nil {
		return standing{}, false
	}
	return m.known.Get(contactKey{stream, id})
}

func (m *memory) note(stream, id string, s standing) {
	if m.known == nil {
		return
	}
	m.known.Add(contactKey{stream, id}, s)
}

func (m *memory) len() int {
	if m.known == nil {
		return 0
	}
	return m.known.Len()
}

// newest is the standing of the newest state of a contact that is pending or was
// accepted, as far as it is remembered.
func (w *Window) newest(stream, id string) (s standing, known bool) {
	if l := w.lanes[stream]; l != nil {
		switch c := l.contacts[id]; {
		case c == nil, c.deleted && c.newer == nil: // what came last is remembered
		case c.newer != nil:
			return c.newer.standing, true
		default:
			return c.standing, true
		}
	}
	return w.memory.find(stream, id)
}

// inOrder reports whether an event may take its place after what is known of its
// contact. One that may not ends here: skipped as stale, or, where it is a replay
// of which nobody can tell any more, as a dead letter once again.
func (w *Window) inOrder(ev *event.Event, m mark) bool {
	s := standingOf(ev)
	newest, known := w.newest(ev.Contact.Stream, ev.Contact.ID)
	if known {
		if !s.replayed && !newest.replayed && s.Origin.TopicPartition != newest.Origin.TopicPartition {
			w.moved(ev, newest.Origin)
		}
		if s.olderThan(newest) {
			w.stale(ev, m)
			return false
		}
	}
	if !s.replayed {
		return true
	}
	if gone, known := w.memory.find("", ev.Contact.ID); known && s.olderThan(gone) {
		w.stale(ev, m) // a tombstone that named no stream
		return false
	}
	if !w.proven(ev.Replay, m) {
		w.refuse(ev, m, &event.DecodeError{
			Reason: contactsync.ReasonUnverifiable,
			Detail: "the partition was not watched since the replay was written: replay it once more",
		})
		return false
	}
	return true
}

// proven reports whether everything that may be newer than a replay is known: the
// replayer looked at what lies below Checked, this window has read all from there
// on, and has forgotten nothing of it.
func (w *Window) proven(r *event.Replay, m mark) bool {
	here := m.claim.TopicPartition
	if w.memory.known == nil || here != r.Origin.TopicPartition || m.claim.first > r.Checked {
		return false
	}
	last, forgot := w.memory.forgot[here]
	return !forgot || last < r.Checked
}

// stale ends an event that is older than what is known of its contact.
func (w *Window) stale(ev *event.Event, m mark) {
	w.skip(m, w.m.skippedStale)
	if w.noting(noteStale) {
		w.note(noteStale, "stream", ev.Contact.Stream, "position", ev.Record.String())
	}
}

// moved counts a contact that was in another partition before: there is no order
// between the two.
func (w *Window) moved(ev *event.Event, from contactsync.Position) {
	w.m.ContactsRepartitioned.Inc()
	if w.noting(noteMoved) {
		w.note(noteMoved, "stream", ev.Contact.Stream, "before", from.String(), "now", ev.Record.String())
	}
}
