package check

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

// DeadLetter is what the check needs of a dead letter.
type DeadLetter struct {
	At        contactsync.Position   // of the record that it carries
	Positions []contactsync.Position // of every event that it ends, as far as its header had room
	Unlisted  int                    // events that it ends and does not list: older ones of the same contact
	Reason    contactsync.Reason
}

// ReadDeadLetters reads the headers of dead letters. Its error names the record
// that has none, or has them wrong.
func ReadDeadLetters(records []*kgo.Record) ([]DeadLetter, error) {
	all := make([]DeadLetter, 0, len(records))
	for _, r := range records {
		l, err := readDeadLetter(r)
		if err != nil {
			return nil, fmt.Errorf("read dead letter %s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		all = append(all, l)
	}
	return all, nil
}

func readDeadLetter(r *kgo.Record) (l DeadLetter, err error) {
	h := map[string]string{}
	for _, header := range r.Headers {
		h[header.Key] = string(header.Value)
	}
	partition, err := strconv.ParseInt(h["contactsync-partition"], 10, 32)
	if err != nil {
		return l, fmt.Errorf("header contactsync-partition: %w", err)
	}
	l.At.Topic, l.At.Partition, l.Reason = h["contactsync-topic"], int32(partition), contactsync.Reason(h["contactsync-reason"])
	if l.At.Offset, err = strconv.ParseInt(h["contactsync-offset"], 10, 64); err != nil {
		return l, fmt.Errorf("header contactsync-offset: %w", err)
	}
	if l.Positions, err = deadletter.ParsePositions(h["contactsync-positions"]); err != nil {
		return l, err
	}
	if left := h["contactsync-positions-left"]; left != "" {
		if l.Unlisted, err = strconv.Atoi(left); err != nil {
			return l, fmt.Errorf("header contactsync-positions-left: %w", err)
		}
	}
	return l, nil
}

// deadLetters checks that the dead letters are the right ones.
func (c *checker) deadLetters() {
	named := map[contactsync.Position]*feed.Record{} // what the dead letters name, and what was produced there
	for _, l := range c.in.DeadLetters {
		named[l.At] = nil
		for _, p := range l.Positions {
			named[p] = nil
		}
	}
	if len(named) > 0 {
		for i := range c.m.Records {
			r := &c.m.Records[i]
			if at := c.m.Position(r); hasKey(named, at) {
				named[at] = r
			}
		}
	}
	c.r.DeadLetters = len(c.in.DeadLetters)
	written := map[contactsync.Position]int{}
	for _, l := range c.in.DeadLetters {
		own := named[l.At]
		if own == nil {
			c.violation(&c.r.WrongDeadLetters, "dead letter of %v: nothing was produced there", l.At)
			continue
		}
		if written[l.At]++; written[l.At] > 1 {
			c.limited(&c.r.Repeated, c.in.MaxRepeated, "I10: %v is in the dead-letter topic %d times", l.At, written[l.At])
		}
		c.reason(l, own)
		if !slices.Contains(l.Positions, l.At) {
			c.violation(&c.r.WrongDeadLetters, "dead letter of %v: its positions do not name the event itself", l.At)
		}
		for _, p := range l.Positions {
			r := named[p]
			covers := r != nil && (r == own || r.Contact == own.Contact && valid(r.Class) && valid(own.Class) && r.Seq < own.Seq)
			if !covers {
				c.violation(&c.r.WrongDeadLetters, "dead letter of %v: it cannot end %v", l.At, p)
				continue
			}
			c.deadLettered[p] = true
		}
		if l.Unlisted > 0 && valid(own.Class) {
			k := &c.known[own.Contact]
			k.deadLettered = max(k.deadLettered, own.Seq)
		}
	}
}

func hasKey[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }

// valid reports whether an event of the class is a state that may be sent.
func valid(class feed.Class) bool { return class == feed.Update || class == feed.Rejected }

// reason checks that a dead letter's reason fits its event.
func (c *checker) reason(l DeadLetter, own *feed.Record) {
	if want, known := c.in.Reasons[l.At]; known {
		if l.Reason != want {
			c.violation(&c.r.WrongDeadLetters, "I5: %v is in the dead-letter topic as %q, want %q", l.At, l.Reason, want)
		}
		return
	}
	var fits []contactsync.Reason
	switch own.Class {
	case feed.Undecodable:
		fits = append(fits, contactsync.ReasonUndecodable)
	case feed.Invalid:
		fits = append(fits, contactsync.ReasonInvalid)
	case feed.Rejected:
		fits = append(append(fits, contactsync.ReasonRejected, contactsync.ReasonBadRequest), c.in.AllowReasons...)
	case feed.Update:
		fits = append(fits, c.in.AllowReasons...)
	}
	if slices.Contains(fits, l.Reason) {
		return
	}
	if own.Class == feed.Update {
		c.violation(&c.r.GoodDeadLettered, "I6: %v is a good event and is in the dead-letter topic as %s", l.At, l.Reason)
		return
	}
	c.violation(&c.r.WrongDeadLetters, "I5: %v is an event of class %v and is in the dead-letter topic as %q", l.At, own.Class, l.Reason)
}
