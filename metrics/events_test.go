package metrics

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
)

func TestEvents_AgesByBound(t *testing.T) {
	t.Parallel()
	s := New(prometheus.NewRegistry())
	var totals EventTotals
	ages := &totals.Ended[Delivered]
	for _, age := range []time.Duration{-time.Hour, time.Second, time.Second + 1, 5 * time.Minute, 5*time.Minute + 1, 25 * time.Hour} {
		ages.Add(age)
	}
	totals.Consumed, totals.Waiting, totals.Unwritten, totals.Released = 10, 3, 2, 1
	s.Batcher.Events.Set(&totals)
	totals.Consumed = 99 // what was published stays as it is
	want := `
# HELP contactsync_batcher_events_consumed_total Events taken in. At each scrape they are those completed, those released and those waiting.
# TYPE contactsync_batcher_events_consumed_total counter
contactsync_batcher_events_consumed_total 10
# HELP contactsync_batcher_events_waiting Events taken in and neither completed nor released: those of contacts pending, in flight or on hold, and of dead letters that Kafka does not have yet.
# TYPE contactsync_batcher_events_waiting gauge
contactsync_batcher_events_waiting 3
# HELP contactsync_batcher_events_unwritten Events taken in that wait for Kafka to have a dead letter of theirs.
# TYPE contactsync_batcher_events_unwritten gauge
contactsync_batcher_events_unwritten 2
`
	if err := testutil.CollectAndCompare(s.Batcher.Events, strings.NewReader(want), "contactsync_batcher_events_consumed_total", "contactsync_batcher_events_waiting", "contactsync_batcher_events_unwritten"); err != nil {
		t.Error(err)
	}
	text, err := testutil.CollectAndFormat(s.Batcher.Events, expfmt.TypeTextPlain, "contactsync_batcher_event_age_seconds")
	if err != nil {
		t.Fatal(err)
	}
	for bound, n := range map[string]int{"1": 2, "2": 3, "300": 4, "600": 5, "86400": 5, "+Inf": 6} {
		if line := fmt.Sprintf(`_bucket{outcome="delivered",le="%s"} %d`, bound, n); !strings.Contains(string(text), line+"\n") {
			t.Errorf("want %s in\n%s", line, text)
		}
	}
}

// A scrape shows one moment, however often the totals change meanwhile.
func TestEvents_OneMomentAtAScrape(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := New(reg)
	done := make(chan struct{})
	defer func() { <-done }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		defer close(done)
		for n := uint64(0); ctx.Err() == nil; n++ {
			s.Batcher.Events.Set(&EventTotals{Consumed: n, Waiting: n})
		}
	}()
	for range 200 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var consumed, waiting float64
		for _, f := range families {
			switch f.GetName() {
			case "contactsync_batcher_events_consumed_total":
				consumed = f.GetMetric()[0].GetCounter().GetValue()
			case "contactsync_batcher_events_waiting":
				waiting = f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		if consumed != waiting {
			t.Fatalf("%v events are consumed and %v wait", consumed, waiting)
		}
	}
}

// BenchmarkEvents is what the totals cost: counting the end of an event, and publishing what is
// counted, which is once a round of the batcher, however many events have ended in it.
//
//	go test -run '^$' -bench Events ./metrics
func BenchmarkEvents(b *testing.B) {
	var total EventTotals
	b.Run("an event ends", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			total.Ended[Delivered].Add(time.Duration(i%4000) * time.Millisecond)
		}
	})
	e := &New(prometheus.NewRegistry()).Batcher
	b.Run("published", func(b *testing.B) {
		for b.Loop() {
			e.Events.Set(&total)
		}
	})
}
