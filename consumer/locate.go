package consumer

import (
	"context"
	"time"

	"github.com/contactsync/contactsync/internal/kafka"
)

// locate returns the offset to read from, given the committed one: the same
// where it exists, the first one where nothing was committed. Where the committed
// offset does not exist any more, the loss is counted, and the policy says
// whether to go on from the start of the partition or to wait for an operator. It
// returns an error only when ctx ended.
func (f *fetcher) locate(ctx context.Context, committed int64) (int64, error) {
	log := f.c.deps.Log.With("topic", f.claim.Topic, "partition", f.claim.Partition)
	m := f.c.deps.Metrics
	retry := kafka.NewRetry()
	var beyondSince time.Time
	counted := false
	defer f.goOn()
	for {
		f.beat.Store(time.Now().UnixNano())
		b, err := f.c.deps.Kafka.Bounds(ctx, f.claim.TopicPartition)
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case err != nil:
			log.Warn("asking for the partition's offsets failed; retried", "err", err)
			if !kafka.Sleep(ctx, retry.NextBackOff()) {
				return 0, context.Cause(ctx)
			}
			continue
		case committed < 0:
			if b.End > b.First {
				log.Info("no offset was committed: reading from the start", "first", b.First, "end", b.End)
			}
			return b.First, nil
		case committed >= b.First && committed <= b.End:
			return committed, nil
		}
		reason, lost := "below_log_start", b.First-committed
		if committed > b.End {
			if beyondSince.IsZero() {
				beyondSince = time.Now()
			}
			if time.Since(beyondSince) < kafka.EndSettles {
				if !kafka.Sleep(ctx, time.Second) {
					return 0, context.Cause(ctx)
				}
				continue
			}
			reason, lost = "beyond_end", committed-b.End
		}
		if !counted {
			counted = true
			m.OffsetsLost.WithLabelValues(reason).Add(float64(lost))
			log.Error("the committed offset does not exist: events were lost in Kafka, or the topic was recreated",
				"committed", committed, "first", b.First, "end", b.End, "lost", lost, "reason", reason, "policy", f.c.cfg.OnOffsetLoss,
				"hint", "consumer.on_offset_loss: skip goes on from the first offset that exists")
		}
		if f.c.cfg.OnOffsetLoss == Skip {
			return b.First, nil
		}
		f.halt()
		if !kafka.Sleep(ctx, f.c.cfg.PartitionCheckInterval) {
			return 0, context.Cause(ctx)
		}
	}
}
