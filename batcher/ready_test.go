package batcher

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// closed lets no request start for the time being.
type closed struct{ open }

func (closed) Admit(time.Time, string, bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	return nil, time.Time{}
}

// queued is a window with so many streams that are ready, signed by two credentials, while the budget has no call left.
func queued(tb testing.TB, streams int, change func(*testWindow)) *testWindow {
	tb.Helper()
	w := newTestWindow(tb, func(c *Config) { c.WindowBytes, c.Linger = 1<<40, 0 })
	w.schedule.gates = func(string) (Gate, bool) { return closed{}, true }
	w.schedule.credential = func(_, stream string) string { return fmt.Sprint(stream[len(stream)-1] % 2) }
	for i := range streams {
		w.add(fmt.Sprintf("st-%d/c", i))
	}
	change(w)
	for w.Next(w.now) != nil || w.Wake().Equal(w.now) {
		continue
	}
	return w
}

// queues are what may be the matter with streams that are ready.
var queues = map[string]func(w *testWindow){
	"none":                     func(*testWindow) {},
	"the-oldest-is-on-hold":    func(w *testWindow) { w.schedule.stream("st-0", "a").health.hold = &hold{kind: holdRejecting} },
	"the-oldest-is-doubted":    func(w *testWindow) { w.known("st-0").health.doubted = true },
	"the-oldest-is-a-stranger": func(w *testWindow) { w.schedule.stream("st-0", "a").health.strange = true },
	"the-oldest-lingers": func(w *testWindow) {
		st := w.schedule.stream("st-0", "a")
		c := st.queue.head
		w.pending.unlink(c)
		g := newGroup([]*contact{c}, w.now)
		g.apart = true
		w.pending.sendApart(st, g)
	},
	"all-are-strangers": func(w *testWindow) { w.schedule.each(func(st *stream) { st.health.strange = true }) },
	"all-are-on-hold": func(w *testWindow) {
		w.schedule.each(func(st *stream) { st.health.hold = &hold{kind: holdRejecting} })
	},
	"a-credential-is-on-hold": func(w *testWindow) { w.holdSignerOf("st-0") },
	"a-credential-is-probed":  func(w *testWindow) { w.holdSignerOf("st-0").inFlight++ },
	"no-probe-is-due":         func(w *testWindow) { w.holdSignerOf("st-0").probe = w.now.Add(time.Hour) },
	"all-credentials-are-on-hold": func(w *testWindow) {
		w.holdSignerOf("st-0")
		w.holdSignerOf("st-1")
	},
}

func (w *testWindow) holdSignerOf(name string) *credential {
	st := w.schedule.stream(name, "a")
	w.health.holdSigner(w.now, st, "refused")
	return st.signer
}

// What happens for each event, and for each request, looks at as few streams, however many are ready and whatever is the
// matter with them.
func TestWindow_LooksAtFewStreamsThatAreReady(t *testing.T) {
	t.Parallel()
	for name, change := range queues {
		for _, streams := range []int{10, 3000} {
			w := queued(t, streams, change)
			look := func(what string) {
				w.now = w.now.Add(time.Second)
				before := w.schedule.visits
				w.add("st-3/new")
				if req := w.Next(w.now); req != nil {
					w.settle(req, contactsync.Result{Kind: contactsync.Unavailable, Status: 503})
				}
				w.Wake()
				if n := w.schedule.visits - before; n > 25 {
					t.Errorf("%s: %d of %d streams were looked at, %s", name, n, streams, what)
				}
			}
			look("without a request")
			w.schedule.account("a").gate = open{}
			look("and a request was made")
		}
	}
}

// Whose turn it is does not depend on which streams are alike: it is as if each was looked at.
func TestTurn_IsAsIfEachStreamWasLookedAt(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		may := func() bool { return r.IntN(3) == 0 }
		s := newTestSchedule()
		s.credential = func(_, stream string) string { return fmt.Sprint(stream[len(stream)-1] % 3) }
		ago := func() time.Time { return s.now.Add(-time.Duration(r.IntN(3000)) * time.Millisecond) }
		var streams []*stream
		for i := range 12 {
			streams = append(streams, s.stream(fmt.Sprint("st-", i), "a"))
		}
		a := streams[0].account
		for step := range 100 {
			st := streams[r.IntN(len(streams))]
			h := &st.health
			h.accepted, h.doubted, h.hold, h.failures, h.backoff = may(), may(), nil, 0, time.Time{}
			h.strange = !h.accepted && may()
			if may() {
				h.hold, h.failures, h.backoff = &hold{kind: holdGone}, 1, ago().Add(time.Second)
			}
			st.queue, st.retries, st.contacts = list{}, retries{}, map[string]*contact{}
			for i := range r.IntN(4) {
				c := newWaiting(st, ago())
				c.rank.seq = uint64(1000*seed) + uint64(10*step+i)
				st.contacts[fmt.Sprint(i)] = c
				if st.queue.pushBack(c); may() {
					st.queue.remove(c)
					g := newGroup([]*contact{c}, ago().Add(time.Second))
					g.apart = may()
					st.retries.add(g)
				}
			}
			if c := st.signer; may() {
				c.held, c.inFlight, c.probe = may(), r.IntN(2), ago().Add(time.Second)
				for _, st := range streams {
					s.touch(st)
				}
			}
			a.others, a.newcomers, a.ahead, a.apart = r.IntN(5), r.IntN(5), r.IntN(2), r.IntN(2)
			a.spareAgain, a.strangers.first = ago().Add(time.Second), firstAnswers(r.Uint32()>>12&r.Uint32())
			s.touch(st)
			s.now = s.now.Add(time.Duration(r.IntN(300)) * time.Millisecond)
			s.place(s.now)
			got, ready := s.turn(a, s.now), a.ready
			a.ready = map[class]*streamHeap{}
			for _, h := range ready {
				for _, st := range h.streams {
					a.ready[class{held: &credential{app: st.name}}] = &streamHeap{streams: []*stream{st}}
				}
			}
			if want := s.turn(a, s.now); got != want {
				t.Fatalf("seed %d, step %d: it is the turn of %+v, want %+v", seed, step, got, want)
			}
			if a.ready = ready; slices.ContainsFunc(streams, func(st *stream) bool { return (st.ready.heap != nil) == st.due.After(s.now) }) {
				t.Fatalf("seed %d, step %d: a stream is ready that is not due, or the other way round", seed, step)
			}
		}
	}
}
