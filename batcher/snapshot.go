package batcher

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// snapshot is the window at one moment, as gauges, /status and the log show it.
type snapshot struct {
	w            *Window
	now          time.Time
	oldest       [waitStates]time.Time // Kafka timestamps of the oldest events; now where there is none
	busy         int                   // streams with contacts
	backingOff   int                   // streams
	rowsInFlight int
	onHold       []*stream // by themselves
	failing      []*stream // others
	held         map[*account]*holdTotals
	largest      *stream // of those with anything on hold, by what the window charges for that
	largestBytes int64
	largestKind  holdKind
}

// holdTotals is what is on hold, by kind.
type holdTotals [holdKinds]holdTotal

type holdTotal struct {
	streams, contacts, events int
	bytes                     int64 // what the window charges for the contacts
	longest                   time.Duration
}

func (t *holdTotal) add(o holdTotal) {
	t.streams += o.streams
	t.contacts += o.contacts
	t.events += o.events
	t.bytes += o.bytes
	t.longest = max(t.longest, o.longest)
}

// all is the total of all kinds.
func (t *holdTotals) all() (sum holdTotal) {
	for _, kind := range t {
		sum.add(kind)
	}
	return sum
}

// snapshot looks at every stream, so it is for once a second, or when somebody asks.
func (w *Window) snapshot() *snapshot {
	s := &snapshot{w: w, now: w.now, held: map[*account]*holdTotals{}}
	for state := range s.oldest {
		s.oldest[state] = w.now
	}
	for _, a := range w.schedule.accounts {
		s.held[a] = &holdTotals{}
	}
	w.schedule.each(func(st *stream) {
		if len(st.contacts) > 0 {
			s.busy++
		}
		if st.health.backoff.After(s.now) {
			s.backingOff++
		}
		s.consider(st.queue.head)
		for g := range st.retries.all() {
			s.consider(g.head)
		}
		if st.health.failures > 0 && st.health.hold == nil {
			s.failing = append(s.failing, st)
		}
		for c := range st.rotating() {
			s.consider(c)
		}
		if kind, since := st.holdKind(); st.health.hold != nil || kind != noHold && len(st.contacts) > 0 {
			s.add(st, kind, holdTotal{streams: 1, contacts: len(st.contacts), events: st.events(), bytes: st.bytes, longest: s.now.Sub(since)})
			if st.health.hold != nil {
				s.onHold = append(s.onHold, st)
			}
		} else if st.withheld() && len(st.contacts) > 0 {
			s.add(st, holdFailing, holdTotal{contacts: len(st.contacts), bytes: st.bytes, longest: s.failsFor(st)})
		} else if st.kept > 0 {
			alone, others := s.kept(st)
			s.add(st, holdAlone, alone)
			s.add(st, holdFailing, others)
		}
	})
	for req := range w.requests {
		s.consider(req.rows[0])
		s.rowsInFlight += len(req.rows)
	}
	for _, cl := range w.claims.owned {
		s.consider(cl.deferred.head)
		for _, d := range cl.letters {
			s.considerAs(waitDeadLetter, d.sources[0])
		}
		s.considerParked(cl)
	}
	for _, d := range w.outbox.waiting {
		s.considerAs(waitDeadLetter, d.sources[0])
	}
	for d := range w.outbox.inFlight {
		s.considerAs(waitDeadLetter, d.sources[0])
	}
	return s
}

// add counts what a stream has on hold.
func (s *snapshot) add(st *stream, kind holdKind, t holdTotal) {
	if s.held[st.account][kind].add(t); t.bytes > s.largestBytes {
		s.largest, s.largestBytes, s.largestKind = st, t.bytes, kind
	}
}

// failsFor is for how long the requests of a stream fail; 0 where they do not.
func (s *snapshot) failsFor(st *stream) time.Duration {
	if st.health.failures == 0 {
		return 0
	}
	return s.now.Sub(st.health.failingSince)
}

