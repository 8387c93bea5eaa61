package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
)

// loss is why offsets do not exist, as metrics name it.
type loss string

const (
	belowLogStart loss = "below_log_start" // retention has removed them
	beyondEnd     loss = "beyond_end"      // the log was cut off by an unclean election, or recreated
	recreated     loss = "recreated"       // the topic was deleted and created again
	earlier       loss = "found earlier"   // an earlier owner has counted it, and halted
)

// errLogChanged ends a generation: the log that was read is not there any more, and what
// is pending of it must not be taken for events of the present one.
var errLogChanged = errors.New("the log was cut off or recreated: its partitions are taken up anew")

// locate returns the offset to read from, given the committed one: the same
// where it exists, the first one where nothing was committed. Where the committed
// offset does not exist any more, the loss is counted, and the policy says
// whether to go on from the start of the partition or to wait for an operator. It
// returns an error only when ctx ended.
func (f *fetcher) locate(ctx context.Context, committed int64) (int64, error) {
	retry := kafka.NewRetry()
	var beyondSince time.Time
	for {
		f.beat.Store(time.Now().UnixNano())
		b, err := f.c.deps.Kafka.Bounds(ctx, f.claim.TopicPartition)
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case err != nil:
			f.unread("asking for the partition's offsets failed; retried", err)
			f.checkCaughtUp(0)
			if !kafka.Sleep(ctx, retry.NextBackOff()) {
				return 0, context.Cause(ctx)
			}
			continue
		}
		f.first.Store(b.First)
		f.end.Store(b.End)
		var why loss
		lost := int64(0)
		switch {
		case committed < 0:
			if b.End > b.First {
				f.c.deps.Log.Info("no offset was committed: reading from the start", "topic", f.claim.Topic, "partition", f.claim.Partition, "first", b.First, "end", b.End)
			}
			return b.First, nil
		case f.lost == recreated:
			why, lost = recreated, 1 // nobody knows how many
		case f.lost == earlier:
			why = earlier
		case committed < b.First:
			why, lost = belowLogStart, b.First-committed
		case committed <= b.End:
			return committed, nil
		default:
			if beyondSince.IsZero() {
				beyondSince = time.Now()
			}
			if time.Since(beyondSince) < kafka.EndSettles {
				if !kafka.Sleep(ctx, time.Second) {
					return 0, context.Cause(ctx)
				}
				continue
			}
			why, lost = f.beyond(ctx, committed-b.End)
		}
		return b.First, f.lose(ctx, why, lost, committed, "first", b.First, "end", b.End)
	}
}

// beyond is why so many offsets that were committed or read are of no log any more.
func (f *fetcher) beyond(ctx context.Context, lost int64) (loss, int64) {
	if f.isRecreated(ctx) {
		return recreated, 1
	}
	return beyondEnd, lost
}

// isRecreated reports whether the topic is certainly another one than at the assignment.
func (f *fetcher) isRecreated(ctx context.Context) bool {
	id, err := f.c.deps.Group.TopicID(ctx, f.claim.Topic)
	if err != nil {
		f.c.deps.Log.Debug("whether the topic was recreated is not known", "topic", f.claim.Topic, "err", err)
		return false
	}
	return id != f.topicID && id != [16]byte{} && f.topicID != [16]byte{}
}

// lose counts and tells of a loss, and does what the policy says: it returns nil where
// reading goes on, and an error once ctx has ended.
func (f *fetcher) lose(ctx context.Context, why loss, lost, offset int64, now ...any) error {
	if why != earlier && f.c.losses.note(f.claim.TopicPartition, offset) {
		f.c.deps.Metrics.OffsetsLost.WithLabelValues(string(why)).Add(float64(lost))
		args := append([]any{"topic", f.claim.Topic, "partition", f.claim.Partition, "offset", offset}, now...)
		f.c.deps.Log.Error("an offset that was committed or read does not exist: events were lost in Kafka, or the topic was recreated",
			append(args, "lost", lost, "reason", why, "policy", f.c.cfg.OnOffsetLoss, "hint", lossHint)...)
	}
	if f.c.cfg.OnOffsetLoss == Skip {
		return nil
	}
	return f.halt(ctx, why)
}

// cutOff says that a log was cut off at end, below the offset to read from, and has grown
// past that since.
type cutOff struct{ end int64 }

func (c cutOff) Error() string {
	return fmt.Sprintf("the log was cut off at offset %d, and has grown again", c.end)
}

// check looks whether an answer goes on with the log that was read. What lies at its front
// tells: where a later leader has written that, and the leaders before had ended below, it
// is not what followed.
func (f *fetcher) check(ctx context.Context, fetched *kafka.Fetched, offset int64) error {
	leader := f.tracker.Leader()
	if leader < 0 || fetched.First <= leader {
		return nil
	}
	end, err := kafka.EpochEnd(ctx, f.c.deps.Kafka, f.claim.TopicPartition, leader)
	if err == nil && end >= 0 && end < offset {
		err = cutOff{end}
	}
	return err
}

// lossHint is what an operator can do about events that were lost.
const lossHint = "consumer.on_offset_loss: skip goes on from the first offset that exists; with halt, set the group's offset while no replica runs"

// halt waits for an operator, until the generation ends. The log may grow past the
// committed offset meanwhile, which brings nothing back: so the halt goes with the
// commit, and ends only where another offset is set, or the policy says so.
func (f *fetcher) halt(ctx context.Context, why loss) error {
	f.halted.Store(true)
	f.tracker.Recommit()
	if why == earlier {
		f.c.deps.Log.Error("the partition waits for an operator: events were lost before this replica had it", "topic", f.claim.Topic, "partition", f.claim.Partition,
			"hint", lossHint)
	}
	f.fails(Halted, fmt.Sprintf("events were lost (%s): set the group's offset while no replica runs, or consumer.on_offset_loss: skip", why))
	for {
		f.beat.Store(time.Now().UnixNano())
		f.giveUpCatchingUp()
		if !kafka.Sleep(ctx, f.c.cfg.PartitionCheckInterval) {
			return context.Cause(ctx)
		}
	}
}

// losses are the offsets of this process's generations that were found to be lost, so that
// each is counted once.
type losses struct {
	mu sync.Mutex
	at map[contactsync.TopicPartition]int64
}

// note reports whether a loss is a new one: below an offset that was lost there may be the
// same one, seen from the committed offset.
func (l *losses) note(p contactsync.TopicPartition, offset int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.at[p]; ok && offset <= known {
		return false
	}
	l.at[p] = offset
	return true
}

// over forgets the loss of a partition that is read again.
func (l *losses) over(p contactsync.TopicPartition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.at, p)
}
