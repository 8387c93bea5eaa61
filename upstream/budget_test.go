package upstream

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testBudget(requests, burst int, window time.Duration, share string) Budget {
	return Budget{Requests: &requests, Burst: burst, Window: window, Share: share}
}

// drain starts every request that the budget grants at now, and returns how many.
func drain(b *budget, now time.Time) int {
	n := 0
	for b.next(now).IsZero() {
		b.take(now)
		n++
	}
	return n
}

// mostInWindow returns the largest number of starts in any window, which
// includes its beginning and not its end.
func mostInWindow(starts []time.Time, window time.Duration) int {
	slices.SortFunc(starts, time.Time.Compare)
	most, from := 0, 0
	for to := range starts {
		for starts[to].Sub(starts[from]) >= window {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

// greedy starts requests of all replicas as soon as they may be, until end.
func greedy(replicas []*budget, now, end time.Time) (starts []time.Time) {
	for now.Before(end) {
		wake := end
		for _, r := range replicas {
			for range drain(r, now) {
				starts = append(starts, now)
			}
			if again := r.next(now); again.Before(wake) {
				wake = again
			}
		}
		now = wake
	}
	return starts
}

// TestBudget_NoWindowExceedsTheRequests is I7: three replicas of one account,
// whose parts change as they like, never start more than the account allows.
func TestBudget_NoWindowExceedsTheRequests(t *testing.T) {
	t.Parallel()
	const whole = 12
	divisions := [][]int{{12, 0, 0}, {0, 12, 0}, {4, 4, 4}, {10, 1, 1}, {1, 1, 10}, {6, 6, 0}, {0, 5, 7}, {1, 1, 1}, {0, 0, 0}}
	rapid.Check(t, func(t *rapid.T) {
		requests := rapid.IntRange(2*whole, 150).Draw(t, "requests") // at least two for each part
		burst := rapid.SampledFrom([]int{0, 1, 2, requests / 5, requests / 2}).Draw(t, "burst")
		const window = 10 * time.Second
		now := time.Unix(1_767_951_304, 0)
		var replicas []*budget
		for range 3 {
			replicas = append(replicas, newBudget(testBudget(requests, burst, window, ShareSplit), time.Minute, now))
		}
		span := func(name string, values ...time.Duration) time.Duration {
			return rapid.SampledFrom(values).Draw(t, name) +
				time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, name+" and"))
		}
		var starts []time.Time
		for range rapid.IntRange(2, 6).Draw(t, "phases") {
			for i, part := range rapid.SampledFrom(divisions).Draw(t, "parts") {
				replicas[i].setShare(now, part, whole)
			}
			busy := replicas[rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "idle replicas"):]
			switch rapid.SampledFrom([]string{"", "", "", "throttle", "late clock"}).Draw(t, "event") {
			case "throttle":
				busy[0].throttle(now, span("wait", 0, window))
			case "late clock":
				for range drain(busy[0], now.Add(-window)) {
					starts = append(starts, now)
				}
			}
			now = now.Add(span("pause", 0, 0, window/2, 2*window))
			end := now.Add(span("work", 0, window/4, window/2, 2*window))
			starts = append(starts, greedy(busy, now, end)...)
			now = end
		}
		if most := mostInWindow(starts, window); most > requests {
			t.Fatalf("%d starts in a window of %d", most, requests)
		}
	})
}

// TestBudget_NoWindowExceedsTheRequestsWhenOneReplicaTakesOver is the case that the
// reserve is for: small shares have been rounded up to a token each, and then all
// requests are one replica's.
func TestBudget_NoWindowExceedsTheRequestsWhenOneReplicaTakesOver(t *testing.T) {
	t.Parallel()
	const requests, burst, window = 60, 1, 10 * time.Second
	for took := 2 * window; took < 4*window; took += time.Second / 2 {
		now := time.Unix(1_767_951_304, 0)
		var replicas []*budget
		for range 3 {
			replicas = append(replicas, newBudget(testBudget(requests, burst, window, ShareSplit), time.Minute, now))
		}
		var starts []time.Time
		for _, parts := range [][]int{{10, 1, 1}, {0, 12, 0}} {
			for i, part := range parts {
				replicas[i].setShare(now, part, 12)
			}
			end := now.Add(took)
			starts = append(starts, greedy(replicas, now, end)...)
			now = end
		}
		if most := mostInWindow(starts, window); most > requests {
			t.Errorf("after %v: %d starts in a window of %d", took, most, requests)
		}
	}
}

// A bucket would add the tokens of the time between once more.
func TestBudget_ClockThatGoesBackAddsNothing(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_767_951_304, 0)
	b := newBudget(testBudget(60, 0, time.Minute, ShareFull), time.Minute, now)
	now = now.Add(time.Minute)
	if got := b.remaining(now); got != 6 {
		t.Fatalf("%v requests after a window, want the burst of 6", got)
	}
	b.take(now)
	b.take(now.Add(-30 * time.Second))
	if got := b.remaining(now); got != 4 {
		t.Errorf("%v requests remain of 6 after two", got)
	}
}

