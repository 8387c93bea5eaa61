package batcher

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// chaos answers and publishes in every way there is.
type chaos struct{ n atomic.Int64 }

func (c *chaos) Send(ctx context.Context, b contactsync.Batch) contactsync.Result {
	switch n := c.n.Add(1); {
	case b.Stream == "gone":
		return contactsync.Result{Kind: contactsync.StreamGone, Status: 404}
	case n%7 == 0:
		return contactsync.Result{Kind: contactsync.TooLarge}
	case n%5 == 0:
		r := allDelivered(b)
		r.Rows[0].Verdict = contactsync.Failed
		return r
	case n%11 == 0: // until its partitions are given back
		<-ctx.Done()
		return contactsync.Result{Kind: contactsync.Canceled}
	}
	return allDelivered(b)
}

func (c *chaos) Publish(_ context.Context, letters []contactsync.DeadLetter) ([]contactsync.DeadLetter, error) {
	return letters[:c.n.Add(1)%2], nil
}

func (c *chaos) Done([]contactsync.Ended) {}

func (c *chaos) Park([]contactsync.Parked) {}

// At every scrape the events that were consumed are those completed, released and waiting,
// and each completed one has an age: while the window is full, streams are on hold, dead
// letters wait and partitions come and go.
func TestBatcher_EventsAddUpAtEveryScrape(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	m := metrics.New(reg)
	cfg := DefaultConfig()
	cfg.WindowBytes, cfg.MaxRows, cfg.Linger = 30<<10, 5, time.Millisecond
	cfg.BackoffMin, cfg.BackoffMax, cfg.HoldProbeMax = time.Millisecond, 2*time.Millisecond, 2*time.Millisecond
	c := &chaos{}
	b := New(cfg, Deps{
		Sender: c, Publisher: c, Acker: c, Gates: func(string) (Gate, bool) { return open{}, true },
		Log: slog.New(slog.DiscardHandler), Metrics: &m.Batcher, DeadLetters: &m.DeadLetter, Seed: 1,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	seen := seenAtScrapes{seen: map[string]bool{}}
	scraped := make(chan struct{})
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				families, err := reg.Gather()
				if err != nil {
					t.Error(err)
				}
				seen.check(t, families)
				select {
				case scraped <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	for generation := int32(0); (generation < 20 || seen.lacks() != "") && !t.Failed(); generation++ {
		claim := testClaim
		claim.Generation = generation + 10
		b.Assign([]contactsync.Claim{claim}, generation%3 == 1)
		filling, stop := context.WithCancel(ctx)
		var adding sync.WaitGroup
		adding.Go(func() {
			for offset := int64(0); filling.Err() == nil; offset += 10 {
				_ = b.Add(filling, chaosEvents(claim, offset)) // a full window blocks it until the end of the generation
			}
		})
		for range 20 {
			<-scraped
		}
		stop()
		adding.Wait()
		gaveUp, giveUp := context.WithCancel(ctx)
		giveUp()
		_, _ = b.Release(gaveUp)
	}
	cancel()
	running.Wait()
}

func chaosEvents(claim contactsync.Claim, from int64) (events []event.Event) {
	for offset := from; offset < from+10; offset++ {
		ev := event.Event{
			Record: contactsync.Record{Position: contactsync.Position{TopicPartition: claim.TopicPartition, Offset: offset}, Generation: claim.Generation, Time: time.Now()},
			Kind:   event.Update,
			Contact: event.Contact{
				Stream: []string{"one", "two", "gone"}[offset%3], ID: string(rune('a' + offset*7%97)), Account: "a", Body: []byte(`{"id":"x"}`), Shape: 1,
			},
		}
		switch offset % 20 {
		case 3:
			ev.Kind, ev.Err = event.Broken, &event.DecodeError{Reason: contactsync.ReasonInvalid}
		case 7:
			ev.Kind = event.Delete
		case 9:
			ev.Before = contactsync.Completed
		}
		events = append(events, ev)
	}
	return events
}

// seenAtScrapes is what some scrape has shown.
type seenAtScrapes struct {
	mu   sync.Mutex
	seen map[string]bool
}

// lacks names what no scrape has shown yet.
func (s *seenAtScrapes) lacks() (missing string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range []string{"batcher_events_completed_total", "batcher_events_released_total", "batcher_events_waiting", "batcher_window_full", "batcher_streams_on_hold", "deadletter_pending"} {
		if !s.seen[metrics.Namespace+"_"+what] {
			missing += what + " "
		}
	}
	return missing
}

func (s *seenAtScrapes) check(t *testing.T, families []*dto.MetricFamily) {
	t.Helper()
	sum := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sum[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	get := func(name string) float64 { return sum["contactsync_batcher_"+name] }
	consumed, completed, released, waiting := get("events_consumed_total"), get("events_completed_total"), get("events_released_total"), get("events_waiting")
	if consumed != completed+released+waiting {
		t.Errorf("%v events consumed, but %v completed, %v released and %v waiting", consumed, completed, released, waiting)
	}
	if aged := get("event_age_seconds"); aged != completed {
		t.Errorf("%v events completed, %v have an age", completed, aged)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, n := range sum {
		if n > 0 {
			s.seen[name] = true
		}
	}
}
