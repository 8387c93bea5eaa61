package batcher

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"
)

// mostStreamsShown bounds the streams of a Status.
const mostStreamsShown = 20

// StreamStatus is one of the streams that have the most contacts waiting.
type StreamStatus struct {
	Account  string    `json:"account"`
	Stream   string    `json:"stream"`
	Contacts int       `json:"contacts"`
	Oldest   time.Time `json:"oldest,omitzero"` // Kafka's time of the oldest event at its head
	InFlight int       `json:"in_flight_requests"`
	// WaitsFor says what the first contact of its next request waits for, as of an EventStatus, or alone: all its contacts
	// were refused, or failed, alone, and are tried again.
	WaitsFor string    `json:"waits_for"`
	Until    time.Time `json:"until,omitzero"` // at the latest, where it is known
}

// busiest returns the streams with the most contacts, those with the most first.
func (s *snapshot) busiest() []StreamStatus {
	var most []*stream // the fewest last
	order := func(a, b *stream) int {
		return cmp.Or(cmp.Compare(len(b.contacts), len(a.contacts)), compareNames(a, b))
	}
	s.w.schedule.each(func(st *stream) {
		if len(st.contacts) == 0 || len(most) == mostStreamsShown && order(st, most[len(most)-1]) > 0 {
			return
		}
		at, _ := slices.BinarySearchFunc(most, st, order)
		most = slices.Insert(most, at, st)
		most = most[:min(len(most), mostStreamsShown)]
	})
	shown := make([]StreamStatus, len(most))
	for i, st := range most {
		shown[i] = s.stream(st)
	}
	return shown
}

// rotating are all contacts of a stream of which one after the other is tried: the order of its queue is not that of age.
func (st *stream) rotating() iter.Seq[*contact] {
	if st.onHold() || len(st.health.alone) > 0 {
		return maps.Values(st.contacts)
	}
	return func(func(*contact) bool) {}
}

func (s *snapshot) stream(st *stream) StreamStatus {
	status := StreamStatus{Account: st.account.id, Stream: st.name, Contacts: len(st.contacts), InFlight: st.inFlight, WaitsFor: waitsForRequest}
	heads := slices.AppendSeq([]*contact{st.queue.head}, st.rotating())
	for g := range st.retries.all() {
		heads = append(heads, g.head)
	}
	for _, head := range heads {
		if head == nil {
			continue
		}
		if at, ok := oldest(head.sources.first); ok && (status.Oldest.IsZero() || at.Before(status.Oldest)) {
			status.Oldest = at
		}
	}
	if next := st.first(); next != nil {
		status.WaitsFor, status.Until = s.waits(next)
	}
	if st.kept > 0 && s.alone(st) == len(st.contacts) && !st.onHold() {
		status.WaitsFor = "alone"
	}
	return status
}

// first returns the contact that the next request of a stream begins with, or nil where all are in requests.
func (st *stream) first() *contact {
	if st.queue.head != nil || st.retries.waiting() == 0 {
		return st.queue.head
	}
	return slices.MinFunc(slices.Collect(st.retries.all()), func(a, b *group) int { return a.due.Compare(b.due) }).head
}

// alone is how many contacts of a stream are tried alone.
func (s *snapshot) alone(st *stream) int {
	alone, _ := s.kept(st)
	return alone.contacts
}

// nextProbe is when a stream on hold is tried again.
func (s *snapshot) nextProbe(st *stream) time.Time {
	next := later(st.health.backoff, s.now)
	if c := st.signer; c.held {
		next = later(next, c.probe)
	}
	return next
}

// waits works out what a contact waits for that is in no request and first of its id: the reason
// that would remain were the ones below it over.
func (s *snapshot) waits(c *contact) (what string, until time.Time) {
	st, a := c.stream, c.stream.account
	g, behind := st.retries.of(c)
	switch {
	case c.sources.first.claim.catching:
		return waitsForCatchUp, time.Time{}
	case st.health.hold != nil:
		return WaitsForHold, s.nextProbe(st)
	case st.signer.held:
		return waitsForAccount, later(st.signer.probe, s.now)
	case s.w.draining:
		return waitsForRelease, time.Time{}
	case behind:
		return waitsForIsolation, time.Time{}
	case g != nil && g.due.After(s.now) && c.lateUntil.After(s.now):
		return waitsForAmbiguous, g.due
	case g != nil && g.due.After(s.now):
		return waitsForRetry, g.due
	case st.health.backoff.After(s.now):
		return waitsForBackoff, st.health.backoff
	case g != nil && g.apart:
		return waitsForIsolation, time.Time{}
	case g == nil && !st.full() && s.w.schedule.collecting:
		return waitsForCatchUp, time.Time{}
	case st.troubled() && st.inFlight > 0:
		return waitsForRequest, time.Time{}
	case g == nil && s.w.schedule.queueDue(st).After(s.now):
		return waitsForRows, s.w.schedule.queueDue(st)
	case a.inFlight >= s.w.schedule.mostInFlight(a):
		return waitsForSlots, time.Time{}
	case a.again.After(s.now):
		return WaitsForGate, a.again
	}
	return WaitsForTurn, time.Time{}
}

// of returns the group of a contact, and whether that waits for another one; nil where the
// contact is in none.
func (r *retries) of(c *contact) (g *group, behind bool) {
	if c.in == nil || c.in.group == nil {
		return nil, false
	}
	g = c.in.group
	return g, g.seat == 0 && !slices.Contains(r.few, g)
}
