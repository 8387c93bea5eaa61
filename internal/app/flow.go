package app

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/metrics"
)

// Flow counts what this process has done since it started, by the same counters that
// /metrics has. Two of them, some time apart, make a rate.
type Flow struct {
	Records  map[string]int64 `json:"records"` // read, by what they turned out to be
	Events   map[string]int64 `json:"events"`  // completed, by outcome
	Requests []Requests       `json:"requests"`
}

// Requests are the calls of one account that were made for one purpose and answered alike.
type Requests struct {
	Account string `json:"account"`
	Purpose string `json:"purpose"`
	Kind    string `json:"kind"`
	Count   int64  `json:"count"`
}

func flowOf(m *metrics.Set) Flow {
	f := Flow{Records: byLabel(m.Consumer.Records, "result"), Events: map[string]int64{}, Requests: []Requests{}}
	for outcome, ages := range m.Batcher.Events.Totals().Ended {
		f.Events[metrics.Outcomes[outcome]] = int64(ages.Count)
	}
	for _, t := range metrics.Totals(m.Upstream.Requests) {
		f.Requests = append(f.Requests, Requests{t.Labels["account"], t.Labels["purpose"], t.Labels["kind"], t.Count})
	}
	slices.SortFunc(f.Requests, func(a, b Requests) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Purpose, b.Purpose), cmp.Compare(a.Kind, b.Kind))
	})
	return f
}

func byLabel(v *prometheus.CounterVec, label string) map[string]int64 {
	counts := map[string]int64{}
	for _, t := range metrics.Totals(v) {
		counts[t.Labels[label]] += t.Count
	}
	return counts
}
