package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ageBounds are the buckets of an event's age. Each is a bound that somebody may promise:
// a ratio of events within a bound needs a bucket that ends at it.
var ageBounds = [...]time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour,
}

// How an event ends, as indexes of EventTotals.Ended.
const (
	Delivered = iota
	Superseded
	SetAside
	Skipped
	Before
	outcomes
)

// Outcomes are the same by name.
var Outcomes = []string{Delivered: "delivered", Superseded: "superseded", SetAside: "dead_letter", Skipped: "skipped", Before: "before"}

// EventTotals are what became of the events that were consumed. Consumed is what ended, what
// was released and what waits, at any moment. Unwritten are those that wait for Kafka to take a dead letter.
type EventTotals struct {
	Consumed, Released, Waiting, Unwritten uint64
	Ended                                  [outcomes]Ages
}

// Ages count events by how old they were when they ended.
type Ages struct {
	Count uint64
	sum   time.Duration
	in    [len(ageBounds) + 1]uint64 // by the first bound that holds; the last are beyond all
}

// Add counts one event. A time that lies ahead is no age.
func (a *Ages) Add(age time.Duration) {
	age = max(age, 0)
	a.Count++
	a.sum += age
	i := 0
	for i < len(ageBounds) && age > ageBounds[i] {
		i++
	}
	a.in[i]++
}

// Events are the series of EventTotals. They are collected together, so that one scrape never
// shows an event as consumed and not yet as waiting. Safe for concurrent use.
type Events struct {
	consumed, released, waiting, unwritten, completed, age *prometheus.Desc

	mu     sync.Mutex
	totals EventTotals
}

// Set publishes the totals.
func (e *Events) Set(t *EventTotals) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.totals = *t
}

// Totals are those that were published last.
func (e *Events) Totals() EventTotals {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.totals
}

// Describe implements prometheus.Collector.
func (e *Events) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{e.consumed, e.released, e.waiting, e.unwritten, e.completed, e.age} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (e *Events) Collect(ch chan<- prometheus.Metric) {
	t := e.Totals()
	ch <- prometheus.MustNewConstMetric(e.consumed, prometheus.CounterValue, float64(t.Consumed))
	ch <- prometheus.MustNewConstMetric(e.released, prometheus.CounterValue, float64(t.Released))
	ch <- prometheus.MustNewConstMetric(e.waiting, prometheus.GaugeValue, float64(t.Waiting))
	ch <- prometheus.MustNewConstMetric(e.unwritten, prometheus.GaugeValue, float64(t.Unwritten))
	for i, name := range Outcomes {
		ages := &t.Ended[i]
		ch <- prometheus.MustNewConstMetric(e.completed, prometheus.CounterValue, float64(ages.Count), name)
		within, upTo := uint64(0), make(map[float64]uint64, len(ageBounds))
		for j, bound := range ageBounds {
			within += ages.in[j]
			upTo[bound.Seconds()] = within
		}
		ch <- prometheus.MustNewConstHistogram(e.age, ages.Count, ages.sum.Seconds(), upTo, name)
	}
}
