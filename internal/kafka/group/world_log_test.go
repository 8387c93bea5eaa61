package group

import (
	"fmt"
	"slices"
	"sort"

	"github.com/contactsync/contactsync"
)

// worldLog is one partition's log.
type worldLog struct {
	w         *world
	partition contactsync.TopicPartition
	first     int64 // of what retention has left
	end       int64
	records   []*worldRecord // in the order of their offsets
	committed int64          // accepted by the coordinator
	dead      map[int64]bool // offsets that a dead letter has ended
}

// worldRecord is one event.
type worldRecord struct {
	offset  int64
	contact *worldContact
	n       int // counts the contact's events
	value   []byte
}

// worldContact is one contact, which is in one partition.
type worldContact struct {
	id, stream string
	log        *worldLog
	written    int // number of its last event
	state      int // of what the API holds
	newest     int // of what it ever held
	answered   int // of what it has said to hold
	overtaken  bool
}

func (c *worldContact) String() string { return c.stream + "/" + c.id }

// produce appends an event of a contact.
func (l *worldLog) produce(c *worldContact) {
	c.written++
	l.w.produced++
	bad := 0
	if l.w.chance(40) {
		bad = 1
	}
	value := fmt.Appendf(nil, `{"streamId":%q,"contact":{"id":%q,"n":%d,"bad":%d}}`, c.stream, c.id, c.written, bad)
	l.records = append(l.records, &worldRecord{offset: l.end, contact: c, n: c.written, value: value})
	l.w.logf("%v@%d is %v state %d, bad %d", l.partition, l.end, c, c.written, bad)
	l.end++
}

// at returns the index of the first record at or after an offset.
func (l *worldLog) at(offset int64) int {
	return sort.Search(len(l.records), func(i int) bool { return l.records[i].offset >= offset })
}

// read returns up to n records from an offset, and where to go on.
func (l *worldLog) read(offset int64, n int) (records []*worldRecord, next int64) {
	records = l.records[l.at(offset):]
	if len(records) > n {
		return records[:n], records[n-1].offset + 1
	}
	return records, l.end
}

// open returns an event below an offset that has not ended, or nil.
func (l *worldLog) open(below int64) *worldRecord {
	i := slices.IndexFunc(l.records, func(r *worldRecord) bool { return !l.ended(r) })
	if i < 0 || l.records[i].offset >= below {
		return nil
	}
	return l.records[i]
}

// ended reports whether the API has taken the event, or a newer one of its contact, or
// the dead-letter topic has it.
func (l *worldLog) ended(r *worldRecord) bool { return r.contact.newest >= r.n || l.dead[r.offset] }
