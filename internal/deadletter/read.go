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

// Found is a letter as the topic holds it.
type Found struct {
	contactsync.DeadLetter

	// Envelope is not nil where the record was too large for the topic. The letter has
	// no value then: what Envelope holds is not the record and must not be sent in its
	// place.
	Envelope      *Envelope
	PositionsLeft int                  // how many positions the letter leaves out for want of room
	At            contactsync.Position // in the dead-letter topic; the newest copy counts
	Written       time.Time            // the time of the message at that place
	Copies        int                  // of the letter in the topic, this one included
}

// Failed is the time of the last failure; where the letter does not say, that of
// its writing.
func (f *Found) Failed() time.Time {
	if f.Last.IsZero() {
		return f.Written
	}
	return f.Last
}

// Contents are the letters of the topic.
type Contents struct {
	Letters  []*Found           // those selected, by their last failure, the oldest first
	All      int                // letters in the topic, each once
	Others   int                // messages that are no letters
	Problems map[string]Problem // messages that say they are letters and cannot be read, by why
}

// Problem is some messages that cannot be read for one reason.
type Problem struct {
	Messages int
	First    contactsync.Position // of one of them
}

// Read reads the dead-letter topic from its start to its end of now and returns
// the letters that sel selects, each once. Keys and values, which are as large as
// the events, are kept where withValues is set.
func Read(ctx context.Context, log *kafka.Log, topic string, sel Selection, withValues bool) (Contents, error) {
	r := reading{sel: sel, withValues: withValues, newest: map[contactsync.Position]*copies{}, problems: map[string]Problem{}}
	bounds, err := log.Bounds(ctx, topic)
	if err != nil {
		return Contents{}, fmt.Errorf("read dead letters: %w", err)
	}
	for p, b := range bounds {
		partition := contactsync.TopicPartition{Topic: topic, Partition: int32(p)}
		if _, err := log.Read(ctx, partition, b.First, b.End, r.record); err != nil {
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

// copies stands for all copies of one letter. A copy that is not selected stays
// known, since it may come after one that is.
type copies struct {
	found     *Found // the newest copy; nil where that is not selected
	written   time.Time
	partition int32
	n         int
}

func (r *reading) record(rec contactsync.Record) {
	f, err := Decode(rec)
	switch {
	case errors.Is(err, ErrNotLetter):
		r.others++
		return
	case err != nil:
		r.problem(err.Error(), rec)
		return
	case f.Record.Topic == "": // it would be taken for a copy of another such one
		r.problem("read dead letter: header "+headerTopic+": it is missing", rec)
		return
	}
	c := r.newest[f.Record.Position]
	if c == nil {
		c = &copies{}
		r.newest[f.Record.Position] = c
	}
	c.n++
	if c.n > 1 && rec.Partition != c.partition && rec.Time.Before(c.written) { // within a partition the order of the log counts
		return
	}
	c.found, c.written, c.partition = nil, rec.Time, rec.Partition
	if !r.sel.Match(f) {
		return
	}
	if !r.withValues {
		f.Record.Key, f.Record.Value = nil, nil
	}
	c.found = f
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
		if all.found != nil {
			all.found.Copies = all.n
			c.Letters = append(c.Letters, all.found)
		}
	}
	slices.SortFunc(c.Letters, func(a, b *Found) int {
		if n := a.Failed().Compare(b.Failed()); n != 0 {
			return n
		}
		return comparePositions(a.Record.Position, b.Record.Position)
	})
	return c
}
