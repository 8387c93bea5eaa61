package batcher

import (
	"cmp"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/setting"
)

// What the window charges, as measured: structs, map entries, and the allocator's rounding.
const (
	contactOverhead = 790  // for a pending contact or a dead letter, besides its bytes
	streamOverhead  = 1300 // for a stream that has any
	keyedOverhead   = 200  // for the version of a dead letter that the API may have applied, or a deadline
	sourceBytes     = 32   // for each event that a contact comes from
	positionBytes   = 32   // for each event that a dead letter ends, besides
)

// contact is the newest merged state of one contact that has not ended.
type contact struct {
	id     string // as it is spelled in the body
	folded string // the same for all spellings: see contactsync.FoldID
	stream *stream
	in     *list // where it waits; nil while it is in a request, or behind one

	record  contactsync.Record // the newest event
	body    []byte             // what will be sent
	shape   uint64             // see event.Contact.Shape
	merged  bool               // body holds more than the record's own contact
	copied  bool               // body, or one before it, was no part of its record
	version version            // of the newest event

	sources sources   // every event behind it
	rank    rank      // of its oldest event
	since   time.Time // when it began to wait: arrival of its oldest event, or the end of catch-up
	charge  int64     // what the window charges for it

	sends        int       // requests that carried it
	request      uint32    // the last of them, see history
	attempts     int       // readable answers about rows that left this one open
	firstFail    time.Time // first failure of a request with it
	contradicted time.Time // first answer that contradicted itself about it
	lateUntil    time.Time // until when a request that ended so may still be applied; zero where there is none
	suspicion    suspicion // whether it is the cause of requests that fail
	throttlings  throttlings

	// newer is a state that arrived while this one was in a request, whose id is spelled
	// otherwise, or that would make it too large: it is sent when this one is settled. Each may
	// have one behind it; newest is the last of them, where there are any.
	newer, newest *contact
	deleted       counter // in a request, and a delete arrived meanwhile: what counts its events then

	// refused: an older state of the contact was refused, and the generation that sent this one ended before Kafka had the
	// dead letter of it; see seen.forgetUnwritten.
	refused bool

	maybeApplied bool // a request carrying it ended without a usable answer
	aside        bool // given up by an operator before it was read again
	beside       bool // it was refused beside rows that were accepted
	// kept contacts wait although they were refused alone: they count as on hold. gone says of those of
	// which the API said that it does not know them when and how; nil where it did not.
	kept bool
	gone *gone
	// refusal is the first answer about rows that did not accept it; nil where there was none.
	refusal *refusal

	prev, next             *contact // in the list where it waits
	sameIDPrev, sameIDNext *contact // of the same id in other streams: see index
}

// gone is what the API says of a contact that it does not know, though it knows the stream.
type gone struct {
	since  time.Time // of this body
	status int
	last   said
}

// refusal is that a contact was not accepted.
type refusal struct {
	at    time.Time
	alone int // one more than the rows of its stream that were accepted before it was refused alone first; 0 where it was not
}

// rank is the place of an event among those that want to be sent. No two are equal.
type rank struct {
	at  time.Time // see claim.rank
	seq uint64    // in the order of arrival
}

// lastRank is behind every other one.
var lastRank = rank{at: never}

func (r rank) compare(other rank) int {
	return cmp.Or(r.at.Compare(other.at), cmp.Compare(r.seq, other.seq))
}

// inFlight reports whether a contact of its stream's map is in a request.
func (c *contact) inFlight() bool { return c.in == nil }

// owed reports whether an answer about the contact still matters: no delete came after
// it, and its partitions are still owned.
func (c *contact) owed() bool { return c.deleted == nil && c.sources.live() }

// oldest is the Kafka timestamp of the first of some events, if there is one and it counts.
func oldest(first source) (at time.Time, ok bool) {
	if !first.live() {
		return time.Time{}, false
	}
	return first.time(), true
}

