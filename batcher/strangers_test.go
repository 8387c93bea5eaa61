package batcher

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/metrics"
)

// bucketGate lets six requests start at once, and 54 more in a minute.
type bucketGate struct {
	open
	tokens float64
	last   time.Time
}

func (g *bucketGate) Admit(now time.Time, _ string, spare bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	const refill = 54.0 / 60
	g.tokens = min(6, g.tokens+now.Sub(g.last).Seconds()*refill)
	g.last = now
	needed := 1.0
	if spare {
		needed = 6
	}
	if g.tokens < needed {
		return nil, now.Add(time.Duration((needed-g.tokens)/refill*float64(time.Second)) + time.Microsecond)
	}
	g.tokens--
	return func(time.Time, contactsync.Result) time.Time { return time.Time{} }, time.Time{}
}

// feedOfStrangers is an account with one stream that the API takes, and a feed of streams that
// it refuses, each with one contact.
type feedOfStrangers struct {
	healthyEvery, strangerEvery time.Duration // the latter is 500 ms unless set
	strangersFirst              int           // that are read before the first event of the healthy stream
	refusal                     contactsync.Kind
	lasts                       time.Duration
}

// play returns the ages at which the events of the healthy stream were delivered, sorted.
func (s feedOfStrangers) play(t *testing.T) []time.Duration {
	t.Helper()
	const latency = 200 * time.Millisecond
	w := newTestWindow(t, nil)
	w.set = metrics.New(prometheus.NewRegistry())
	gate := &bucketGate{tokens: 1, last: w.now}
	w.Window = NewWindow(w.cfg, func(string) (Gate, bool) { return gate, true }, &w.set.Batcher, 1)
	w.Assign(w.now, []contactsync.Claim{testClaim}, false)

	type flight struct {
		req *Request
		at  time.Time
	}
	var flights []flight
	var ages []time.Duration
	added := map[string]time.Time{}
	start, n := w.now, 0
	for range s.strangersFirst {
		w.add(fmt.Sprintf("early%d/c", n))
		n++
	}
	for step := time.Duration(0); step < s.lasts; step += 100 * time.Millisecond {
		w.now = start.Add(step)
		for len(flights) > 0 && !flights[0].at.After(w.now) {
			f := flights[0]
			flights = flights[1:]
			if f.req.Batch.Stream != "healthy" {
				w.settle(f.req, contactsync.Result{Kind: s.refusal, Status: 404})
				continue
			}
			for _, row := range f.req.Batch.Rows {
				ages = append(ages, w.now.Sub(added[row.ID]))
			}
			w.settle(f.req, allDelivered(f.req.Batch))
		}
		if s.strangerEvery > 0 && step%s.strangerEvery == 0 {
			w.add(fmt.Sprintf("stranger%d/c", n))
		}
		if step%s.healthyEvery == 0 {
			id := fmt.Sprint("c", n)
			added[id] = w.now
			w.add("healthy/" + id)
		}
		n++
		if step%time.Second == 0 {
			w.Expire(w.now)
		}
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			flights = append(flights, flight{req, w.now.Add(latency)})
		}
	}
	for range len(added) - len(ages) - 100 { // but for the last few
		ages = append(ages, s.lasts)
	}
	slices.Sort(ages)
	return ages
}

