package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// contactKey names a contact.
type contactKey struct{ stream, id string }

// state is what one event says of a contact.
type state struct {
	place   event.Version
	kind    event.Kind
	at      contactsync.Position // of the record
	contact event.Contact
}

// part is how far one partition of a source topic was read.
type part struct {
	from int64 // everything from here
	next int64 // up to here was read
}

// scan follows the source topics and notes what matters for the letters.
type scan struct {
	log      *kafka.Client
	decode   func(contactsync.Record) event.Event
	topics   []string
	parts    map[contactsync.TopicPartition]*part
	watched  map[contactKey]*target           // the newest letter of each contact
	byID     map[string][]*target             // the same by the contact's id alone
	byRecord map[contactsync.Position]*target // every letter by its record's position
	chosen   map[contactsync.Position]*target // the letter of events that lie in another partition than the contact's newest letter
	met      map[contactsync.Position]bool    // of each letter's record and first event: whether it was in the log
	records  int
}

// catchUp reads every partition up to its present end.
func (s *scan) catchUp(ctx context.Context) error {
	for _, topic := range s.topics {
		bounds, err := s.bounds(ctx, topic)
		if err != nil {
			return err
		}
		for n, b := range bounds {
			partition := contactsync.TopicPartition{Topic: topic, Partition: int32(n)}
			p := s.parts[partition]
			if p == nil { // added since the start
				p = &part{from: b.First, next: b.First}
				s.parts[partition] = p
			}
			if p.next == b.End {
				continue
			}
			began, err := s.log.Read(ctx, partition, p.next, b.End, s.record)
			if err != nil {
				return err
			}
			if began > p.next {
				p.from = began
			}
			p.next = b.End
		}
	}
	return nil
}

// bounds asks for the bounds of a topic, which only grow.
func (s *scan) bounds(ctx context.Context, topic string) ([]kafka.Bounds, error) {
	start := time.Now()
	for {
		bounds, err := s.log.StableBounds(ctx, topic)
		if err != nil {
			return nil, err
		}
		shrunk := contactsync.TopicPartition{}
		for partition, p := range s.parts {
			if partition.Topic == topic && (int(partition.Partition) >= len(bounds) || bounds[partition.Partition].End < p.next) {
				shrunk = partition
			}
		}
		switch {
		case shrunk == contactsync.TopicPartition{}:
			return bounds, nil
		case time.Since(start) > kafka.EndSettles:
			return nil, fmt.Errorf("partition %v ends before what was read of it: the topic was made anew, or records were lost", shrunk)
		case !kafka.Sleep(ctx, kafka.EndSettles/20):
			return nil, context.Cause(ctx)
		}
	}
}

func (s *scan) record(rec contactsync.Record) {
	s.records++
	if _, wanted := s.met[rec.Position]; wanted {
		s.met[rec.Position] = true
	}
	e := s.decode(rec)
	replay := e.Replay
	if replay == nil && len(rec.Headers) > 0 {
		replay, _ = event.ReadReplay(rec.Headers) // of a broken one; without its position it is no replay of ours
	}
	if replay != nil {
		if t := s.byRecord[replay.Of]; t != nil {
			t.already = true
		}
	}
	switch e.Kind {
	case event.Update, event.Delete:
		s.see(contactKey{e.Contact.Stream, e.Contact.ID}, e)
	case event.Tombstone:
		stream, id := event.TombstoneKey(rec.Key)
		if stream != "" {
			s.see(contactKey{stream, id}, e)
			return
		}
		for _, t := range s.byID[id] { // as the service does: it may mean the contact of any stream
			t.see(e)
		}
	}
}

// see takes in an event of a contact. One that a chosen letter stands for counts with
// its letter, unless the producer says otherwise: by the records' times it could be
// newer than its own letter, into which the service has merged it.
func (s *scan) see(key contactKey, e event.Event) {
	t := s.watched[key]
	if t == nil {
		return
	}
	p := e.Version()
	l := s.chosen[e.Record.Position]
	if l == nil {
		l = s.chosen[p.Origin]
	}
	if l != nil && (l == t || t.supersedes(l)) && p.CompareDeclared(t.place) <= 0 {
		t.cover(p)
		return
	}
	t.see(e)
}

// proves reports whether everything behind the event of a letter was read, and was
// there: where compaction has removed the letter's own record, it may have removed
// what was newer as well.
func (s *scan) proves(t *target) bool {
	p, origin := s.parts[t.place.Origin.TopicPartition], t.place.Origin
	if origin.Offset >= p.next || p.from > origin.Offset+1 {
		return false
	}
	return p.from == origin.Offset+1 || s.met[origin] || s.met[t.record.Position]
}
