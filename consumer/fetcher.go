package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"contactsync"
	"contactsync/event"
)

// chunkEvents and chunkBytes bound what is handed to the sink at once: enough that
// the hand-over costs nothing, little enough that a full window is not passed by much.
const (
	chunkEvents = 256
	chunkBytes  = 256 << 10
)

// readCommitted has brokers hold back records of open transactions.
const readCommitted = 1

// fetcher reads one partition during one generation.
type fetcher struct {
	c        *Consumer
	claim    contactsync.Claim
	ledger   *ledger
	decode   func(contactsync.Record) event.Event
	assigned time.Time

	target   int64 // catch-up ends when the read position reaches it; -1 until known
	caughtUp bool

	end    atomic.Int64 // high watermark of the last answer
	beat   atomic.Int64 // Unix nanoseconds of the last sign of life
	adding atomic.Bool  // the sink blocks: the window is full
	halted atomic.Bool  // waits for an operator

	located atomic.Bool // the ledger's start is known, so its watermark may be committed
}

// run reads from the committed offset until ctx ends. Every error is retried.
func (f *fetcher) run(ctx context.Context, committed int64) {
	defer f.goOn() // a halt ends with the generation; the next owner finds out for itself
	offset, err := f.locate(ctx, committed)
	if err != nil {
		return // ctx has ended
	}
	f.ledger.start(offset)
	f.located.Store(true)
	retry := newRetry()
	for ctx.Err() == nil {
		f.beat.Store(time.Now().UnixNano())
		next, err := f.once(ctx, offset)
		offset = next
		f.checkCaughtUp(offset)
		if err == nil {
			retry.Reset()
			f.goOn()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		reason := fetchReason(err)
		f.c.deps.Metrics.FetchErrors.WithLabelValues(reason).Inc()
		f.c.deps.Log.Warn("fetch is retried", "topic", f.claim.Topic, "partition", f.claim.Partition, "offset", offset, "reason", reason, "err", err)
		wait := retry.NextBackOff()
		switch reason {
		case "decode": // corrupt, or larger than max_batch_bytes: it will not read better soon
			f.halt()
			wait = f.c.cfg.PartitionCheckInterval
		case "offset":
			if offset, err = f.locate(ctx, offset); err != nil {
				return
			}
			f.ledger.passed(offset)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// halt makes known that the partition waits for an operator, and lets the other
// ones go on without it.
func (f *fetcher) halt() {
	if !f.halted.Swap(true) {
		f.c.deps.Metrics.Halted.Inc()
	}
	f.target = 0
	f.checkCaughtUp(0)
}

// goOn ends a halt.
func (f *fetcher) goOn() {
	if f.halted.Swap(false) {
		f.c.deps.Metrics.Halted.Dec()
	}
}

// once makes one fetch and hands its events to the sink. It returns the offset to
// go on from, which is right also where it returns an error.
func (f *fetcher) once(ctx context.Context, offset int64) (int64, error) {
	part, err := f.fetch(ctx, offset)
	if err != nil {
		return offset, err
	}
	f.end.Store(part.HighWatermark)
	if f.target < 0 {
		// What the previous owner can have delivered lies below the last stable
		// offset of now; beyond it nothing is read before its transaction ends.
		f.target = part.LastStableOffset
		if f.target < 0 {
			f.target = part.HighWatermark
		}
	}
	walk := batchWalk{claim: f.claim, next: offset}
	var events []event.Event
	var offsets []int64
	size := 0
	flush := func() error {
		if len(events) == 0 {
			return nil
		}
		if !f.ledger.opened(offsets) {
			return fmt.Errorf("read %v: offset %d was read already", f.claim, offsets[0])
		}
		f.adding.Store(true)
		defer f.adding.Store(false)
		err := f.c.deps.Sink.Add(ctx, events)
		events, offsets, size = nil, offsets[:0], 0
		return err
	}
	var addErr error
	counts := tally{}
	walkErr := walk.walk(part, func(rec contactsync.Record) {
		if addErr != nil {
			return
		}
		ev := f.decode(rec)
		counts.add(&ev)
		if events == nil {
			events = make([]event.Event, 0, chunkEvents)
		}
		events, offsets = append(events, ev), append(offsets, rec.Offset)
		if size += len(rec.Key) + len(rec.Value); len(events) == chunkEvents || size >= chunkBytes {
			addErr = flush()
		}
	})
	if addErr == nil {
		addErr = flush()
	}
	if addErr != nil {
		return offset, addErr // the generation is over: nothing of it is committed
	}
	m := f.c.deps.Metrics
	for result, n := range counts {
		m.Events.WithLabelValues(result).Add(float64(n))
	}
	m.FetchedBytes.Add(float64(walk.bytes))
	m.AbortedRecords.Add(float64(walk.skippedAborted))
	m.ControlBatches.Add(float64(walk.controlBatches))
	f.ledger.passed(walk.next)
	return walk.next, walkErr
}

// tally counts the events of one fetch by what they are, so that the series are
// looked up once a fetch.
type tally map[string]int

func (t tally) add(ev *event.Event) {
	switch {
	case ev.Kind == event.Update:
		t["update"]++
	case ev.Kind == event.Delete:
		t["delete"]++
	case ev.Kind == event.Tombstone:
		t["tombstone"]++
	case ev.Fault != nil:
		t[string(ev.Fault.Reason)]++
	default:
		t[string(contactsync.ReasonUndecodable)]++
	}
}

// fetch asks the partition's leader for records from offset on.
func (f *fetcher) fetch(ctx context.Context, offset int64) (*fetch.ResponsePartition, error) {
	cfg := f.c.cfg
	// A fetch may wait at the broker for data; only past that it is late.
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.FetchMaxWait+f.c.deps.RequestTimeout, errFetchTimeout)
	defer cancel()
	res, err := f.c.deps.Transport.RoundTrip(ctx, f.c.addr, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(cfg.FetchMaxWait.Milliseconds()),
		MinBytes: int32(cfg.FetchMinBytes), MaxBytes: int32(cfg.FetchMaxBytes),
		IsolationLevel: readCommitted, SessionID: -1, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{
			Topic: f.claim.Topic,
			Partitions: []fetch.RequestPartition{{
				Partition: f.claim.Partition, CurrentLeaderEpoch: -1, FetchOffset: offset,
				LogStartOffset: -1, PartitionMaxBytes: int32(cfg.FetchMaxBytes),
			}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("fetch %v from offset %d: %w", f.claim, offset, err)
	}
	answer := res.(*fetch.Response)
	code := answer.ErrorCode
	if code == 0 && (len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1) {
		return nil, fmt.Errorf("fetch %v from offset %d: the answer does not hold the partition", f.claim, offset)
	}
	if code == 0 {
		code = answer.Topics[0].Partitions[0].ErrorCode
	}
	if code != 0 {
		return nil, fmt.Errorf("fetch %v from offset %d: %w", f.claim, offset, kafka.Error(code))
	}
	return &answer.Topics[0].Partitions[0], nil
}

var errFetchTimeout = errors.New("the broker did not answer the fetch in time")

// checkCaughtUp tells the sink once that the partition's contacts may be sent.
func (f *fetcher) checkCaughtUp(offset int64) {
	if f.caughtUp {
		return
	}
	if (f.target >= 0 && offset >= f.target) || time.Since(f.assigned) >= f.c.cfg.CatchupMax {
		f.caughtUp = true
		f.c.deps.Metrics.CatchingUp.Dec()
		f.c.deps.Sink.CaughtUp(f.claim)
	}
}

// fetchReason names the cause of a failed fetch as metrics do.
func fetchReason(err error) string {
	var network net.Error
	switch {
	case errors.Is(err, kafka.NotLeaderForPartition), errors.Is(err, kafka.LeaderNotAvailable),
		errors.Is(err, kafka.UnknownTopicOrPartition), errors.Is(err, kafka.FencedLeaderEpoch):
		return "leader"
	case errors.Is(err, kafka.OffsetOutOfRange):
		return "offset"
	case isKafkaError(err): // each of them has the methods of a net.Error
		return "other"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return "network"
	}
	if _, ok := errors.AsType[interface {
		error
		BatchTooLarge() bool
	}](err); ok || errors.Is(err, errUnreadable) {
		return "decode"
	}
	// kafka-go gives these no type.
	for _, text := range []string{"crc32 checksum mismatch", "unsupported compression codec", "unsupported message version"} {
		if strings.Contains(err.Error(), text) {
			return "decode"
		}
	}
	return "other"
}

func isKafkaError(err error) bool {
	_, ok := errors.AsType[kafka.Error](err)
	return ok
}

// newRetry is the back-off of everything that asks Kafka: quick at first, since a
// leader moves in a second or two, and never longer than a few seconds.
func newRetry() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 3*time.Second
	return b
}

// sleep waits, and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
