package batcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/metrics"
)

// testSchedule has one account, a, unless a stream is named account/stream.
type testSchedule struct {
	schedule
	now time.Time
}

func newTestSchedule() *testSchedule {
	cfg := DefaultConfig()
	cfg.MaxRows, cfg.MaxInFlight, cfg.Linger = 3, 2, time.Second
	m := newSeries(&metrics.New(prometheus.NewRegistry()).Batcher)
	return &testSchedule{
		schedule{cfg: &cfg, gates: func(string) (Gate, bool) { return open{}, true }, m: &m, streams: map[streamKey]*stream{}, quiet: map[*stream]struct{}{}},
		time.Unix(1_700_000_000, 0),
	}
}

// with lets contacts wait in a stream, each since the time that it arrived at.
func (s *testSchedule) with(name string, waited ...time.Duration) *stream {
	account, _, found := strings.Cut(name, "/")
	if !found {
		account = "a"
	}
	st := s.stream(name, account)
	for _, d := range waited {
		st.queue.pushBack(newWaiting(st, s.now.Add(-d)))
	}
	s.touch(st)
	return st
}

func (s *testSchedule) hold(st *stream) {
	st.health.hold = &hold{kind: holdGone}
	s.touch(st)
}

// When a stream may be sent, from now on; never as far as is known where there is no time.
func TestSchedule_Timing(t *testing.T) {
	t.Parallel()
	const never = time.Duration(-1)
	for name, tt := range map[string]struct {
		change func(s *testSchedule, st *stream)
		want   time.Duration
	}{
		"it lingers":               {func(s *testSchedule, _ *stream) { s.with("st", 300*time.Millisecond, 0) }, 700 * time.Millisecond},
		"nothing waits":            {func(*testSchedule, *stream) {}, never},
		"a full request":           {func(s *testSchedule, _ *stream) { s.with("st", 0, 0, 0) }, 0},
		"a full request, by bytes": {func(s *testSchedule, st *stream) { s.with("st", 0); st.account.health.size.bytes.limit = 1 }, 0},
		"a partition catches up": {func(s *testSchedule, _ *stream) {
			s.with("st", time.Hour)
			s.collect(true)
		}, never},
		"full while one catches up": {func(s *testSchedule, _ *stream) {
			s.with("st", 0, 0, 0)
			s.collect(true)
		}, 0},
		"backing off": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.health.backoff = s.now.Add(5 * time.Second)
		}, 5 * time.Second},
		"on hold": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			s.hold(st)
		}, 0},
		"on hold, and a probe is out": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			s.hold(st)
			s.started(&Request{stream: st}, regular)
		}, never},
		"a set of its own": {func(s *testSchedule, st *stream) {
			s.with("st", 0)
			st.retries.add(groupOf(s.now.Add(200*time.Millisecond), "a"))
		}, 200 * time.Millisecond},
		"a set of its own while a partition catches up": {func(s *testSchedule, st *stream) {
			st.retries.add(groupOf(s.now.Add(200*time.Millisecond), "a"))
			s.touch(st)
			s.collect(true)
		}, 200 * time.Millisecond},
		"as many requests as the account may have": {func(s *testSchedule, _ *stream) {
			other := s.with("other")
			s.started(&Request{stream: other}, regular)
			s.started(&Request{stream: other}, regular)
			s.with("st", time.Hour)
		}, never},
		"the gate refused": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.account.refused(s.now, s.now.Add(3*time.Second), false)
		}, 3 * time.Second},
		"the gate refused without a time": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.account.refused(s.now, time.Time{}, false)
		}, time.Millisecond},
		"the gate refused what can wait": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.account.refused(s.now, s.now.Add(3*time.Second), true)
		}, 0},
		"the gate refused it, and it can": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.health.strange = true
			st.account.refused(s.now, s.now.Add(3*time.Second), true)
		}, 3 * time.Second},
		"the gate refused it, and it fails": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.contacts["one"], st.contacts["other"] = &contact{}, &contact{}
			st.health.failures = 1
			st.account.refused(s.now, s.now.Add(3*time.Second), true)
		}, 0},
		"the gate refused it, and it fails, with nothing behind what failed": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.health.failures = 1
			st.account.refused(s.now, s.now.Add(3*time.Second), true)
		}, 3 * time.Second},
		"the gate refused it, and several of its contacts failed alone": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.contacts["one"], st.contacts["other"] = &contact{}, &contact{}
			st.health.failures, st.health.singles = 1, suspectAfter+1
			st.account.refused(s.now, s.now.Add(3*time.Second), true)
		}, 3 * time.Second},
		"the gate refused it, and others had their part": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.health.strange = true
			st.account.others = othersFirst
			st.account.refused(s.now, s.now.Add(3*time.Second), true)
		}, 0},
		"the account is on hold": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.signer.held, st.signer.probe = true, s.now.Add(4*time.Second)
		}, 4 * time.Second},
		"the account is on hold, and a probe is out": {func(s *testSchedule, st *stream) {
			s.with("st", time.Hour)
			st.signer.held = true
			s.started(&Request{stream: s.with("other")}, regular)
		}, never},
		"the account is on hold, and regular work of what probes it falls due": {func(s *testSchedule, st *stream) {
			s.with("st", 600*time.Millisecond)
			g := groupOf(s.now, "x")
			g.apart = true
			st.retries.add(g)
			st.signer.held = true
			st.account.refused(s.now, s.now.Add(3*time.Second), true)
		}, 400 * time.Millisecond},
	} {
		s := newTestSchedule()
		st := s.stream("st", "a")
		tt.change(s, st)
		got := never
		switch first := s.next(s.now); {
		case first == st:
			got = 0
		case first != nil:
			t.Errorf("%s: the wrong stream", name)
		default:
			if wake := s.wake(s.now); !wake.IsZero() {
				got = wake.Sub(s.now)
			}
		}
		if got != tt.want {
			t.Errorf("%s: sent after %v, want %v", name, got, tt.want)
		}
		if got <= 0 {
			continue
		}
		if s.next(s.now.Add(got-1)) != nil || s.next(s.now.Add(got)) != st {
			t.Errorf("%s: not sent at the time that wake said", name)
		}
	}
}

