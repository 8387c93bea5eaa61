package replay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// contactKey names a contact, however its id is spelled.
type contactKey struct{ account, stream, id string }

// candidate is a chosen dead letter and what is known of its contact.
type candidate struct {
	entry   *deadletter.Entry
	record  contactsync.Record // whole, also where the entry is an envelope
	contact contactKey
	version event.Version // of the event where it was first read
	replays int           // so far

	newest    *candidate     // the newest candidate of the contact; itself where it is that one
	newer     *newerEvent    // the newest event of the contact that is newer than the candidate
	outdated  bool           // the producer declares an event newer that was read
	covered   *event.Version // the newest event that only looks newer: it is part of this candidate or of an older one
	replayed  bool           // the scan has read a replay of it
	attempted bool           // this run has tried to write it back
	ended     bool           // it has its outcome
}

// newerEvent is an event of the source topics.
type newerEvent struct {
	version event.Version
	kind    event.Kind
	at      contactsync.Position // of the record
}

// see takes in an event of the candidate's contact.
func (c *candidate) see(e event.Event) {
	v := e.Version()
	c.outdated = c.outdated || v.CompareDeclared(c.version) > 0
	if !v.NewerThan(c.version) || c.newer != nil && c.newer.version.NewerThan(v) || c.covers(v) {
		return
	}
	c.newer = &newerEvent{version: v, kind: e.Kind, at: e.Record.Position}
}

// cover takes in an event that the candidate supersedes, whatever its record's time is:
// what is older than that event is older than the candidate.
func (c *candidate) cover(v event.Version) {
	if !v.NewerThan(c.version) || c.covers(v) {
		return
	}
	c.covered = &v
	if c.newer != nil && c.covers(c.newer.version) {
		c.newer = nil
	}
}

// covers reports whether a version is no newer than one that was covered. Where the
// producer declares something newer than the candidate, that decides.
func (c *candidate) covers(v event.Version) bool {
	return !c.outdated && c.covered != nil && !v.NewerThan(*c.covered)
}

// supersedes reports whether a candidate is newer than another one of its contact. Two
// of the same event, the second after a replay, differ in where they were read last.
// Of two that are equally old, in two partitions, either counts as newer than the other,
// so that neither could ever be replayed: there their positions decide.
func (c *candidate) supersedes(other *candidate) bool {
	if c.version.Origin == other.version.Origin {
		return c.record.Offset > other.record.Offset
	}
	newer := c.version.NewerThan(other.version)
	if newer && other.version.NewerThan(c.version) {
		a, b := c.version.Origin, other.version.Origin
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition)) > 0
	}
	return newer
}

// load reads a candidate's event and its version. The result is empty where it may be
// replayed as far as the dead letter alone shows.
func (r *Replayer) load(ctx context.Context, c *candidate, bounds map[string][]kafka.Bounds) (result Result, detail string, err error) {
	if c.entry.Reason == contactsync.ReasonUnreadable {
		return Undeliverable, "it describes a record batch that could not be read, and has none of its events", nil
	}
	at := c.record.Position
	switch partitions := bounds[at.Topic]; {
	case partitions == nil:
		return NotConsumed, fmt.Sprintf("topic %q is not in consumer.topics", at.Topic), nil
	case int(at.Partition) >= len(partitions):
		return NotConsumed, fmt.Sprintf("the topic has only %d partitions", len(partitions)), nil
	}
	if c.entry.Envelope != nil {
		found, err := r.fromSource(ctx, c, bounds[at.Topic][at.Partition])
		if err != nil {
			return "", "", err
		}
		if !found {
			return Truncated, "the dead letter has only the beginning of the record, and the source topic no longer has the same at its position", nil
		}
	}
	origin, err := event.ReadOrigin(c.record)
	if err != nil {
		return Undeliverable, err.Error(), nil
	}
	if origin.Origin.TopicPartition != at.TopicPartition {
		return Undeliverable, fmt.Sprintf("according to its headers the record was first read in another partition, %v", origin.Origin.TopicPartition), nil
	}
	rec := c.record
	rec.Time = origin.OriginTime // its own is that of its last replay
	e := r.deps.Decoder.Decode(rec)
	if e.Err != nil {
		return Undeliverable, e.Err.Error(), nil
	}
	if e.Kind != event.Update {
		return Undeliverable, fmt.Sprintf("the record is a %v, which is never sent", e.Kind), nil
	}
	account, ok := r.deps.Route(e.Contact.Stream, e.Contact.Account)
	if !ok {
		return Undeliverable, "no account in upstream.accounts takes its stream", nil
	}
	c.contact = contactKey{account, e.Contact.Stream, contactsync.FoldID(e.Contact.ID)}
	c.version, c.replays = e.Version(), origin.Count
	c.version.Origin, c.version.Time = origin.Origin, origin.OriginTime
	return "", "", nil
}

// fromSource takes the record of an envelope from where it came, and reports whether
// it was there with the right content.
func (r *Replayer) fromSource(ctx context.Context, c *candidate, b kafka.Bounds) (found bool, err error) {
	at := c.record.Position
	if at.Offset < b.First || at.Offset >= b.End {
		return false, nil
	}
	_, err = r.deps.Log.Read(ctx, at.TopicPartition, at.Offset, at.Offset+1, func(rec contactsync.Record) {
		if hash := sha256.Sum256(rec.Value); hex.EncodeToString(hash[:]) != c.entry.Envelope.SHA256 {
			return
		}
		found = true
		c.record.Key, c.record.Value = rec.Key, rec.Value
		if c.entry.Envelope.HeadersLeft > 0 {
			last := rec.Headers[max(0, len(rec.Headers)-deadletter.MostHeaders):]
			c.record.Headers = withoutReplay(last, c.record.Headers)
		}
	})
	return found, err
}
