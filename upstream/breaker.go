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

// breakerBuckets divide the interval: old failures leave it a tenth at a time.
const breakerBuckets = 10

// What a result means for the host; see hostError.
var (
	errHostFailed = errors.New("host failed")
	errNotCounted = errors.New("not counted")
)

// breaker is the circuit breaker of a host, shared by the accounts on it. It reads
// the clock itself. Safe for concurrent use.
type breaker struct {
	host     string
	openFor  time.Duration
	interval time.Duration
	log      *slog.Logger
	gauge    prometheus.Gauge
	steps    *gobreaker.TwoStepCircuitBreaker[struct{}]

	mu       sync.Mutex // guards the rest; taken inside gobreaker's lock, never around it
	until    time.Time  // when the open breaker becomes half-open
	outage   outage
	answered lastTwo             // when the host answered
	failing  lastTwo             // when it failed
	failed   map[string]failures // of each stream
}

// failures are when a stream failed first since it was answered, and last.
type failures struct{ first, last time.Time }

// lastTwo is when something happened last, to which stream, and when it did to another one than that.
type lastTwo struct {
	at, before time.Time
	stream     string
}

func (l *lastTwo) note(now time.Time, stream string) {
	if l.stream != stream {
		l.before = l.at
	}
	l.at, l.stream = now, stream
}

// other is when it happened last to another stream.
func (l *lastTwo) other(stream string) time.Time {
	if l.stream == stream {
		return l.before
	}
	return l.at
}

func newBreaker(host string, cfg Breaker, log *slog.Logger, gauge prometheus.Gauge) *breaker {
	b := &breaker{host: host, openFor: cfg.Open, log: log, gauge: gauge, interval: cfg.Interval, failed: map[string]failures{}}
	b.steps = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         host,
		MaxRequests:  1,
		Interval:     cfg.Interval,
		BucketPeriod: cfg.Interval / breakerBuckets,
		Timeout:      cfg.Open,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			ended := n.TotalSuccesses + n.TotalFailures // n.Requests includes those in flight
			return n.ConsecutiveFailures >= uint32(cfg.Consecutive) ||
				ended >= uint32(cfg.MinRequests) && float64(n.TotalFailures) >= cfg.FailureRatio*float64(ended)
		},
		OnStateChange: b.onStateChange,
		IsExcluded:    func(err error) bool { return errors.Is(err, errNotCounted) },
	})
	gauge.Set(0)
	return b
}

// onStateChange runs inside gobreaker's lock and must not call it.
func (b *breaker) onStateChange(_ string, from, to gobreaker.State) {
	b.gauge.Set(float64(to)) // 0 closed, 1 half-open, 2 open
	b.log.Debug("circuit breaker changed", "host", b.host, "from", from.String(), "to", to.String())
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if to == gobreaker.StateOpen {
		b.until = now.Add(b.openFor)
	}
	if b.outage.changed(now, to) {
		b.log.Warn("circuit breaker opened", "host", b.host, "for", b.openFor)
	}
}

// remind has the log say that an outage goes on, or is over; called once a second.
func (b *breaker) remind(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outage.goesOn(now, b.log, b.host, b.interval)
}

// allow admits one request and returns the function to report its end to. If none
// may start now, done is nil and again is when to ask next.
func (b *breaker) allow(now time.Time) (done func(error), again time.Time) {
	done, err := b.steps.Allow()
	switch {
	case err == nil:
		return done, time.Time{}
	case errors.Is(err, gobreaker.ErrOpenState):
		return nil, b.openUntil().Add(time.Millisecond) // that instant itself is still open
	default:
		return nil, now.Add(recheckEvery) // half-open, and its one request is in flight
	}
}

func (b *breaker) openUntil() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.until
}

// counted returns what the result of a request of a stream counts as for the host. A stream
// that fails while others are answered says something of itself only: its failure counts
// once in the interval, although some of its requests are answered. It counts again when nothing was answered for
// others since its last one and another stream has failed too, unless others were since its first one, or when nothing was
// answered for others within the interval: however fast streams fail, others find the host open that have nothing to send
// for a moment. What is not counted frees its place in a half-open breaker.
func (b *breaker) counted(now time.Time, stream string, r contactsync.Result) error {
	err := hostError(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.answered.note(now, stream)
		if f, before := b.failed[stream]; before && now.Sub(f.last) < b.interval {
			b.failed[stream] = failures{last: f.last}
		} else {
			delete(b.failed, stream)
		}
	case errors.Is(err, errHostFailed):
		f, before := b.failed[stream]
		last := f.last
		if f.last = now; f.first.IsZero() {
			f.first = now
		}
		if len(b.failed) < maxFailingStreams || before {
			b.failed[stream] = f
		}
		b.failing.note(now, stream)
		others := b.answered.other(stream)
		if before && (others.After(last) || now.Sub(others) < b.interval && (others.After(f.first) || !b.failing.other(stream).After(others))) {
			return errNotCounted
		}
	}
	return err
}

// maxFailingStreams bounds the streams whose failures are told apart.
const maxFailingStreams = 10_000

// hostError returns what a result means for the host by itself: nil if it answered, even with
// a refusal, or else errHostFailed. A request that was never sent, or was stopped
// by us, is not counted.
func hostError(r contactsync.Result) error {
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
