package batcher

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/metrics"
)

// The number of series does not grow with streams and partitions.
func TestSeries_AreBounded(t *testing.T) {
	t.Parallel()
	count := func(streams, partitions int) (n int) {
		reg := prometheus.NewRegistry()
		w := NewWindow(DefaultConfig(), func(string) (Gate, bool) { return open{}, true }, &metrics.New(reg).Batcher, 1)
		tw := &testWindow{Window: w, t: t}
		var claims []contactsync.Claim
		for p := range partitions {
			c := testClaim
			c.Partition = int32(p)
			claims = append(claims, c)
		}
		w.Assign(tw.now, claims, false)
		for s := range streams {
			tw.addTo(claims[s%partitions], fmt.Sprintf("st-%d/c", s))
		}
		w.Observe(tw.now)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	if few, many := count(1, 1), count(100_000, 200); few != many {
		t.Errorf("%d series with one stream, %d with 100,000 streams and 200 partitions", few, many)
	}
}
