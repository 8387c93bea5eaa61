package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync/internal/kafka"
)

// endSettles is how long a committed offset may lie beyond the end of its
// partition before that is believed: a new leader learns its high watermark a
// moment after it took over.
const endSettles = 10 * time.Second

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
		first, end, err := f.bounds(ctx)
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case err != nil:
			log.Warn("the partition's offsets cannot be asked for; retried", "err", err)
			if !kafka.Sleep(ctx, retry.NextBackOff()) {
				return 0, context.Cause(ctx)
			}
			continue
		case committed < 0:
			if end > first {
				log.Info("no offset was committed: reading from the start", "first", first, "end", end)
			}
			return first, nil
		case committed >= first && committed <= end:
			return committed, nil
		}
		reason, lost := "below_log_start", first-committed
		if committed > end {
			if beyondSince.IsZero() {
				beyondSince = time.Now()
			}
			if time.Since(beyondSince) < endSettles {
				if !kafka.Sleep(ctx, time.Second) {
					return 0, context.Cause(ctx)
				}
				continue
			}
			reason, lost = "beyond_end", committed-end
		}
		if !counted {
			counted = true
			m.OffsetsLost.WithLabelValues(reason).Add(float64(lost))
			log.Error("the committed offset does not exist: events were lost in Kafka or the topic was made anew",
				"committed", committed, "first", first, "end", end, "lost", lost, "reason", reason, "policy", f.c.cfg.OnOffsetLoss,
				"hint", "consumer.on_offset_loss: skip goes on from the first offset that exists")
		}
		if f.c.cfg.OnOffsetLoss == Skip {
			return first, nil
		}
		f.halt()
		if !kafka.Sleep(ctx, f.c.cfg.PartitionCheckInterval) {
			return 0, context.Cause(ctx)
		}
	}
}

// bounds asks for the first offset of the partition and for its end.
func (f *fetcher) bounds(ctx context.Context) (first, end int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, f.c.deps.RequestTimeout, errors.New("the brokers did not answer in time"))
	defer cancel()
	p := int(f.claim.Partition)
	res, err := f.c.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{
		Addr:   f.c.addr,
		Topics: map[string][]kafkago.OffsetRequest{f.claim.Topic: {kafkago.FirstOffsetOf(p), kafkago.LastOffsetOf(p)}},
	})
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the offsets of %v: %w", f.claim, err)
	}
	for _, o := range res.Topics[f.claim.Topic] {
		if o.Partition != p {
			continue
		}
		if o.Error != nil {
			return 0, 0, fmt.Errorf("ask for the offsets of %v: %w", f.claim, o.Error)
		}
		return o.FirstOffset, o.LastOffset, nil
	}
	return 0, 0, fmt.Errorf("ask for the offsets of %v: the answer does not hold the partition", f.claim)
}