// Each of a hundred replicas would start a request at every assignment.
func TestBudget_ShareOfLessThanOneRequestBeginsWithNone(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_767_951_304, 0)
	b := newBudget(testBudget(60, 0, time.Minute, ShareSplit), time.Minute, now)
	b.setShare(now, 1, 120)
	if n := drain(b, now); n != 0 {
		t.Errorf("%d requests at the assignment", n)
	}
	if n := drain(b, now.Add(3*time.Minute)); n != 1 {
		t.Errorf("%d requests after three minutes of half a request each, want 1 at a time", n)
	}
}

// TestBudget_GreedyReplicasUseTheirPart asks as soon as it may: the budget is
// used to what the burst leaves of it, and not beyond.
func TestBudget_GreedyReplicasUseTheirPart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		requests    int
		burst       int
		part, whole int
		least, most int // starts in ten windows
	}{
		{"the vendor's limit", 60, 0, 1, 1, 520, 541},
		{"half of it", 60, 0, 6, 12, 255, 271},
		{"a twelfth", 60, 0, 1, 12, 35, 41},
		{"little burst", 60, 1, 1, 1, 570, 591},
		{"one request", 1, 0, 1, 1, 7, 10},
		{"two requests", 2, 0, 1, 1, 7, 11},
		{"less than one request", 60, 0, 1, 120, 4, 5},
		{"nothing", 60, 0, 0, 12, 0, 0},
	} {
		now := time.Unix(1_767_951_304, 0)
		end := now.Add(10 * time.Minute)
		b := newBudget(testBudget(tt.requests, tt.burst, time.Minute, ShareSplit), time.Minute, now)
		b.setShare(now, tt.part, tt.whole)
		var starts []time.Time
		for now.Before(end) {
			for range drain(b, now) {
				starts = append(starts, now)
			}
			again := b.next(now)
			if !again.After(now) || again.Sub(now) > time.Second { // a new share may come
				t.Fatalf("%s: ask again after %v", tt.name, again.Sub(now))
			}
			now = again
		}
		if len(starts) < tt.least || len(starts) > tt.most {
			t.Errorf("%s: %d starts in ten windows, want %d to %d", tt.name, len(starts), tt.least, tt.most)
		}
		if most := mostInWindow(starts, time.Minute); most > max(1, tt.requests*tt.part/max(1, tt.whole)) {
			t.Errorf("%s: %d starts in a window", tt.name, most)
		}
	}
}

func TestBudget_BeginsWithOneRequest(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_767_951_304, 0)
	split := newBudget(testBudget(60, 0, time.Minute, ShareSplit), time.Minute, now)
	split.setShare(now, 3, 12)
	split.setShare(now, 12, 12)
	full := newBudget(testBudget(60, 0, time.Minute, ShareFull), time.Minute, now)
	full.setShare(now, 0, 12) // has no effect
	for name, b := range map[string]*budget{"split": split, "full": full} {
		if n := drain(b, now); n != 1 {
			t.Errorf("%s: %d requests at once", name, n)
		}
	}
	unlimited := newBudget(testBudget(0, 0, time.Minute, ShareSplit), time.Minute, now)
	for range 1000 {
		if !unlimited.next(now).IsZero() {
			t.Fatal("a budget without limit is used up")
		}
		unlimited.take(now)
	}
}

// What can wait leaves the burst to what comes next, but for one call.
func TestBudget_SpareRequestsLeaveTheBurst(t *testing.T) {
	t.Parallel()
	for burst, want := range map[int]struct{ spare, others int }{6: {1, 5}, 5: {1, 4}, 2: {1, 1}, 1: {1, 0}} {
		now := time.Now()
		b := newBudget(testBudget(60, burst, time.Minute, ShareFull), time.Minute, now)
		now = now.Add(time.Minute)
		spare := 0
		for b.nextSpare(now).IsZero() {
			b.take(now)
			spare++
		}
		again := b.nextSpare(now)
		if others := drain(b, now); spare != want.spare || others != want.others {
			t.Errorf("burst %d: %d that can wait and %d others, want %+v", burst, spare, others, want)
		}
		if refill := again.Sub(now); refill < time.Second || refill > 1200*time.Millisecond {
			t.Errorf("burst %d: the next that can wait in %v", burst, refill)
		}
	}
	unlimited := newBudget(testBudget(0, 0, time.Minute, ShareSplit), time.Minute, time.Now())
	if !unlimited.nextSpare(time.Now()).IsZero() {
		t.Error("a budget without limit has nothing to spare")
	}
}

func TestBudget_AssignedAgainUnchanged(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_767_951_304, 0)
	b := newBudget(testBudget(60, 0, time.Minute, ShareSplit), time.Minute, now)
	b.setShare(now, 6, 12)
	now = now.Add(10 * time.Minute)
	if b.next(now); b.bucket.Limit() == 0 {
		t.Fatal("no refill")
	}
	before := b.bucket.Limit()
	b.setShare(now, 3, 6)
	if b.bucket.Limit() != before {
		t.Errorf("the same part changes the refill from %v to %v", before, b.bucket.Limit())
	}
}

