package check

import (
	"slices"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/feed"
)

// letters checks that the dead letters are the right ones.
func (c *checker) letters() {
	wanted := map[Place]*feed.Record{}
	for _, l := range c.in.Letters {
		wanted[l.At] = nil
		for _, p := range l.Ends {
			wanted[p] = nil
		}
	}
	for i := range c.m.Records {
		if len(wanted) == 0 {
			break
		}
		r := &c.m.Records[i]
		if at := c.place(r); hasKey(wanted, at) {
			wanted[at] = r
		}
	}
	c.r.DeadLetters = len(c.in.Letters)
	written := map[Place]int{}
	for _, l := range c.in.Letters {
		own := wanted[l.At]
		if own == nil {
			c.fault(&c.r.WrongLetters, "dead letter of %v: nothing was produced there", l.At)
			continue
		}
		if written[l.At]++; written[l.At] > 1 {
			c.note(&c.r.Repeated, c.in.MaxRepeated, "I10: %v is in the dead-letter topic %d times", l.At, written[l.At])
		}
		c.reason(l, own)
		if !slices.Contains(l.Ends, l.At) {
			c.fault(&c.r.WrongLetters, "dead letter of %v: its positions do not name the event itself", l.At)
		}
		for _, p := range l.Ends {
			r := wanted[p]
			stands := r != nil && (r == own || r.Contact == own.Contact && valid(r.Class) && valid(own.Class) && r.Seq < own.Seq)
			if !stands {
				c.fault(&c.r.WrongLetters, "dead letter of %v: it cannot stand for %v", l.At, p)
				continue
			}
			c.buried[p] = true
		}
		if l.Left > 0 && valid(own.Class) {
			k := &c.known[own.Contact]
			k.buried = max(k.buried, own.Seq)
		}
	}
}

func hasKey[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }

// valid reports whether an event of the class is a state that may be sent.
func valid(class feed.Class) bool { return class == feed.Update || class == feed.Rejected }

func (c *checker) place(r *feed.Record) Place {
	return Place{c.m.Topics[r.Topic], r.Partition, r.Offset}
}

// reason checks that a letter is there for a reason that fits its event.
func (c *checker) reason(l Letter, own *feed.Record) {
	if want, known := c.in.Reasons[l.At]; known {
		if l.Reason != want {
			c.fault(&c.r.WrongLetters, "I5: %v is in the dead-letter topic as %q, want %q", l.At, l.Reason, want)
		}
		return
	}
	fits := []contactsync.Reason{}
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
		c.fault(&c.r.GoodBuried, "I6: %v is a good event and is in the dead-letter topic as %s", l.At, l.Reason)
		return
	}
	c.fault(&c.r.WrongLetters, "I5: %v is an event of class %v and is in the dead-letter topic as %q", l.At, own.Class, l.Reason)
}
