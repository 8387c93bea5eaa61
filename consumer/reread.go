package consumer

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// rereading is the second read position of a partition: that of events that the sink has
// left, because what is on hold had its part of the window. It is the fetcher's, which
// takes turns between the two: so nothing new is read in the moment when the one reaches the
// other, and from then on the order of the log is that of the sink again.
type rereading struct {
	f       *fetcher
	pass    int   // as the sink counts them; 0 before the first
	next    int64 // the offset to read
	gone    int   // offsets that the log does not have any more, of which the sink was not told yet
	waits   time.Time
	told    time.Time // when the log was told last of a batch that cannot be read
	retries *backoff.ExponentialBackOff
}

// readAgain reads what may be read again of what lies before an offset, for as long as a
// fetch of new events may take. Where the partition waits, it goes on until that may end.
func (a *rereading) readAgain(ctx context.Context, end int64) {
	until := time.Now().Add(a.f.c.cfg.FetchMaxWait)
	for ctx.Err() == nil {
		now := time.Now()
		a.f.beat.Store(now.UnixNano())
		if now.Before(a.waits) || a.givesWay(now.After(until), end) {
			return
		}
		n, _ := a.f.tracker.Parked(0)
		pass := 0
		if n > 0 || a.pass > 0 && a.next > 0 {
			pass = a.f.c.sink.ReadAgain(a.f.claim)
		}
		if pass == 0 {
			return
		}
		if pass != a.pass {
			// Asked only now: what the sink leaves from here on, it knows to be left behind this reading.
			a.pass, a.next = pass, a.parkedFrom(0, end)
		}
		if a.next < end && !a.fetch(ctx, end) {
			return
		}
		if a.next >= end {
			a.f.c.sink.ReadAgainDone(a.f.claim, pass, a.gone)
			*a = rereading{f: a.f}
		}
	}
}

// givesWay reports whether something else comes next that lies at an offset: new events, those by which a feed that waits is judged, or an
// operator's decision, which must not wait for all that is to be read again.
func (a *rereading) givesWay(longEnough bool, offset int64) bool {
	switch feed, bad := &a.f.feed, a.f.bad.Load(); {
	case feed.fuse.holds(offset):
		return len(feed.resumed) > 0 || feed.fuse.left > 0 && longEnough
	case bad != nil && bad.First == offset:
		return len(a.f.decided) > 0
	}
	return longEnough
}

// parkedFrom is the first offset that is to be read again and not below another one; end where
// there is none.
func (a *rereading) parkedFrom(from, end int64) int64 {
	if _, first := a.f.tracker.Parked(from); first >= 0 {
		return min(first, end)
	}
	return end
}

// fetch makes one fetch of what is to be read again, and reports whether it got on.
func (a *rereading) fetch(ctx context.Context, end int64) bool {
	fetched, err := a.f.fetch(ctx, a.next, 1)
	if err == nil {
		defer fetched.Release()
		err = a.f.check(ctx, fetched, end)
	}
	begin := a.next
	if err == nil {
		err = a.hand(ctx, fetched, end)
	}
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil && a.next > begin:
		a.retries = nil
		return true
	case err != nil && kafka.Cause(err) == kafka.CauseOffset:
		if a.lose(ctx, end) {
			return true
		}
	case err != nil && kafka.Cause(err) == kafka.CauseDecode: // a batch that was set aside: nothing of it is to be read again
		if a.next = a.parkedFrom(a.next, end); a.next > begin {
			return true
		}
	}
	if err != nil {
		a.failed(ctx, err)
	}
	if a.retries == nil {
		a.retries = kafka.NewRetry()
	}
	a.waits = time.Now().Add(a.retries.NextBackOff())
	return false
}

// tellEvery is how often the log says that a batch cannot be read again.
const tellEvery = time.Minute

// failed counts a fetch that failed. What Kafka does not answer, it does not answer for new events
// either; a batch that cannot be read is one that could be, and nobody else tells of it.
func (a *rereading) failed(ctx context.Context, err error) {
	a.f.c.deps.Metrics.FetchErrors.WithLabelValues(kafka.Cause(err)).Inc()
	level := slog.LevelDebug
	if now := time.Now(); kafka.Cause(err) == kafka.CauseDecode && now.Sub(a.told) >= tellEvery {
		level, a.told = slog.LevelError, now
	}
	a.f.c.deps.Log.Log(ctx, level, "events of streams on hold, or of contacts that are refused alone, could not be read again, and what is behind them waits; retried", "topic", a.f.claim.Topic, "partition", a.f.claim.Partition, "offset", a.next, "err", err,
		"hint", "where a batch stays unreadable, restart this replica: the partition halts at the batch then, and contactsync set-aside gives it up")
}

// hand hands over those events of an answer that are to be read again.
func (a *rereading) hand(ctx context.Context, fetched *kafka.Fetched, end int64) error {
	var events []event.Event
	size := 0
	var addErr error
	flush := func() {
		if len(events) > 0 && addErr == nil {
			a.f.c.deps.Metrics.RecordsReread.Add(float64(len(events)))
			addErr = a.f.hand(ctx, events, nil)
			events, size = nil, 0
		}
	}
	err := fetched.Each(ctx, func(rec contactsync.Record) {
		if addErr != nil || rec.Offset >= end {
			return
		}
		parked, gone := a.f.tracker.Reread(a.next, rec.Offset)
		a.next, a.gone = rec.Offset+1, a.gone+gone
		if !parked {
			return
		}
		rec.Generation = a.f.claim.Generation
		ev := a.f.decode(rec)
		ev.Before, ev.Again = a.f.tracker.Inherited(rec.Offset, fetched.Epoch), true
		events = append(events, ev)
		if size += len(rec.Key) + len(rec.Value); len(events) == chunkEvents || size >= min(chunkBytes, int(a.f.most)) {
			flush()
		}
	})
	if flush(); addErr != nil {
		return addErr // the generation is over
	}
	a.f.c.deps.Metrics.FetchedBytes.Add(float64(fetched.Bytes))
	if next := min(fetched.Next, end); next > a.next { // compaction may have removed the last ones
		a.gone += a.f.tracker.Gone(a.next, next)
		a.next = next
	}
	return err
}

// lose counts what retention has deleted of what was to be read again, and goes on from
// where the log begins. The partition is not halted for that, whatever the policy: it concerns
// streams that were on hold. It reports false where nothing was deleted.
func (a *rereading) lose(ctx context.Context, end int64) bool {
	b, err := a.f.c.deps.Kafka.Bounds(ctx, a.f.claim.TopicPartition)
	if err != nil || b.First <= a.next {
		return false
	}
	first := min(b.First, end)
	lost := a.f.tracker.Gone(a.next, first)
	if lost > 0 {
		a.f.c.deps.Metrics.OffsetsLost.WithLabelValues(string(belowLogStart)).Add(float64(lost))
		a.f.c.deps.Log.Error("events of streams on hold, or of contacts that are refused alone, were deleted in Kafka before they could be read again: they are lost", "topic", a.f.claim.Topic, "partition", a.f.claim.Partition,
			"from", a.next, "first", b.First, "lost", lost, "hint", "keep the retention of the topic above the longest hold")
	}
	a.gone += lost
	a.next = first
	return true
}