// kept is what a stream has that is not on hold, and that counts so: contacts that are tried alone, and those that are tried apart with others.
func (s *snapshot) kept(st *stream) (alone, others holdTotal) {
	for c := range st.waiting {
		if !c.kept {
			continue
		}
		t := holdTotal{contacts: 1, longest: s.now.Sub(c.since)}
		for state := c; state != nil; state = state.newer {
			t.bytes += state.charge
		}
		if c.in.rows > 1 {
			others.add(t)
			continue
		}
		t.events = c.events()
		alone.add(t)
	}
	return alone, others
}

func (s *snapshot) consider(c *contact) {
	for c != nil && !c.sources.live() { // in a request of a generation that is over
		c = c.newer
	}
	switch {
	case c == nil:
	case c.stream.onHold(), c.kept && c.in.rows == 1, c.gone != nil:
		s.considerAs(waitOnHold, c.sources.first)
	default:
		s.considerAs(waitActive, c.sources.first)
	}
}

// considerParked takes in what is to be read again of a claim: its streams are on hold, or fail, or did.
func (s *snapshot) considerParked(cl *claim) {
	for key, p := range cl.parked {
		if p.events <= 0 {
			continue
		}
		st, state := s.w.schedule.streams[key], waitOnHold
		if st != nil && st.withheld() && !st.onHold() {
			state = waitActive
		}
		s.oldest[state] = earlier(s.oldest[state], p.oldest)
		switch {
		case st == nil:
		case st.onHold():
			kind, _ := st.holdKind()
			s.held[st.account][kind].events += p.events
		case st.withheld(): // they are as much of a backlog as what waits of it
		case !p.all:
			s.held[st.account][holdAlone].events += p.events
		}
	}
}

func (s *snapshot) considerAs(state int, first source) {
	if at, ok := oldest(first); ok {
		s.oldest[state] = earlier(s.oldest[state], at)
	}
}

// holds is what is on hold, of all accounts.
func (s *snapshot) holds() (sum holdTotals) {
	for _, t := range s.held {
		for kind := range t {
			sum[kind].add(t[kind])
		}
	}
	return sum
}

// accountsNamed is how many accounts with streams on hold the log names.
const accountsNamed = 5

// accountsOnHold returns the accounts that have streams on hold, the first few by name.
func (s *snapshot) accountsOnHold() []string {
	found := map[string]bool{}
	for _, st := range s.onHold {
		found[st.account.id] = true
	}
	names := slices.Sorted(maps.Keys(found))
	return names[:min(len(names), accountsNamed)]
}

// Observe brings the gauges up to date.
func (w *Window) Observe(now time.Time) *snapshot {
	w.clock(now)
	s := w.snapshot()
	m := &w.m
	full := 0.0
	if w.Full() {
		full = 1
		if !w.observed.IsZero() {
			m.FullSeconds.Add(s.now.Sub(w.observed).Seconds())
		}
	}
	w.observed = s.now
	m.Bytes.Set(float64(w.bytes()))
	m.PendingContacts.Set(float64(w.pending.contacts))
	m.ActiveStreams.Set(float64(s.busy))
	m.InFlightRequests.Set(float64(len(w.requests)))
	m.InFlightRows.Set(float64(s.rowsInFlight))
	m.Events.Set(&w.outbox.total)
	for state, at := range s.oldest {
		m.oldest[state].Set(s.now.Sub(at).Seconds())
	}
	m.Full.Set(full)
	m.StreamsBackingOff.Set(float64(s.backingOff))
	m.RememberedContacts.Set(float64(w.seen.len()))
	held := 0
	for _, a := range w.schedule.accounts {
		if a.onHold() != nil {
			held++
		}
		if !a.delivered.IsZero() {
			m.LastDelivery.WithLabelValues(a.id).Set(float64(a.delivered.UnixMilli()) / 1000)
		}
		for _, kind := range allHolds {
			t := s.held[a][kind]
			m.StreamsOnHold.WithLabelValues(a.id, kind.String()).Set(float64(t.streams))
			m.ContactsOnHold.WithLabelValues(a.id, kind.String()).Set(float64(t.contacts))
			m.EventsOnHold.WithLabelValues(a.id, kind.String()).Set(float64(t.events))
			m.BytesOnHold.WithLabelValues(a.id, kind.String()).Set(float64(t.bytes))
			m.OldestHoldAge.WithLabelValues(a.id, kind.String()).Set(t.longest.Seconds())
		}
		size := a.health.size
		size.recover(s.now)
		m.InFlightLimit.WithLabelValues(a.id).Set(float64(w.schedule.mostInFlight(a)))
		m.RequestMaxRows.WithLabelValues(a.id).Set(float64(size.rows.limit))
		m.RequestMaxBytes.WithLabelValues(a.id).Set(float64(size.bytes.limit))
	}
	m.AccountsOnHold.Set(float64(held))
	return s
}