func TestBudget_Throttle(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_767_951_304, 0)
	b := newBudget(testBudget(60, 0, time.Minute, ShareFull), 5*time.Minute, now)

	b.throttle(now, 20*time.Second)
	if again := b.next(now); !again.Equal(now.Add(20 * time.Second)) {
		t.Errorf("waits %v", again.Sub(now))
	}
	if got := b.perWindow(); got != 48 {
		t.Errorf("learned %v requests", got)
	}
	// Requests that were in flight are throttled too: the rate is lowered once, the longest wait counts.
	b.throttle(now.Add(time.Second), 30*time.Second)
	b.throttle(now.Add(time.Second), 10*time.Second)
	if again := b.next(now.Add(time.Second)); !again.Equal(now.Add(31*time.Second)) || b.perWindow() != 48 {
		t.Errorf("waits %v, learned %v requests", again.Sub(now), b.perWindow())
	}
	now = now.Add(31 * time.Second)
	b.throttle(now, time.Hour)
	if again := b.next(now); !again.Equal(now.Add(5 * time.Minute)) {
		t.Errorf("waits %v, more than throttle_max", again.Sub(now))
	}
	waits := map[time.Duration]bool{}
	for range 20 {
		now = b.throttledUntil
		b.throttle(now, 0)
		if wait := b.throttledUntil.Sub(now); wait < time.Minute || wait > 66*time.Second {
			t.Errorf("without Retry-After waits %v", wait)
		} else {
			waits[wait] = true
		}
	}
	long := newBudget(testBudget(10_000, 0, 24*time.Hour, ShareFull), 5*time.Minute, now)
	long.throttle(now, 0)
	if wait := long.throttledUntil.Sub(now); wait < 5*time.Minute || wait > 330*time.Second {
		t.Errorf("without Retry-After waits %v of a window of a day, and throttle_max is 5 min", wait)
	}
	if len(waits) < 2 {
		t.Errorf("without Retry-After always waits %v: replicas return together", waits)
	}
	if got := b.perWindow(); got != 12 {
		t.Errorf("learned %v requests, fewer than a fifth", got)
	}
	now = b.throttledUntil
	for _, want := range []float64{12, 15, 18} {
		b.next(now)
		if got := b.perWindow(); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("recovered to %v, want %v", got, want)
		}
		now = now.Add(time.Minute)
	}
	if b.next(now.Add(time.Hour)); b.perWindow() != 60 {
		t.Errorf("recovered to %v", b.perWindow())
	}
}

// An API that takes one request a second is one that allows sixty a minute, too. Each
// burst costs a wait of a whole window there, in which the next one is saved up.
func TestBudget_APIThatTakesOneRequestAtATime(t *testing.T) {
	t.Parallel()
	for _, jitter := range []time.Duration{0, 30 * time.Millisecond} { // on the way to the API
		rng := rand.New(rand.NewPCG(1, 2))
		now := time.Unix(1_767_951_304, 0)
		b := newBudget(testBudget(60, 0, time.Minute, ShareFull), 5*time.Minute, now)
		const rounds, work, rest = 12, 5 * time.Minute, 2 * time.Minute
		taken, last := 0, time.Time{}
		for range rounds {
			now = now.Add(rest)
			for end := now.Add(work); now.Before(end); {
				if again := b.next(now); !again.IsZero() {
					now = again
					continue
				}
				b.take(now)
				if arrived := now.Add(time.Duration(rng.Float64() * float64(jitter))); arrived.Sub(last) < time.Second {
					b.throttle(now, 0)
				} else {
					taken++
					last = arrived
				}
			}
		}
		most := int(rounds * work.Seconds())
		if taken < most*6/10 {
			t.Errorf("jitter %v: %d requests were taken, of %d", jitter, taken, most)
		}
	}
}

func TestBudget_BurstIsBackAfterTenQuietWindows(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_767_951_304, 0)
	b := newBudget(testBudget(60, 0, time.Minute, ShareFull), 5*time.Minute, now)
	b.throttle(now, time.Minute)
	now = now.Add(10 * time.Minute)
	if n := drain(b, now); n != 1 {
		t.Errorf("%d requests at once after nine quiet windows, want one", n)
	}
	b.next(now.Add(time.Minute)) // the burst is back, and is to be saved up
	if n := drain(b, now.Add(3*time.Minute)); n != 6 {
		t.Errorf("%d requests at once, want a tenth of the budget", n)
	}
}

// What the account may not start at once any more it may not start one by one either, as
// long as its last burst lies within the window.
func TestBudget_ThrottledAfterABurst(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_767_951_304, 0)
	b := newBudget(testBudget(60, 30, time.Minute, ShareFull), 5*time.Minute, now)
	now = now.Add(2 * time.Minute)
	var starts []time.Time
	for range drain(b, now) {
		starts = append(starts, now)
	}
	b.throttle(now, time.Second)
	starts = append(starts, greedy([]*budget{b}, now, now.Add(time.Minute))...)
	if len(starts) > 60 || len(starts) < 40 {
		t.Errorf("%d starts in a window of 60", len(starts))
	}
}
