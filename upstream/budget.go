package upstream

import (
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
)

const (
	learnDown  = 0.8  // factor after an answer that throttles
	learnLeast = 0.2  // the factor never falls below
	learnUp    = 0.05 // regained per window without such an answer
	// recheck is how soon to ask again at the latest, because a new share may
	// bring the next request forward.
	recheck = time.Second
)

// budget is one replica's part of an account's requests (I7).
//
// A replica with the part f of an account of N requests and a burst of B has a
// bucket of f·B tokens that refills at f·(N−B) per window, so that all replicas
// together have at most B tokens and refill N−B: no window sees more than N
// starts. This holds over a change of the parts too, as long as nothing makes
// tokens up: a part that grows gets a faster refill and no token, one that
// shrinks loses those that no longer fit. A bucket holds at least one token,
// however small the part; that rounding may have let other replicas spend more
// than B at once, so for one window after a change a reserve is left out of the
// refill. Parts of less than one request a window start one each; then the
// account's bound is one per replica.
//
// A process does not know what the one before it has spent, so it begins with
// a single token. It is not safe for concurrent use: Gate locks it.
type budget struct {
	quota    float64 // N; 0 is no limit
	burst    float64 // B
	window   time.Duration
	full     bool // the part is 1 whatever SetShare says
	capWaits time.Duration

	share   float64
	factor  float64   // learned from throttling, at most 1
	settled time.Time // when the reserve after the last change ends
	bucket  *rate.Limiter
	last    time.Time // the bucket would make up tokens if time went back
	until   time.Time // the API asked to wait
	calm    time.Time // since when nothing throttled, or the last step of recovery
	shared  bool      // SetShare has been called
}

func newBudget(b Budget, throttleMax time.Duration, now time.Time) *budget {
	n := &budget{
		quota: float64(*b.Requests), window: b.Window, full: b.Share == ShareFull,
		capWaits: throttleMax, factor: 1, last: now, calm: now,
		bucket: rate.NewLimiter(0, 1),
	}
	if n.quota == 0 {
		n.share = 1
		return n
	}
	n.burst = float64(b.burst())
	if n.full {
		n.share = 1
		n.apply(now)
	}
	return n
}

// setShare sets the replica's part of the account's requests.
func (b *budget) setShare(now time.Time, part, whole int) {
	if b.full || b.quota == 0 {
		return
	}
	now = b.advance(now)
	share := 0.0
	if whole > 0 {
		share = min(1, max(0, float64(part)/float64(whole)))
	}
	first := !b.shared
	b.shared = true
	if share == b.share && !first {
		return
	}
	b.share = share
	b.settled = now.Add(b.countedWindow())
	b.apply(now)
	if first && b.perWindow() < 1 {
		b.bucket.AllowN(now, 1) // not even one request: it has to be saved up
	}
}

// countedWindow is a thousandth longer than the real one, so that rounding and
// clocks err on the safe side.
func (b *budget) countedWindow() time.Duration { return b.window + b.window/1000 }

// perWindow is how many requests this replica may start in a window.
func (b *budget) perWindow() float64 { return b.quota * b.share * b.factor }

// apply gives the bucket the size and refill that share, factor and reserve
// make at now. Tokens move only by the old refill up to now.
func (b *budget) apply(now time.Time) {
	size, part, n := 0.0, b.share*b.factor, b.perWindow()
	if n > 0 {
		size = max(1, math.Floor(b.burst*part))
	}
	refill := max(min(n, 1), n-size)
	if now.Before(b.settled) {
		reserve := max(b.burst, 3)
		refill = min(refill, max(0, part*(b.quota-b.burst-reserve)))
	}
	b.bucket.SetLimitAt(now, rate.Limit(refill/b.countedWindow().Seconds()))
	b.bucket.SetBurstAt(now, int(size))
}

// advance brings the budget to now and returns the time to go on with, which
// never runs backwards.
func (b *budget) advance(now time.Time) time.Time {
	if now.Before(b.last) {
		now = b.last
	}
	b.last = now
	if b.quota == 0 {
		return now
	}
	if !b.settled.IsZero() && !now.Before(b.settled) {
		at := b.settled
		b.settled = time.Time{}
		b.apply(at)
	}
	if steps := now.Sub(b.calm) / b.window; b.factor < 1 && steps > 0 {
		b.factor = min(1, b.factor+learnUp*float64(steps))
		b.calm = b.calm.Add(steps * b.window)
		b.apply(now)
	}
	return now
}

// next returns the zero time where a request may start now, else when to ask again.
func (b *budget) next(now time.Time) time.Time {
	now = b.advance(now)
	if now.Before(b.until) {
		return b.until
	}
	switch {
	case b.quota == 0:
		return time.Time{}
	case b.share == 0: // also before the first assignment, whose token waits in the bucket
		return now.Add(recheck)
	}
	missing := 1 - b.bucket.TokensAt(now)
	if missing <= 0 {
		return time.Time{}
	}
	wait := recheck
	if refill := float64(b.bucket.Limit()); refill > 0 {
		// The microsecond makes up for rounding: at that time the token is there.
		wait = min(wait, time.Duration(missing/refill*float64(time.Second))+time.Microsecond)
	}
	return now.Add(wait)
}

// take spends the request that next has just granted.
func (b *budget) take(now time.Time) {
	if b.quota > 0 {
		b.bucket.AllowN(b.advance(now), 1)
	}
}

// throttle makes the account wait as an answer asked, or for a window where it
// did not say, and learns from it once per wait: further answers to requests
// that were on their way say nothing new.
func (b *budget) throttle(now time.Time, asked time.Duration) {
	now = b.advance(now)
	wait := min(asked, b.capWaits)
	if asked <= 0 {
		// Replicas that were throttled together should not all return together.
		wait = b.window + time.Duration(rand.Float64()*0.1*float64(b.window))
	}
	if !now.Before(b.until) && b.quota > 0 {
		b.factor = max(learnLeast, b.factor*learnDown)
		b.apply(now)
	}
	if end := now.Add(wait); end.After(b.until) {
		b.until = end
	}
	b.calm = b.until
}

// left is how many requests could start at once.
func (b *budget) left(now time.Time) float64 {
	now = b.advance(now)
	if now.Before(b.until) {
		return 0
	}
	return max(0, math.Floor(b.bucket.TokensAt(now)))
}