func TestSchedule_Turns(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for _, tt := range []struct {
		name  string
		setup func(s *testSchedule)
		want  string
	}{
		{"the oldest event goes first", func(s *testSchedule) {
			s.with("young", hour)
			s.with("old", 3*hour)
			s.with("middle", 2*hour)
		}, "old"},
		{"of equally old ones the stream that was first", func(s *testSchedule) {
			s.with("one", hour)
			s.with("two", hour)
		}, "one"},
		{"what an answer left open counts", func(s *testSchedule) {
			s.with("queue", hour)
			st := s.with("open", hour/2)
			g := groupOf(s.now, "x")
			g.head.rank.at = s.now.Add(-2 * hour)
			st.retries.add(g)
		}, "open"},
		{"rows that are tried apart after three others", func(s *testSchedule) {
			s.with("queue", hour)
			st := s.with("apart")
			g := groupOf(s.now, "x")
			g.apart = true
			g.head.rank.at = s.now.Add(-2 * hour)
			st.retries.add(g)
			st.account.others = othersFirst
		}, "apart"},
		{"but not with regular work", func(s *testSchedule) {
			s.with("queue", hour)
			st := s.with("apart", hour/2)
			g := groupOf(s.now, "x")
			g.apart = true
			g.head.rank.at = s.now.Add(-2 * hour)
			st.retries.add(g)
		}, "queue"},
		{"a stream that failed after three others", func(s *testSchedule) {
			s.with("live", hour)
			failed := s.with("failed", 2*hour)
			failed.health.failures = 1
			failed.account.others = othersFirst
		}, "failed"},
		{"and not before as well", func(s *testSchedule) {
			s.with("live", hour)
			failed := s.with("failed", 2*hour)
			failed.health.failures = 1
			failed.account.others = othersFirst - 1
		}, "live"},
		{"not while there is no room for such", func(s *testSchedule) {
			s.with("live", hour)
			failed := s.with("failed", 2*hour)
			failed.health.failures = 1
			failed.account.others, failed.account.apart = othersFirst, 1
		}, "live"},
		{"of two accounts the one whose stream has not failed", func(s *testSchedule) {
			s.with("a/live", hour)
			s.with("b/failed", 2*hour).health.failures = 1
		}, "a/live"},
		{"the oldest of all accounts", func(s *testSchedule) {
			s.with("a/1", hour)
			s.with("b/2", 2*hour)
		}, "b/2"},
		{"an account that may not start lets others go", func(s *testSchedule) {
			s.with("a/1", hour)
			s.with("b/2", 2*hour).account.refused(s.now, s.now.Add(hour), false)
		}, "a/1"},
		{"a stream on hold after three others", func(s *testSchedule) {
			s.with("live", hour)
			held := s.with("held", 2*hour)
			s.hold(held)
			held.account.others = othersFirst
		}, "held"},
		{"and not before", func(s *testSchedule) {
			s.with("live", hour)
			s.with("younger", 0, 0, 0)
			held := s.with("held", 2*hour)
			s.hold(held)
			held.account.others = othersFirst - 1
		}, "live"},
		{"unless no other is ready", func(s *testSchedule) {
			s.with("live", 0)
			s.hold(s.with("held", 2*hour))
		}, "held"},
		{"an account on hold tries the youngest that was not refused", func(s *testSchedule) {
			s.with("live", hour).signer.held = true
			s.with("young", hour/2)
			s.hold(s.with("held", hour/4))
		}, "young"},
		{"and else the oldest that was", func(s *testSchedule) {
			st := s.with("held", hour)
			st.signer.held = true
			s.hold(st)
			s.hold(s.with("older", 2*hour))
		}, "older"},
	} {
		s := newTestSchedule()
		tt.setup(s)
		if got := s.next(s.now); got == nil || got.name != tt.want {
			t.Errorf("%s: %+v, want %s", tt.name, got, tt.want)
		}
	}
}

