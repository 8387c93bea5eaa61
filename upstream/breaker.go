package upstream

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/contactsync/contactsync"
)

// breakerBuckets divide the interval: failures leave it a tenth at a time.
const breakerBuckets = 10

// What a result means for the host.
var (
	errHostFailed = errors.New("host failed")
	errNotCounted = errors.New("not counted")
)

// breaker stops calls of a host that is down. Accounts on the host share it.
// It reads the clock itself. Safe for concurrent use.
type breaker struct {
	host  string
	open  time.Duration
	log   *slog.Logger
	gauge prometheus.Gauge
	steps *gobreaker.TwoStepCircuitBreaker[struct{}]

	mu    sync.Mutex // guards until; taken inside gobreaker's lock, never around it
	until time.Time  // when an open breaker becomes half-open
}

func newBreaker(host string, cfg Breaker, log *slog.Logger, gauge prometheus.Gauge) *breaker {
	b := &breaker{host: host, open: cfg.Open, log: log, gauge: gauge}
	b.steps = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         host,
		MaxRequests:  1,
		Interval:     cfg.Interval,
		BucketPeriod: cfg.Interval / breakerBuckets,
		Timeout:      cfg.Open,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			// Only requests that have ended say anything about the host.
			ended := n.TotalSuccesses + n.TotalFailures
			return n.ConsecutiveFailures >= uint32(cfg.Consecutive) ||
				ended >= uint32(cfg.MinRequests) && float64(n.TotalFailures) >= cfg.FailureRatio*float64(ended)
		},
		OnStateChange: b.changed,
		IsExcluded:    func(err error) bool { return errors.Is(err, errNotCounted) },
	})
	gauge.Set(0)
	return b
}

// changed runs inside gobreaker's lock and must not call it.
func (b *breaker) changed(_ string, from, to gobreaker.State) {
	b.gauge.Set(float64(to)) // 0 closed, 1 half-open, 2 open
	switch to {
	case gobreaker.StateOpen:
		b.mu.Lock()
		b.until = time.Now().Add(b.open)
		b.mu.Unlock()
		b.log.Warn("host is down, calls stop", "host", b.host, "was", from.String(), "for", b.open)
	case gobreaker.StateHalfOpen:
		b.log.Info("host is tried with one call", "host", b.host)
	case gobreaker.StateClosed:
		b.log.Info("host answers again", "host", b.host)
	}
}

// allow admits one call and returns what to report its end to, or nil and when
// to ask again.
func (b *breaker) allow(now time.Time) (done func(error), again time.Time) {
	done, err := b.steps.Allow()
	switch {
	case err == nil:
		return done, time.Time{}
	case errors.Is(err, gobreaker.ErrOpenState):
		return nil, b.reopens().Add(time.Millisecond) // it is open up to and including that time
	default:
		return nil, now.Add(recheck) // the one call of a half-open breaker is on its way
	}
}

func (b *breaker) reopens() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.until
}

// verdict says what a result means for the host. Whatever answers is alive,
// be the answer a refusal. A request that was never sent, and one that our own
// stop cut off, say nothing; they give the half-open breaker its call back.
func verdict(r contactsync.Result) error {
	switch r.Kind {
	case contactsync.Unavailable:
		return errHostFailed
	case contactsync.Canceled:
		return errNotCounted
	case contactsync.Unknown:
		if r.Status == 0 {
			return errNotCounted
		}
		return errHostFailed
	case contactsync.Answered, contactsync.Throttled, contactsync.Unauthorized,
		contactsync.TooLarge, contactsync.BadRequest, contactsync.StreamGone:
		if r.Status == 0 {
			return errNotCounted
		}
		return nil
	default:
		return errHostFailed
	}
}
