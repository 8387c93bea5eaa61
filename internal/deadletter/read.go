package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
)

// Entry is a dead letter as the topic holds it.
type Entry struct {
	contactsync.DeadLetter

	// Envelope is not nil where the record was too large for the topic. The record has
	// no value then: what Envelope holds must not be sent in its place.
	Envelope      *Envelope
	PositionsLeft int                  // how many positions were left out for want of room
	HeadersLeft   int                  // how many headers of the record were left out because there are too many
	At            contactsync.Position // in the dead-letter topic; the newest copy counts
	Written       time.Time            // the time of the message at that place
	Copies        int                  // of the dead letter in the topic, this one included
}

// Failed is the time of the last failure; where it is not known, that of the
// writing.
func (e *Entry) Failed() time.Time {
	if e.Last.IsZero() {
		return e.Written
	}
	return e.Last
}

// Contents is what the topic holds.
type Contents struct {
	Entries  []*Entry           // those selected, the oldest failure first
	All      int                // dead letters in the topic, each once
	Others   int                // messages that are no dead letters
	Problems map[string]Problem // dead letters that cannot be read, by why
}

// Problem is some messages that cannot be read for one reason.
type Problem struct {
	Messages int
	First    contactsync.Position // of one of them
}

// Read reads the dead-letter topic from its start to its end of now and returns
// the entries that sel selects, each once. Keys and values, which are as large as
// the events, are kept where withValues is set.
func Read(ctx context.Context, client *kafka.Client, topic string, sel Selection, withValues bool) (Contents, error) {
	r := reading{sel: sel, withValues: withValues, newest: map[contactsync.Position]*copies{}, problems: map[string]Problem{}}
	bounds, err := client.StableBounds(ctx, topic)
	if err != nil {
		return Contents{}, fmt.Errorf("read dead letters: %w", err)
	}
	for p, b := range bounds {
		partition := contactsync.TopicPartition{Topic: topic, Partition: int32(p)}
		if _, err := client.Read(ctx, partition, b.First, b.End, r.record); err != nil {
			return Contents{}, fmt.Errorf("read dead letters: %w", err)
		}
	}
	return r.contents(), nil
}

// reading is what is known of the topic so far.
type reading struct {
	sel        Selection
	withValues bool
	newest     map[contactsync.Position]*copies // by the record's position
	others     int
	problems   map[string]Problem
}

// copies are all copies of one dead letter. One that is not selected counts too,
// since it may come after one that is.
type copies struct {
	newest    *Entry // nil where the newest copy is not selected
	written   time.Time
	partition int32
	n         int
}

func (r *reading) record(rec contactsync.Record) {
	e, err := Decode(rec)
	switch {
	case errors.Is(err, ErrNotDeadLetter):
		r.others++
		return
	case err != nil:
		r.problem(err.Error(), rec)
		return
	case e.Record.Topic == "": // it would be taken for a copy of another such one
		r.problem("read dead letter: header "+headerTopic+": it is missing", rec)
		return
	}
	c := r.newest[e.Record.Position]
	if c == nil {
		c = &copies{}
		r.newest[e.Record.Position] = c
	}
	c.n++
	if c.n > 1 && rec.Partition != c.partition && rec.Time.Before(c.written) { // within a partition the order of the log counts
		return
	}
	c.newest, c.written, c.partition = nil, rec.Time, rec.Partition
	if !r.sel.Match(e) {
		return
	}
	if !r.withValues {
		e.Record.Key, e.Record.Value = nil, nil
	}
	c.newest = e
}

func (r *reading) problem(why string, rec contactsync.Record) {
	p, seen := r.problems[why]
	if !seen {
		p.First = rec.Position
	}
	p.Messages++
	r.problems[why] = p
}

func (r *reading) contents() Contents {
	c := Contents{All: len(r.newest), Others: r.others, Problems: r.problems}
	for _, all := range r.newest {
		if all.newest != nil {
			all.newest.Copies = all.n
			c.Entries = append(c.Entries, all.newest)
		}
	}
	slices.SortFunc(c.Entries, func(a, b *Entry) int {
		if n := a.Failed().Compare(b.Failed()); n != 0 {
			return n
		}
		return comparePositions(a.Record.Position, b.Record.Position)
	})
	return c
}
