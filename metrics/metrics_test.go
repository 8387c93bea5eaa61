package metrics

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
)

// recorder is a registry that keeps what is registered.
type recorder struct {
	*prometheus.Registry
	registered []prometheus.Collector
}

func (r *recorder) MustRegister(cs ...prometheus.Collector) {
	r.registered = append(r.registered, cs...)
	r.Registry.MustRegister(cs...)
}

// filled returns a registry in which every series of the service has a value:
// vectors are not gathered before.
func filled(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{Registry: prometheus.NewRegistry()}
	New(r)
	RegisterBuildInfo(r, "1.0.0", "abc", "go1")
	labels := map[string]int{}
	for _, series := range Describe() {
		labels[series.Name] = len(series.Labels)
	}
	for _, c := range r.registered {
		vec, ok := c.(interface {
			prometheus.Collector
			DeletePartialMatch(prometheus.Labels) int
		})
		if !ok {
			continue
		}
		desc := make(chan *prometheus.Desc, 1)
		vec.Describe(desc)
		_, name, _ := strings.Cut((<-desc).String(), `"`)
		name, _, _ = strings.Cut(name, `"`)
		values := slices.Repeat([]string{"x"}, labels[name])
		switch c := c.(type) {
		case *prometheus.CounterVec:
			c.WithLabelValues(values...)
		case *prometheus.GaugeVec:
			c.WithLabelValues(values...)
		case *prometheus.HistogramVec:
			c.WithLabelValues(values...)
		}
	}
	return r
}

func TestNew_NamesFollowConventions(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(filled(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestDescribe_MatchesWhatIsRegistered(t *testing.T) {
	t.Parallel()
	families, err := filled(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]Series{}
	for _, s := range Describe() {
		described[s.Name] = s
		for _, l := range s.Labels {
			if (l.Values == nil) == (l.Help == "") {
				t.Errorf("%s: label %s needs either its values or a text that says what they are", s.Name, l.Name)
			}
		}
	}
	for _, f := range families {
		s, ok := described[f.GetName()]
		if !ok {
			t.Errorf("%s is registered and not described", f.GetName())
			continue
		}
		delete(described, f.GetName())
		var got, want []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			got = append(got, l.GetName())
		}
		for _, l := range s.Labels {
			want = append(want, l.Name)
		}
		slices.Sort(want)
		if kind := strings.ToLower(f.GetType().String()); kind != s.Type || f.GetHelp() != s.Help || !slices.Equal(got, want) {
			t.Errorf("%s is a %s with labels %v and help %q, described as %+v", s.Name, kind, got, f.GetHelp(), s)
		}
	}
	for name := range described {
		t.Errorf("%s is described and not registered", name)
	}
}

// TestNew_KnownLabelsStartAtZero keeps rate() from missing the first failure.
func TestNew_KnownLabelsStartAtZero(t *testing.T) {
	t.Parallel()
	s := New(prometheus.NewRegistry())
	for name, want := range map[string]struct {
		got, want int
	}{
		"reasons":  {testutil.CollectAndCount(s.DeadLetter.Published), len(contactsync.Reasons())},
		"records":  {testutil.CollectAndCount(s.Consumer.Records), len(RecordResults)},
		"outcomes": {testutil.CollectAndCount(s.Batcher.Events), 4 + 2*len(Outcomes)},
	} {
		if want.got != want.want {
			t.Errorf("%s: %d series at start, want %d", name, want.got, want.want)
		}
	}
}
