package batcher

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"contactsync"
	"contactsync/event"
)

// standing is the place of a state in the order of its contact's states.
type standing struct {
	version    int64
	hasVersion bool
	occurredAt time.Time
	replayed   bool
	at         contactsync.Position // of the event; of a replay: where it stood first
	time       time.Time            // of the record at that position
	read       int64                // offset of the event itself, of a replay too
}

func standingOf(ev *event.Event) standing {
	s := standing{
		version: ev.Contact.Version, hasVersion: ev.Contact.HasVersion, occurredAt: ev.Contact.OccurredAt,
		at: ev.Record.Position, time: ev.Record.Time, read: ev.Record.Offset,
	}
	if r := ev.Replay; r != nil {
		s.replayed, s.at, s.time = true, r.Origin, r.OriginTime
	}
	return s
}

// olderThan reports whether the state comes before another one of its contact.
// What the producer says of the order counts first. Where it says nothing,
// events are in the order in which they are read, and replays in that in which
// they were read first; the time decides over two partitions, which have no order.
func (s standing) olderThan(known standing) bool {
	switch {
	case s.hasVersion && known.hasVersion && s.version != known.version:
		return s.version < known.version
	case s.hasVersion && known.hasVersion:
	case !s.occurredAt.IsZero() && !known.occurredAt.IsZero() && !s.occurredAt.Equal(known.occurredAt):
		return s.occurredAt.Before(known.occurredAt)
	}
	switch {
	case !s.replayed:
		return false
	case samePartition(s.at, known.at):
		return s.at.Offset < known.at.Offset
	}
	return s.time.Before(known.time)
}

func samePartition(a, b contactsync.Position) bool { return partitionOf(a) == partitionOf(b) }

// partitionOf is the claim of a position over all generations.
func partitionOf(p contactsync.Position) contactsync.Claim {
	return contactsync.Claim{Topic: p.Topic, Partition: p.Partition}
}

// contactKey is the unit of order.
type contactKey struct{ stream, id string }

// memory is the standing of the newest accepted state of the contacts seen last.
// It bounds its own size, and knows what it has forgotten.
type memory struct {
	known  *simplelru.LRU[contactKey, standing] // nil: nothing is remembered
	forgot map[contactsync.Claim]int64          // by partition, over all generations: the highest offset of what was forgotten
}

func newMemory(most int) memory {
	m := memory{forgot: map[contactsync.Claim]int64{}}
	if most > 0 {
		m.known, _ = simplelru.NewLRU(most, func(_ contactKey, s standing) {
			p := partitionOf(s.at)
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
		if !s.replayed && !newest.replayed && !samePartition(s.at, newest.at) {
			w.moved(ev, newest.at)
		}
		if s.olderThan(newest) {
			w.skip(m, w.m.skippedStale)
			return false
		}
	}
	if !s.replayed {
		return true
	}
	if gone, known := w.memory.find("", ev.Contact.ID); known && s.olderThan(gone) {
		w.skip(m, w.m.skippedStale) // a tombstone that named no stream
		return false
	}
	if !w.proven(ev.Replay, m) {
		w.refuse(ev, m, &event.Fault{
			Reason: contactsync.ReasonUnproven,
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
	here := contactsync.Position{Claim: m.claim.Claim}
	if w.memory.known == nil || !samePartition(here, r.Origin) || m.claim.first > r.Checked {
		return false
	}
	last, forgot := w.memory.forgot[partitionOf(here)]
	return !forgot || last < r.Checked
}

// moved counts a contact that was in another partition before: there is no order
// between the two.
func (w *Window) moved(ev *event.Event, from contactsync.Position) {
	w.m.Moved.Inc()
	w.note(noteMoved, "stream", ev.Contact.Stream, "before", from.String(), "now", ev.Record.String())
}