// Two events a second, more than the account has calls, or one in two seconds are each of another stream
// that the API refuses. They keep the one that it takes from at most a quarter of the calls, and where half
// of these are enough for it, from none that it needs.
func TestWindow_StrangersDoNotSlowAStreamThatIsAccepted(t *testing.T) {
	t.Parallel()
	for _, feed := range []feedOfStrangers{
		{healthyEvery: 100 * time.Millisecond, refusal: contactsync.StreamGone},
		{healthyEvery: 500 * time.Millisecond, refusal: contactsync.StreamGone},
		{healthyEvery: 500 * time.Millisecond, refusal: contactsync.Unauthorized},
		{healthyEvery: 500 * time.Millisecond, refusal: contactsync.StreamGone, strangersFirst: 1000},
		{healthyEvery: 500 * time.Millisecond, refusal: contactsync.Unauthorized, strangersFirst: 1000},
		{healthyEvery: 5 * time.Second, refusal: contactsync.Unauthorized},
		{healthyEvery: 2 * time.Second, refusal: contactsync.StreamGone},
		{healthyEvery: 2 * time.Second, refusal: contactsync.BadRequest},
		{healthyEvery: 2 * time.Second, refusal: contactsync.StreamGone, strangerEvery: 2 * time.Second},
		{healthyEvery: 2 * time.Second, refusal: contactsync.BadRequest, strangerEvery: 2 * time.Second},
	} {
		t.Run(fmt.Sprint(feed), func(t *testing.T) {
			t.Parallel()
			feed.lasts = 40 * time.Minute
			with := feed
			feed.strangersFirst, feed.strangerEvery = 0, 0
			with.strangerEvery = cmp.Or(with.strangerEvery, 500*time.Millisecond)
			alone, beside := p99(feed.play(t)), p99(with.play(t))
			if t.Logf("p99 %v alone, %v beside strangers", alone, beside); beside > 2*alone || alone > 2*time.Second {
				t.Errorf("p99 of the age is %v beside strangers, %v without", beside, alone)
			}
		})
	}
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

// A process that starts knows no stream. Many strangers are refused before the first of
// those that it could deliver: these are tried soon all the same.
func TestWindow_AfterAStartGoodStreamsAreTriedSoon(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	for i := range 30 {
		w.add(fmt.Sprintf("stranger%d/c", i))
	}
	for i := range 30 {
		w.add(fmt.Sprintf("good%d/c", i))
	}
	calls, delivered := 0, 0
	for ; delivered < 30 && calls < 200; calls++ {
		req := w.send() // a minute later: everything that waits may be tried
		if strings.HasPrefix(req.Batch.Stream, "good") {
			delivered++
			w.settle(req, allDelivered(req.Batch))
			continue
		}
		w.settle(req, contactsync.Result{Kind: contactsync.StreamGone, Status: 404})
	}
	if calls > 80 {
		t.Errorf("%d calls until 30 good streams are delivered, which have 30 strangers before them", calls)
	}
}

// known makes a stream one that was accepted.
func (w *testWindow) known(name string) *stream {
	st := w.schedule.stream(name, "a")
	st.account.strangers.accept(w.now, st)
	return st
}

func TestHealth_StrangersAreNoStrikesWhileTheAccountWorks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answered time.Duration // ago
		known    bool          // the streams were accepted before
		want     bool
	}{
		"the account works":               {time.Minute, false, false},
		"it has not answered for long":    {10 * time.Minute, false, true},
		"streams that were accepted":      {time.Minute, true, true},
		"it has never answered for a row": {-1, false, true},
	} {
		w := newTestWindow(t, nil)
		if tt.answered >= 0 {
			for _, stream := range []string{"live", "x", "y", "z"} {
				if stream == "live" || tt.known {
					w.known(stream)
				}
			}
			w.now = w.now.Add(tt.answered)
		}
		for _, stream := range []string{"x", "y", "z"} {
			w.heard(stream, contactsync.StreamGone)
		}
		if got := w.schedule.account("a").onHold() != nil; got != tt.want {
			t.Errorf("%s: held %v, want %v", name, got, tt.want)
		}
	}
}

// A stream that comes back is no stranger although nothing of it was pending meanwhile.
func TestWindow_AcceptedStreamsAreRemembered(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("good/c")
	req := w.send()
	w.settle(req, allDelivered(req.Batch))
	w.now = w.now.Add(time.Hour)
	w.Expire(w.now)
	if len(w.schedule.streams) != 0 {
		t.Fatal("the stream is still there")
	}
	if !w.schedule.stream("good", "a").health.accepted || w.schedule.stream("other", "a").health.accepted {
		t.Error("want the one stream known, and the other one not")
	}
}

func TestSchedule_Standing(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	want := func(when, stream string, want standing) {
		t.Helper()
		w.add(stream + "/c")
		if got := w.schedule.standing(w.schedule.stream(stream, "a"), w.now.Add(time.Minute)); got != want {
			t.Errorf("%s: %s has standing %d, want %d", when, stream, got, want)
		}
	}
	w.known("known")
	want("accepted", "known", regular)
	want("at first", "new", regular)
	w.heard("refused", contactsync.Unauthorized)
	want("refused once", "refused", stranger)
	w.heard("known", contactsync.Unauthorized)
	want("refused after it was accepted", "known", regular)
	w.heard("refused", contactsync.Unauthorized)
	want("refused twice", "refused", apart)
	w.heard("refused", contactsync.Answered)
	want("then accepted", "refused", regular)
	for i := range 9 {
		w.heard(fmt.Sprint("x", i), contactsync.StreamGone)
		w.heard(fmt.Sprint("x", i), contactsync.StreamGone) // counts once
	}
	want("nine and one of twelve were refused", "new", stranger)
	want("nine and one of twelve were refused", "known", regular)
	for i := range 11 {
		w.heard(fmt.Sprint("good", i), contactsync.Answered)
	}
	want("nine of the last twenty were refused", "new", regular)
	w.heard("known", contactsync.Unavailable)
	want("failed", "known", apart)
}

