package batcher_test

import (
	"time"

	"github.com/contactsync/contactsync"
)

// simOrder is what is known of where a state stands among those of its contact.
type simOrder struct {
	version  int64     // 0: not declared
	occurred time.Time // zero: not declared
	origin   contactsync.Position
	read     contactsync.Position // of the event itself, of a replay too
	time     time.Time            // of the record at origin
	replayed bool
	deleted  bool // by a tombstone, which is at origin

	noted  int       // when it became known: the order among what became known
	before *simOrder // what was known of the contact that the tombstone has deleted
}

// older reports whether a state must not follow another one that was accepted. Without
// a declared order events are taken as they come; a replay goes by where it was read first.
func (o simOrder) older(accepted simOrder) bool {
	declared := 0
	switch {
	case o.version != 0 && accepted.version != 0:
		declared = int(o.version - accepted.version)
	case !o.occurred.IsZero() && !accepted.occurred.IsZero():
		declared = o.occurred.Compare(accepted.occurred)
	}
	switch {
	case declared != 0 || !o.replayed:
		return declared < 0
	case o.origin.TopicPartition == accepted.origin.TopicPartition:
		return o.origin.Offset < accepted.origin.Offset
	}
	return !accepted.time.Before(o.time)
}

// fates of an event that has just been read.
const (
	simTaken        = "taken"
	simStale        = "stale"
	simUnverifiable = "unverifiable"
)

// fate is what must become of an update or a delete, and what else may where not all
// contacts are remembered: then a replay ends as a dead letter in doubt, and other events
// are taken.
func (m *simModel) fate(e *simEvent, cl *simClaim) (must string, may []string) {
	known, ordered := m.pendingOrder(e.key)
	if !ordered {
		if l := m.unwritten[e.key]; l != nil {
			known, ordered = l.order, true
		}
	}
	if !ordered {
		known, ordered = m.seen[e.key]
	}
	gone, deleted := m.gone[simKey{"", e.key.id}]
	if here, ok := m.gone[e.key]; ok && (!deleted || e.order.older(here)) {
		gone, deleted = here, true
	}
	must = simTaken
	switch {
	case ordered && e.order.older(known), e.order.replayed && deleted && e.order.older(gone):
		must = simStale
	case !e.order.replayed:
	case m.cfg.RememberContacts == 0, cl.TopicPartition != e.order.origin.TopicPartition, cl.first > e.checked:
		must = simUnverifiable
	}
	here := !ordered || known.origin.TopicPartition == e.order.origin.TopicPartition
	switch forgets := m.cfg.RememberContacts < 1000; {
	case forgets && e.order.replayed && here && !deleted:
		may = []string{simUnverifiable}
	case forgets:
		may = []string{simUnverifiable, simTaken}
	}
	if ordered && known.deleted && known.origin.TopicPartition == e.record.TopicPartition && known.origin.Offset > e.record.Offset {
		may = append(may, simTaken, simStale) // it is read again, and was deleted behind that: what was known before counts
	}
	for _, k := range []simKey{e.key, {"", e.key.id}} {
		last := m.gone[k].origin
		if last.TopicPartition == e.record.TopicPartition && last.Offset > e.record.Offset {
			may = append(may, simTaken, simStale) // likewise, and by another one in front of it perhaps
		}
		if ordered && last.TopicPartition == known.origin.TopicPartition && last.Offset > known.origin.Offset {
			may = append(may, simTaken, simStale) // what is known was read again, and was deleted behind that: another partition's may be of a new contact
		}
	}
	if may != nil && deleted { // the tombstone may be forgotten, and what it deleted not
		may = append(may, simStale)
	}
	return must, may
}

func (m *simModel) pendingOrder(k simKey) (simOrder, bool) {
	switch c := m.cells[k]; {
	case c == nil, c.behind == nil && (c.deleted != "" || c.dead):
		return simOrder{}, false
	case c.behind != nil:
		return c.behind.order, true
	default:
		return c.order, true
	}
}

func (m *simModel) remember(k simKey, o simOrder) {
	if m.noted++; m.cfg.RememberContacts > 0 {
		o.noted = m.noted
		m.seen[k] = o
	}
}
