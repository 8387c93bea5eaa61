package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/contactsync/contactsync"
)

// readBytes is how much one fetch asks for; readWait how long it waits for data.
const (
	readBytes = 4 << 20
	readWait  = 500 * time.Millisecond
)

// Read calls deliver for each record of a partition from offset from up to, and
// without, offset to, and returns from where on it read all of them: that is later
// than from where the log no longer reaches back to it. to must not lie beyond the
// last stable offset. The records are deliver's to keep.
//
// It repeats what fails for a while, and gives up with an error where a batch
// cannot be read, or where nothing is to be had for two minutes.
func (l *Log) Read(ctx context.Context, partition contactsync.TopicPartition, from, to int64, deliver func(contactsync.Record)) (began int64, err error) {
	began = from
	at := from
	wait := NewRetry()
	moved := time.Now()
	for at < to {
		walk := Walk{Partition: partition, Next: at}
		part, err := Fetch(ctx, l.client.Transport, l.addr, FetchRequest{
			Partition: partition, Offset: at, MinBytes: 1, MaxBytes: readBytes, MaxWait: readWait, Timeout: l.timeout,
		})
		err = denied(err, "READ")
		if err == nil {
			err = walk.Each(part, func(rec contactsync.Record) {
				if rec.Offset < to {
					deliver(rec)
				}
			})
		}
		if ctx.Err() != nil {
			return began, context.Cause(ctx)
		}
		if walk.Next > at {
			at, moved = walk.Next, time.Now()
			wait.Reset()
		}
		switch {
		case err == nil && time.Since(moved) < patience:
			continue
		case err == nil:
			return began, fmt.Errorf("read %v up to offset %d: at %d nothing has come for %v", partition, to, at, patience)
		case errors.Is(err, ErrDenied):
			return began, err
		case Cause(err) == CauseDecode:
			return began, fmt.Errorf("%w: raise consumer.max_batch_bytes where it is too large; nothing beyond it was read", err)
		case Cause(err) == CauseOffset:
			first, err := l.first(ctx, partition)
			if err != nil {
				return began, err
			}
			if first > at { // retention was here
				l.log.Warn("the log no longer reaches back so far", "partition", partition.String(), "wanted", at, "first", first)
				began = min(first, to)
				at, moved = first, time.Now()
				continue
			}
		}
		if time.Since(moved) > patience {
			return began, fmt.Errorf("nothing has come for %v: %w", patience, err)
		}
		l.log.Warn("fetch is retried", "partition", partition.String(), "offset", at, "cause", Cause(err), "err", err)
		if !Sleep(ctx, wait.NextBackOff()) {
			return began, context.Cause(ctx)
		}
	}
	return began, nil
}

// HasOpenTransaction reports whether a transaction is open in a partition: what is
// written to it is not read before that has ended.
func (l *Log) HasOpenTransaction(ctx context.Context, partition contactsync.TopicPartition, end int64) (bool, error) {
	part, err := Fetch(ctx, l.client.Transport, l.addr, FetchRequest{Partition: partition, Offset: end, MaxBytes: readBytes, Timeout: l.timeout})
	if err != nil {
		return false, denied(err, "READ")
	}
	return part.LastStableOffset >= 0 && part.LastStableOffset < part.HighWatermark, nil
}

// first returns the first offset of a partition.
func (l *Log) first(ctx context.Context, partition contactsync.TopicPartition) (int64, error) {
	bounds, err := l.Bounds(ctx, partition.Topic)
	if err != nil {
		return 0, err
	}
	if int(partition.Partition) >= len(bounds) {
		return 0, fmt.Errorf("read %v: the topic has only %d partitions", partition, len(bounds))
	}
	return bounds[partition.Partition].First, nil
}
