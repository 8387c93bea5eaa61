package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync"
)

// appendBytes bounds the records that share a request: a topic that takes less in
// one batch than Kafka's default would refuse larger ones, and one large record
// goes alone.
const appendBytes = 512 << 10

// Append writes records to the end of a partition, in their order and with their
// keys, values and headers, and waits until every in-sync replica has them. Their
// position and time are not looked at: they get those of now.
//
// It makes one attempt, and returns how many of the first records are known to be
// written. With ErrRefused the one behind those is not, and no other either; with
// any other error nothing is known of the rest.
func (c *Client) Append(ctx context.Context, partition contactsync.TopicPartition, records []contactsync.Record) (written int, err error) {
	single := false // the batch was refused as a whole: alone, the good ones pass
	for written < len(records) {
		n, size := 1, RecordSize(records[written])
		for !single && written+n < len(records) {
			if size += RecordSize(records[written+n]); size > appendBytes {
				break
			}
			n++
		}
		_, err := c.produce(ctx, partition, records[written:written+n])
		err = c.renewal.note(writeError(err))
		switch {
		case err == nil:
			written += n
		case errors.Is(err, ErrRefused) && n > 1:
			single = true
		default:
			return written, fmt.Errorf("append to %v: %w", partition, err)
		}
	}
	return written, nil
}

// produce makes one attempt. It returns the offset of the first record.
func (c *Client) produce(ctx context.Context, partition contactsync.TopicPartition, records []contactsync.Record) (first int64, err error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	now := time.Now()
	batch := make([]kafkago.Record, 0, len(records))
	for _, r := range records {
		m := kafkago.Record{Time: now, Key: kafkago.NewBytes(r.Key), Value: kafkago.NewBytes(r.Value)} // nil stays none
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, kafkago.Header(h))
		}
		batch = append(batch, m)
	}
	res, err := c.client.Produce(ctx, &kafkago.ProduceRequest{
		Addr: c.addr, Topic: partition.Topic, Partition: int(partition.Partition),
		RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(batch...),
	})
	if err != nil {
		return 0, err
	}
	return res.BaseOffset, res.Error
}

// RecordSize is at least what kafka-go counts for a record and what a broker stores:
// lengths and overheads are taken at their largest.
func RecordSize(r contactsync.Record) int {
	size := 64 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += 20 + len(h.Key) + len(h.Value)
	}
	return size
}
