package check

import (
	"cmp"
	"slices"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// Input is everything that is known of a run.
type Input struct {
	Manifest *feed.Manifest
	// Calls is the stub's whole log. Without it order, overlaps and duplicates are
	// taken from Stats, and rows that were sent and not applied are not checked.
	Calls []stub.Call
	// State is the seq that the stub applied last, by stream and contact. It is
	// needed without Calls only.
	State map[string]map[string]int64
	// Stats are the stub's counters. They are needed without Calls, and for I7 and I12.
	Stats *stub.Stats
	// Committed are the offsets of the group. nil: they are not checked.
	Committed   map[contactsync.TopicPartition]int64
	DeadLetters []DeadLetter

	// Reasons is the one reason that a dead letter must have, for events of which it is known.
	Reasons map[contactsync.Position]contactsync.Reason

	// Running says that the run is not over: an event that has not ended is not lost yet.
	Running bool
	// MaxRows is the most rows that a call may have, for the floor of calls. 0: no floor.
	MaxRows int

	// What the run's faults allow. The zero values are those of a run without faults.
	MaxDuplicates int                   // states applied again
	MaxRepeated   int                   // dead letters written again
	MaxBackwards  int                   // older states applied over newer ones, after an owner that was frozen
	GivenUp       map[feed.Contact]bool // contacts of requests that the client gave up: the stub need not have noticed that they came late
	MaxRefused    int                   // calls above the rate limit
	AllowReasons  []contactsync.Reason  // of dead letters of good events
}

// Run checks a run.
func Run(in Input) Report {
	c := &checker{in: in, m: in.Manifest}
	c.r.Truth = c.m.Sum()
	c.prepare()
	c.calls()
	c.deadLetters()
	c.events()
	c.contacts()
	c.bounds()
	return c.r
}

// contact is what is known of one contact.
type contact struct {
	produced     int64 // highest seq of any event
	removed      int64 // highest seq of a tombstone or delete
	deadLettered int64 // a dead letter with more positions than it lists ends all events up to this seq
	update       int64 // highest seq of an update
	top          int64 // highest seq applied
	last         int64 // seq applied last
	lastLate     bool  // and it was applied after its call was given up
}

type key struct {
	contact int32
	seq     int64
}

type checker struct {
	in           Input
	m            *feed.Manifest
	r            Report
	ids          map[feed.Contact]int32
	known        []contact
	unsendable   map[key]feed.Class            // events that must never reach the API
	deadLettered map[contactsync.Position]bool // events that a dead letter ends
	forwards     int                           // states applied that were newer than the one before
	reported     map[*int]int                  // violations of each count that are in the report
}

func (c *checker) prepare() {
	c.ids = make(map[feed.Contact]int32, len(c.m.Contacts))
	for i, k := range c.m.Contacts {
		c.ids[k] = int32(i)
	}
	c.known = make([]contact, len(c.m.Contacts))
	c.unsendable, c.deadLettered, c.reported = map[key]feed.Class{}, map[contactsync.Position]bool{}, map[*int]int{}
	for _, r := range c.m.Records {
		k := &c.known[r.Contact]
		k.produced = max(k.produced, r.Seq)
		switch r.Class {
		case feed.Update:
			k.update = max(k.update, r.Seq)
			continue
		case feed.Rejected:
			continue
		case feed.Tombstone, feed.Delete:
			k.removed = max(k.removed, r.Seq)
		}
		c.unsendable[key{r.Contact, r.Seq}] = r.Class
	}
}

// calls goes through what reached the API, and what it applied in the order of applying.
func (c *checker) calls() {
	if c.in.Calls == nil {
		c.fromState()
		return
	}
	for i := range c.in.Calls {
		call := &c.in.Calls[i]
		if call.Received < call.Done || !call.Late { // otherwise rows of a call that is in the log already
			c.r.Calls++
			c.r.Rows += len(call.Rows)
		}
		for _, row := range call.Rows {
			c.sent(call, row)
		}
	}
	byOrder := slices.Clone(c.in.Calls)
	slices.SortStableFunc(byOrder, func(a, b stub.Call) int { return cmp.Compare(a.Order, b.Order) })
	for i := range byOrder {
		for _, row := range byOrder[i].Rows {
			if row.Applied && row.Seq >= 0 {
				c.applied(&byOrder[i], row)
			}
		}
	}
	c.overlaps()
}

// sent checks a row that reached the API, applied or not.
func (c *checker) sent(call *stub.Call, row stub.Row) {
	id, ok := c.ids[feed.Contact{Stream: call.Stream, ID: row.ID}]
	if !ok || row.Seq > c.known[id].produced || row.Seq < 0 {
		c.violation(&c.r.UnknownSent, "I12: the API got a state that was not produced: stream %s, contact %s, seq %d", call.Stream, row.ID, row.Seq)
		return
	}
	switch class, found := c.unsendable[key{id, row.Seq}]; {
	case found && class == feed.Aborted:
		c.violation(&c.r.AbortedSent, "aborted event sent: stream %s, contact %s, seq %d", call.Stream, row.ID, row.Seq)
	case found:
		c.violation(&c.r.UnsendableSent, "%v event sent: stream %s, contact %s, seq %d", class, call.Stream, row.ID, row.Seq)
	}
}

func (c *checker) applied(call *stub.Call, row stub.Row) {
	id, ok := c.ids[feed.Contact{Stream: call.Stream, ID: row.ID}]
	if !ok {
		return // sent has reported it
	}
	k := &c.known[id]
	switch {
	case row.Seq > k.last:
		c.forwards++
	case row.Seq == k.last:
		c.r.Duplicates++
	case call.Late, c.in.GivenUp[feed.Contact{Stream: call.Stream, ID: row.ID}]:
		c.r.LateBackwards++
	default:
		c.limited(&c.r.OutOfOrder, c.in.MaxBackwards, "I3: stream %s, contact %s: seq %d applied after %d", call.Stream, row.ID, row.Seq, k.last)
	}
	k.top, k.last, k.lastLate = max(k.top, row.Seq), row.Seq, call.Late
}

// overlaps finds calls that share a contact and are in flight at the same time.
func (c *checker) overlaps() {
	byArrival := slices.Clone(c.in.Calls)
	slices.SortFunc(byArrival, func(a, b stub.Call) int { return cmp.Compare(a.Received, b.Received) })
	until := map[feed.Contact]int64{}
	for i := range byArrival {
		call := &byArrival[i]
		if call.Received == call.Done {
			continue // never in flight: rows applied late
		}
		for _, row := range call.Rows {
			k := feed.Contact{Stream: call.Stream, ID: row.ID}
			if call.Received < until[k] {
				c.violation(&c.r.Overlaps, "I3: stream %s, contact %s is in two calls at a time", k.Stream, k.ID)
			}
		}
		for _, row := range call.Rows { // in a second loop, so that a contact named twice does not overlap with itself
			k := feed.Contact{Stream: call.Stream, ID: row.ID}
			until[k] = max(until[k], call.Done)
		}
	}
}

// fromState uses the state and counters of a stub whose log is not there.
func (c *checker) fromState() {
	for stream, contacts := range c.in.State {
		for name, seq := range contacts {
			id, ok := c.ids[feed.Contact{Stream: stream, ID: name}]
			if !ok || seq > c.known[id].produced || seq < 0 {
				c.violation(&c.r.UnknownSent, "I12: the API holds a state that was not produced: stream %s, contact %s, seq %d", stream, name, seq)
				continue
			}
			if class, found := c.unsendable[key{id, seq}]; found {
				c.violation(&c.r.UnsendableSent, "%v event applied: stream %s, contact %s, seq %d", class, stream, name, seq)
			}
			c.known[id].top, c.known[id].last = seq, seq
		}
	}
	if s := c.in.Stats; s != nil {
		c.r.Calls, c.r.Rows, c.r.Duplicates, c.r.LateBackwards = int(s.Calls), int(s.Rows), int(s.Duplicates), int(s.LateBack)
		c.forwards = int(s.AppliedRows - s.Duplicates - s.OutOfOrder - s.LateBack)
		c.take(&c.r.OutOfOrder, int(s.OutOfOrder), c.in.MaxBackwards, "I3: the stub counted %d older states over newer ones")
		c.take(&c.r.Overlaps, int(s.Overlaps), 0, "I3: the stub counted %d contacts in two calls at a time")
	}
}

// events checks that every event has ended, and that no commit passed one that has not.
func (c *checker) events() {
	for i := range c.m.Records {
		r := &c.m.Records[i]
		at := c.m.Position(r)
		ended := c.ended(r, at)
		if !ended && !c.in.Running {
			c.violation(&c.r.Lost, "I1: %v has not ended: class %v, stream %s, contact %s, seq %d", at, r.Class,
				c.m.Contacts[r.Contact].Stream, c.m.Contacts[r.Contact].ID, r.Seq)
		}
		switch k := &c.known[r.Contact]; {
		case valid(r.Class) && k.top >= r.Seq:
			c.r.Delivered++
		case !ended:
		case c.deadLettered[at] || valid(r.Class) && k.deadLettered >= r.Seq:
			c.r.SetAside++
		default:
			c.r.NothingToSend++
		}
		if c.in.Committed == nil {
			continue
		}
		below := r.Offset < c.in.Committed[at.TopicPartition]
		if below && !ended {
			c.violation(&c.r.CommitAhead, "I2: %v is below the committed offset and has not ended", at)
		}
		if !below && r.Class != feed.Aborted && !c.in.Running {
			c.violation(&c.r.Uncommitted, "%v has not been committed", at)
		}
	}
	c.r.Superseded = max(0, c.r.Delivered-c.forwards)
}

func (c *checker) ended(r *feed.Record, at contactsync.Position) bool {
	k := &c.known[r.Contact]
	switch r.Class {
	case feed.Tombstone, feed.Delete, feed.Aborted:
		return true
	case feed.Update, feed.Rejected:
		return k.top >= r.Seq || k.removed > r.Seq || k.deadLettered >= r.Seq || c.deadLettered[at]
	}
	return c.deadLettered[at]
}

// contacts checks that every contact is in its last state. A state that never
// arrived is reported as lost, so only one with an older state over it is left.
func (c *checker) contacts() {
	for i, k := range c.known {
		if k.top > 0 {
			c.r.Contacts++
		}
		if c.in.Running || k.update == 0 || k.top < k.update || k.last == k.top {
			continue
		}
		if k.lastLate {
			c.r.LateStale++
			continue
		}
		c.violation(&c.r.Stale, "stream %s, contact %s ends with seq %d although %d was applied", c.m.Contacts[i].Stream, c.m.Contacts[i].ID, k.last, k.top)
	}
}

// bounds checks what has a limit, and what the stub only counts.
func (c *checker) bounds() {
	if c.in.MaxRows > 0 {
		c.r.Floor = c.r.Truth.Floor(c.in.MaxRows)
		if c.r.Floor > 0 {
			c.r.CallsPerFloor = float64(c.r.Calls) / float64(c.r.Floor)
		}
	}
	if c.r.Duplicates > c.in.MaxDuplicates {
		c.add("I10: %d states were applied again, at most %d are allowed", c.r.Duplicates, c.in.MaxDuplicates)
	}
	s := c.in.Stats
	if s == nil {
		if c.in.Calls == nil {
			c.add("neither the stub's log nor its counters are there: order is not checked")
		}
		return
	}
	c.take(&c.r.Refused, int(s.RateRefused), c.in.MaxRefused, "I7: the API refused %d calls above the rate limit")
	c.take(&c.r.CrossTalk, int(s.CrossTalk), 0, "I12: %d calls named a stream of another account")
	c.take(&c.r.NamedTwice, int(s.NamedTwice), 0, "%d rows named a contact that the same call had named")
	c.take(&c.r.Unreadable, int(s.Unreadable), 0, "%d calls had a body that is no array of contacts")
	if c.in.Calls != nil && s.Unlogged > 0 {
		c.add("the stub kept no log of %d calls: the check is not complete", s.Unlogged)
	}
	if s.LogBroken {
		c.add("the stub could not write its log: the check is not complete")
	}
}
