package metrics

import "github.com/prometheus/client_golang/prometheus"

// Series describes one series for its users.
type Series struct {
	Name   string
	Type   string // counter, gauge or histogram
	Labels []Label
	Help   string
	Action string // what to do about it; empty where nothing is to be done
}

// Label is one label of a series.
type Label struct {
	Name   string
	Values []string // all values; nil where they are known only at run time
	Help   string   // what a value is; empty where Values says it
}

// Describe returns every series of the service, in the order of its stages.
func Describe() []Series {
	m := &maker{reg: prometheus.NewRegistry()}
	newSet(m)
	buildInfo(m)
	return m.made
}

// maker registers each series and notes its description.
type maker struct {
	reg  prometheus.Registerer
	made []Series
}

func (m *maker) describe(kind, name, help, action string, labels ...Label) (opts prometheus.Opts, names []string) {
	opts = prometheus.Opts{Namespace: Namespace, Name: name, Help: help}
	for _, l := range labels {
		names = append(names, l.Name)
	}
	m.made = append(m.made, Series{Namespace + "_" + name, kind, labels, help, action})
	return opts, names
}

func (m *maker) counter(name, help, action string) prometheus.Counter {
	opts, _ := m.describe("counter", name, help, action)
	c := prometheus.NewCounter(prometheus.CounterOpts(opts))
	m.reg.MustRegister(c)
	return c
}

// counters makes a vector. One with a single label of known values starts at
// zero, so that rate() sees the first increase.
func (m *maker) counters(name, help, action string, labels ...Label) *prometheus.CounterVec {
	opts, names := m.describe("counter", name, help, action, labels...)
	c := prometheus.NewCounterVec(prometheus.CounterOpts(opts), names)
	m.reg.MustRegister(c)
	if len(labels) == 1 {
		for _, v := range labels[0].Values {
			c.WithLabelValues(v)
		}
	}
	return c
}

func (m *maker) gauge(name, help, action string) prometheus.Gauge {
	opts, _ := m.describe("gauge", name, help, action)
	g := prometheus.NewGauge(prometheus.GaugeOpts(opts))
	m.reg.MustRegister(g)
	return g
}

func (m *maker) gauges(name, help, action string, labels ...Label) *prometheus.GaugeVec {
	opts, names := m.describe("gauge", name, help, action, labels...)
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts(opts), names)
	m.reg.MustRegister(g)
	return g
}

func (m *maker) histogram(name, help, action string, buckets []float64) prometheus.Histogram {
	opts, _ := m.describe("histogram", name, help, action)
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: opts.Namespace, Name: opts.Name, Help: opts.Help, Buckets: buckets})
	m.reg.MustRegister(h)
	return h
}
