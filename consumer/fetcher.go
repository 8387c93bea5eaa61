package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
	"github.com/contactsync/contactsync/internal/setting"
)

// chunkEvents and chunkBytes bound what one call of the sink gets: enough to make the
// call cheap, little enough not to exceed a full window by much.
const (
	chunkEvents = 256
	chunkBytes  = 256 << 10
)

// allFetches is what the fetches of all partitions ask for together at most, however many there are: while the
// window is full, each holds its answer, and nothing is charged for that. leastFetch is the least of one.
const (
	allFetches = 64 << 20
	leastFetch = 64 << 10
)

// fetcher reads one partition during one generation.
type fetcher struct {
	c        *Consumer
	claim    contactsync.Claim
	tracker  *progress.Tracker
	ages     ages
	log      progress.Log
	topicID  [16]byte // of the topic that is read; zero where it is not known
	kept     kept     // the committing goroutine's
	decode   func(contactsync.Record) event.Event
	assigned time.Time
	most     setting.Size // that one fetch asks for

	inherited *progress.Ahead // what an earlier owner had ended; the tracker's, once reading begins
	target    int64           // catch-up ends when the read position reaches it; -1 until known
	notBefore time.Time       // and not before this: requests of an earlier owner may still be applied
	caughtUp  atomic.Bool

	end     atomic.Int64 // high watermark, as Kafka said last; -1 where it is not known
	first   atomic.Int64 // where the log begins, likewise
	resumed atomic.Bool  // what is committed is known
	beat    atomic.Int64 // Unix nanoseconds of the last attempt to read
	turned  atomic.Int64 // Unix nanoseconds; since when it is read as it is
	adding  atomic.Int64 // since when the sink blocks, in Unix nanoseconds; 0 where it does not
	problem atomic.Pointer[problem]
	bad     atomic.Pointer[kafka.Unreadable] // the batch that cannot be read; nil where there is none
	decided chan decision                    // of an operator

	feed  feedGuard
	again rereading

	lost    loss                    // what is known of the log before it is looked at
	halted  atomic.Bool             // for lost events, until an operator decides: it goes with the commits
	located atomic.Bool             // the tracker's start is known, so its watermark may be committed
	restart context.CancelCauseFunc // ends the generation
}