// mostHoldsShown bounds a Status: what is more is counted.
const mostHoldsShown = 100

// Status is the window as an operator wants to see it.
type Status struct {
	Bytes              int64           `json:"bytes"`
	BytesLimit         int64           `json:"bytes_limit"`
	Full               bool            `json:"full"` // reading pauses
	PendingContacts    int             `json:"pending_contacts"`
	Streams            int             `json:"streams"` // that have some
	InFlightRequests   int             `json:"in_flight_requests"`
	DeadLettersPending int             `json:"dead_letters_pending"`
	Oldest             time.Time       `json:"oldest,omitzero"` // Kafka's time of the oldest event that is not completed
	Busiest            []StreamStatus  `json:"busiest"`         // the streams with the most contacts, at most 20
	Accounts           []AccountStatus `json:"accounts"`
	Holds              []HoldStatus    `json:"holds"` // the oldest first, at most 100
	HoldsLeft          int             `json:"holds_left,omitzero"`
	Failing            []FailingStatus `json:"failing"` // those that fail for longest first, at most 20
}

// AccountStatus is what the window knows of one account.
type AccountStatus struct {
	Account                string    `json:"account"`
	HeldSince              time.Time `json:"held_since,omitzero"` // as a whole
	NextProbe              time.Time `json:"next_probe,omitzero"`
	MisfitAt               time.Time `json:"misfit_at,omitzero"` // the last answer that did not fit its request
	InFlight               int       `json:"in_flight"`          // requests
	MostInFlight           int       `json:"in_flight_limit"`    // as configured, or by the budget
	HeldStreams            int       `json:"streams_on_hold"`
	HeldContacts           int       `json:"contacts_on_hold"`
	AloneContacts          int       `json:"contacts_alone"` // of these, in streams that are not on hold
	HeldEvents             int       `json:"events_on_hold"`
	HeldBytes              int64     `json:"bytes_on_hold"`     // of the window, with those that fail
	FailingContacts        int       `json:"contacts_failing"`  // that count as on hold for the window only: requests with them, or of their stream, fail
	RequestMaxRows         int       `json:"request_max_rows"`  // as configured or as learned
	RequestMaxBytes        int64     `json:"request_max_bytes"` // likewise
	Accepted               int       `json:"rows_accepted_last_minute"`
	Rejected               int       `json:"rows_rejected_last_minute"`
	DeadLetters            int       `json:"dead_letters_last_minute"`
	DeadLetterMaxPerMinute int       `json:"dead_letter_max_per_minute"` // up to which they are written whatever their share
}

// FailingStatus is one stream whose requests fail, and that is not on hold.
type FailingStatus struct {
	Account string    `json:"account"`
	Stream  string    `json:"stream"`
	Since   time.Time `json:"since"` // the first of them in a row
	// Contacts wait in it, and beside those events that are to be read again.
	Contacts int `json:"contacts"`
	Parked   int `json:"parked,omitzero"`
}

