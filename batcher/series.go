package batcher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"contactsync"
	"contactsync/metrics"
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
}

func newSeries(m *metrics.Batcher) series {
	s := series{
		Batcher: m, rows: m.Rows, released: m.Released, late: m.Late,
		skippedTombstone: m.Skipped.WithLabelValues("tombstone"),
		skippedDelete:    m.Skipped.WithLabelValues("delete"),
	}
	for _, as := range []string{"delivered", "superseded", "dead_letter", "skipped"} {
		s.ended = append(s.ended, m.Ended.WithLabelValues(as))
	}
	for c := CutRows; c <= CutRetry; c++ {
		s.batches = append(s.batches, m.Batches.WithLabelValues(c.String()))
	}
	for _, k := range contactsync.Kinds() {
		s.retried = append(s.retried, m.RowsRetried.WithLabelValues(k.String()))
	}
	return s
}

// Observe brings the gauges up to date. It looks at every lane, so it is called
// once a second, not once an event.
func (w *Window) Observe(now time.Time) {
	w.clock(now)
	oldest, backing := w.now, 0
	consider := func(c *contact) {
		if c != nil && !c.oldest.IsZero() && c.oldest.Before(oldest) {
			oldest = c.oldest
		}
	}
	for _, l := range w.lanes {
		if l.backoff.After(w.now) {
			backing++
		}
		consider(l.queue.head)
		for _, g := range l.groups {
			consider(g.rows[0])
		}
	}
	for f := range w.flights {
		consider(f.rows[0])
	}
	for _, cl := range w.claims {
		consider(cl.held.head)
	}
	full := 0.0
	if w.Full() {
		full = 1
	}
	w.m.Bytes.Set(float64(w.bytes))
	w.m.Pending.Set(float64(w.pending))
	w.m.Lanes.Set(float64(len(w.lanes)))
	w.m.InFlightRequests.Set(float64(len(w.flights)))
	w.m.InFlightRows.Set(float64(w.inRows))
	w.m.OldestAge.Set(w.now.Sub(oldest).Seconds())
	w.m.Full.Set(full)
	w.m.BackingOff.Set(float64(backing))
}
