package batcher

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/metrics"
)

type counter = prometheus.Counter

// What an event waits for, as indexes of metrics.WaitStates.
const (
	waitActive = iota
	waitOnHold
	waitDeadLetter
	waitStates
)

// series are the window's counters, looked up once.
type series struct {
	*metrics.Batcher
	oldest                                                        [waitStates]prometheus.Gauge
	batches                                                       []counter // by reason
	retried                                                       []counter // by the kind of answer
	probes                                                        [holdKinds]counter
	skippedTombstone, skippedUnnamed, skippedDelete, skippedStale counter
}

func newSeries(m *metrics.Batcher) series {
	s := series{
		Batcher:          m,
		skippedTombstone: m.Skipped.WithLabelValues("tombstone"),
		skippedUnnamed:   m.Skipped.WithLabelValues("unnamed_tombstone"),
		skippedDelete:    m.Skipped.WithLabelValues("delete"),
		skippedStale:     m.Skipped.WithLabelValues("stale"),
	}
	for _, kind := range allHolds {
		s.probes[kind] = m.ProbesRefused.WithLabelValues(kind.String())
	}
	for state, name := range metrics.WaitStates {
		s.oldest[state] = m.OldestPendingAge.WithLabelValues(name)
	}
	for reason := range batchReasons {
		s.batches = append(s.batches, m.Batches.WithLabelValues(reason.String()))
	}
	for _, k := range contactsync.Kinds() {
		s.retried = append(s.retried, m.RowsRetried.WithLabelValues(k.String()))
	}
	return s
}

// account makes the series of an account, so that they are there before anything of it
// is on hold.
func (s *series) account(id string) {
	for _, kind := range allHolds {
		s.StreamsOnHold.WithLabelValues(id, kind.String())
		s.ContactsOnHold.WithLabelValues(id, kind.String())
		s.EventsOnHold.WithLabelValues(id, kind.String())
		s.BytesOnHold.WithLabelValues(id, kind.String())
		s.OldestHoldAge.WithLabelValues(id, kind.String())
	}
}

// started counts a request.
func (s *series) started(req *Request) {
	s.batches[req.Reason].Inc()
	s.Rows.Observe(float64(len(req.rows)))
}
