package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

const (
	// maxChunk bounds what is written between two looks at the log, in dead letters.
	maxChunk = 500
	// patience is how long a chunk is offered to a topic that does not take it.
	patience = 2 * time.Minute
)

func (r *Replayer) inChunks(ctx context.Context, queue []*candidate) error {
	most, limit := maxChunk, rate.Inf
	if r.opts.Rate > 0 {
		// At most what a second lets through, so that the look at the log is fresh.
		most, limit = max(1, min(maxChunk, int(r.opts.Rate))), rate.Limit(r.opts.Rate)
	}
	limiter := rate.NewLimiter(limit, most)
	for len(queue) > 0 && r.room() > 0 {
		n := min(most, len(queue), r.room())
		if err := limiter.WaitN(ctx, n); err != nil {
			return context.Cause(ctx)
		}
		if err := r.chunk(ctx, queue[:n]); err != nil {
			return err
		}
		queue = queue[n:]
	}
	return nil
}

// chunk writes back those of some candidates that may still be replayed. It retries
// what fails, and reads the log first each time: a newer event may have arrived, and a
// write without an acknowledgement may be in it.
func (r *Replayer) chunk(ctx context.Context, chunk []*candidate) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 5*time.Second
	start := time.Now()
	for {
		if err := r.scan.catchUp(ctx); err != nil {
			return err
		}
		open := r.replayable(chunk)
		if len(open) == 0 {
			return nil
		}
		err := r.noOpenTransaction(ctx, open)
		if err == nil {
			err = r.write(ctx, open)
		}
		if err == nil {
			return nil
		}
		if errors.Is(err, kafka.ErrDenied) || time.Since(start) > patience {
			return err
		}
		r.deps.Logger.Warn("dead letters could not be written back; retrying", "err", err)
		if !kafka.Sleep(ctx, wait.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}

// noOpenTransaction makes sure that what is written can be found again: behind an
// open transaction neither this run nor the next would see it.
func (r *Replayer) noOpenTransaction(ctx context.Context, open []*candidate) error {
	asked := map[contactsync.TopicPartition]bool{}
	for _, c := range open {
		partition := c.record.TopicPartition
		if asked[partition] {
			continue
		}
		asked[partition] = true
		is, err := r.deps.Log.HasOpenTransaction(ctx, partition, r.scan.parts[partition].next)
		if err != nil {
			return err
		}
		if is {
			return fmt.Errorf("a transaction is open in %v: a record written behind it could not be found again", partition)
		}
	}
	return nil
}

// write makes one attempt at each partition. Once begun it is not cut short, which
// would leave it unknown whether the records were written.
func (r *Replayer) write(ctx context.Context, open []*candidate) error {
	ctx = context.WithoutCancel(ctx)
	byPartition := map[contactsync.TopicPartition][]*candidate{}
	for _, c := range open {
		byPartition[c.record.TopicPartition] = append(byPartition[c.record.TopicPartition], c)
	}
	var errs []error
	for partition, candidates := range byPartition {
		for len(candidates) > 0 {
			records := make([]contactsync.Record, len(candidates))
			for i, c := range candidates {
				c.attempted = true
				records[i] = r.replayOf(c)
			}
			n, err := r.deps.Log.Append(ctx, partition, records)
			for _, c := range candidates[:n] {
				r.end(c, Replayed, "")
			}
			candidates = candidates[n:]
			if errors.Is(err, kafka.ErrRefused) {
				r.end(candidates[0], Failed, err.Error())
				candidates = candidates[1:]
				continue
			}
			if err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	return errors.Join(errs...)
}

// replayOf is the record that is written back.
func (r *Replayer) replayOf(c *candidate) contactsync.Record {
	rec := c.record
	replay := event.Replay{
		Count: c.replays + 1, Of: rec.Position,
		Origin: c.version.Origin, OriginTime: c.version.Time,
		Checked: r.scan.parts[rec.TopicPartition].next,
	}
	rec.Headers = withoutReplay(rec.Headers, replay.Headers())
	return rec
}

// withoutReplay returns the headers that are not a replay's, followed by more.
func withoutReplay(headers, more []contactsync.Header) []contactsync.Header {
	var kept []contactsync.Header
	for _, h := range headers {
		switch h.Key {
		case event.HeaderReplays, event.HeaderReplayOf, event.HeaderOrigin, event.HeaderOriginTime, event.HeaderChecked:
		default:
			kept = append(kept, h)
		}
	}
	return append(kept, more...)
}
