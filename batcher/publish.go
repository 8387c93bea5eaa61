package batcher

import (
	"context"
	"time"

	"github.com/contactsync/contactsync"
)

// published is what one attempt to write dead letters has come to.
type published struct {
	acked    []*DeadLetter
	pending  int // how many Kafka has not acknowledged
	attempts int
	err      error
}

// publishLoop writes dead letters until Kafka has them. Those that it does not
// take wait, and with them their offsets; everything else goes on.
func (b *Batcher) publishLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case letters := <-b.publish:
			if !b.publishAll(ctx, letters) {
				return
			}
		}
	}
}

// publishAll reports whether Kafka has taken all; else ctx has ended.
func (b *Batcher) publishAll(ctx context.Context, waiting []*DeadLetter) bool {
	for attempt := 1; ; attempt++ {
		acked, left, err := b.publishOnce(ctx, waiting)
		waiting = left
		select {
		case b.published <- published{acked, len(waiting), attempt, err}:
		case <-ctx.Done():
			return false
		}
		if len(waiting) == 0 {
			return true
		}
		b.deps.DeadLetters.Errors.Inc()
		select {
		case <-ctx.Done():
			return false
		case <-time.After(b.cfg.backoff(attempt, b.cfg.BackoffMax)):
		}
	}
}

func (b *Batcher) publishOnce(ctx context.Context, waiting []*DeadLetter) (acked, left []*DeadLetter, err error) {
	letters := make([]contactsync.DeadLetter, len(waiting))
	for i, d := range waiting {
		letters[i] = d.DeadLetter
	}
	failed, err := b.deps.Publisher.Publish(ctx, letters)
	open := make(map[contactsync.Position]bool, len(failed))
	for i := range failed {
		open[failed[i].Record.Position] = true
	}
	for _, d := range waiting {
		if open[d.Record.Position] {
			left = append(left, d)
		} else {
			acked = append(acked, d)
			b.deps.DeadLetters.Published.WithLabelValues(string(d.Reason)).Inc()
		}
	}
	return acked, left, err
}
