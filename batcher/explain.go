package batcher

import (
	"context"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// ContactStatus is what the window knows of one contact: its events that have not ended, the
// newest state that was accepted, and what they wait for. It has nothing of the contact itself.
type ContactStatus struct {
	Events []EventStatus `json:"events"` // of each account in the order in which they were read
	Holds  []HoldStatus  `json:"holds"`  // its stream's, of each account
	// Parked are partitions in which events of the stream are left to be read again: one of them
	// may be the contact's.
	Parked []ParkedStatus `json:"parked"`
	// WaitUntil is until when a new event of the contact waits, which was deleted while a request
	// was unanswered that may still be applied.
	WaitUntil time.Time `json:"wait_until,omitzero"`
}

// EventStatus is one event of a contact and how far it has got.
type EventStatus struct {
	Position string `json:"position"` // topic/partition@offset
	Account  string `json:"account,omitzero"`
	// Kind is what the event requests, where that is known.
	Kind       string    `json:"kind,omitzero"`
	Recorded   time.Time `json:"recorded,omitzero"` // Kafka's time
	Version    *int64    `json:"version,omitzero"`
	OccurredAt time.Time `json:"occurred_at,omitzero"`
	// Origin is where the event of a replay was first read.
	Origin string `json:"origin,omitzero"`

	State EventState `json:"state"`
	// Into is the event in whose state this one was merged, or that came after it.
	Into     string    `json:"into,omitzero"`
	WaitsFor string    `json:"waits_for,omitzero"` // of what waits; see waits
	Until    time.Time `json:"until,omitzero"`
	Ahead    int       `json:"ahead,omitzero"` // contacts of its stream that are sent before it
	Sends    int       `json:"sends,omitzero"` // requests that carried it
	// Request is the last of them, or that by which the API accepted the event.
	Request *RequestStatus `json:"request,omitzero"`
	// MaybeApplied says that one of them may have been applied although it had no usable answer.
	MaybeApplied bool              `json:"maybe_applied,omitzero"`
	DeadLetter   *DeadLetterStatus `json:"dead_letter,omitzero"`
}

// EventState is how far an event has got.
type EventState string

// The states of an event of which the window knows.
const (
	EventWaiting     EventState = "waiting"
	EventInFlight    EventState = "in_flight"
	EventMerged      EventState = "merged"       // pending as a part of a newer one
	EventDeadLetter  EventState = "dead_letter"  // set aside; where it waits, Kafka has not acknowledged that
	EventDelivered   EventState = "delivered"    // accepted by the API
	EventEnded       EventState = "ended"        // without a request of this process: a delete, or completed by an earlier owner
	EventDeleteAfter EventState = "delete_after" // in a request, and a delete has come after it
)

// RequestStatus is one request.
type RequestStatus struct {
	Number   uint32    `json:"number"`            // counts the requests of this process
	At       time.Time `json:"at,omitzero"`       // absent where it is not remembered any more
	Answered time.Time `json:"answered,omitzero"` // absent while it is in flight
	Rows     int       `json:"rows,omitzero"`     // contacts in it
	Purpose  string    `json:"purpose,omitzero"`  // as in metrics
	Kind     string    `json:"kind,omitzero"`     // of the answer
	Status   int       `json:"status,omitzero"`   // of HTTP
	Detail   string    `json:"detail,omitzero"`   // in words of our own
}

// DeadLetterStatus is why and where an event was set aside.
type DeadLetterStatus struct {
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail,omitzero"`
	Status   int       `json:"status,omitzero"`
	Attempts int       `json:"attempts,omitzero"`
	Record   string    `json:"record"`      // by which contactsync dlq show finds it
	At       string    `json:"at,omitzero"` // in the dead-letter topic
	Written  time.Time `json:"written,omitzero"`
}

// ParkedStatus is what is left of a stream in a partition.
type ParkedStatus struct {
	Account   string    `json:"account"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Events    int       `json:"events"`
	Oldest    time.Time `json:"oldest"`
}

// Explain reports what is known of a contact in these accounts. It returns an error where the
// loop does not answer before ctx ends.
func (b *Batcher) Explain(ctx context.Context, accounts []string, stream, contact string) (ContactStatus, error) {
	var s ContactStatus
	err := b.within(ctx, func(now time.Time) {
		s = explain(b.window, now, accounts, stream, contact)
		if b.deps.MayStart(now) {
			return
		}
		for i := range s.Events {
			if e := &s.Events[i]; e.WaitsFor == WaitsForTurn {
				e.WaitsFor, e.Until = waitsForLease, time.Time{}
			}
		}
	})
	return s, err
}

// explain reports what a window knows of a contact in these accounts, and in those that it has had
// contacts of. It looks at all that waits in the contact's stream, so call it when somebody asks,
// and not once an event.
func explain(w *Window, now time.Time, accounts []string, stream, contact string) ContactStatus {
	w.clock(now)
	x := explanation{Window: w, snapshot: &snapshot{w: w, now: w.now}, status: ContactStatus{Events: []EventStatus{}, Holds: []HoldStatus{}, Parked: []ParkedStatus{}}}
	for _, a := range w.schedule.accounts {
		accounts = append(accounts, a.id)
	}
	accounts = append(accounts, "") // deletes of streams that no account takes
	slices.Sort(accounts)
	for _, account := range slices.Compact(accounts) {
		key := contactKey{streamKey{account, stream}, contactsync.FoldID(contact)}
		x.accepted(key)
		if account == "" {
			x.accepted(contactKey{streamKey{}, key.id})
		}
		x.deadLetters(key)
		if st := w.schedule.streams[key.stream]; st != nil {
			x.pending(st.contacts[key.id])
			if st.health.hold != nil {
				x.status.Holds = append(x.status.Holds, x.snapshot.hold(st))
			}
		}
		x.parked(key)
		x.status.WaitUntil = later(x.status.WaitUntil, w.pending.late.until[key])
	}
	return x.status
}

// explanation collects what is known of a contact.
type explanation struct {
	*Window

	snapshot *snapshot
	status   ContactStatus
}

func (x *explanation) add(e EventStatus) { x.status.Events = append(x.status.Events, e) }

// accepted adds the newest state that ended.
func (x *explanation) accepted(key contactKey) {
	if x.seen.known == nil {
		return
	}
	known, ok := x.seen.known.Peek(key)
	if !ok {
		return
	}
	e := EventStatus{Account: key.stream.account, State: EventEnded}
	e.version(known.version)
	switch {
	case key.stream.name == "": // only tombstones name no stream
		e.Kind = "tombstone"
	case known.request != 0:
		e.Kind, e.State, e.Request = "update", EventDelivered, x.request(known.request)
	}
	x.add(e)
}

func (e *EventStatus) version(v version) {
	at := v.Origin
	at.Offset = v.read
	e.Position, e.Recorded, e.OccurredAt = at.String(), v.Time, v.OccurredAt
	if v.HasNumber {
		n := v.Number
		e.Version = &n
	}
	if v.replayed {
		e.Origin = v.Origin.String()
	}
}

// request describes one by its number.
func (x *explanation) request(number uint32) *RequestStatus {
	for req := range x.requests {
		if req.number == number {
			return &RequestStatus{Number: number, At: req.started, Rows: len(req.rows), Purpose: req.Batch.Purpose.String()}
		}
	}
	a := x.history.find(number)
	if a == nil {
		return &RequestStatus{Number: number}
	}
	return &RequestStatus{
		Number: number, At: a.started, Answered: a.started.Add(a.took), Rows: int(a.rows), Purpose: a.purpose.String(),
		Kind: a.kind.String(), Status: int(a.status), Detail: a.detail,
	}
}

// pending adds the events of a contact and of what arrived behind it.
func (x *explanation) pending(first *contact) {
	for c := first; c != nil; c = c.newer {
		if c.sources.n == 0 {
			continue
		}
		newest := EventStatus{Account: c.stream.account.id, Kind: "update", Sends: c.sends, MaybeApplied: c.maybeApplied, State: EventWaiting}
		newest.version(c.version)
		if c.sends > 0 {
			newest.Request = x.request(c.request)
		}
		switch {
		case c != first:
			newest.WaitsFor = waitsForState
		case c.inFlight():
			newest.State = EventInFlight
			if c.deleted != nil {
				newest.State = EventDeleteAfter
			}
		default:
			newest.WaitsFor, newest.Until = x.snapshot.waits(c)
			for before := c.prev; before != nil; before = before.prev {
				newest.Ahead++
			}
		}
		x.merged(c.sources.all(), newest)
		x.add(newest)
	}
}

// merged adds all but the last of some events, which are part of the newest.
func (x *explanation) merged(sources []source, newest EventStatus) {
	for _, s := range sources[:len(sources)-1] {
		x.add(EventStatus{Position: s.position().String(), Account: newest.Account, Recorded: s.time(), State: EventMerged, Into: newest.Position})
	}
}

// deadLetters adds those that Kafka has not acknowledged.
func (x *explanation) deadLetters(key contactKey) {
	add := func(d *DeadLetter, waits string) {
		account := d.key.stream.account // empty where the event could not be read
		if d.Stream != key.stream.name || account != key.stream.account || contactsync.FoldID(d.Contact) != key.id || len(d.sources) == 0 {
			return
		}
		newest := EventStatus{
			Position: d.Record.String(), Account: account, Recorded: d.Record.Time, State: EventDeadLetter, WaitsFor: waits, Sends: d.Attempts,
			DeadLetter: &DeadLetterStatus{Reason: string(d.Reason), Detail: d.Detail, Status: d.Status, Attempts: d.Attempts, Record: d.Record.String()},
		}
		x.merged(d.sources, newest)
		x.add(newest)
	}
	for _, c := range x.claims.sorted() {
		for _, d := range x.claims.owned[c].letters {
			add(d, waitsForCatchUp)
		}
	}
	for _, d := range x.outbox.waiting {
		add(d, WaitsForDeadLetterTopic)
	}
	for d := range x.outbox.inFlight {
		add(d, WaitsForDeadLetterTopic)
	}
}

// parked adds the partitions in which events of a contact may be left.
func (x *explanation) parked(key contactKey) {
	for _, c := range x.claims.sorted() {
		if p := x.claims.owned[c].parked[key.stream]; p != nil && p.events > 0 && p.has(key.id) {
			x.status.Parked = append(x.status.Parked, ParkedStatus{Account: key.stream.account, Topic: c.Topic, Partition: c.Partition, Events: p.events, Oldest: p.oldest})
		}
	}
}

// What an event waits for.
const (
	waitsForState           = "earlier_state" // of the contact, which is in a request or goes before it
	waitsForCatchUp         = "catch_up"      // of its partition, or of another where requests may still fill up
	WaitsForHold            = "hold"          // of its stream
	waitsForAccount         = "account_hold"  // of the account, or of the app that signs for its stream
	waitsForRelease         = "release"       // of all partitions, which are given back
	waitsForIsolation       = "isolation"     // the answer to rows that are tried apart, or its own turn among these
	waitsForAmbiguous       = "ambiguous"     // a request that had no usable answer and may still be applied
	waitsForRetry           = "retry"         // after an answer that left it open
	waitsForBackoff         = "backoff"       // of its stream, whose last request failed
	waitsForRows            = "rows"          // that fill up its request
	waitsForRequest         = "request"       // of its stream, in flight
	waitsForSlots           = "slots"         // of the account, which are all busy
	WaitsForGate            = "gate"          // the budget, or the breaker
	WaitsForTurn            = "turn"          // streams with older events
	waitsForLease           = "lease"         // Kafka has not confirmed for long enough that the partition is owned
	WaitsForDeadLetterTopic = "dead_letter_topic"
)

// AllWaits returns everything that an event can wait for in the window.
func AllWaits() []string {
	return []string{
		waitsForState, waitsForCatchUp, WaitsForHold, waitsForAccount, waitsForRelease, waitsForIsolation, waitsForAmbiguous, waitsForRetry,
		waitsForBackoff, waitsForRows, waitsForRequest, waitsForSlots, WaitsForGate, WaitsForTurn, waitsForLease, WaitsForDeadLetterTopic,
	}
}