// HoldStatus is one stream on hold.
type HoldStatus struct {
	Kind    string `json:"kind"`
	Account string `json:"account"`
	Stream  string `json:"stream"`
	// Credential is the app of the account that signs for the stream, where one does.
	Credential string    `json:"credential,omitzero"`
	Since      time.Time `json:"since"`
	NextProbe  time.Time `json:"next_probe"`
	Probes     int       `json:"probes_refused"`
	Contacts   int       `json:"contacts"`
	Events     int       `json:"events"`          // behind the contacts
	Parked     int       `json:"parked,omitzero"` // events beside those, to be read again
	Status     int       `json:"status"`
	Detail     string    `json:"detail,omitzero"`
}

// Status looks at every stream: call it when somebody asks, not once an event.
func (w *Window) Status(now time.Time) Status {
	w.clock(now)
	s := w.snapshot()
	status := Status{
		Bytes: w.bytes(), BytesLimit: int64(w.cfg.WindowBytes), Full: w.Full(), PendingContacts: w.pending.contacts, Streams: s.busy,
		InFlightRequests: len(w.requests), DeadLettersPending: w.outbox.pending(), Accounts: []AccountStatus{}, Holds: []HoldStatus{}, Failing: []FailingStatus{}, Busiest: s.busiest(),
	}
	if at := earlier(s.oldest[waitActive], s.oldest[waitOnHold]); at.Before(s.now) {
		status.Oldest = at
	}
	for _, a := range w.schedule.accounts {
		status.Accounts = append(status.Accounts, s.account(a))
	}
	slices.SortFunc(s.onHold, func(a, b *stream) int {
		return cmp.Or(a.health.hold.since.Compare(b.health.hold.since), compareNames(a, b))
	})
	shown := min(len(s.onHold), mostHoldsShown)
	for _, st := range s.onHold[:shown] {
		status.Holds = append(status.Holds, s.hold(st))
	}
	status.HoldsLeft = len(s.onHold) - shown
	slices.SortFunc(s.failing, func(a, b *stream) int {
		return cmp.Or(a.health.failingSince.Compare(b.health.failingSince), compareNames(a, b))
	})
	for _, st := range s.failing[:min(len(s.failing), mostStreamsShown)] {
		status.Failing = append(status.Failing, FailingStatus{st.account.id, st.name, st.health.failingSince, len(st.contacts), Parking{w}.events(st)})
	}
	return status
}

func (s *snapshot) account(a *account) AccountStatus {
	h := a.health
	h.size.recover(s.now)
	rows, all, fails := h.answered.at(s.now), s.held[a].all(), s.held[a][holdFailing]
	status := AccountStatus{
		Account: a.id, MisfitAt: a.misfitAt, InFlight: a.inFlight, MostInFlight: s.w.schedule.mostInFlight(a), HeldStreams: all.streams, HeldContacts: all.contacts - fails.contacts, HeldEvents: all.events,
		HeldBytes: all.bytes, FailingContacts: fails.contacts,
		AloneContacts: s.held[a][holdAlone].contacts, RequestMaxRows: int(h.size.rows.limit), RequestMaxBytes: h.size.bytes.limit, Accepted: rows.accepted, Rejected: rows.refused,
		DeadLetters: h.deadLetters.at(s.now).refused, DeadLetterMaxPerMinute: s.w.cfg.DeadLetterMaxPerMinute,
	}
	if c := a.onHold(); c != nil {
		status.HeldSince, status.NextProbe = c.heldSince, c.probe
	}
	return status
}

func (s *snapshot) hold(st *stream) HoldStatus {
	on := st.health.hold
	return HoldStatus{
		Kind: on.kind.String(), Account: st.account.id, Stream: st.name, Credential: st.signer.app, Since: on.since, NextProbe: s.nextProbe(st),
		Probes: on.probes, Contacts: len(st.contacts), Events: st.events(), Parked: Parking{s.w}.events(st), Status: on.status, Detail: on.last.detail,
	}
}
