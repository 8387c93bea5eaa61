package batcher

import (
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// contactOverhead is what the window charges for a pending contact besides its
// bytes: the struct, its map entry, its strings and the allocator's rounding.
const contactOverhead = 560

// markBytes is what the window charges for each position that a contact stands for.
const markBytes = 24

// mark is one event that a pending contact stands for.
type mark struct {
	claim  *claim
	offset int64
}

// live reports whether events are of the present generation. What one contact or
// letter stands for is all of one, because a generation ends as a whole.
func live(marks []mark) bool { return len(marks) > 0 && marks[0].claim.live }

// place says where a pending contact is.
type place uint8

const (
	inQueue  place = iota // waiting in its lane, oldest first
	deferred              // its partition is still catching up
	inGroup               // in a fixed set of rows that is sent as it is
	inFlight              // in a request
	behind                // arrived while its contact was in flight: contact.newer
	gone                  // ended
)

// contact is the newest merged state of one contact not yet sent, and every
// event that it stands for.
type contact struct {
	id   string
	lane *lane
	at   place

	record contactsync.Record // the newest event
	body   []byte             // what will be sent
	shape  uint64             // see event.Contact.Shape
	merged bool               // body holds more than the record's own contact

	account  string // as the newest event names it
	standing        // of the newest event

	marks  []mark    // every event it stands for, in the order of arrival
	since  time.Time // when it began to wait: arrival of its oldest event, or the end of catch-up
	oldest time.Time // Kafka timestamp of its oldest event
	bytes  int64     // what the window charges for it

	sends     int       // requests that carried it
	attempts  int       // readable answers about rows that left this one open
	firstFail time.Time // first failure of a request with it

	applied bool     // perhaps: a request with it, or with an older state, ended without an answer
	deleted bool     // in flight, and a delete arrived meanwhile: not to be sent again
	removed counter  // likewise: how its events are counted then
	newer   *contact // in flight, and this arrived meanwhile

	group      *group // only inGroup
	holder     *claim // only inHold
	prev, next *contact
}

// awaited reports whether somebody waits for what becomes of the contact: no delete
// came after it, and its partitions are still owned.
func (c *contact) awaited() bool { return !c.deleted && live(c.marks) }

// compose lays newer members over a contact. Both bodies were valid objects when
// they were decoded, so it does not go wrong; if it does, the older state is set
// aside as a dead letter and the newer one goes on: nothing is lost.
func (w *Window) compose(c *contact, body []byte, shape uint64) {
	merged, mergedShape, err := event.Merge(c.body, body)
	if err != nil {
		w.bury(c, contactsync.ReasonUndecodable, "a newer event of the contact cannot be merged into it: "+err.Error(), 0)
		c.marks = nil
		c.body, c.shape, c.merged = body, shape, false
		return
	}
	c.body, c.shape, c.merged = merged, mergedShape, true
}

// list is an ordered set of contacts, linked through them.
type list struct {
	head, tail *contact
	rows       int
	bytes      int64 // of the bodies
}

func (l *list) pushBack(c *contact) {
	c.prev, c.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = c
	} else {
		l.head = c
	}
	l.tail = c
	l.rows++
	l.bytes += rowBytes(c)
}

func (l *list) pushFront(c *contact) {
	c.prev, c.next = nil, l.head
	if l.head != nil {
		l.head.prev = c
	} else {
		l.tail = c
	}
	l.head = c
	l.rows++
	l.bytes += rowBytes(c)
}

func (l *list) remove(c *contact) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.tail = c.prev
	}
	c.prev, c.next = nil, nil
	l.rows--
	l.bytes -= rowBytes(c)
}

// rowBytes is what a contact takes in a request body: itself and a comma.
func rowBytes(c *contact) int64 { return int64(len(c.body)) + 1 }

func (c *contact) charge() int64 {
	n := int64(contactOverhead + len(c.record.Value) + len(c.record.Key) + markBytes*cap(c.marks))
	for _, h := range c.record.Headers {
		n += int64(len(h.Key) + len(h.Value) + 40)
	}
	if c.merged {
		n += int64(len(c.body))
	}
	return n
}

// group is a fixed set of rows of one lane that is sent as it is, not mixed with
// others: the halves of a batch that was refused, a row that is tried alone, or
// the rows of a request whose outcome is not known yet.
type group struct {
	rows []*contact
	due  time.Time
	// loose groups dissolve into the queue when they fall due, instead of being
	// sent as they are.
	loose bool
	// then is the other half of a refused batch; it waits for the answer to this
	// one. Where this half is fine, the fault must be in the other, which is then
	// halved again without asking: that saves a call at every step.
	then *group
	// split is set where this is half of a request that was too large.
	split *split
}

// compact leaves out rows that ended or left since the group was made.
func (g *group) compact() {
	kept := g.rows[:0]
	for _, c := range g.rows {
		if c.group == g {
			kept = append(kept, c)
		}
	}
	clear(g.rows[len(kept):])
	g.rows = kept
}
