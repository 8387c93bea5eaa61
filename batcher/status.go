package batcher

import (
	"cmp"
	"slices"
	"time"
)

// mostHoldsShown bounds a Status: what is more is counted.
const mostHoldsShown = 100

// Status is the window as an operator wants to see it.
type Status struct {
	Bytes              int64           `json:"bytes"`
	BytesLimit         int64           `json:"bytes_limit"`
	PendingContacts    int             `json:"pending_contacts"`
	Streams            int             `json:"streams"`
	InFlightRequests   int             `json:"in_flight_requests"`
	DeadLettersPending int             `json:"dead_letters_pending"`
	Accounts           []AccountStatus `json:"accounts"`
	Holds              []HoldStatus    `json:"holds"` // the oldest first, at most 100
	HoldsLeft          int             `json:"holds_left,omitzero"`
}

// AccountStatus is what the window knows of one account.
type AccountStatus struct {
	Account                string    `json:"account"`
	HeldSince              time.Time `json:"held_since,omitzero"` // as a whole
	NextProbe              time.Time `json:"next_probe,omitzero"`
	HeldStreams            int       `json:"streams_on_hold"`
	HeldContacts           int       `json:"contacts_on_hold"`
	HeldEvents             int       `json:"events_on_hold"`
	RequestMaxRows         int       `json:"request_max_rows"`  // as configured or as learned
	RequestMaxBytes        int64     `json:"request_max_bytes"` // likewise
	Taken                  int       `json:"rows_accepted_last_minute"`
	Refused                int       `json:"rows_rejected_last_minute"`
	Letters                int       `json:"dead_letters_last_minute"`
	DeadLetterMaxPerMinute int       `json:"dead_letter_max_per_minute"` // up to which they are written whatever their share
}

// HoldStatus is one stream on hold.
type HoldStatus struct {
	Kind      string    `json:"kind"`
	Account   string    `json:"account"`
	Stream    string    `json:"stream"`
	Since     time.Time `json:"since"`
	NextProbe time.Time `json:"next_probe"`
	Probes    int       `json:"probes_refused"`
	Contacts  int       `json:"contacts"`
	Events    int       `json:"events"` // that the contacts stand for
	Status    int       `json:"status"`
	Detail    string    `json:"detail,omitzero"`
}

// Status looks at every lane: call it when somebody asks, not once an event.
func (w *Window) Status(now time.Time) Status {
	w.clock(now)
	s := Status{
		Bytes: w.bytes, BytesLimit: int64(w.cfg.WindowBytes), PendingContacts: w.pending, Streams: len(w.lanes),
		InFlightRequests: len(w.flights), DeadLettersPending: w.DeadLettersPending(), Accounts: []AccountStatus{}, Holds: []HoldStatus{},
	}
	by := map[*account]*AccountStatus{}
	for _, a := range w.accounts {
		t, r := a.verdicts.lastMinute(w.now)
		_, letters := a.letters.lastMinute(w.now)
		by[a] = &AccountStatus{
			Account: a.id, RequestMaxRows: a.ceiling.rows, RequestMaxBytes: a.ceiling.bytes,
			Taken: t, Refused: r, Letters: letters, DeadLetterMaxPerMinute: w.cfg.DeadLetterMaxPerMinute,
		}
		if a.held {
			by[a].HeldSince, by[a].NextProbe = a.heldSince, a.probe
		}
	}
	for _, l := range w.lanes {
		if h := l.hold; h != nil {
			next := later(l.backoff, w.now)
			if a := l.account; a.held {
				next = later(next, a.probe)
			}
			events := l.events()
			a := by[l.account]
			a.HeldStreams++
			a.HeldContacts += len(l.contacts)
			a.HeldEvents += events
			s.Holds = append(s.Holds, HoldStatus{
				Kind: h.kind.String(), Account: l.account.id, Stream: l.stream, Since: h.since, NextProbe: next,
				Probes: h.probes, Contacts: len(l.contacts), Events: events, Status: h.status, Detail: h.detail,
			})
		}
	}
	for _, a := range w.accounts {
		s.Accounts = append(s.Accounts, *by[a])
	}
	slices.SortFunc(s.Holds, func(a, b HoldStatus) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Stream, b.Stream))
	})
	if left := len(s.Holds) - mostHoldsShown; left > 0 {
		s.Holds, s.HoldsLeft = s.Holds[:mostHoldsShown], left
	}
	return s
}
