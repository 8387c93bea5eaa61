package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// patience is how long a chunk is offered to a topic that does not take it.
const patience = 2 * time.Minute

// ToTopic writes the letters' records back to where they came from: to the same
// topic and partition, with their keys, values and headers, and with the headers of
// an event.Replay. The service then takes them as it takes any event.
//
// It goes on in chunks; the log is read up to its end before each one, and each is
// acknowledged by every in-sync replica before the next. When ctx ends the chunk
// under way is finished, and the rest is left for the next run.
func (r *Replayer) ToTopic(ctx context.Context, letters []*deadletter.Entry) (Summary, error) {
	targets, err := r.plan(ctx, letters)
	if err == nil {
		err = r.inChunks(ctx, r.open(targets))
	}
	r.leave(targets)
	if err != nil {
		return r.summary, fmt.Errorf("replay to the topic: %w: run it again to go on", err)
	}
	return r.summary, nil
}

func (r *Replayer) inChunks(ctx context.Context, queue []*target) error {
	most, limiter := r.pace(mostAtOnce)
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

// chunk writes some letters back, those that may be still. It tries again what
// fails, and looks at the log first each time: the newest event may have come
// meanwhile, and a write without an acknowledgement may be in it.
func (r *Replayer) chunk(ctx context.Context, chunk []*target) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 5*time.Second
	start := time.Now()
	for {
		if err := r.scan.catchUp(ctx); err != nil {
			return err
		}
		open := r.open(chunk)
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
		r.deps.Logger.Warn("letters could not be written back; retried", "err", err)
		if !kafka.Sleep(ctx, wait.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}

// noOpenTransaction makes sure that what is written can be found again: behind an
// open transaction neither this run nor the next would see it.
func (r *Replayer) noOpenTransaction(ctx context.Context, open []*target) error {
	asked := map[contactsync.TopicPartition]bool{}
	for _, t := range open {
		partition := t.record.TopicPartition
		if asked[partition] {
			continue
		}
		asked[partition] = true
		is, err := r.deps.Log.HasOpenTransaction(ctx, partition, r.scan.parts[partition].next)
		if err != nil {
			return err
		}
		if is {
			return fmt.Errorf("a transaction is open in %v: nothing is written behind it, because it could not be found again", partition)
		}
	}
	return nil
}

// write makes one attempt at each partition. Once begun it is not cut short: what
// is on its way would be in doubt.
func (r *Replayer) write(ctx context.Context, open []*target) error {
	ctx = context.WithoutCancel(ctx)
	by := map[contactsync.TopicPartition][]*target{}
	for _, t := range open {
		by[t.record.TopicPartition] = append(by[t.record.TopicPartition], t)
	}
	var errs []error
	for partition, targets := range by {
		for len(targets) > 0 {
			records := make([]contactsync.Record, len(targets))
			for i, t := range targets {
				t.tried = true
				records[i] = r.replayed(t)
			}
			n, err := r.deps.Log.Append(ctx, partition, records)
			for _, t := range targets[:n] {
				r.end(t, Replayed, "")
			}
			targets = targets[n:]
			if errors.Is(err, kafka.ErrRefused) {
				r.end(targets[0], Failed, err.Error())
				targets = targets[1:]
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

// replayed is the record as it is written back.
func (r *Replayer) replayed(t *target) contactsync.Record {
	rec := t.record
	replay := event.Replay{
		Count: t.replay.Count + 1, Of: t.record.Position,
		Origin: t.replay.Origin, OriginTime: t.replay.OriginTime,
		Checked: r.scan.parts[t.record.TopicPartition].next,
	}
	rec.Headers = withoutReplay(rec.Headers, replay.Headers())
	return rec
}