// run reads from the committed offset until ctx ends. Every error is retried.
func (f *fetcher) run(ctx context.Context, gen *kafka.Generation, committed kafka.Committed) {
	defer f.over()
	for committed.Err != nil {
		f.unread("the committed offset is not known; retried", committed.Err)
		f.beat.Store(time.Now().UnixNano())
		f.giveUpCatchingUp()
		if !kafka.Sleep(ctx, f.c.cfg.PartitionCheckInterval) {
			return
		}
		if committed = f.c.deps.Group.Committed(ctx, gen, f.claim.TopicPartition); committed.Err == nil {
			f.resume(committed)
		}
	}
	f.readKept(ctx)
	offset, err := f.locate(ctx, committed.Offset)
	if err != nil {
		return // ctx has ended
	}
	f.lost = "" // it was of the committed offset
	f.feed.takeOver(offset)
	f.tracker.Start(offset)
	f.located.Store(true)
	begin := offset
	retry := kafka.NewRetry()
	for ctx.Err() == nil {
		f.beat.Store(time.Now().UnixNano())
		f.again.readAgain(ctx, offset)
		next, err := f.step(ctx, offset)
		offset = next
		f.checkCaughtUp(offset)
		if err == nil {
			retry.Reset()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if cut, ok := errors.AsType[cutOff](err); ok {
			why, lost := f.beyond(ctx, offset-cut.end)
			if f.lose(ctx, why, lost, offset, "end", cut.end) != nil {
				return
			}
			if offset > begin || why == recreated {
				f.takeUpAnew()
				return
			}
			offset, begin = cut.end, cut.end
			f.feed.forget()
			f.tracker.Start(offset)
			continue
		}
		reason := kafka.Cause(err)
		f.c.deps.Metrics.FetchErrors.WithLabelValues(reason).Inc()
		wait := retry.NextBackOff()
		switch reason {
		case kafka.CauseDecode: // corrupt, or larger than max_batch_bytes: it will not read better soon
			offset = f.unreadable(ctx, offset, err, wait)
			continue
		case kafka.CauseOffset:
			next, ended := f.locate(ctx, offset)
			if ended != nil {
				return
			}
			if next < offset {
				f.takeUpAnew()
				return
			}
			if next == offset { // else it is gone, and the next attempt is another one
				f.unread("fetch failed; retried", err)
			} else {
				f.tracker.Passed(next, -1)
			}
			offset = next
		default:
			f.unread("fetch failed; retried", err)
		}
		if !kafka.Sleep(ctx, wait) {
			return
		}
	}
}

// takeUpAnew ends the generation without a commit of this partition: offsets that were read
// hold other events now.
func (f *fetcher) takeUpAnew() {
	f.located.Store(false)
	f.restart(errLogChanged)
}

// giveUpCatchingUp lets the other partitions go on without this one.
func (f *fetcher) giveUpCatchingUp() {
	f.target = 0
	f.checkCaughtUp(0)
}

// once makes one fetch and hands its events to the sink. It returns the offset to
// go on from, which is right also where it returns an error.
func (f *fetcher) once(ctx context.Context, offset int64) (int64, error) {
	fetched, err := f.fetch(ctx, offset, f.c.cfg.FetchMinBytes)
	if err != nil {
		return offset, err
	}
	defer fetched.Release()
	if err := f.check(ctx, fetched, offset); err != nil {
		return offset, err
	}
	if f.target < 0 {
		// What the previous owner can have delivered lies below the last stable
		// offset of now; beyond it nothing is read before its transaction ends.
		f.target = fetched.LastStable
	}
	var events []event.Event
	var offsets []int64
	size := 0
	flush := func() error {
		if len(events) == 0 {
			return nil
		}
		err := f.hand(ctx, events, offsets)
		events, offsets, size = nil, offsets[:0], 0
		return err
	}
	var addErr error
	counts := tally{}
	readErr := fetched.Each(ctx, func(rec contactsync.Record) {
		if addErr != nil || f.feed.fuse.holds(rec.Offset) {
			return
		}
		rec.Generation = f.claim.Generation
		ev := f.decode(rec)
		ev.Before = f.tracker.Inherited(rec.Offset, fetched.Epoch)
		counts.add(&ev)
		f.feed.judge(&ev)
		if events == nil {
			events = make([]event.Event, 0, chunkEvents)
		}
		events, offsets = append(events, ev), append(offsets, rec.Offset)
		if size += len(rec.Key) + len(rec.Value); len(events) == chunkEvents || size >= min(chunkBytes, int(f.most)) {
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
		m.Records.WithLabelValues(result).Add(float64(n))
	}
	m.FetchedBytes.Add(float64(fetched.Bytes))
	m.AbortedRecords.Add(float64(fetched.Aborted))
	m.ControlBatches.Add(float64(fetched.ControlBatches))
	next := fetched.Next
	if f.feed.fuse.holds(next) { // from somewhere in this answer on
		next, readErr = f.feed.fuse.waits.Load(), nil
	}
	if next > offset {
		f.tracker.Passed(next, fetched.Latest)
	}
	f.feed.passed(next)
	return next, readErr
}

// fetch makes one fetch, which waits for so many bytes.
func (f *fetcher) fetch(ctx context.Context, offset int64, least setting.Size) (*kafka.Fetched, error) {
	cfg := f.c.cfg
	fetched, err := f.c.deps.Kafka.Fetch(ctx, kafka.FetchRequest{
		Partition: f.claim.TopicPartition, Offset: offset,
		MinBytes: min(least, f.most), MaxBytes: f.most, MaxWait: cfg.FetchMaxWait,
	})
	if err == nil {
		f.end.Store(fetched.HighWatermark)
	}
	return fetched, err
}

// hand gives events to the sink, which may block. It fails where the generation is over.
func (f *fetcher) hand(ctx context.Context, events []event.Event, offsets []int64) error {
	if !f.tracker.Opened(offsets) {
		return fmt.Errorf("read %v: offset %d was read already", f.claim, offsets[0])
	}
	f.ages.read(events)
	began := time.Now()
	f.adding.Store(began.UnixNano())
	err := f.c.sink.Add(ctx, events)
	f.c.wasRead() // a full window is no fault of the partition
	if time.Since(began) >= waitsAfter {
		f.turn()
	}
	f.adding.Store(0)
	return err
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
	case ev.Err != nil:
		t[string(ev.Err.Reason)]++
	default:
		t[string(contactsync.ReasonUndecodable)]++
	}
}

// checkCaughtUp lets the sink send the partition's contacts, once.
func (f *fetcher) checkCaughtUp(offset int64) {
	now := time.Now()
	if f.caughtUp.Load() || now.Before(f.notBefore) {
		return
	}
	if (f.target >= 0 && offset >= f.target) || now.Sub(f.assigned) >= f.c.cfg.CatchupMax {
		f.caughtUp.Store(true)
		f.turn()
		f.c.deps.Metrics.CatchingUp.Dec()
		f.c.sink.CaughtUp(f.claim)
	}
}
