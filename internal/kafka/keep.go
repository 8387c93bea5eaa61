package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/contactsync/contactsync"
)

// ErrNoRecord reports that there is no record at an offset: compaction or retention has
// removed it.
var ErrNoRecord = errors.New("no record is there any more")

// Keep writes a record to a topic, to the partition that its key chooses, and returns
// where every in-sync replica has it. It makes one attempt.
func (c *Client) Keep(ctx context.Context, topic string, key, value []byte) (partition int32, offset int64, err error) {
	counts, err := c.partitions(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	m := messageOf(contactsync.Record{Key: key})
	numbers := make([]int, counts[topic])
	for i := range numbers {
		numbers[i] = i
	}
	at := contactsync.TopicPartition{Topic: topic, Partition: int32(balance(m, numbers...))}
	offset, err = c.produce(ctx, at, []contactsync.Record{{Key: key, Value: value}})
	if err != nil {
		return 0, 0, fmt.Errorf("keep a record in %v: %w", at, c.renewal.note(writeError(err)))
	}
	return at.Partition, offset, nil
}

// Kept returns the value of the record at an offset. It repeats what fails until ctx
// ends; that the record is gone is final.
func (c *Client) Kept(ctx context.Context, at contactsync.TopicPartition, offset int64) (value []byte, err error) {
	retry := NewRetry()
	for {
		fetched, err := c.Fetch(ctx, FetchRequest{Partition: at, Offset: offset, MinBytes: 1, MaxBytes: 1, MaxWait: 100 * time.Millisecond}) // the first batch comes whole
		if err == nil {
			value, err = fetched.value(ctx, offset)
		}
		if err == nil || errors.Is(err, ErrNoRecord) || Cause(err) == CauseOffset {
			return value, err
		}
		if !Sleep(ctx, retry.NextBackOff()) {
			return nil, err
		}
	}
}

// value returns that of the record at an offset.
func (f *Fetched) value(ctx context.Context, offset int64) (value []byte, err error) {
	found := false
	err = f.Each(ctx, func(rec contactsync.Record) {
		if rec.Offset == offset {
			found, value = true, rec.Value
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("offset %d: %w", offset, ErrNoRecord)
	}
	return value, err
}
