package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
)

// ErrNoRecord reports that there is no record at an offset: compaction or retention has
// removed it.
var ErrNoRecord = errors.New("no record is there any more")

// Keeper keeps records in a topic and gets each back by its position. It is safe for
// concurrent use.
type Keeper struct {
	c          *Client
	topic      string
	partitions atomic.Int32 // of the topic; 0 until they are asked for
}

// NewKeeper returns a keeper of a topic that the client knows.
func NewKeeper(c *Client, topic string) *Keeper { return &Keeper{c: c, topic: topic} }

// Keep writes a record to the partition that its key chooses, and returns where every
// in-sync replica has it. It makes one attempt.
func (k *Keeper) Keep(ctx context.Context, key, value []byte) (partition int32, offset int64, err error) {
	c, topic := k.c, k.topic
	if k.partitions.Load() == 0 { // more of them later change nothing for the records that are there
		counts, err := c.partitions(ctx, topic)
		if err != nil {
			return 0, 0, err
		}
		k.partitions.Store(int32(counts[topic]))
	}
	at := contactsync.TopicPartition{Topic: topic, Partition: PartitionOf(key, int(k.partitions.Load()))}
	offset, err = c.produce(ctx, at, []contactsync.Record{{Key: key, Value: value}})
	if err != nil {
		k.partitions.Store(0) // the topic may have been created again
		return 0, 0, fmt.Errorf("keep a record in %v: %w", at, c.renewal.note(writeError(err)))
	}
	return at.Partition, offset, nil
}

// Kept returns the value of the record at an offset. It repeats what fails until ctx
// ends; that the record is gone, or may not be read, is final.
func (k *Keeper) Kept(ctx context.Context, partition int32, offset int64) (value []byte, err error) {
	at := contactsync.TopicPartition{Topic: k.topic, Partition: partition}
	retry := NewRetry()
	for {
		// The first batch comes whole, and is one of this service's: it waits for no room.
		fetched, err := fetchWith(ctx, k.c, FetchRequest{Partition: at, Offset: offset, MinBytes: 1, MaxBytes: 1, MaxWait: 100 * time.Millisecond}, nil)
		if err == nil {
			value, err = fetched.value(ctx, offset)
			if fetched.LastStable <= offset && errors.Is(err, ErrNoRecord) {
				err = errors.New("the leader does not have the record yet") // a new one learns how far replicas are
			}
		}
		if err == nil || errors.Is(err, ErrNoRecord) || errors.Is(err, ErrDenied) || errors.Is(err, ErrNoTopic) || Cause(err) == CauseOffset || Cause(err) == CauseDecode {
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
