package batcher

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// claim is one owned partition during one generation.
type claim struct {
	contactsync.Claim
	live     bool          // false when its generation is over; requests and dead letters can outlive it
	catching bool          // its contacts are only collected so far
	deferred list          // contacts that wait for the end of catch-up
	letters  []*DeadLetter // likewise
	open     int           // events that have not ended
	first    int64         // offset of the first event that was added; -1 before it
	assigned time.Time
	caughtUp time.Time
	ranked   time.Time // the latest rank of an event of catch-up
	// passed is by stream the last update that an earlier owner had ended, of streams of which older ones were left open.
	passed map[streamKey]int64

	// Of parking.
	next        int64 // behind the last event that was added first
	began       int64 // the same when the present reading of what was left began
	beganAt     time.Time
	little      bool      // it may bring little: what comes now and then, or what was left of a few streams that are accepted again
	rests       time.Time // until when there is no other one of these
	readAt      time.Time // when the last one of what is no longer on hold began
	parked      map[streamKey]*parked
	pass        int           // counts how often what was left is read again
	parkedBytes int64         // what the window charges for it
	parkedIn    map[int64]int // ranges of offsets that are charged, and the pass in which something was left there last
}

// rank is by what time an event is sent before others. A backlog arrives all at once, so
// while its partition catches up an event has the age that Kafka's timestamp gives it,
// but none is older than those before it in the log, or younger than the assignment. After
// that the arrival counts, which no producer can set: a wrong clock must not push others back.
func (cl *claim) rank(now time.Time, ev *event.Event) time.Time {
	if !cl.catching {
		return now
	}
	cl.ranked = later(cl.ranked, earlier(ev.Record.Time, cl.assigned))
	return cl.ranked
}

// source is one event whose state is in a contact or a dead letter.
type source struct {
	claim  *claim
	offset int64
	at     int64 // Kafka timestamp in milliseconds
}

// live reports whether there is an event, of the present generation.
func (s source) live() bool { return s.claim != nil && s.claim.live }

func (s source) time() time.Time { return time.UnixMilli(s.at) }

func (s source) position() contactsync.Position {
	return contactsync.Position{TopicPartition: s.claim.TopicPartition, Offset: s.offset}
}

// sources are the events behind a contact. Only the first lies in the contact, and what comes later in memory of its own: an
// array that grows would have to be looked up and written to, and among many contacts that misses every cache.
type sources struct {
	first source
	later *link // the newest of the others
	n     int
}

// link is an event that came behind others of its contact.
type link struct {
	source
	before *link // nil where that is the first
}

func (s *sources) add(src source) {
	if s.n++; s.n == 1 {
		s.first = src
		return
	}
	s.later = &link{src, s.later}
}

// all returns them in the order of arrival.
func (s *sources) all() []source {
	all := make([]source, s.n)
	at := s.n - 1
	for l := s.later; l != nil; l = l.before {
		all[at] = l.source
		at--
	}
	if s.n > 0 {
		all[0] = s.first
	}
	return all
}

// newest is the last of them; the zero source where there is none.
func (s *sources) newest() source {
	if s.later != nil {
		return s.later.source
	}
	return s.first
}

func (s *sources) live() bool { return s.first.live() }

// live reports whether events are of the present generation. Those of one contact or
// dead letter are all of the same one, because a generation ends as a whole.
func live(sources []source) bool { return len(sources) > 0 && sources[0].live() }

// claims are the partitions owned in the present generation.
type claims struct {
	owned      map[contactsync.Claim]*claim
	last       *claim // of the latest event: most come in runs of one partition
	catchingUp int    // how many catch up

	parkedBytes int64 // what the window charges for events that are left to be read again
}

func newClaims() claims { return claims{owned: map[contactsync.Claim]*claim{}} }

// opened counts an event of the claim that was added.
func (cl *claim) opened(now time.Time, r *contactsync.Record) source {
	cl.open++
	if cl.first < 0 {
		cl.first = r.Offset
	}
	return cl.source(now, r)
}

// source is an event of the claim that was counted.
func (cl *claim) source(now time.Time, r *contactsync.Record) source {
	at := r.Time
	if at.IsZero() { // of a log without timestamps
		at = now
	}
	return source{cl, r.Offset, at.UnixMilli()}
}

func (cs *claims) assign(now time.Time, owned []contactsync.Claim, catchUp bool) {
	for _, c := range owned {
		cs.owned[c] = &claim{Claim: c, live: true, catching: catchUp, first: -1, assigned: now}
		if catchUp {
			cs.catchingUp++
		}
	}
}

// of returns the claim of an event, or nil where it is not owned.
func (cs *claims) of(c contactsync.Claim) *claim {
	if cs.last == nil || cs.last.Claim != c {
		cs.last = cs.owned[c]
	}
	return cs.last
}

// caughtUp ends the catch-up of a claim and returns it, or nil where it has none.
func (cs *claims) caughtUp(c contactsync.Claim) *claim {
	cl := cs.owned[c]
	if cl == nil || !cl.catching {
		return nil
	}
	cl.catching = false
	cs.catchingUp--
	return cl
}

// sorted returns the claims in an order that is always the same.
func (cs *claims) sorted() []contactsync.Claim {
	return slices.SortedFunc(maps.Keys(cs.owned), func(a, b contactsync.Claim) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Generation, b.Generation))
	})
}

// end ends the generation and returns how many of its events are still open.
func (cs *claims) end() (open int) {
	for _, cl := range cs.owned {
		cl.live, cl.catching = false, false
		cl.deferred, cl.letters = list{}, nil
		open += cl.open
	}
	*cs = newClaims()
	return open
}
