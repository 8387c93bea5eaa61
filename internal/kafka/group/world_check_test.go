package group

import (
	"strings"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/progress"
)

// checkCommit holds a commit that the coordinator has taken against what has become of
// the events below it (I2).
func (w *world) checkCommit(r *commitRequest, o Offset) {
	l := w.logs[o.Partition]
	taken, ok := w.snapshots[worldCommitKey{o.TopicPartition, o.Offset, o.Metadata}]
	if !ok {
		w.fail("I2", "%s commits %v at %d, which no replica has asked for", r.member, o.TopicPartition, o.Offset)
	}
	if of := taken.of.g.assigned.Generation; r.generation != of {
		w.fail("I2", "%s commits %v of generation %d in generation %d", r.member, o.TopicPartition, of, r.generation)
	}
	if id := w.topics[o.Topic].ID; id != o.TopicID && (o.TopicID != TopicID{}) {
		w.logf("%v is committed at %d by %s, which has read another topic", o.TopicPartition, o.Offset, r.member)
		return // its text says so to the next owner
	}
	for _, e := range l.records[:l.at(o.Offset)] {
		if l.ended(e) || e.written.After(taken.at) || taken.leader >= 0 && e.epoch > taken.leader {
			continue // the log was cut off, and has grown since, which the next owner is to notice
		}
		w.fail("I2", "%s commits %v at %d, and state %d of %v at %d has not ended", r.member, o.TopicPartition, o.Offset, e.n, e.contact, e.offset)
	}
	w.checkAhead(l, o, taken.of.source)
	taken.accepted = w.now
	l.commit = taken
	w.logf("%v is committed at %d of %d by %s in generation %d", o.TopicPartition, o.Offset, l.end, r.member, r.generation)
	l.committed = o.Offset
}

// checkAhead holds what a commit says to have ended beyond its offset against what has.
func (w *world) checkAhead(l *worldLog, o Offset, source progress.Log) {
	ahead, err := progress.Parse(o.Metadata, o.Offset, source)
	if err != nil {
		w.fail("progress", "%v@%d: %v", o.TopicPartition, o.Offset, err)
	}
	t := progress.NewTracker()
	t.Resume(o.Offset, ahead)
	for _, e := range l.records[l.at(o.Offset):] {
		switch t.Inherited(e.offset, e.epoch) {
		case contactsync.Open:
		case contactsync.SetAside:
			if !e.dead {
				w.fail("I1", "%v@%d has become a dead letter, says the commit at %d", l.partition, e.offset, o.Offset)
			}
		case contactsync.Completed:
			if !l.ended(e) {
				w.fail("I1", "state %d of %v at %v@%d has ended, says the commit at %d", e.n, e.contact, l.partition, e.offset, o.Offset)
			}
		}
	}
}

// worldCommitKey finds what a commit was made of.
type worldCommitKey struct {
	partition contactsync.TopicPartition
	offset    int64
	text      string
}

// worldSnapshot is what was committed of a partition.
type worldSnapshot struct {
	at, accepted time.Time
	of           *worldFetcher
	whole        bool // all that had ended then is in it
	last         bool // of its generation
	atWork       time.Duration
	leader       int32 // of what was read
}

// checkAgain looks at a row that is sent: is it sent again, and may it be (I10)? After a
// crash, what the API had not answered yet, or what no commit had held, is sent once more.
func (w *world) checkAgain(q *worldRequest, row worldRow) {
	c, g := row.contact, q.g
	c.sent = w.now
	if d := g.deleted[c]; d > row.n {
		w.fail("I3", "%s sends state %d of %v after it has read its delete %d", g.r, row.n, c, d)
	}
	e := c.record(row.n)
	if c.answered < row.n || row.bad || e.gone {
		return
	}
	w.duplicates++
	if c.answered > row.n {
		return // I3 is about that
	}
	if c.answeredTo == g {
		w.fail("I10", "%s sends state %d of %v again", g.r, row.n, c)
	}
	held := c.log.commit
	if n, ok := g.open[c]; ok && n < row.n {
		return // what came before it had not ended
	}
	if held.of != nil && held.of.g == c.answeredTo && held.at.After(c.answeredAt) && held.accepted.Before(g.began) && (held.whole || e.offset < c.log.committed) {
		w.fail("I10", "%s sends state %d of %v at %d again, which is in the commit of %d", g.r, row.n, c, e.offset, c.log.committed)
	}
}

// checkSettled says what is left minutes after the last fault (I9).
func (w *world) checkSettled() {
	var left []string
	for _, r := range w.replicas {
		state := "dead"
		if !r.member.dead {
			state = w.describe(r)
		}
		left = append(left, r.String()+": "+state)
	}
	for _, l := range w.logs {
		w.logf("%v ends at %d, %d is committed", l.partition, l.end, l.committed)
	}
	w.fail("I9", "not everything is committed minutes after the last fault: group %s; %s", w.group.state, strings.Join(left, "; "))
}

// checkEnd holds what the API has against the logs (I1).
func (w *world) checkEnd() {
	for _, l := range w.logs {
		for _, e := range l.records {
			if !l.ended(e) {
				w.fail("I1", "state %d of %v at %v@%d is lost", e.n, e.contact, l.partition, e.offset)
			}
			if c := e.contact; !e.again.IsZero() && !e.dead && c.deleted < e.n && !c.sent.After(e.again) {
				w.fail("I1", "state %d of %v at %v@%d is not sent again, as an operator has asked for", e.n, c, l.partition, e.offset)
			}
		}
	}
	for _, c := range w.contacts {
		if c.state < c.newest && !c.overtaken {
			w.fail("I3", "the API holds state %d of %v, and held %d", c.state, c, c.newest)
		}
	}
}

func (w *world) describe(r *replica) string {
	if r.gen == nil {
		return "owns nothing"
	}
	return strings.Join([]string{"generation", []string{"asks", "runs", "drains", "commits", "is over"}[r.gen.state]}, " ")
}

// worldLease is how long a lease lasts at most: kafka.GroupConfig.Lease.
func worldLease(c Config) time.Duration { return min(c.Session, c.Rebalance) - c.LeaseMargin }

// checkLease wants no lease to last longer than the coordinator's session, less the margin.
func (r *replica) checkLease() {
	id := r.member.m.id.member
	heard := r.w.group.touched[id]
	if r.w.group.members[id] != nil { // sessions begin anew when a coordinator has loaded its groups
		heard = maxTime(heard, r.w.loading)
	}
	if most := heard.Add(worldLease(r.member.m.cfg)); r.member.m.LeaseUntil().After(most) {
		r.w.fail("I4", "%s has a lease that lasts %v longer than it may", r, r.member.m.LeaseUntil().Sub(most))
	}
}
