package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// How long Kafka is given before something is believed or given up, in every part
// of the service.
const (
	// patience is how long a question is repeated before it is given up: longer than
	// a cluster needs for a new leader, and than most brokers need to come back.
	patience = 2 * time.Minute

	// topicSettles is the least time for which a topic must be missing without a
	// break before that is believed: a broker that has just started, or does not
	// know a new topic yet, says so too.
	topicSettles = 3 * time.Second

	// EndSettles is how long a partition must end before an offset that was read or
	// committed until that is believed: a new leader learns its high watermark a
	// moment after it took over.
	EndSettles = 10 * time.Second
)

// NewRetry is the back-off of everything that asks Kafka: quick at first, since a
// leader moves in a second or two, and never longer than a few seconds.
func NewRetry() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 3*time.Second
	return b
}

// Sleep waits, and reports false when ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// absence is how long a topic has been missing without a break.
type absence struct{ since time.Time }

// believed takes the outcome of each attempt, and reports whether a topic has been
// missing for topicSettles.
func (a *absence) believed(err error) bool {
	if !errors.Is(err, ErrNoTopic) {
		a.since = time.Time{}
		return false
	}
	if a.since.IsZero() {
		a.since = time.Now()
	}
	return time.Since(a.since) >= topicSettles
}

// retry repeats a question until it is answered, its error is final, patience is
// at its end, or ctx ends.
func (c *Client) retry(ctx context.Context, ask func(context.Context) error) error {
	wait := NewRetry()
	start := time.Now()
	var missing absence
	for {
		err := ask(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrDenied), missing.believed(err), time.Since(start) > patience:
			return err
		}
		c.log.Warn("kafka request failed; retried", "err", err)
		if !Sleep(ctx, wait.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}

var errNoAnswer = errors.New("the brokers did not answer in time")

// bounded bounds one request by the request time-out.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, errNoAnswer)
}