// before reports whether all that is pending of the contact came before an event of its partition.
func (c *contact) before(src source) bool {
	newest := c.last().sources.newest()
	return newest.claim == src.claim && newest.offset < src.offset
}

// failed notes a request with the contact that failed.
func (c *contact) failed(now time.Time) {
	if c.firstFail.IsZero() {
		c.firstFail = now
	}
}

// last is the newest state of a contact.
func (c *contact) last() *contact {
	if c.newest != nil {
		return c.newest
	}
	return c
}

// push lets a newer state wait behind the contact, and pop takes the oldest of those; nil
// where there is none.
func (c *contact) push(newer *contact) {
	c.last().newer = newer
	c.newest = newer
}

func (c *contact) pop() *contact {
	newer := c.newer
	if newer == nil {
		return nil
	}
	if c.newer, newer.newer = newer.newer, nil; c.newer == nil {
		c.newest = nil
	}
	return newer
}

// takes reports whether an event whose id is spelled so may be merged into a state of the
// contact: bodies of two spellings never are, and what is in a request does not change.
func (c *contact) takes(id string) bool {
	last := c.last()
	return last.id == id && (last != c || !c.inFlight())
}

// smallBody is up to where a body is merged with anything: a larger one only with what is no
// less than a quarter of it. So merging costs in proportion to what arrives.
const smallBody = 16 << 10

// mergeable reports whether a newer body may be laid over the contact. Otherwise it waits
// behind it and is sent next: a contact with ever new members must not grow without bound.
func (c *contact) mergeable(body []byte, shape uint64, most setting.Size) bool {
	older, newer := len(c.body), len(body)
	return c.shape == shape || older <= max(smallBody, 4*newer) && older+newer <= max(int(most), 2*smallBody)
}

// known is the version of the newest state of a contact, and false where that is not
// pending. What is in a request of a generation that is over is not: should the request
// fail, nobody sends it again.
func (c *contact) known() (version, bool) {
	switch {
	case c == nil, c.newer == nil && (c.deleted != nil || !c.sources.live()):
		return version{}, false
	}
	return c.last().version, true
}

// events is how many events are behind a contact.
func (c *contact) events() (n int) {
	for ; c != nil; c = c.newer {
		n += c.sources.n
	}
	return n
}

// events is how many events are behind the stream's contacts.
func (st *stream) events() (n int) {
	for _, c := range st.contacts {
		n += c.events()
	}
	return n
}

// rowBytes is what a contact takes in a request body: itself and a comma.
func rowBytes(c *contact) int64 { return int64(len(c.body)) + 1 }

// recordBytes is what the window charges for a record that it keeps.
func recordBytes(r *contactsync.Record) int64 {
	n := len(r.Value) + len(r.Key)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 40
	}
	return int64(n)
}

// list is an ordered set of contacts, linked through them. A contact is in one at
// most.
type list struct {
	head, tail *contact
	rows       int
	bytes      int64  // of the rows
	group      *group // whose rows they are; nil for those of a queue
}

func (l *list) pushBack(c *contact) {
	c.in, c.prev, c.next = l, l.tail, nil
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
	c.in, c.prev, c.next = l, nil, l.head
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
	c.in, c.prev, c.next = nil, nil, nil
	l.rows--
	l.bytes -= rowBytes(c)
}

// backward walks over the list from its end, and reports whether it came to the beginning. What it is at
// may be removed.
func (l *list) backward(yield func(*contact) bool) bool {
	for c, before := l.tail, (*contact)(nil); c != nil; c = before {
		if before = c.prev; !yield(c) {
			return false
		}
	}
	return true
}

// takeAll empties the list.
func (l *list) takeAll() []*contact {
	rows := make([]*contact, 0, l.rows)
	for c := l.head; c != nil; c = l.head {
		l.remove(c)
		rows = append(rows, c)
	}
	return rows
}
