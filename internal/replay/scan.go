package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// scan reads the source topics and notes what it finds about the candidates.
type scan struct {
	log     *kafka.Client
	decoder *event.Decoder
	route   event.Route
	topics  []string
	parts   map[contactsync.TopicPartition]*part
	records int // read

	newest   map[contactKey]*candidate           // of each contact
	byID     map[string][]*candidate             // the same by the contact's id alone
	byRecord map[contactsync.Position]*candidate // all, by the record's position
	sources  map[contactsync.Position]*candidate // by each of their events that is in another partition than the contact's newest candidate
	present  map[contactsync.Position]bool       // of each candidate's record and first event: whether the log had it
}

// part is how far one partition of a source topic was read: from ≤ offset < next.
type part struct{ from, next int64 }

func newScan(deps Deps, candidates []*candidate) *scan {
	s := &scan{
		log: deps.Log, decoder: deps.Decoder, route: deps.Route, topics: deps.Topics, parts: map[contactsync.TopicPartition]*part{},
		newest: map[contactKey]*candidate{}, byID: map[string][]*candidate{}, byRecord: map[contactsync.Position]*candidate{},
		sources: map[contactsync.Position]*candidate{}, present: map[contactsync.Position]bool{},
	}
	for _, c := range candidates {
		s.byRecord[c.record.Position] = c
		s.present[c.record.Position], s.present[c.version.Origin] = false, false
		if other := s.newest[c.contact]; other == nil || c.supersedes(other) {
			s.newest[c.contact] = c
		}
	}
	for _, c := range candidates {
		c.newest = s.newest[c.contact]
		for _, at := range append([]contactsync.Position{c.record.Position, c.version.Origin}, c.entry.Positions...) {
			if at.TopicPartition != c.newest.version.Origin.TopicPartition { // within a partition the offsets decide
				s.sources[at] = c
			}
		}
	}
	for key, c := range s.newest {
		s.byID[key.id] = append(s.byID[key.id], c)
	}
	return s
}

// start sets where each partition is read from: the time of the oldest event of all
// candidates, or the oldest event of a candidate in it if that is earlier. What is newer
// than one candidate may be in another's partition, before that one.
func (s *scan) start(ctx context.Context, candidates []*candidate, bounds map[string][]kafka.Bounds) error {
	oldest := map[contactsync.TopicPartition]int64{}
	since, undated := time.Time{}, false
	for _, c := range candidates {
		partition, offset := c.version.Origin.TopicPartition, c.version.Origin.Offset
		if first, ok := oldest[partition]; !ok || offset < first {
			oldest[partition] = offset
		}
		undated = undated || c.version.Time.UnixMilli() < 0 // unknown; to Kafka such a time has a meaning of its own
		if since.IsZero() || c.version.Time.Before(since) {
			since = c.version.Time
		}
	}
	for _, topic := range s.topics {
		var byTime []int64
		if !undated {
			var err error
			if byTime, err = s.log.OffsetsAt(ctx, topic, since); err != nil {
				return err
			}
		}
		for n, b := range bounds[topic] {
			partition := contactsync.TopicPartition{Topic: topic, Partition: int32(n)}
			from := b.End // nothing so young
			if undated {
				from = b.First
			} else if n < len(byTime) && byTime[n] >= 0 {
				from = byTime[n]
			}
			if first, ok := oldest[partition]; ok {
				from = min(from, first)
			}
			from = max(min(from, b.End), b.First)
			s.parts[partition] = &part{from: from, next: from}
		}
	}
	return nil
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
			return nil, fmt.Errorf("partition %v ends before what was read of it: the topic was recreated, or records were lost", shrunk)
		case !kafka.Sleep(ctx, kafka.EndSettles/20):
			return nil, context.Cause(ctx)
		}
	}
}

func (s *scan) record(rec contactsync.Record) {
	s.records++
	if _, wanted := s.present[rec.Position]; wanted {
		s.present[rec.Position] = true
	}
	e := s.decoder.Decode(rec)
	if e.Replay != nil {
		if c := s.byRecord[e.Replay.Of]; c != nil {
			c.replayed = true
		}
	}
	switch e.Kind {
	case event.Update, event.Delete:
		if account, ok := s.route(e.Contact.Stream, e.Contact.Account); ok {
			s.see(s.newest[contactKey{account, e.Contact.Stream, contactsync.FoldID(e.Contact.ID)}], e)
			return
		}
	case event.Tombstone:
	case event.Broken:
		return
	}
	for _, c := range s.byID[contactsync.FoldID(e.Contact.ID)] { // as in the service: it may mean the contact of any account, or of any stream
		if e.Contact.Stream == "" || e.Contact.Stream == c.contact.stream {
			s.see(c, e)
		}
	}
}

// see takes in an event of a candidate's contact. One that is part of a candidate counts as old as
// that candidate, unless the producer declares it newer: by the records' times it could
// be newer than the dead letter into which the service has merged it.
func (s *scan) see(c *candidate, e event.Event) {
	if c == nil {
		return
	}
	v := e.Version()
	owner := s.sources[e.Record.Position]
	if owner == nil {
		owner = s.sources[v.Origin]
	}
	if owner != nil && (owner == c || c.supersedes(owner)) && v.CompareDeclared(c.version) <= 0 {
		c.cover(v)
		return
	}
	c.see(e)
}

// verifies reports whether everything behind the event of a candidate was read, and was
// there: where compaction has removed the candidate's own record, it may have removed
// what was newer as well.
func (s *scan) verifies(c *candidate) bool {
	origin := c.version.Origin
	p := s.parts[origin.TopicPartition]
	if origin.Offset >= p.next || p.from > origin.Offset+1 {
		return false
	}
	return p.from == origin.Offset+1 || s.present[origin] || s.present[c.record.Position]
}
