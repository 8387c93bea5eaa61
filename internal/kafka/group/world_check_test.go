package group

import (
	"strings"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/progress"
)

// checkCommit holds a commit that the coordinator has taken against what has become of
// the events below it (I2).
func (w *world) checkCommit(r *commitRequest, o Offset) {
	l := w.logs[o.Partition]
	if e := l.open(o.Offset); e != nil {
		w.fail("I2", "%s commits %v at %d, and state %d of %v at %d has not ended", r.member, o.TopicPartition, o.Offset, e.n, e.contact, e.offset)
	}
	w.checkAhead(l, o)
	w.logf("%v is committed at %d of %d by %s in generation %d", o.TopicPartition, o.Offset, l.end, r.member, r.generation)
	l.committed = o.Offset
}

// checkAhead holds what a commit says to have ended beyond its offset against what has.
func (w *world) checkAhead(l *worldLog, o Offset) {
	ahead, err := progress.Parse(o.Metadata, o.Offset, progress.NewLog("", o.TopicID))
	if err != nil {
		w.fail("progress", "%v@%d: %v", o.TopicPartition, o.Offset, err)
	}
	t := progress.NewTracker()
	t.Resume(o.Offset, ahead)
	for _, e := range l.records[l.at(o.Offset):] {
		switch t.Inherited(e.offset, -1) {
		case contactsync.Open:
		case contactsync.SetAside:
			if !l.dead[e.offset] {
				w.fail("I1", "%v@%d has become a dead letter, says the commit at %d", l.partition, e.offset, o.Offset)
			}
		case contactsync.Completed:
			if !l.ended(e) {
				w.fail("I1", "state %d of %v at %v@%d has ended, says the commit at %d", e.n, e.contact, l.partition, e.offset, o.Offset)
			}
		}
	}
}

// checkAgain looks at a row that is sent: is it sent again, and may it be (I10)?
func (w *world) checkAgain(q *worldRequest, row worldRow) {
	if row.contact.answered >= row.n && !row.bad {
		w.duplicates++
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
