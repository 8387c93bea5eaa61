package batcher

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// DeadLetter is a dead letter that Kafka has not acknowledged. The events behind it
// end when it has.
type DeadLetter struct {
	contactsync.DeadLetter

	sources []source
	charge  int64
	key     contactKey
	applied *remembered // a state that the API may have applied; else nil
}

// outbox is what leaves the window: the positions of events that have ended, and dead
// letters until Kafka has acknowledged them.
type outbox struct {
	m     *series
	seen  *seen
	now   time.Time           // of the window
	ended []contactsync.Ended // since takeEnded
	total metrics.EventTotals

	parked []contactsync.Parked // since Parking.TakeParked

	deferred      int                      // those kept back by partitions that catch up
	waiting       []*DeadLetter            // to be published, oldest first
	inFlight      map[*DeadLetter]struct{} // taken and not yet acknowledged
	staleInFlight int                      // of these, those of generations that are over
	bytes         int64                    // what the window charges for all of them
}

// opened counts an event of a claim, and released events that are given back.
func (o *outbox) opened(cl *claim, r *contactsync.Record) source {
	o.total.Consumed++
	o.total.Waiting++
	return cl.opened(o.now, r)
}

func (o *outbox) released(n int) {
	o.total.Waiting -= uint64(n)
	o.total.Released += uint64(n)
}

// end ends an event with an outcome. It reports false for one of a generation that is over.
func (o *outbox) end(s source, outcome int) bool {
	return o.endAs(s, outcome, outcome == metrics.SetAside)
}

// endAs does so for an event that an earlier owner may have set aside.
func (o *outbox) endAs(s source, outcome int, setAside bool) bool {
	if !s.claim.live {
		return false
	}
	s.claim.open--
	o.total.Waiting--
	o.total.Ended[outcome].Add(o.now.Sub(s.time()))
	o.ended = append(o.ended, contactsync.Ended{Claim: s.claim.Claim, Offset: s.offset, SetAside: setAside})
	return true
}

// skip ends an event that is not sent, for a reason that is counted.
func (o *outbox) skip(s source, reason counter) {
	if o.end(s, metrics.Skipped) {
		reason.Inc()
	}
}

// takeEnded returns the events that ended since the last call.
func (o *outbox) takeEnded() []contactsync.Ended {
	ended := o.ended
	o.ended = nil
	return ended
}

// add takes a dead letter in. While the partition of its oldest event catches up it is
// kept back: were it written and the partition lost before the end of catch-up, the
// next owner would write it again.
func (o *outbox) add(d *DeadLetter) {
	if !live(d.sources) {
		o.m.Late.Inc()
		return
	}
	d.Positions = make([]contactsync.Position, len(d.sources))
	for i, s := range d.sources {
		d.Positions[i] = s.position()
	}
	d.charge = contactOverhead + recordBytes(&d.Record) + (sourceBytes+positionBytes)*int64(len(d.sources))
	if d.applied != nil {
		d.charge += keyedOverhead
	}
	o.bytes += d.charge
	o.total.Unwritten += uint64(len(d.sources))
	if cl := d.sources[0].claim; cl.catching {
		cl.letters = append(cl.letters, d)
		o.deferred++
		return
	}
	o.waiting = append(o.waiting, d)
}

// refuse makes a dead letter of an event that cannot be sent at all.
func (o *outbox) refuse(now time.Time, ev *event.Event, src source, why *event.DecodeError) {
	d := contactsync.DeadLetter{
		Record: ev.Record, Stream: ev.Contact.Stream, Contact: ev.Contact.ID,
		Reason: contactsync.ReasonUndecodable, First: now, Last: now,
	}
	if why != nil {
		d.Reason, d.Detail = why.Reason, why.Detail
	}
	o.add(&DeadLetter{DeadLetter: d, sources: []source{src}})
}

// caughtUp lets the dead letters of a claim go.
func (o *outbox) caughtUp(cl *claim) {
	o.waiting = append(o.waiting, cl.letters...)
	o.deferred -= len(cl.letters)
	cl.letters = nil
}

// take hands the waiting dead letters to the publisher.
func (o *outbox) take() []*DeadLetter {
	taken := o.waiting
	o.waiting = nil
	for _, d := range taken {
		o.inFlight[d] = struct{}{}
	}
	return taken
}

// acked ends the events of dead letters that Kafka has acknowledged.
func (o *outbox) acked(letters []*DeadLetter) {
	for _, d := range letters {
		delete(o.inFlight, d)
		o.bytes -= d.charge
		if !live(d.sources) {
			o.staleInFlight--
		}
		if d.applied != nil && live(d.sources) {
			o.seen.written(d.key, *d.applied)
		}
		for _, s := range d.sources {
			if o.end(s, metrics.SetAside) {
				o.total.Unwritten--
			}
		}
	}
}

// unwritten yields the dead letters of the present generation that Kafka has not acknowledged.
func (o *outbox) unwritten(cs *claims) iter.Seq[*DeadLetter] {
	return func(yield func(*DeadLetter) bool) {
		all := slices.Concat(slices.Collect(maps.Keys(o.inFlight)), o.waiting)
		for _, cl := range cs.owned {
			all = append(all, cl.letters...)
		}
		for _, d := range all {
			if live(d.sources) && !yield(d) {
				return
			}
		}
	}
}

// forget drops the dead letters that the publisher does not have: their generation is
// over, and its events are read again.
func (o *outbox) forget() {
	o.bytes = 0
	for d := range o.inFlight {
		o.bytes += d.charge
	}
	o.deferred, o.waiting, o.staleInFlight = 0, nil, len(o.inFlight)
	o.total.Unwritten = 0
}

// pending is the number of dead letters that Kafka has not acknowledged.
func (o *outbox) pending() int { return o.deferred + len(o.waiting) + len(o.inFlight) }

// drained reports whether Kafka has acknowledged all that may be published of the
// present generation.
func (o *outbox) drained() bool { return len(o.waiting) == 0 && len(o.inFlight) == o.staleInFlight }
