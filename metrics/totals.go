package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/contactsync/contactsync/internal/crash"
)

// Total is one series of a counter that has counted something.
type Total struct {
	Labels map[string]string
	Count  int64
}

// Totals returns the series of a counter that are not zero, in no order, for those that
// read the counters in the process itself.
func Totals(v *prometheus.CounterVec) []Total {
	ch := make(chan prometheus.Metric)
	go func() {
		defer crash.Exit()
		defer close(ch)
		v.Collect(ch)
	}()
	var totals []Total
	for m := range ch {
		var d dto.Metric
		if err := m.Write(&d); err != nil || d.GetCounter().GetValue() == 0 { // a counter always writes itself
			continue
		}
		t := Total{Labels: map[string]string{}, Count: int64(d.GetCounter().GetValue())}
		for _, l := range d.GetLabel() {
			t.Labels[l.GetName()] = l.GetValue()
		}
		totals = append(totals, t)
	}
	return totals
}
