package kafka

import (
	"context"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync"
)

// Bounds are where a partition begins and ends.
type Bounds struct {
	First int64 // the first offset that exists
	End   int64 // behind the last one: by Bounds the high watermark, by StableBounds the last stable offset
}

// Bounds asks once for the bounds of a partition. Every offset below its end
// exists, although it may belong to a transaction that is still open.
func (c *Client) Bounds(ctx context.Context, partition contactsync.TopicPartition) (Bounds, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	p := int(partition.Partition)
	offsets, err := c.listOffsets(ctx, partition.Topic, kafkago.ReadUncommitted, boundsOf(p))
	if err != nil {
		return Bounds{}, fmt.Errorf("ask for the offsets of %v: %w", partition, err)
	}
	return Bounds{offsets[p].FirstOffset, offsets[p].LastOffset}, nil
}

// StableBounds returns the bounds of every partition of a topic, by number. Behind
// their end lies nothing, or a transaction that is still open. The question is
// repeated until it is answered, for two minutes at most.
func (c *Client) StableBounds(ctx context.Context, topic string) ([]Bounds, error) {
	offsets, err := c.stableOffsets(ctx, topic, boundsOf)
	if err != nil {
		return nil, fmt.Errorf("ask for the offsets of topic %s: %w", topic, err)
	}
	bounds := make([]Bounds, len(offsets))
	for p, o := range offsets {
		bounds[p] = Bounds{o.FirstOffset, o.LastOffset}
	}
	return bounds, nil
}

// OffsetsAt returns, for every partition by its number, the first offset whose
// record is not older than at; -1 where there is none. It repeats the question as
// StableBounds does.
func (c *Client) OffsetsAt(ctx context.Context, topic string, at time.Time) ([]int64, error) {
	offsets, err := c.stableOffsets(ctx, topic, func(p int) []kafkago.OffsetRequest {
		return []kafkago.OffsetRequest{kafkago.TimeOffsetOf(p, at)}
	})
	if err != nil {
		return nil, fmt.Errorf("ask topic %s for its offsets at %v: %w", topic, at.UTC().Format(time.RFC3339), err)
	}
	found := make([]int64, len(offsets))
	for p, o := range offsets {
		for offset := range o.Offsets { // the one that was asked for
			found[p] = offset
		}
	}
	return found, nil
}

func boundsOf(p int) []kafkago.OffsetRequest {
	return []kafkago.OffsetRequest{kafkago.FirstOffsetOf(p), kafkago.LastOffsetOf(p)}
}

// stableOffsets asks about every partition of a topic until all are answered, and
// returns the answers by number.
func (c *Client) stableOffsets(ctx context.Context, topic string, request func(partition int) []kafkago.OffsetRequest) (offsets []kafkago.PartitionOffsets, err error) {
	err = c.retry(ctx, func(ctx context.Context) error {
		ctx, cancel := c.bounded(ctx)
		defer cancel()
		counts, err := c.partitions(ctx, topic)
		if err != nil {
			return err
		}
		var requests []kafkago.OffsetRequest
		for p := range counts[topic] {
			requests = append(requests, request(p)...)
		}
		answers, err := c.listOffsets(ctx, topic, kafkago.ReadCommitted, requests)
		if err != nil {
			return err
		}
		offsets = make([]kafkago.PartitionOffsets, counts[topic])
		for p := range offsets {
			offsets[p] = answers[p]
		}
		return nil
	})
	return offsets, err
}

// listOffsets makes one request and returns the answers by partition. All that were
// asked for are there, or it returns an error.
func (c *Client) listOffsets(ctx context.Context, topic string, isolation kafkago.IsolationLevel, requests []kafkago.OffsetRequest) (map[int]kafkago.PartitionOffsets, error) {
	res, err := c.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{
		Addr: c.addr, IsolationLevel: isolation, Topics: map[string][]kafkago.OffsetRequest{topic: requests},
	})
	if err != nil {
		return nil, c.renewal.note(denied(err, "DESCRIBE"))
	}
	offsets := map[int]kafkago.PartitionOffsets{}
	for _, o := range res.Topics[topic] {
		if o.Error != nil {
			return nil, fmt.Errorf("partition %d: %w", o.Partition, c.renewal.note(denied(o.Error, "DESCRIBE")))
		}
		offsets[o.Partition] = o
	}
	for _, r := range requests {
		if _, ok := offsets[r.Partition]; !ok {
			return nil, fmt.Errorf("the answer does not hold partition %d", r.Partition)
		}
	}
	return offsets, nil
}
