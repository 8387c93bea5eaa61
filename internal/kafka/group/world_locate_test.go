package group

import (
	"errors"
	"slices"
	"time"

	"github.com/contactsync/contactsync/internal/progress"
)

// resume takes over from the owner before: consumer/resume.go.
func (f *worldFetcher) resume(o Offset) {
	w := f.g.r.w
	f.source, f.topic = progress.NewLog(f.g.assigned.Cluster, o.TopicID), o.TopicID
	ahead, err := progress.Parse(o.Metadata, o.Offset, f.source)
	taken, ours := w.snapshots[worldCommitKey{o.TopicPartition, o.Offset, o.Metadata}]
	ours = ours && taken.of.topic == f.topic && taken.of.g.assigned.Cluster == f.g.assigned.Cluster
	switch {
	case errors.Is(err, progress.OtherLog):
		f.lost = true
	case err != nil && ours:
		w.fail("progress", "%v@%d: %v", o.TopicPartition, o.Offset, err)
	case err != nil: // of another offset or cluster, or no broker told the ids in time
		f.log.commit = worldSnapshot{}
	case ahead != nil && !ours:
		w.fail("progress", "%v@%d: %q is believed, which nobody has committed there", o.TopicPartition, o.Offset, o.Metadata)
	}
	f.tracker.Resume(o.Offset, ahead)
	f.before = f.g.r.atWork
	wait := time.Duration(0)
	if w.static && o.Offset >= 0 && (ahead == nil || !ahead.Released) {
		wait = worldLease(f.g.r.member.m.cfg)
	}
	f.before = maxTime(f.before, w.now.Add(wait))
	if ahead == nil {
		return
	}
	if got := f.tracker.Leader(); got != taken.leader {
		w.fail("progress", "%v@%d: what lies below was written by leader %d; committed was %d", o.TopicPartition, o.Offset, got, taken.leader)
	}
	if ahead.Released != taken.last || ahead.AtWork < taken.atWork.Truncate(time.Millisecond) {
		w.fail("progress", "%v@%d: released %v, at work for %v; committed was %v, %v", o.TopicPartition, o.Offset, ahead.Released, ahead.AtWork, taken.last, taken.atWork)
	}
	if ahead.AtWork > 0 || w.static && ahead.Released {
		f.tracker.Recommit()
	}
	f.before = maxTime(f.before, w.now.Add(ahead.AtWork))
}

// atWork is for how long requests that were made before may still be applied.
func (f *worldFetcher) atWork() time.Duration {
	return max(maxTime(f.before, f.g.r.atWork).Sub(f.g.r.w.now), 0)
}

func (f *worldFetcher) runs() bool { return f.g.r.gen == f.g && f.g.state == genRunning }

// run reads from the committed offset, or from the first one where that does not exist
// any more: consumer/locate.go, with the policy to go on.
func (f *worldFetcher) run(committed int64) {
	l := f.log
	switch {
	case !f.runs():
		return
	case f.g.r.w.missing || committed > l.end && !f.settles():
		f.g.r.in(time.Second, func() { f.run(committed) })
		return
	case committed < l.first, committed > l.end, f.lost:
		committed = l.first
		l.commit = worldSnapshot{} // all of it is sent again
	}
	f.beyond = time.Time{}
	f.begin(committed)
}

// begin begins to read.
func (f *worldFetcher) begin(offset int64) {
	f.start, f.position, f.read = offset, offset, offset
	f.tracker.Start(offset)
	f.located = true
	if f.tracker.Leader() < 0 {
		for _, e := range f.log.records[:f.log.at(offset)] {
			e.blind = e.blind || !f.log.ended(e) // the log was cut off, and nobody knows
		}
	}
	f.next(0)
}

// isCutOff looks whether an answer goes on with what was read, and begins anew where it
// does not: consumer/locate.go.
func (f *worldFetcher) isCutOff(records []*worldRecord) bool {
	leader := f.tracker.Leader()
	if leader < 0 || len(records) == 0 || records[0].epoch <= leader {
		return false
	}
	end := f.log.epochEnd(leader)
	switch {
	case end >= f.position:
		return false
	case f.position > f.start:
		f.located = false
		f.g.release("the log was cut off, and has grown")
	default:
		f.log.commit = worldSnapshot{}
		f.begin(end)
	}
	f.g.r.w.cutsNoticed++
	return true
}

// settles reports whether the log has ended below what was read for long enough.
func (f *worldFetcher) settles() bool {
	if f.beyond.IsZero() {
		f.beyond = f.g.r.w.now
	}
	return f.g.r.w.now.Sub(f.beyond) >= worldEndSettles
}

// next makes one fetch, whose answer comes a while later.
func (f *worldFetcher) next(wait time.Duration) {
	w := f.g.r.w
	most := 40
	if w.slowReads {
		most, wait = 4, wait+w.between(0, time.Second)
	}
	w.after(wait+w.latency, func() { // the broker answers
		switch {
		case w.missing:
			f.g.r.in(time.Second, f.again)
			return
		case f.position > f.log.end:
			f.g.r.in(w.latency, f.outOfRange)
			return
		}
		records, next := f.log.read(f.position, 1+w.rand.IntN(most))
		end, leader := f.log.end, f.log.epoch
		if next < end {
			leader = records[len(records)-1].epoch
		}
		f.read = next
		f.g.r.in(w.latency, func() { f.take(records, next, end, leader) })
	})
}

func (f *worldFetcher) again() {
	if f.runs() {
		f.next(0)
	}
}

// outOfRange begins anew where what was read is not there any more.
func (f *worldFetcher) outOfRange() {
	switch {
	case !f.runs():
	case f.position <= f.log.end:
		f.beyond = time.Time{}
		f.next(0)
	case !f.settles():
		f.g.r.in(time.Second, f.outOfRange)
	default:
		f.located = false
		f.g.release("the log was cut off or recreated")
	}
}

// waitsFor reports whether this process sends nothing of a log before the lease of another
// one has ended: it has come in its place, or has its partition from who has.
func (r *replica) waitsFor(other *replica, l *worldLog) bool {
	switch {
	case !r.w.static:
		return false
	case r.number == other.number:
		return r.life > other.life
	case r.w.replicas[other.number] == other:
		return false
	}
	return r.gen == nil || r.gen.state == genFetching || slices.ContainsFunc(r.gen.fetchers, func(f *worldFetcher) bool { return f.log == l && r.w.now.Before(f.before) })
}

// told reports whether the partitions of a request were committed since they were assigned.
func (g *worldGeneration) told(q *worldRequest) bool {
	return !slices.ContainsFunc(g.fetchers, func(f *worldFetcher) bool {
		return !f.told && slices.ContainsFunc(q.rows, func(row worldRow) bool { return row.contact.log == f.log })
	})
}
