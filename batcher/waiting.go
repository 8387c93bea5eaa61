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
	// WaitsFor says what its next request waits for: hold, backoff, alone (all its contacts were refused, or
	// failed, alone, and are tried again), turn (the gate, a slot, or streams with older events), or rows
	// (linger: the request may fill up).
	WaitsFor string    `json:"waits_for"`
	Until    time.Time `json:"until,omitzero"` // of hold, backoff, alone and rows
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
	status := StreamStatus{Account: st.account.id, Stream: st.name, Contacts: len(st.contacts), InFlight: st.inFlight, WaitsFor: "turn"}
	heads := slices.AppendSeq([]*contact{st.queue.head}, st.rotating())
	for _, g := range st.retries.groups {
		heads = append(heads, g.head)
	}
	for _, head := range heads {
		if head == nil {
			continue
		}
		if at, ok := oldest(head.sources); ok && (status.Oldest.IsZero() || at.Before(status.Oldest)) {
			status.Oldest = at
		}
	}
	switch {
	case st.onHold():
		status.WaitsFor, status.Until = "hold", s.nextProbe(st)
	case st.health.backoff.After(s.now):
		status.WaitsFor, status.Until = "backoff", st.health.backoff
	case st.kept > 0 && s.alone(st) == len(st.contacts):
		if status.WaitsFor = "alone"; st.due.After(s.now) && !st.due.Equal(never) {
			status.Until = st.due
		}
	case st.due.After(s.now) && !st.due.Equal(never):
		status.WaitsFor, status.Until = "rows", st.due
	}
	return status
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
