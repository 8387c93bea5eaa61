package upstream

import (
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
)

const (
	throttleStep  = 0.8  // each throttling multiplies the rate by it
	minRateFactor = 0.2  // least rate that throttling leads to
	recoveryStep  = 0.05 // rate regained per window without throttling
	// spreadWindows is for how many windows after a throttling the account does without
	// its burst: the API may allow one request a second where it says sixty a minute, and
	// then each burst costs a wait of a whole window.
	spreadWindows = 10
	// recheckEvery bounds the wait until the next question, because a new share may
	// admit a request earlier.
	recheckEvery = time.Second
)

// budget is one replica's share of an account's requests (I7). It is not safe for
// concurrent use: Gate locks it.
//
// For an account of N requests per window and a burst of B, a replica with the
// share f has a bucket of f·B tokens, refilled at f·(N−B) per window. All replicas
// together then have at most B tokens and refill N−B, so no window sees more than N
// starts. That also holds while shares change, as long as no change adds tokens: a
// larger share refills faster, a smaller one drops the tokens that no longer fit.
//
// A bucket holds at least one token, however small the share. This rounding may
// have let other replicas spend more than B at once, so for one window after a
// change a reserve is left out of the refill. A share of less than one request per
// window still starts one; then the account may start one per replica.
//
// A new process does not know what the previous one spent, so it begins with one token.
type budget struct {
	requests float64 // N; 0 is no limit
	burst    float64 // B
	window   time.Duration
	full     bool          // the share is 1, whatever setShare says
	maxWait  time.Duration // of throttling

	share          float64
	shared         bool    // setShare has been called
	rateFactor     float64 // learned from throttling, at most 1
	reserveUntil   time.Time
	bucket         *rate.Limiter
	last           time.Time // time must not go back, or the bucket would add tokens
	throttledUntil time.Time
	spreadUntil    time.Time // the burst is one until then; zero if it is not
	quietSince     time.Time // the last throttling or step of recovery
}

func newBudget(cfg Budget, maxWait time.Duration, now time.Time) *budget {
	b := &budget{
		requests: float64(*cfg.Requests), window: cfg.Window, full: cfg.Share == ShareFull,
		maxWait: maxWait, rateFactor: 1, last: now, quietSince: now,
		bucket: rate.NewLimiter(0, 1),
	}
	if b.requests == 0 {
		b.share = 1
		return b
	}
	b.burst = float64(cfg.burst())
	if b.full {
		b.share = 1
		b.resize(now)
	}
	return b
}

