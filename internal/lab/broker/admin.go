package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
)

// CreateTopic creates a topic with the brokers' default replication, unless it
// exists.
func CreateTopic(ctx context.Context, brokers []string, topic string, partitions int32) error {
	return withAdmin(brokers, "create topic "+topic, func(c *kadm.Client) error {
		_, err := c.CreateTopic(ctx, partitions, -1, nil, topic)
		if errors.Is(err, kerr.TopicAlreadyExists) {
			return nil
		}
		return err
	})
}

// Committed returns the offsets that the group has committed.
func Committed(ctx context.Context, brokers []string, group string) (map[contactsync.TopicPartition]int64, error) {
	all := map[contactsync.TopicPartition]int64{}
	err := withAdmin(brokers, "read the offsets of group "+group, func(c *kadm.Client) error {
		offsets, err := c.FetchOffsets(ctx, group)
		if err == nil {
			err = offsets.Error()
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // a group that has not committed yet
			return err
		}
		offsets.Each(func(o kadm.OffsetResponse) {
			if o.At >= 0 {
				all[contactsync.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.At
			}
		})
		return nil
	})
	return all, err
}

// EndOffsets returns the offset after the last record of every partition,
// transaction markers included.
func EndOffsets(ctx context.Context, brokers []string, topics ...string) (map[contactsync.TopicPartition]int64, error) {
	all := map[contactsync.TopicPartition]int64{}
	err := withAdmin(brokers, "read the end offsets", func(c *kadm.Client) error {
		ends, err := c.ListEndOffsets(ctx, topics...)
		if err != nil {
			return err
		}
		if err := ends.Error(); err != nil {
			return err
		}
		ends.Each(func(o kadm.ListedOffset) {
			all[contactsync.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.Offset
		})
		return nil
	})
	return all, err
}

func withAdmin(brokers []string, what string, do func(*kadm.Client) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err == nil {
		admin := kadm.NewClient(client)
		defer admin.Close()
		err = do(admin)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// ReadAll returns the records that a topic has when it is called, except those of
// open and aborted transactions, in order within each partition. The topic must not
// be compacted: the call waits for every partition's last offset, until ctx ends.
func ReadAll(ctx context.Context, brokers []string, topic string) ([]*kgo.Record, error) {
	fail := func(err error) ([]*kgo.Record, error) { return nil, fmt.Errorf("read topic %s: %w", topic, err) }
	var starts, ends kadm.ListedOffsets
	err := withAdmin(brokers, "find the end of topic "+topic, func(c *kadm.Client) error {
		var err error
		if starts, err = c.ListStartOffsets(ctx, topic); err == nil {
			ends, err = c.ListCommittedOffsets(ctx, topic)
		}
		return errors.Join(err, starts.Error(), ends.Error())
	})
	if err != nil {
		return nil, err
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if s, ok := starts.Lookup(o.Topic, o.Partition); ok && s.Offset < o.Offset {
			from[o.Partition], left[o.Partition] = kgo.NewOffset().At(s.Offset), o.Offset
		}
	})
	if len(from) == 0 {
		return nil, nil
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.KeepControlRecords(), // otherwise the end of a partition that ends in a marker would not be seen
	)
	if err != nil {
		return fail(err)
	}
	defer client.Close()
	var all []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fail(err)
		}
		for _, e := range fetches.Errors() {
			return fail(e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, wanted := left[r.Partition]
			if wanted && r.Offset < end && !r.Attrs.IsControl() {
				all = append(all, r)
			}
			if r.Offset >= end-1 {
				delete(left, r.Partition)
			}
		})
	}
	return all, nil
}
