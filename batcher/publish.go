package batcher

import (
	"context"
	"time"

	"github.com/contactsync/contactsync"
)

// publishLoop writes dead letters until Kafka has them. Those that it does not
// take wait, and with them their offsets; everything else goes on.
func (b *Batcher) publishLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case waiting := <-b.publish:
			if !b.publishAll(ctx, waiting) {
				return
			}
		}
	}
}

// publishAll reports whether Kafka has taken all; else ctx has ended. What fails
// is told the first time, once a minute while it lasts, and when it is over.
func (b *Batcher) publishAll(ctx context.Context, waiting []*DeadLetter) bool {
	var since time.Time
	told := false
	for attempt := 0; ; attempt++ {
		acked, left, err := b.publishOnce(ctx, waiting)
		waiting = left
		if len(acked) > 0 {
			select {
			case b.acked <- acked:
			case <-ctx.Done():
				return false
			}
		}
		now := time.Now()
		if len(waiting) == 0 {
			if told {
				b.deps.Log.Info("dead letters are written again", "attempts", attempt+1, "lasted", now.Sub(since))
			}
			return true
		}
		b.deps.DeadLetters.Errors.Inc()
		if attempt == 0 {
			since = now
		}
		if now.Sub(b.lettersTold) >= remindEvery {
			b.lettersTold, told = now, true
			b.deps.Log.Error("dead letters cannot be written; their offsets wait", "letters", len(waiting), "attempts", attempt+1, "since", since, "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(min(b.cfg.BackoffMin<<min(attempt, 20), b.cfg.BackoffMax)):
		}
	}
}

func (b *Batcher) publishOnce(ctx context.Context, burials []*DeadLetter) (acked, waiting []*DeadLetter, err error) {
	letters := make([]contactsync.DeadLetter, len(burials))
	for i, l := range burials {
		letters[i] = l.DeadLetter
	}
	failed, err := b.deps.Publisher.Publish(ctx, letters)
	left := make(map[contactsync.Position]bool, len(failed))
	for _, l := range failed {
		left[l.Record.Position] = true
	}
	for _, l := range burials {
		if left[l.Record.Position] {
			waiting = append(waiting, l)
		} else {
			acked = append(acked, l)
			b.deps.DeadLetters.Published.WithLabelValues(string(l.Reason)).Inc()
		}
	}
	return acked, waiting, err
}
