package replay_test

import (
	"slices"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/replay"
)

// wrote checks a record that is written back.
func (r *simRun) wrote(rec contactsync.Record) {
	sim := r.sim
	re, err := event.ReadReplay(rec.Headers)
	if err != nil || re == nil {
		sim.t.Fatalf("(a) %v is written back as no replay: %v", rec.Position, err)
	}
	seq, ok := seqOf(rec.Value)
	if !ok || r.bySeq[seq] == nil || rec.Partition != re.Of.Partition || re.Origin != sim.events[seq].at || re.Checked != r.seen[rec.Partition] {
		sim.t.Fatalf("(a) seq %d of %v is written back as %+v, seen %v", seq, re.Of, re, r.seen)
	}
	sim.t.Logf("  %v is a replay of %v, seq %d, checked %d", rec.Position, re.Of, seq, re.Checked)
	r.isNewest(seq, re.Of)
	if sim.writtenBack[re.Of]++; sim.writtenBack[re.Of] > 1 && !sim.trimmed { // the first may be gone from the topic
		sim.t.Fatalf("(c) dead letter %v is written back %d times", re.Of, sim.writtenBack[re.Of])
	}
}

// isNewest checks that a dead letter's own state may be sent now: where the run has
// looked at the log, it has nothing newer of the contact.
func (r *simRun) isNewest(seq int, of contactsync.Position) {
	sim := r.sim
	contact, less := sim.events[seq].contacts[0], false // less: than another selection has made a run see
	sim.newerThan(contact, seq, func(n int, e *sourceEvent) {
		switch {
		case e.at.Offset >= r.seen[e.at.Partition]:
			return
		case r.belongsToOlder(e, &sim.events[seq]), r.unseen(e, sim.events[seq].at), sim.hasCycles(contact):
			less, sim.unseen[[2]int{seq, n}] = true, true
			return
		}
		sim.t.Fatalf("(a) contact %v: dead letter %v, seq %d (%+v) is replayed over seq %d (%+v)", contact, of, seq, sim.events[seq], n, *e)
	})
	if was := sim.results[of]; (was == replay.Superseded && !less || was == replay.AlreadyReplayed) && !sim.trimmed {
		sim.t.Fatalf("(c) dead letter %v was %s, and is replayed", of, was)
	}
}

// leavesNothingOpen checks that a complete run has left no dead letter open.
func (r *simRun) leavesNothingOpen() {
	sim := r.sim
	for at, o := range r.outcomes {
		seq, _ := seqOf(o.Entry.Record.Value)
		switch o.Result {
		case replay.Replayed, replay.AlreadyReplayed, replay.Superseded, replay.Undeliverable, replay.Truncated:
		case replay.Unverifiable, replay.NotConsumed, replay.ReplayLimit, replay.Failed, replay.NotAttempted:
			sim.t.Fatalf("(d) dead letter %v is %s (%s) in a run that takes all", at, o.Result, o.Detail)
		}
		if o.Result != replay.Superseded || seq == 0 {
			continue
		}
		contact := sim.events[seq].contacts[0]
		// It is superseded by an event that is part of no dead letter, or of one that is not superseded itself.
		newer := false
		sim.newerThan(contact, seq, func(_ int, e *sourceEvent) {
			l := r.entryOf(e.at)
			newer = newer || l == nil || e.compareDeclared(&sim.events[seq]) > 0 || r.outcomes[l.Record.Position].Result != replay.Superseded
		})
		if !newer && !sim.trimmed && !sim.hasCycles(contact) && !r.crossed() {
			sim.t.Fatalf("(d) dead letter %v is superseded (%s), and so is all that is newer than it", at, o.Detail)
		}
	}
}

// entryOf returns the chosen dead letter that an event is part of, its own one before
// one into which it was merged.
func (r *simRun) entryOf(at contactsync.Position) *deadletter.Entry {
	var merged *deadletter.Entry
	for _, e := range r.chosen {
		origin, err := event.ReadOrigin(e.Record)
		switch {
		case err == nil && origin.Origin == at:
			return e
		case slices.Contains(e.Positions, at):
			merged = e
		}
	}
	return merged
}

// belongsToOlder reports whether an event is part of a chosen dead letter that is not
// newer than another one, or older than such a part: "An event that is part of a chosen
// dead letter counts as old as that dead letter, unless the producer declares it newer".
func (r *simRun) belongsToOlder(e, than *sourceEvent) bool {
	if e.compareDeclared(than) > 0 {
		return false
	}
	for l, seq := range r.seqs {
		if l.Stream != than.contacts[0].stream || l.Contact != than.contacts[0].id || r.sim.events[seq].compare(than) > 0 {
			continue
		}
		for n := 1; n < len(r.sim.events); n++ {
			part := &r.sim.events[n]
			if (n == seq || slices.Contains(l.Positions, part.at)) && (part == e || part.compare(e) > 0) && part.compareDeclared(than) <= 0 {
				return true
			}
		}
	}
	return false
}

// crossed reports whether a dead letter that is the older one by its own event has also
// a part that is newer than the other dead letter: "Two such dead letters can each have
// something newer than the other, and are both skipped then".
func (r *simRun) crossed() bool {
	events := r.sim.events
	for l, seq := range r.seqs {
		for other, than := range r.seqs {
			if l == other || l.Stream != other.Stream || l.Contact != other.Contact {
				continue
			}
			for n := range events {
				part := &events[n]
				if n != seq && slices.Contains(l.Positions, part.at) && part.compare(&events[than]) > 0 && events[seq].compare(&events[than]) <= 0 {
					return true
				}
			}
		}
	}
	return false
}

// scanStarts returns from where on the partitions are read: "from the time of the oldest
// chosen event on, or from the oldest chosen event in it if that is earlier".
func (r *simRun) scanStarts() []int64 {
	sim := r.sim
	since, starts := sim.clock, make([]int64, len(sim.source))
	for seq := range r.bySeq {
		if e := sim.events[seq]; e.time.Before(since) {
			since = e.time
		}
	}
	for p, part := range sim.source {
		if starts[p] = part.offsetAt(since.UnixMilli()); starts[p] < 0 {
			starts[p] = part.end()
		}
	}
	for seq := range r.bySeq {
		at := sim.events[seq].at
		starts[at.Partition] = min(starts[at.Partition], at.Offset)
	}
	return starts
}

// unseen reports whether an event could not be seen from a dead letter's position: "An
// event before that which is newer all the same by its version or occurredAt is not
// seen"; where the log no longer has it, "--allow-unverifiable replays these, too"; "nor
// is a newer one that retention has removed from another partition"; and on a compacted
// topic a replay may have removed a newer record of its key.
func (r *simRun) unseen(e *sourceEvent, from contactsync.Position) bool {
	if e.at.Offset < r.starts[e.at.Partition] {
		return true
	}
	behind := e.at.TopicPartition == from.TopicPartition && e.at.Offset > from.Offset
	return !r.sim.source[e.at.Partition].has(e.at.Offset) && (r.opts.AllowUnverifiable || !behind || r.sim.compacted)
}
