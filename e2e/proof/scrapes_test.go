//go:build proof

package proof

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/metrics"
)

// scrapes look at /metrics: at each, the events consumed must be those completed, those
// released and those waiting, and each completed one must have an age.
type scrapes struct {
	mu     sync.Mutex
	n      int
	most   map[string]float64 // of each series without labels, and of the sums over them
	faults []string           // the first few
	wrong  int
}

// ask scrapes without a break until ctx ends, and returns how often.
func (s *scrapes) ask(ctx context.Context, client *http.Client, addr string) (scraped int) {
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
		if err != nil {
			return scraped
		}
		if resp, err := client.Do(req); err == nil {
			text, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK { // else it was cut off
				s.look(string(text))
				scraped++
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
	return scraped
}

// look takes in one scrape in the text format.
func (s *scrapes) look(text string) {
	sums := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		series, ours := strings.CutPrefix(lines.Text(), metrics.Namespace+"_")
		end := strings.IndexAny(series, "{ ")
		if !ours || end < 0 {
			continue
		}
		v, err := strconv.ParseFloat(series[strings.LastIndexByte(series, ' ')+1:], 64)
		if err != nil {
			v = -1 // no count is: the sums do not add up
		}
		sums[series[:end]] += v
	}
	of := func(name string) float64 { return sums["batcher_"+name] }
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.most == nil {
		s.most = map[string]float64{}
	}
	for name, v := range sums {
		s.most[name] = max(s.most[name], v)
	}
	consumed, completed, released, waiting := of("events_consumed_total"), of("events_completed_total"), of("events_released_total"), of("events_waiting")
	aged := of("event_age_seconds_count")
	if consumed == completed+released+waiting && completed == aged {
		return
	}
	s.wrong++
	if len(s.faults) < 5 {
		s.faults = append(s.faults, fmt.Sprintf("scrape %d: %v events consumed; %v completed, %v released, %v waiting; %v with an age",
			s.n, consumed, completed, released, waiting, aged))
	}
}

// saw reports whether a scrape has shown a series above zero.
func (s *scrapes) saw(series string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most[series] > 0
}

// judge also checks that what may disturb the sums was there.
func (s *scrapes) judge(f *figures) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.check("scrapes", s.n > 0, "", s.n, "some")
	f.check("  that do not add up", s.wrong == 0, "", s.wrong, "0")
	for _, what := range []struct {
		name, series string
		least        float64
	}{
		{"  most events consumed", "batcher_events_consumed_total", 1},
		{"  most events waiting", "batcher_events_waiting", 1},
		{"  events released", "batcher_events_released_total", 1},
		{"  window full", "batcher_window_full", 1},
		{"  streams on hold", "batcher_streams_on_hold", 1},
		{"  dead letters", "deadletter_published_total", 1},
		{"  rebalances", "consumer_rebalances_total", 3},
	} {
		f.check(what.name, s.most[what.series] >= what.least, "", s.most[what.series], fmt.Sprintf("at least %v", what.least))
	}
}

// comeAndGo has a second replica join and leave, three times at least; each while the API is slow and more waits than the window holds. It returns how
// often that was.
func (r *poisonRun) comeAndGo(ctx context.Context, o options, d time.Duration, seen *scrapes) (rounds int) {
	r.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	owns := func(replica *harness.Replica, n float64) func() bool {
		return func() bool { return replica.Series().Value("consumer_assigned_partitions") == n }
	}
	for began := time.Now(); rounds < 3 || time.Since(began) < d; rounds++ {
		r.again += 2 * r.Config.Batcher.MaxRows // for each change of owner those of a request without an answer
		r.host.Turn(slowAPI, true)
		r.putMore(ctx, rounds)
		must(r.t, harness.Wait(ctx, func() bool {
			return r.replica.Series().Value("batcher_window_full") == 1 && seen.saw("batcher_window_full")
		}))
		second := r.start(o, nil)
		asking, stop := context.WithCancel(ctx)
		var asks sync.WaitGroup
		asks.Go(func() { seen.ask(asking, client, second.Addr) })
		must(r.t, harness.Wait(ctx, owns(second, 3)))
		r.host.Turn(slowAPI, false)
		must(r.t, harness.Wait(ctx, func() bool { return second.Series().Value("batcher_events_completed_total{delivered}") > 0 }))
		must(r.t, second.Stop())
		stop()
		asks.Wait()
		must(r.t, harness.Wait(ctx, owns(r.replica, 6)))
	}
	return rounds
}

// putMore produces more bytes than a window holds, and a few events that become dead letters.
func (r *poisonRun) putMore(ctx context.Context, round int) {
	r.t.Helper()
	const size = 200 << 10
	for left, n := int(r.Config.Batcher.WindowBytes)*3/2, 0; left > 0; { // in parts, since each is a batch at most
		var p poison
		for range 40 {
			c := feed.Contact{Stream: feed.StreamName(n % 8), ID: fmt.Sprintf("more-%d-%d", round, n)}
			value := feed.NewUpdate(c, 0, 1, feed.Update).Value
			at := len(value) - len("}}")
			value = fmt.Appendf(nil, `%s,"pad":"%s"%s`, value[:at], strings.Repeat("x", size), value[at:])
			p.add(c, feed.Update, "", value)
			left, n = left-size, n+1
		}
		p.add(feed.Contact{Stream: "poison", ID: fmt.Sprintf("more-%d-%d", round, n)}, feed.Undecodable, contactsync.ReasonUndecodable, []byte("no JSON"))
		r.put(ctx, p)
	}
}

func TestScrapes_FindWhatDoesNotAddUp(t *testing.T) {
	t.Parallel()
	const text = `# HELP contactsync_batcher_events_waiting Events.
contactsync_batcher_events_consumed_total 10
contactsync_batcher_events_completed_total{outcome="delivered"} 4
contactsync_batcher_events_completed_total{outcome="skipped"} 3
contactsync_batcher_events_released_total 1
contactsync_batcher_events_waiting 2
contactsync_batcher_event_age_seconds_count{outcome="delivered"} 7
`
	for change, want := range map[string]int{
		"":             0,
		"waiting 2":    1,
		"skipped\"} 3": 1,
		"_total 1\n":   1,
		"d\"} 7":       1,
	} {
		changed := text
		if change != "" {
			changed = strings.Replace(text, change, change[:len(change)-1]+"9", 1)
		}
		s := &scrapes{}
		s.look(text)
		s.look(changed)
		if s.n != 2 || s.wrong != want || len(s.faults) != want {
			t.Errorf("%q is changed: %d scrapes, %d faults: %q", change, s.n, s.wrong, s.faults)
		}
	}
}