// Every change of a stream that was touched moves it to where it belongs.
func TestSchedule_MovesWhatWasTouched(t *testing.T) {
	t.Parallel()
	s := newTestSchedule()
	st := s.with("st", time.Hour)
	s.with("other", time.Minute)
	for _, step := range []struct {
		name   string
		change func()
		want   string
	}{
		{"ready", func() {}, "st"},
		{"back to waiting", func() { st.health.backoff = s.now.Add(time.Hour) }, "other"},
		{"ready again", func() { st.health.backoff = time.Time{} }, "st"},
		{"younger", func() {
			st.queue.head.since, st.queue.head.rank.at = s.now.Add(-30*time.Second), s.now.Add(-30*time.Second)
		}, "other"},
		{"older", func() { st.queue.head.since, st.queue.head.rank.at = s.now.Add(-2*time.Hour), s.now.Add(-2*time.Hour) }, "st"},
		{"gone", func() { st.queue.remove(st.queue.head) }, "other"},
		{"back", func() { st.queue.pushBack(newWaiting(st, s.now.Add(-time.Hour))) }, "st"},
		{"dropped", func() {
			st.queue.remove(st.queue.head)
			s.touch(st)
			s.drop(st)
			other := s.streams[streamKey{"a", "other"}]
			other.queue.remove(other.queue.head)
			s.touch(other)
		}, ""},
	} {
		step.change()
		s.touch(st)
		got := ""
		if st := s.next(s.now); st != nil {
			got = st.name
		}
		if got != step.want {
			t.Errorf("%s: %q goes first, want %q", step.name, got, step.want)
		}
	}
}

func TestSchedule_CountsRequests(t *testing.T) {
	t.Parallel()
	s := newTestSchedule()
	live, held := s.with("live"), s.with("held")
	s.hold(held)
	first := &Request{stream: live}
	s.started(first, regular)
	s.started(&Request{stream: live}, regular)
	if live.inFlight != 2 || live.account.inFlight != 2 || live.account.others != 2 {
		t.Errorf("%d and %d in flight, %d of others", live.inFlight, live.account.inFlight, live.account.others)
	}
	s.started(&Request{stream: held}, regular)
	s.settled(first)
	if live.inFlight != 1 || live.account.inFlight != 2 || live.account.others != 0 {
		t.Errorf("%d and %d in flight, %d of others since the probe", live.inFlight, live.account.inFlight, live.account.others)
	}
}

