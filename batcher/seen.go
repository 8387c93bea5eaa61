package batcher

import (
	"iter"
	"maps"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// version orders the states of one contact, those that a replay brings included.
type version struct {
	event.Version

	replayed bool
	read     int64 // offset of the event itself, of a replay too
}

func versionOf(ev *event.Event) version {
	v := version{Version: ev.Version(), replayed: ev.Replay != nil, read: ev.Record.Offset}
	if here := ev.Record.TopicPartition; v.Origin.TopicPartition == here {
		v.Origin.TopicPartition = here // and not the bytes of a header
	}
	return v
}

// olderThan reports whether a state has to give way to another one of its contact.
// Where the producer declares no order, only a replay does, by where its event was
// first read. All others are taken in the order in which they are read, out of two
// partitions too: nothing brings back one that is left out.
func (v version) olderThan(known version) bool {
	if !v.replayed {
		return v.CompareDeclared(known.Version) < 0
	}
	return known.NewerThan(v.Version)
}

// contactKey is the unit of order: a contact, however its id is spelled. Of what a tombstone has deleted the account is empty,
// because it names none, and perhaps the stream is too.
type contactKey struct {
	stream streamKey
	id     string
}

func keyOf(ev *event.Event) contactKey {
	return contactKey{streamKey{ev.Contact.Account, ev.Contact.Stream}, contactsync.FoldID(ev.Contact.ID)}
}

func (c *contact) key() contactKey { return contactKey{c.stream.key(), c.folded} }

// tombstones returns the keys of the tombstones that may have deleted a contact.
func (k contactKey) tombstones() [2]contactKey {
	return [...]contactKey{{streamKey{"", k.stream.name}, k.id}, {streamKey{}, k.id}}
}

// seen is the newest accepted state of the contacts seen last. It bounds its own size,
// and knows what it has forgotten.
type seen struct {
	known *simplelru.LRU[contactKey, remembered] // nil: nothing is remembered
	noted uint64                                 // states so far
	// unwritten is the same of states that may have been applied and became dead letters,
	// until Kafka has these: they are forgotten with the generation, because its events are
	// read again.
	unwritten map[contactKey]remembered
	forgot    map[contactsync.TopicPartition]int64 // by partition, over all generations: the highest offset of what was forgotten
}

// remembered is an accepted state and its place among those that were noted.
type remembered struct {
	version

	noted uint64
	sent  int32 // the generation in which the API has accepted a state of the contact last; -1 where it has not
	// request is the one by which the API has accepted this state, see history; 0 where it ended
	// otherwise.
	request uint32
}

// newSeen remembers at most so many contacts.
func newSeen(most int) seen {
	s := seen{unwritten: map[contactKey]remembered{}, forgot: map[contactsync.TopicPartition]int64{}}
	if most > 0 {
		s.known, _ = simplelru.NewLRU(most, func(_ contactKey, v remembered) {
			p := v.Origin.TopicPartition
			s.forgot[p] = max(s.forgot[p], v.read)
		}) // it fails only for a size below 1
	}
	return s
}

func (s *seen) find(key contactKey) (version, bool) {
	if s.known == nil {
		return version{}, false
	}
	if r, ok := s.unwritten[key]; ok {
		return r.version, true
	}
	known, ok := s.known.Get(key)
	return known.version, ok
}

// deletedSince reports whether a tombstone came after the state that is known of a contact, and
// not behind another one in the log, where that is read again: then that one is of a new contact, and
// may count from the beginning.
func (s *seen) deletedSince(key contactKey, v version) bool {
	known, ok := s.unwritten[key]
	if !ok {
		known, _ = s.known.Peek(key)
	}
	for _, tombstone := range key.tombstones() {
		gone, ok := s.known.Peek(tombstone)
		if ok && gone.after(known) && (gone.Origin.TopicPartition != v.Origin.TopicPartition || gone.read < v.read) {
			return true
		}
	}
	return false
}

// after reports whether a tombstone came after a state: as they were noted, or in the log, where the state was
// noted later than it was read.
func (r remembered) after(known remembered) bool {
	return r.noted > known.noted || r.Origin.TopicPartition == known.Origin.TopicPartition && r.read > known.read
}

// note remembers an accepted state.
func (s *seen) note(key contactKey, v version) {
	if s.known == nil {
		return
	}
	sent := int32(-1)
	if known, ok := s.known.Peek(key); ok {
		sent = known.sent
	}
	s.noted++
	s.known.Add(key, remembered{v, s.noted, sent, 0})
}

// noteTombstone remembers a tombstone. One that is read again came before what was noted since in
// other streams, and after what lies before it in the log.
func (s *seen) noteTombstone(key contactKey, v version, again bool) {
	if s.known == nil {
		return
	}
	if !again {
		s.note(key, v)
		return
	}
	gone, _ := s.known.Peek(key)
	if gone.Origin.TopicPartition != v.Origin.TopicPartition || gone.read < v.read {
		gone.version = v
	}
	gone.sent = -1
	s.known.Add(key, gone)
}

// noteSent remembers a state that the API has accepted in a generation, by a request.
func (s *seen) noteSent(key contactKey, v version, generation int32, request uint32) {
	if s.known == nil {
		return
	}
	s.noted++
	s.known.Add(key, remembered{v, s.noted, generation, request})
}

// sentOlder reports whether the API has accepted, or may have, a state of an event's contact since that
// event had ended under an earlier owner, which is older: one that was read again, or sent
// before all was read. Of one that is read again it says so too where that may be forgotten.
// first is the offset from which on its partition was read.
func (s *seen) sentOlder(ev *event.Event, first int64) bool {
	if s.known == nil {
		return ev.Again
	}
	if older, ok := s.unwritten[keyOf(ev)]; ok && older.Origin.TopicPartition == ev.Record.TopicPartition && older.read < ev.Record.Offset {
		return true
	}
	known, ok := s.known.Peek(keyOf(ev))
	if !ok && ev.Again {
		last, forgot := s.forgot[ev.Record.TopicPartition]
		return forgot && last >= first
	}
	return ok && known.sent == ev.Record.Generation && known.Origin.TopicPartition == ev.Record.TopicPartition && known.read < ev.Record.Offset
}

// noteUnwritten remembers the state of a dead letter until it is written, or forgotten. It may have been applied in a generation.
func (s *seen) noteUnwritten(key contactKey, v version, generation int32) remembered {
	s.noted++
	r := remembered{v, s.noted, generation, 0}
	if s.known != nil {
		s.unwritten[key] = r
	}
	return r
}

// written remembers the state of a dead letter for good, unless something was noted of its contact since.
func (s *seen) written(key contactKey, r remembered) {
	if s.known == nil {
		return
	}
	if s.unwritten[key] == r {
		delete(s.unwritten, key)
	}
	if known, ok := s.known.Peek(key); !ok || known.noted < r.noted {
		s.known.Add(key, r)
	}
}

// newer reports whether a state is no older than what is known of its contact.
func (s *seen) newer(key contactKey, v version) bool {
	known, ok := s.find(key)
	return !ok || !v.olderThan(known) || s.deletedSince(key, v)
}

// forgetUnwritten ends the generation of dead letters that were not written: their events are read again, and
// must not be stale for what came behind them then. So that is forgotten, and is sent once more with them, as it is where another
// process reads them. For replays it does not count as forgotten, because it is read again. It returns the contacts of
// these dead letters.
func (s *seen) forgetUnwritten(letters iter.Seq[*DeadLetter]) map[contactKey]bool {
	clear(s.unwritten)
	of, forgot := map[contactKey]bool{}, maps.Clone(s.forgot)
	for d := range letters {
		of[d.key] = true
		if s.known == nil {
			continue
		}
		at := d.sources[0].position()
		if known, ok := s.known.Peek(d.key); ok && (known.Origin.TopicPartition != at.TopicPartition || known.read > at.Offset) {
			s.known.Remove(d.key)
		}
	}
	clear(s.forgot)
	maps.Copy(s.forgot, forgot)
	return of
}

func (s *seen) len() int {
	if s.known == nil {
		return 0
	}
	return s.known.Len()
}

// acceptance says whether an event may follow what is known of its contact.
type acceptance uint8

const (
	accepted     acceptance = iota
	stale                   // it is older than what is known
	unverifiable            // a replay, and something newer than it may have been missed
)

// judge decides whether an event may follow the newest state of its contact, where one
// is known. first is the offset from which on its partition was read.
func (s *seen) judge(ev *event.Event, newest version, known bool, first int64) acceptance {
	v := versionOf(ev)
	if known && v.olderThan(newest) {
		return stale
	}
	if !v.replayed {
		return accepted
	}
	for _, tombstone := range keyOf(ev).tombstones() {
		if gone, known := s.find(tombstone); known && v.olderThan(gone) {
			return stale
		}
	}
	if !s.verifiable(ev, first) {
		return unverifiable
	}
	return accepted
}

// verifiable reports whether everything that may be newer than a replay is known: the
// replayer has read what lies below Checked, this window all from there on, and it has
// forgotten nothing of that. Anybody may have written the headers, so they must name this partition
// and what lies before the replay in it.
func (s *seen) verifiable(ev *event.Event, first int64) bool {
	here, r := ev.Record.TopicPartition, ev.Replay
	if s.known == nil || here != r.Origin.TopicPartition || max(r.Origin.Offset+1, r.Checked) > ev.Record.Offset || first > r.Checked {
		return false
	}
	last, forgot := s.forgot[here]
	return !forgot || last < r.Checked
}

// unverified is why a replay becomes a dead letter again.
var unverified = &event.DecodeError{
	Reason: contactsync.ReasonUnverifiable,
	Detail: "the partition was not watched since the replay was written: replay it once more",
}

// newest is the newest state that is known of an event's contact, and that the event must not be
// older than; c is what is pending of it.
func (s *seen) newest(c *contact, ev *event.Event) (newest version, known bool) {
	if newest, known = c.known(); !known {
		newest, known = s.find(keyOf(ev))
		if known && versionOf(ev).olderThan(newest) && s.deletedSince(keyOf(ev), versionOf(ev)) {
			known = false
		}
	}
	return newest, known
}

// acceptable reports whether an event may follow what is known of its contact; c is
// what is pending of it. One that may not ends here.
func (w *Window) acceptable(c *contact, ev *event.Event, src source) bool {
	newest, known := w.seen.newest(c, ev)
	if from := newest.Origin; known && ev.Replay == nil && !newest.replayed && from.TopicPartition != ev.Record.TopicPartition {
		w.m.ContactsRepartitioned.Inc()
		w.log.repartitioned(w.now, ev, from)
	}
	switch w.seen.judge(ev, newest, known, src.claim.first) {
	case stale:
		w.outbox.skip(src, w.m.skippedStale)
		w.log.stale(w.now, ev)
		return false
	case unverifiable:
		w.outbox.refuse(w.now, ev, src, unverified)
		return false
	case accepted:
	}
	return true
}