func (b *budget) setShare(now time.Time, part, whole int) {
	if b.full || b.requests == 0 {
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
	b.reserveUntil = now.Add(b.safeWindow())
	b.resize(now)
	if first && b.perWindow() < 1 {
		b.bucket.AllowN(now, 1) // less than one request per window: it has to be saved up
	}
}

// safeWindow is a thousandth longer than the window, so that rounding and clock
// drift err on the safe side.
func (b *budget) safeWindow() time.Duration { return b.window + b.window/1000 }

// perWindow returns how many requests this replica may start in a window.
func (b *budget) perWindow() float64 { return b.requests * b.share * b.rateFactor }

// refill returns how many of them it may start in every window, with no pause before.
func (b *budget) refill() float64 { return float64(b.bucket.Limit()) * b.window.Seconds() }

// resize sets the bucket's size and refill from now on. Tokens already in it are
// kept as far as they fit.
func (b *budget) resize(now time.Time) {
	size, part, n := 0.0, b.share*b.rateFactor, b.perWindow()
	if n > 0 {
		size = max(1, math.Floor(b.burst*part))
	}
	refill := max(min(n, 1), n-size)
	if now.Before(b.reserveUntil) {
		reserve := max(b.burst, 3)
		refill = min(refill, max(0, part*(b.requests-b.burst-reserve)))
	}
	if !b.spreadUntil.IsZero() { // with the same refill: the last burst is perhaps within this window
		size = min(size, 1)
	}
	b.bucket.SetLimitAt(now, rate.Limit(refill/b.safeWindow().Seconds()))
	b.bucket.SetBurstAt(now, int(size))
}

// advance applies what is due at now. It returns the time to continue with, which
// never goes back.
func (b *budget) advance(now time.Time) time.Time {
	if now.Before(b.last) {
		now = b.last
	}
	b.last = now
	if b.requests == 0 {
		return now
	}
	if !b.reserveUntil.IsZero() && !now.Before(b.reserveUntil) {
		at := b.reserveUntil
		b.reserveUntil = time.Time{}
		b.resize(at)
	}
	if !b.spreadUntil.IsZero() && !now.Before(b.spreadUntil) {
		at := b.spreadUntil
		b.spreadUntil = time.Time{}
		b.resize(at)
	}
	if windows := now.Sub(b.quietSince) / b.window; b.rateFactor < 1 && windows > 0 {
		b.rateFactor = min(1, b.rateFactor+recoveryStep*float64(windows))
		b.quietSince = b.quietSince.Add(windows * b.window)
		b.resize(now)
	}
	return now
}

// next returns when to ask again, or the zero time if a request may start now.
func (b *budget) next(now time.Time) time.Time { return b.nextLeaving(now, 0) }

// nextSpare is next for a request that takes only what would be lost: the bucket is full.
func (b *budget) nextSpare(now time.Time) time.Time {
	return b.nextLeaving(now, max(0, b.bucket.Burst()-1))
}

// nextLeaving is next for a request after which so many could start.
func (b *budget) nextLeaving(now time.Time, others int) time.Time {
	now = b.advance(now)
	if now.Before(b.throttledUntil) {
		return b.throttledUntil
	}
	switch {
	case b.requests == 0:
		return time.Time{}
	case b.share == 0: // before the first assignment too, although the bucket has a token
		return now.Add(recheckEvery)
	}
	missing := float64(1+others) - b.bucket.TokensAt(now)
	if missing <= 0 {
		return time.Time{}
	}
	seconds := min(missing/float64(b.bucket.Limit()), recheckEvery.Seconds()) // +Inf without a refill
	// A microsecond covers rounding: the token is certainly there by then.
	return now.Add(min(recheckEvery, time.Duration(seconds*float64(time.Second))+time.Microsecond))
}

// take charges one request, which next has just permitted.
func (b *budget) take(now time.Time) {
	if b.requests > 0 {
		b.bucket.AllowN(b.advance(now), 1)
	}
}

// throttle makes the account wait as long as asked, or for a window if asked is 0, at most for maxWait,
// lowers its rate and takes its burst away, once per wait: answers to other requests that were in
// flight are the same event.
func (b *budget) throttle(now time.Time, asked time.Duration) {
	now = b.advance(now)
	wait := min(asked, b.maxWait)
	if asked <= 0 {
		// Replicas that were throttled together must not all return together.
		wait = min(b.window, b.maxWait)
		wait += time.Duration(rand.Float64() * 0.1 * float64(wait))
	}
	if !now.Before(b.throttledUntil) && b.requests > 0 {
		b.rateFactor = max(minRateFactor, b.rateFactor*throttleStep)
		b.spreadUntil = now // and longer, as soon as the end of the wait is known
		b.resize(now)
	}
	if end := now.Add(wait); end.After(b.throttledUntil) {
		b.throttledUntil = end
	}
	if b.requests > 0 {
		b.spreadUntil = b.throttledUntil.Add(spreadWindows * b.window)
	}
	b.quietSince = b.throttledUntil
}

// remaining returns how many requests could start now.
func (b *budget) remaining(now time.Time) float64 {
	now = b.advance(now)
	if now.Before(b.throttledUntil) {
		return 0
	}
	return max(0, math.Floor(b.bucket.TokensAt(now)))
}
