package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
)

// TestNew_NamesAreInOrder runs Prometheus' own lint over every series.
func TestNew_NamesAreInOrder(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := New(reg)
	s.Consumer.Lag.WithLabelValues("t", "0") // vectors show once they have a value
	s.Upstream.Breaker.WithLabelValues("host")
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), Namespace+"_") {
			t.Errorf("%s does not start with %s_", f.GetName(), Namespace)
		}
	}
}

// TestNew_KnownLabelsStartAtZero keeps rate() from missing the first failure.
func TestNew_KnownLabelsStartAtZero(t *testing.T) {
	t.Parallel()
	s := New(prometheus.NewRegistry())
	for name, want := range map[string]struct {
		got, want int
	}{
		"kinds":   {testutil.CollectAndCount(s.Upstream.Requests), len(contactsync.Kinds())},
		"reasons": {testutil.CollectAndCount(s.DeadLetter.Published), len(contactsync.Reasons())},
		"events":  {testutil.CollectAndCount(s.Consumer.Events), len(EventResults)},
		"ended":   {testutil.CollectAndCount(s.Batcher.Ended), len(EndedAs)},
	} {
		if want.got != want.want {
			t.Errorf("%s: %d series at start, want %d", name, want.got, want.want)
		}
	}
}
