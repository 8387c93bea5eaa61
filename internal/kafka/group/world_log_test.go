package group

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/contactsync/contactsync"
)

// worldLog is one partition's log.
type worldLog struct {
	w         *world
	partition contactsync.TopicPartition
	first     int64 // of what retention has left
	end       int64
	epoch     int32          // of the leader
	began     []worldEpoch   // where leaders have begun after the log was cut off
	records   []*worldRecord // in the order of their offsets
	committed int64          // accepted by the coordinator
	commit    worldSnapshot  // what was committed
}

// worldEpoch is where a leader has begun to write.
type worldEpoch struct {
	epoch int32
	start int64
}

// worldRecord is one event.
type worldRecord struct {
	offset  int64
	epoch   int32 // of the leader that has written it
	contact *worldContact
	n       int // counts the contact's events
	value   []byte
	written time.Time
	again   time.Time // when an operator has asked for it again
	dead    bool      // a dead letter has ended it
	deletes bool
	gone    bool // compacted, cut off, or of a topic that was deleted
	blind   bool // written, after the log was cut off, below where somebody reads who cannot notice that
}

// worldContact is one contact, which is in one partition.
type worldContact struct {
	id, stream string
	log        *worldLog
	records    []*worldRecord // all that were ever written
	deleted    int            // number of its last event that was a delete
	state      int            // of what the API holds
	newest     int            // of what it ever held
	overtaken  bool
	refused    map[int]bool // states that the API has refused, and might have taken
	sent       time.Time    // the last time
	answered   int          // of what it has said to hold
	answeredAt time.Time
	answeredTo *worldGeneration
}

// record returns the event that has brought a state.
func (c *worldContact) record(n int) *worldRecord { return c.records[n-1] }

func (c *worldContact) String() string { return c.stream + "/" + c.id }

// produce appends an event of a contact.
func (l *worldLog) produce(c *worldContact, deletes bool) {
	w := l.w
	if w.missing {
		w.after(5*time.Second, func() { l.produce(c, deletes) })
		return
	}
	w.produced++
	e := &worldRecord{offset: l.end, epoch: l.epoch, contact: c, n: len(c.records) + 1, written: w.now, blind: l.hides(l.end)}
	bad, op := 0, ""
	switch {
	case w.chance(40):
		bad = 1
	case deletes:
		e.deletes, op = true, `,"op":"delete"`
		c.deleted = e.n
	case w.deletes && w.chance(8): // while a request carries it, perhaps
		w.after(w.between(300*time.Millisecond, 2*time.Second), func() { l.produce(c, true) })
	}
	e.value = fmt.Appendf(nil, `{"streamId":%q,"contact":{"id":%q,"n":%d,"bad":%d}%s}`, c.stream, c.id, e.n, bad, op)
	c.records, l.records = append(c.records, e), append(l.records, e)
	w.logf("%v@%d is %v state %d, bad %d%s", l.partition, l.end, c, e.n, bad, op)
	l.end++
}

// hides reports whether somebody reads behind an offset, and will not notice that the log
// was cut off before and has grown: he does not know which leader had written what lies there.
func (l *worldLog) hides(offset int64) bool {
	for _, m := range l.w.processes {
		if m.member.dead || m.gen == nil {
			continue
		}
		for _, f := range m.gen.fetchers {
			if f.log == l && f.read > offset && f.tracker.Leader() < 0 {
				return true
			}
		}
	}
	return false
}

// epochEnd is what the leader answers to the question for the end of an epoch.
func (l *worldLog) epochEnd(epoch int32) int64 {
	for _, e := range l.began {
		if e.epoch > epoch {
			return e.start
		}
	}
	return l.end
}

// at returns the index of the first record at or after an offset.
func (l *worldLog) at(offset int64) int {
	return sort.Search(len(l.records), func(i int) bool { return l.records[i].offset >= offset })
}

// read returns up to n records from an offset, and where to go on.
func (l *worldLog) read(offset int64, n int) (records []*worldRecord, next int64) {
	records = slices.Clone(l.records[l.at(offset):])
	if len(records) > n {
		return records[:n], records[n-1].offset + 1
	}
	return records, l.end
}

// ended reports whether the API has taken the event, or a newer one of its contact, a
// delete came after it, or the dead-letter topic has it.
func (l *worldLog) ended(r *worldRecord) bool {
	return r.contact.newest >= r.n || r.contact.deleted >= r.n || r.dead || r.blind
}

// lose takes records away.
func (l *worldLog) lose(gone func(*worldRecord) bool) {
	l.records = slices.DeleteFunc(l.records, func(e *worldRecord) bool {
		e.gone = e.gone || gone(e)
		return e.gone
	})
}

// compact removes what a newer event of the same contact, below an offset, has replaced.
func (l *worldLog) compact(below int64) {
	last := map[*worldContact]int{}
	for _, e := range l.records {
		if e.offset < below {
			last[e.contact] = e.n
		}
	}
	n := len(l.records)
	l.lose(func(e *worldRecord) bool { return e.n < last[e.contact] })
	l.w.logf("%v is compacted below %d: %d of %d records are left", l.partition, below, len(l.records), n)
}

// cut loses what lies at an offset and behind it, as an unclean election does.
func (l *worldLog) cut(end int64) {
	l.w.logf("%v is cut off at %d of %d", l.partition, end, l.end)
	l.epoch++
	l.end = end
	l.began = append(slices.DeleteFunc(l.began, func(e worldEpoch) bool { return e.start >= end }), worldEpoch{l.epoch, end})
	l.lose(func(e *worldRecord) bool { return e.offset >= end })
}
