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

// events makes the series of EventTotals.
func (m *maker) events() *Events {
	outcome := Label{Name: "outcome", Values: Outcomes}
	desc := func(kind, name, help, action string, labels ...Label) *prometheus.Desc {
		opts, names := m.describe(kind, name, help, action, labels...)
		return prometheus.NewDesc(prometheus.BuildFQName(opts.Namespace, "", opts.Name), opts.Help, names, nil)
	}
	e := &Events{
		consumed: desc("counter", "batcher_events_consumed_total",
			"Events taken in. At each scrape they are those completed, those released and those waiting.", ""),
		completed: desc("counter", "batcher_events_completed_total",
			"Events completed, by outcome. A superseded event was merged into a newer one of its contact; one that ended `before` had ended under an earlier owner of its partition.", "", outcome),
		released: desc("counter", "batcher_events_released_total",
			"Events released uncompleted because their partition was revoked. The next owner reads them again.", ""),
		waiting: desc("gauge", "batcher_events_waiting",
			"Events taken in and neither completed nor released: those of contacts pending, in flight or on hold, and of dead letters that Kafka does not have yet.", ""),
		unwritten: desc("gauge", "batcher_events_unwritten",
			"Events taken in that wait for Kafka to have a dead letter of theirs.",
			"Leave them out of what autoscaling looks at: no replica more writes them."),
		age: desc("histogram", "batcher_event_age_seconds",
			"Age of an event when it was completed, by its Kafka timestamp and by outcome.",
			"How late deliveries are: the share of `delivered` and `superseded` within a bound that is one of the buckets.", outcome),
	}
	m.reg.MustRegister(e)
	return e
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

func (m *maker) histograms(name, help, action string, buckets []float64, labels ...Label) *prometheus.HistogramVec {
	opts, names := m.describe("histogram", name, help, action, labels...)
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: opts.Namespace, Name: opts.Name, Help: opts.Help, Buckets: buckets}, names)
	m.reg.MustRegister(h)
	return h
}

func (m *maker) histogram(name, help, action string, buckets []float64) prometheus.Histogram {
	opts, _ := m.describe("histogram", name, help, action)
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: opts.Namespace, Name: opts.Name, Help: opts.Help, Buckets: buckets})
	m.reg.MustRegister(h)
	return h
}
