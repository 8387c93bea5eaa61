package batcher

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/metrics"
)

type counter = prometheus.Counter

// How events end, as indexes of series.ended.
const (
	endedDelivered = iota
	endedSuperseded
	endedDeadLetter
	endedSkipped
)

// series are the window's counters, looked up once.
type series struct {
	*metrics.Batcher
	ended                           []counter
	batches                         []counter
	retried                         []counter
	rows                            prometheus.Histogram
	released, late                  counter
	skippedTombstone, skippedDelete counter
	skippedStale                    counter
	probes                          []counter
}

func newSeries(m *metrics.Batcher) series {
	s := series{
		Batcher: m, rows: m.Rows, released: m.Released, late: m.Late,
		skippedTombstone: m.Skipped.WithLabelValues("tombstone"),
		skippedDelete:    m.Skipped.WithLabelValues("delete"),
		skippedStale:     m.Skipped.WithLabelValues("stale"),
	}
	for k := range holdKinds {
		s.probes = append(s.probes, m.ProbesRefused.WithLabelValues(k.String()))
	}
	for _, as := range []string{"delivered", "superseded", "dead_letter", "skipped"} {
		s.ended = append(s.ended, m.Completed.WithLabelValues(as))
	}
	for c := BatchRows; c <= BatchRetry; c++ {
		s.batches = append(s.batches, m.Batches.WithLabelValues(c.String()))
	}
	for _, k := range contactsync.Kinds() {
		s.retried = append(s.retried, m.RowsRetried.WithLabelValues(k.String()))
	}
	return s
}

// Observe brings the gauges up to date, and forgets lanes that nothing is left
// of. It looks at every lane, so it is called once a second, not once an event.
func (w *Window) Observe(now time.Time) (onHold holds) {
	w.clock(now)
	onHold = w.observeHolds()
	oldest, backing, rows := w.now, 0, 0
	consider := func(c *contact) {
		if c != nil && !c.oldest.IsZero() && c.oldest.Before(oldest) {
			oldest = c.oldest
		}
	}
	for _, l := range w.lanes {
		if l.hold != nil && len(l.contacts) == 0 && l.flights == 0 && !l.backoff.After(w.now) {
			w.endHold(l, endedEmpty) // deletes or hold_max have left nothing to probe with
		}
		if w.dropEmpty(l) {
			continue
		}
		if l.backoff.After(w.now) {
			backing++
		}
		if l.hold != nil { // the order of its queue is not that of age
			for _, c := range l.contacts {
				consider(c)
			}
		}
		consider(l.queue.head)
		for _, g := range l.groups {
			consider(g.rows[0])
		}
	}
	for f := range w.flights {
		consider(f.rows[0])
		rows += len(f.rows)
	}
	for _, cl := range w.claims {
		consider(cl.deferred.head)
	}
	full := 0.0
	if w.Full() {
		full = 1
	}
	w.m.Bytes.Set(float64(w.bytes))
	w.m.PendingContacts.Set(float64(w.pending))
	w.m.ActiveStreams.Set(float64(len(w.lanes)))
	w.m.InFlightRequests.Set(float64(len(w.flights)))
	w.m.InFlightRows.Set(float64(rows))
	w.m.OldestPendingAge.Set(w.now.Sub(oldest).Seconds())
	w.m.Full.Set(full)
	w.m.StreamsBackingOff.Set(float64(backing))
	return onHold
}

// holds is what is on hold.
type holds struct {
	of       [holdKinds]held
	accounts []string // that have some, the first few by name
}

// held is what is on hold of one kind.
type held struct {
	streams, contacts int
	longest           time.Duration
}

func (h *holds) streams() (n int) {
	for _, k := range h.of {
		n += k.streams
	}
	return n
}

func (h *holds) contacts() (n int) {
	for _, k := range h.of {
		n += k.contacts
	}
	return n
}

func (h *holds) longest() (d time.Duration) {
	for _, k := range h.of {
		d = max(d, k.longest)
	}
	return d
}

// accountsNamed is how many accounts with streams on hold the log names.
const accountsNamed = 5

// observeHolds brings the gauges of holds, ceilings and memory up to date.
func (w *Window) observeHolds() (all holds) {
	by := map[*account][holdKinds]held{}
	for _, l := range w.lanes {
		h := l.hold
		if h == nil {
			continue
		}
		kinds, named := by[l.account]
		if !named {
			all.accounts = append(all.accounts, l.account.id)
		}
		for _, k := range []*held{&all.of[h.kind], &kinds[h.kind]} {
			k.streams++
			k.contacts += len(l.contacts)
			k.longest = max(k.longest, w.now.Sub(h.since))
		}
		by[l.account] = kinds
	}
	slices.Sort(all.accounts)
	all.accounts = all.accounts[:min(len(all.accounts), accountsNamed)]
	whole := 0
	for _, a := range w.accounts {
		if a.held {
			whole++
		}
		for k, h := range by[a] {
			kind := holdKind(k).String()
			w.m.StreamsOnHold.WithLabelValues(a.id, kind).Set(float64(h.streams))
			w.m.ContactsOnHold.WithLabelValues(a.id, kind).Set(float64(h.contacts))
			w.m.OldestHoldAge.WithLabelValues(a.id, kind).Set(h.longest.Seconds())
		}
		a.ceiling.recover(w.now)
		w.m.RequestMaxRows.WithLabelValues(a.id).Set(float64(a.ceiling.rows))
		w.m.RequestMaxBytes.WithLabelValues(a.id).Set(float64(a.ceiling.bytes))
	}
	w.m.AccountsOnHold.Set(float64(whole))
	w.m.RememberedContacts.Set(float64(w.memory.len()))
	return all
}
