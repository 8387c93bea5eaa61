package batcher

import (
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// DeadLetter is a dead letter on its way to the dead-letter topic. The events that it
// stands for end only when DeadLettersAcked says that Kafka has acknowledged it.
type DeadLetter struct {
	contactsync.DeadLetter

	marks  []mark
	charge int64
}

// bury makes a dead letter of a contact's present state and of every event that
// it stands for. The contact itself is left to the caller.
func (w *Window) bury(c *contact, reason contactsync.Reason, detail string, status int) {
	if c.applied { // whatever the API says now: nothing older may come after it
		w.memory.note(c.lane.stream, c.id, c.standing)
	}
	record := c.record
	if c.merged {
		// The newest event alone would not bring back what older ones had set.
		record.Value = event.Native(event.Contact{
			Stream: c.lane.stream, ID: c.id, Body: c.body, Account: c.account,
			Version: c.Number, HasVersion: c.HasNumber, OccurredAt: c.OccurredAt,
		})
	}
	first := c.firstFail
	if first.IsZero() {
		first = w.now
	}
	w.post(&DeadLetter{
		DeadLetter: contactsync.DeadLetter{
			Record: record, Stream: c.lane.stream, Contact: c.id, Reason: reason, Detail: detail,
			Status: status, Attempts: c.sends, First: first, Last: w.now,
		},
		marks: c.marks,
	})
}

// refuse makes a dead letter of an event that cannot be sent at all.
func (w *Window) refuse(ev *event.Event, m mark, why *event.DecodeError) {
	l := contactsync.DeadLetter{
		Record: ev.Record, Stream: ev.Contact.Stream, Contact: ev.Contact.ID,
		Reason: contactsync.ReasonUndecodable, First: w.now, Last: w.now,
	}
	if why != nil {
		l.Reason, l.Detail = why.Reason, why.Detail
	}
	w.post(&DeadLetter{DeadLetter: l, marks: []mark{m}})
}

func (w *Window) post(b *DeadLetter) {
	if !live(b.marks) {
		w.m.late.Inc()
		return
	}
	b.Positions = make([]contactsync.Position, len(b.marks))
	for i, m := range b.marks {
		b.Positions[i] = contactsync.Position{TopicPartition: m.claim.TopicPartition, Offset: m.offset}
	}
	b.charge = int64(contactOverhead + len(b.Record.Value) + len(b.Record.Key) + 2*markBytes*len(b.marks))
	w.bytes += b.charge
	if cl := b.marks[0].claim; cl.catching {
		// Nothing leaves while a partition catches up: were it lost before that,
		// the next owner would write the same letter again.
		cl.deferredLetters = append(cl.deferredLetters, b)
		return
	}
	w.letters = append(w.letters, b)
}

// DeadLettersWaiting returns the dead letters that may be published, oldest first.
func (w *Window) DeadLettersWaiting() []*DeadLetter { return w.letters }

// TakeDeadLetters returns the same and leaves them to the caller: each must come
// back through DeadLettersAcked.
func (w *Window) TakeDeadLetters() []*DeadLetter {
	letters := w.letters
	w.letters = nil
	w.buried += len(letters)
	return letters
}

// DeadLettersAcked says that Kafka has acknowledged these dead letters: their events end.
func (w *Window) DeadLettersAcked(now time.Time, letters []*DeadLetter) {
	w.clock(now)
	for _, b := range letters {
		w.buried--
		w.bytes -= b.charge
		if !live(b.marks) {
			w.staleInFlight--
		}
		for _, m := range b.marks {
			if w.end(m) {
				w.m.ended[endedDeadLetter].Inc()
			}
		}
	}
}

// DeadLettersPending is the number of dead letters that Kafka has not acknowledged.
func (w *Window) DeadLettersPending() int {
	n := len(w.letters) + w.buried
	for _, cl := range w.claims {
		n += len(cl.deferredLetters)
	}
	return n
}
