package replay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// target is one letter on its way to an outcome.
type target struct {
	letter *deadletter.Entry
	record contactsync.Record // whole, also where the letter is an envelope
	event  event.Event
	replay event.Replay // how often it was replayed, and where it first stood
	place  event.Version

	newest   *target        // the newest letter of the contact; itself where it is that one
	outdated bool           // by what the producer says of an event that was met
	covered  *event.Version // the newest event that looks newer than the letter, and is part of it or of an older one
	already  bool           // the scan met a replay of it
	newer    *state         // the newest event of the contact that is newer than the letter
	tried    bool           // this run has tried to write it back
	ended    bool
}

// see takes in an event of the target's contact.
func (t *target) see(e event.Event) {
	p := e.Version()
	t.outdated = t.outdated || p.CompareDeclared(t.place) > 0
	if !p.NewerThan(t.place) || t.newer != nil && t.newer.place.NewerThan(p) || t.covers(p) {
		return
	}
	t.newer = &state{place: p, kind: e.Kind, at: e.Record.Position, contact: e.Contact}
}

// cover takes in an event that the target is newer than, whatever its record's time
// is: what is older than that event is older than the target.
func (t *target) cover(p event.Version) {
	if !p.NewerThan(t.place) || t.covers(p) {
		return
	}
	t.covered = &p
	if t.newer != nil && t.covers(t.newer.place) {
		t.newer = nil
	}
}

// covers reports whether an event is no newer than one that was covered. Where the
// producer says that something is newer than the target, that counts.
func (t *target) covers(p event.Version) bool {
	return !t.outdated && t.covered != nil && !p.NewerThan(*t.covered)
}

// plan makes a target of each letter, ends those that cannot be replayed whatever
// the source topics hold, and scans those topics. It returns the targets also with
// an error.
func (r *Replayer) plan(ctx context.Context, letters []*deadletter.Entry) ([]*target, error) {
	targets := make([]*target, len(letters))
	for i, l := range letters {
		targets[i] = &target{letter: l, record: l.Record}
	}
	bounds, err := r.bounds(ctx)
	if err != nil {
		return targets, err
	}
	r.scan = &scan{
		log: r.deps.Log, decode: r.deps.Decode, parts: map[contactsync.TopicPartition]*part{},
		watched: map[contactKey]*target{}, byID: map[string][]*target{}, byRecord: map[contactsync.Position]*target{},
		chosen: map[contactsync.Position]*target{}, met: map[contactsync.Position]bool{}, topics: r.deps.Topics,
	}
	var open []*target
	for _, t := range targets {
		result, detail, err := r.look(ctx, t, bounds)
		if err != nil {
			return targets, err
		}
		if result != "" {
			r.end(t, result, detail)
			continue
		}
		open = append(open, t)
		r.scan.byRecord[t.record.Position] = t
		r.scan.met[t.record.Position], r.scan.met[t.place.Origin] = false, false
		if other := r.scan.watched[t.contact()]; other == nil || t.supersedes(other) {
			r.scan.watched[t.contact()] = t
		}
	}
	for _, t := range open {
		t.newest = r.scan.watched[t.contact()]
		for _, at := range append([]contactsync.Position{t.record.Position, t.place.Origin}, t.letter.Positions...) {
			if at.TopicPartition != t.newest.place.Origin.TopicPartition { // within a partition the offsets tell
				r.scan.chosen[at] = t
			}
		}
	}
	for key, t := range r.scan.watched {
		r.scan.byID[key.id] = append(r.scan.byID[key.id], t)
	}
	if len(open) == 0 {
		return targets, nil
	}
	if err := r.startScan(ctx, open, bounds); err != nil {
		return targets, err
	}
	return targets, r.scan.catchUp(ctx)
}

func (t *target) contact() contactKey {
	return contactKey{t.event.Contact.Stream, t.event.Contact.ID}
}

// supersedes reports whether a letter is newer than another one of its contact. Two
// of the same event, the second after a replay, differ in where they were read last.
// Of two that are equally old, in two partitions, one has to be it, or none of them
// could ever be replayed: nobody can tell which, so their positions decide.
func (t *target) supersedes(other *target) bool {
	if t.place.Origin == other.place.Origin {
		return t.record.Offset > other.record.Offset
	}
	after := t.place.NewerThan(other.place)
	if after && other.place.NewerThan(t.place) {
		a, b := t.place.Origin, other.place.Origin
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition)) > 0
	}
	return after
}

