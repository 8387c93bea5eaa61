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
func (c *Client) Read(ctx context.Context, partition contactsync.TopicPartition, from, to int64, deliver func(contactsync.Record)) (began int64, err error) {
	began = from
	at := from
	wait := NewRetry()
	moved := time.Now()
	for at < to {
		next := at
		fetched, err := c.Fetch(ctx, FetchRequest{Partition: partition, Offset: at, MinBytes: 1, MaxBytes: readBytes, MaxWait: readWait})
		if err == nil {
			err = fetched.Each(ctx, func(rec contactsync.Record) {
				if rec.Offset < to {
					deliver(rec)
				}
			})
			next = fetched.Next
		}
		if ctx.Err() != nil {
			return began, context.Cause(ctx)
		}
		if next > at {
			at, moved = next, time.Now()
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
			if b, err := c.Bounds(ctx, partition); err == nil && b.First > at { // retention was here
				c.log.Warn("the log begins after the offset to read", "partition", partition.String(), "wanted", at, "first", b.First)
				began = min(b.First, to)
				at, moved = b.First, time.Now()
				continue
			}
		}
		if time.Since(moved) > patience {
			return began, fmt.Errorf("nothing has come for %v: %w", patience, err)
		}
		c.log.Warn("fetch failed; retried", "partition", partition.String(), "offset", at, "cause", Cause(err), "err", err)
		if !Sleep(ctx, wait.NextBackOff()) {
			return began, context.Cause(ctx)
		}
	}
	return began, nil
}

// HasOpenTransaction reports whether a transaction is open in a partition: what is
// written to it is not read before that has ended.
func (c *Client) HasOpenTransaction(ctx context.Context, partition contactsync.TopicPartition, end int64) (bool, error) {
	fetched, err := c.Fetch(ctx, FetchRequest{Partition: partition, Offset: end, MaxBytes: readBytes})
	if err != nil {
		return false, err
	}
	fetched.Release()
	return fetched.LastStable < fetched.HighWatermark, nil
}
