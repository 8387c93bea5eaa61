package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// decision says which batch is set aside.
type decision struct{ first, last int64 }

// unreadable deals with a batch that cannot be read, and returns the offset to go on from:
// behind the batch where it was set aside, by an operator or by policy. Policy sets aside
// only what reads the same twice: bytes that were damaged in transit read better then.
func (f *fetcher) unreadable(ctx context.Context, offset int64, why error, retry time.Duration) int64 {
	before := f.bad.Load()
	bad, err := f.c.deps.Kafka.Examine(ctx, f.claim.TopicPartition, offset, why)
	if ctx.Err() != nil {
		return offset
	}
	if err != nil && before != nil && before.First == offset {
		bad = *before
	}
	f.bad.Store(&bad)
	f.giveUpCatchingUp()
	twice := err == nil && before != nil && *before == bad && bad.Last >= 0
	switch {
	case twice && f.ended(bad, bad.Last):
		return f.setAside(ctx, bad, bad.Last, "by an earlier owner")
	case twice && f.c.cfg.OnUnreadableBatch == SetAside:
		return f.setAside(ctx, bad, bad.Last, "by consumer.on_unreadable_batch")
	}
	if f.fails(Halted, fmt.Sprintf("the batch at offset %d cannot be read", offset)) {
		f.c.deps.Log.Error("a record batch cannot be read: its partition waits, the others go on", "topic", f.claim.Topic, "partition", f.claim.Partition,
			"first", bad.First, "last", bad.Last, "bytes", bad.Bytes, "sha256", bad.SHA256, "reason", bad.Reason, "policy", f.c.cfg.OnUnreadableBatch, "err", why,
			"hint", bad.Hint())
	}
	wait := f.c.cfg.PartitionCheckInterval
	if before == nil || before.First != offset {
		wait = retry
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		f.beat.Store(time.Now().UnixNano())
		select {
		case d := <-f.decided:
			if d.first == offset { // and not an older one
				return f.setAside(ctx, bad, d.last, "by an operator")
			}
		case <-t.C:
			return offset
		case <-ctx.Done():
			return offset
		}
	}
}

// ended reports whether an earlier owner had ended every event of the batch, and not of
// another one that a later leader has replaced by it.
func (f *fetcher) ended(bad kafka.Unreadable, last int64) bool {
	for o := bad.First; o <= last; o++ {
		if bad.Epoch < 0 || f.tracker.Inherited(o, bad.Epoch) == contactsync.Open {
			return false
		}
	}
	return true
}

// setAside makes a dead letter of a batch, and returns the offset behind it. The batch is
// one event for the sink, with which all its offsets end when the dead letter is written.
func (f *fetcher) setAside(ctx context.Context, bad kafka.Unreadable, last int64, by string) int64 {
	bad.Last = last
	text, err := json.Marshal(bad)
	if err != nil {
		panic("BUG: numbers and strings cannot be written as JSON")
	}
	ev := event.Event{
		Record: contactsync.Record{
			Position: contactsync.Position{TopicPartition: f.claim.TopicPartition, Offset: bad.First}, Value: text,
		},
		Err: &event.DecodeError{
			Reason: contactsync.ReasonUnreadable,
			Detail: fmt.Sprintf("offsets %d to %d: %s: %d bytes: set aside %s", bad.First, last, bad.Reason, bad.Bytes, by),
		},
	}
	if f.ended(bad, last) {
		ev.Before = f.tracker.Inherited(bad.First, bad.Epoch)
	}
	ev.Record.Generation = f.claim.Generation
	f.tracker.Bundle(bad.First, last)
	var offsets []int64
	for o := bad.First; o <= last; o++ {
		offsets = append(offsets, o)
	}
	f.tracker.Passed(bad.First, bad.Epoch) // what is handed over may be committed at once
	if err := f.hand(ctx, []event.Event{ev}, offsets); err != nil {
		return bad.First // the generation is over: nothing of it is committed
	}
	if ev.Before == contactsync.Open {
		f.c.deps.Metrics.OffsetsSetAside.WithLabelValues(bad.Reason).Add(float64(last + 1 - bad.First))
	}
	f.c.deps.Log.Warn("a record batch that cannot be read was set aside: its events are not sent, and a dead letter describes it", "topic", f.claim.Topic, "partition", f.claim.Partition,
		"first", bad.First, "last", last, "bytes", bad.Bytes, "sha256", bad.SHA256, "reason", bad.Reason, "decided", by, "command", f.c.deps.Commands.ShowDeadLetter(ev.Record.Position))
	return last + 1
}

// Errors of SetAside.
var (
	errNotOwned  = errors.New("this replica does not own the partition: ask the one whose /status lists it")
	errNotHalted = errors.New("the partition is not halted at a batch that cannot be read")
)

// SetAside has a batch set aside that a partition is halted at, as an operator's decision.
// Its offsets must be those that /status says; where the last one is not known, any that
// exists is taken. It returns why that cannot be.
func (c *Consumer) SetAside(p contactsync.TopicPartition, first, last int64) error {
	g := c.present.Load()
	if g == nil {
		return errNotOwned
	}
	for _, f := range g.fetchers {
		if f.claim.TopicPartition != p {
			continue
		}
		bad := f.bad.Load()
		switch {
		case bad == nil:
			return errNotHalted
		case first != bad.First, bad.Last >= 0 && last != bad.Last:
			return fmt.Errorf("the batch that cannot be read has the offsets %d to %d", bad.First, bad.Last)
		case last < first, bad.Last < 0 && last >= f.end.Load():
			return fmt.Errorf("the last offset must lie between %d and the end of the partition, %d", first, f.end.Load())
		}
		select {
		case f.decided <- decision{first, last}:
		default: // it was decided a moment ago
		}
		return nil
	}
	return errNotOwned
}