// bounds asks for the partitions of all topics that the service reads: a newer event
// of a contact may be in any.
func (r *Replayer) bounds(ctx context.Context) (map[string][]kafka.Bounds, error) {
	bounds := map[string][]kafka.Bounds{}
	for _, topic := range r.deps.Topics {
		b, err := r.deps.Log.StableBounds(ctx, topic)
		if err != nil {
			return nil, err
		}
		bounds[topic] = b
	}
	return bounds, nil
}

// look reads a letter's event and its place. The result is empty where it may be
// replayed as far as the letter alone tells.
func (r *Replayer) look(ctx context.Context, t *target, bounds map[string][]kafka.Bounds) (result Result, detail string, err error) {
	at := t.record.Position
	switch partitions := bounds[at.Topic]; {
	case partitions == nil:
		return Elsewhere, fmt.Sprintf("topic %q is none of consumer.topics", at.Topic), nil
	case int(at.Partition) >= len(partitions):
		return Elsewhere, fmt.Sprintf("the topic has only %d partitions", len(partitions)), nil
	}
	if t.letter.Envelope != nil {
		found, err := r.fromSource(ctx, t, bounds[at.Topic][at.Partition])
		if err != nil {
			return "", "", err
		}
		if !found {
			return Incomplete, "the letter holds only the beginning of the record, and the source topic no longer has the same at its position", nil
		}
	}
	if t.replay, err = event.ReadOrigin(t.record); err != nil {
		return Broken, err.Error(), nil
	}
	if t.replay.Origin.TopicPartition != at.TopicPartition {
		return Broken, fmt.Sprintf("the record says that it first stood in another partition, %v", t.replay.Origin.TopicPartition), nil
	}
	t.event = r.deps.Decode(t.record)
	if t.event.Err != nil {
		return Broken, t.event.Err.Error(), nil
	}
	if t.event.Kind != event.Update {
		return Broken, "the record is a " + t.event.Kind.String() + ", and the service sends none", nil
	}
	account, ok := r.deps.Route(t.event.Contact.Stream, t.event.Contact.Account)
	if !ok {
		return Broken, "no account in upstream.accounts takes its stream", nil
	}
	t.event.Contact.Account = account
	t.place = t.event.Version()
	t.place.Origin, t.place.Time = t.replay.Origin, t.replay.OriginTime
	return "", "", nil
}

// fromSource takes the record of an envelope from where it came, and reports whether
// it was there with the right content.
func (r *Replayer) fromSource(ctx context.Context, t *target, b kafka.Bounds) (found bool, err error) {
	at := t.record.Position
	if at.Offset < b.First || at.Offset >= b.End {
		return false, nil
	}
	_, err = r.deps.Log.Read(ctx, at.TopicPartition, at.Offset, at.Offset+1, func(rec contactsync.Record) {
		if hash := sha256.Sum256(rec.Value); hex.EncodeToString(hash[:]) != t.letter.Envelope.SHA256 {
			return
		}
		found = true
		t.record.Key, t.record.Value = rec.Key, rec.Value
		if t.letter.Envelope.HeadersLeft > 0 {
			t.record.Headers = withoutReplay(rec.Headers, t.record.Headers)
		}
	})
	return found, err
}

// startScan sets where each partition is read from: the time of the oldest event
// of all letters, or the oldest event of a letter in it where that lies before.
// What is newer than one letter may lie in another's partition, before that one.
func (r *Replayer) startScan(ctx context.Context, targets []*target, bounds map[string][]kafka.Bounds) error {
	oldest := map[contactsync.TopicPartition]int64{}
	since, undated := time.Time{}, false
	for _, t := range targets {
		partition, offset := t.place.Origin.TopicPartition, t.place.Origin.Offset
		if first, ok := oldest[partition]; !ok || offset < first {
			oldest[partition] = offset
		}
		undated = undated || t.place.Time.UnixMilli() < 0 // unknown; to Kafka such a time has a meaning of its own
		if since.IsZero() || t.place.Time.Before(since) {
			since = t.place.Time
		}
	}
	for _, topic := range r.scan.topics {
		var byTime []int64
		if !undated {
			var err error
			if byTime, err = r.deps.Log.OffsetsAt(ctx, topic, since); err != nil {
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
			r.scan.parts[partition] = &part{from: from, next: from}
		}
	}
	return nil
}