func TestSchedule_DropsWhatIsEmpty(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(s *testSchedule, st *stream)
		kept   bool
	}{
		"nothing":     {func(*testSchedule, *stream) {}, false},
		"a contact":   {func(_ *testSchedule, st *stream) { st.contacts["x"] = &contact{} }, true},
		"a request":   {func(s *testSchedule, st *stream) { s.started(&Request{stream: st}, regular) }, true},
		"backing off": {func(s *testSchedule, st *stream) { st.health.backoff = s.now.Add(1) }, true},
		"has waited":  {func(s *testSchedule, st *stream) { st.health.backoff = s.now }, false},
		"on hold":     {func(s *testSchedule, st *stream) { s.hold(st) }, true},
		"answered":    {func(s *testSchedule, st *stream) { st.health.answered.add(s.now, tally{accepted: 1}) }, true},
		"answered old": {func(s *testSchedule, st *stream) {
			st.health.answered.add(s.now.Add(-2*time.Minute), tally{refused: 1})
		}, false},
	} {
		s := newTestSchedule()
		st := s.stream("st", "a")
		tt.change(s, st)
		s.dropEmpty(s.now)
		if kept := s.streams[streamKey{"a", "st"}] != nil; kept != tt.kept {
			t.Errorf("%s: kept %v, want %v", name, kept, tt.kept)
		}
	}
}

// newWaiting is a contact that has waited since a time.
func newWaiting(st *stream, since time.Time) *contact {
	return &contact{stream: st, since: since, rank: rank{at: since}}
}

// TestWindow_ABacklogGoesByTheAgeOfItsEvents: what catch-up collects becomes ready at
// once, and must not be sent one stream after the other.
func TestWindow_ABacklogGoesByTheAgeOfItsEvents(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(now time.Time, i int) time.Time{
		"a minute apart":      func(now time.Time, i int) time.Time { return now.Add(time.Duration(i-100) * time.Minute) },
		"all in one moment":   func(now time.Time, _ int) time.Time { return now.Add(-time.Hour) },
		"one in the future":   func(now time.Time, i int) time.Time { return now.Add(time.Duration(i%7-3) * 1000 * time.Hour) },
		"none has any":        func(time.Time, int) time.Time { return time.Time{} },
		"in the wrong order":  func(now time.Time, i int) time.Time { return now.Add(-time.Duration(i) * time.Minute) },
		"all from the future": func(now time.Time, _ int) time.Time { return now.Add(1000 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, func(cfg *Config) { cfg.MaxRows, cfg.MaxInFlight = 2, 100 })
			w.Forget(w.now)
			w.Assign(w.now, []contactsync.Claim{testClaim}, true)
			for i := range 12 {
				ev := w.event(fmt.Sprintf("s%d/c%d", i%3, i))
				ev.Record.Time = at(w.now, i)
				w.Add(w.now, ev)
			}
			w.CaughtUp(w.now, testClaim)
			w.add("s9/young", "s9/younger")
			var sent []string
			for f := w.Next(w.now); f != nil; f = w.Next(w.now) {
				sent = append(sent, f.Batch.Stream)
			}
			want := []string{"s0", "s1", "s2", "s0", "s1", "s2", "s9"}
			if !slices.Equal(sent, want) {
				t.Errorf("sent %v, want %v", sent, want)
			}
		})
	}
}

// TestWindow_AWrongClockIsNoAdvantage: once a partition has been caught up with, the
// arrival counts.
func TestWindow_AWrongClockIsNoAdvantage(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(cfg *Config) { cfg.MaxRows = 1 })
	w.add("s1/honest")
	old := w.event("s2/from-1970")
	old.Record.Time = time.Unix(0, 0)
	w.Add(w.now, old)
	if f := w.Next(w.now); f == nil || f.Batch.Stream != "s1" {
		t.Errorf("%+v goes first", f)
	}
}