// Where one stream after another begins to fail, those that were accepted since go before the others. Of these the one goes first that was
// accepted last, or else has the youngest event.
func TestSchedule_StreamsThatMayFailNext(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	for _, stream := range []string{"well", "bad", "better"} {
		w.known(stream)
		w.now = w.now.Add(time.Second)
	}
	w.add("new/c", "bad/c", "better/c", "well/c", "newer/c")
	w.now = w.now.Add(time.Second)
	a := w.schedule.account("a")
	want := func(when string, want standing, streams ...string) {
		t.Helper()
		w.schedule.place(w.now)
		for _, stream := range streams {
			if got := w.schedule.standing(w.schedule.stream(stream, "a"), w.now); got != want {
				t.Errorf("%s: %s has standing %d, want %d", when, stream, got, want)
			}
		}
	}
	turn := func(others, newcomers int, stream string) {
		t.Helper()
		w.schedule.place(w.now)
		a.promote(w.now)
		a.others, a.newcomers = others, newcomers
		if got := w.schedule.turn(a, w.now); got.name != stream {
			t.Errorf("after %d of others and %d of those in doubt it is the turn of %s, want %s", others, newcomers, got.name, stream)
		}
	}
	w.heard("before", contactsync.Unavailable)
	w.known("well") // in between
	for i := range troubleAfter {
		want("few fail", regular, "well", "better", "bad", "new", "newer")
		turn(0, 0, "new")
		w.heard(fmt.Sprint("x", i), contactsync.Unavailable)
		w.heard(fmt.Sprint("x", i), contactsync.Unavailable) // counts once
	}
	want("some fail", stranger, "well", "better", "bad", "new", "newer")
	w.now = w.now.Add(time.Second)
	w.schedule.touch(w.known("well"))
	want("some fail, and one was accepted since", regular, "well")
	want("some fail", stranger, "better", "bad", "new", "newer")
	turn(0, 0, "well")
	turn(othersFirst, 0, "better")
	w.schedule.drop(w.schedule.stream("better", "a"))
	turn(othersFirst, 0, "bad")
	w.schedule.drop(w.schedule.stream("bad", "a"))
	turn(othersFirst, 0, "newer")
	if w.schedule.started(&Request{stream: w.schedule.stream("newer", "a")}, stranger); a.newcomers != 1 {
		t.Errorf("a request of a stream in doubt does not count: %d", a.newcomers)
	}
	w.now = w.now.Add(w.cfg.BackoffMax)
	want("none has begun to fail for long", regular, "well", "new", "newer")
	turn(0, 0, "new")
}

// While an account is on hold, its probes are of streams that were accepted before, and of
// strangers in between. Of streams that were not refused yet the one with the most contacts
// goes first, and of equals the one with the youngest event.
func TestSchedule_ProbesOfAnAccountOnHold(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.known("good")
	for _, stream := range []string{"was good", "was good too", "was good as well"} {
		w.known(stream)
		w.add(stream + "/c")
		w.heard(stream, contactsync.StreamGone)
	}
	w.add("refused/c")
	w.heard("refused", contactsync.StreamGone)
	w.add("older/c", "old/c", "busy/c", "busy/d", "young/c")
	if w.schedule.account("a").onHold() == nil {
		t.Fatal("the account is not on hold")
	}
	probe := func() string {
		w.now = w.now.Add(time.Hour)
		req := w.Next(w.now)
		w.settle(req, contactsync.Result{Kind: contactsync.StreamGone, Status: 404})
		return req.Batch.Stream
	}
	var order []string
	for range 7 {
		order = append(order, probe())
	}
	w.add("good/c")
	order = append(order, probe())
	want := []string{"busy", "young", "old", "was good", "older", "was good too", "was good as well", "good"}
	if !slices.Equal(order, want) {
		t.Errorf("probes of %q, want %q", order, want)
	}
}
