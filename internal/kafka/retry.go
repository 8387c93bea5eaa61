package kafka

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
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
