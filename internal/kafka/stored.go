package kafka

import (
	"context"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync"
)

// Stored returns what a group has committed for every partition of topics that exist, by asking
// as no member of it. Each has an error of its own.
func Stored(ctx context.Context, g *Group, topics map[string]int) ([]Committed, error) {
	ctx, cancel := g.client.bounded(ctx)
	defer cancel()
	c, ask := g.client, map[string][]int{}
	m := &metadataMessage{topics: []string{}, clientID: c.cfg.ClientID}
	if _, err := c.client.Transport.RoundTrip(ctx, c.addr, m); err != nil {
		return nil, fmt.Errorf("ask kafka for its cluster: %w", c.renewal.note(err))
	}
	ids := map[string][16]byte{}
	for topic, partitions := range topics {
		id, err := g.TopicID(ctx, topic)
		if err != nil {
			return nil, c.renewal.note(err)
		}
		ids[topic] = id
		for p := range partitions {
			ask[topic] = append(ask[topic], p)
		}
	}
	res, err := c.client.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{Addr: c.addr, GroupID: g.cfg.ID, Topics: ask})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return nil, c.renewal.note(fmt.Errorf("ask for what group %q has committed: %w", g.cfg.ID, err))
	}
	var all []Committed
	for topic, partitions := range res.Topics {
		for _, p := range partitions {
			o := Committed{
				TopicPartition: contactsync.TopicPartition{Topic: topic, Partition: int32(p.Partition)}, Offset: max(p.CommittedOffset, NoOffset),
				Metadata: p.Metadata, Cluster: m.answer.ClusterID, TopicID: ids[topic],
			}
			if p.Error != nil {
				o.Err = fmt.Errorf("ask for the committed offset of %v: %w", o.TopicPartition, p.Error)
			}
			all = append(all, o)
		}
	}
	return all, nil
}

// Owner is a member of a group and a partition that it owns.
type Owner struct {
	contactsync.TopicPartition
	Client string // its client id
	Host   string // that it was connected from, as the brokers saw it
}

// Owners asks who owns the partitions of a group. It is empty while the group rebalances.
func Owners(ctx context.Context, g *Group) ([]Owner, error) {
	ctx, cancel := g.client.bounded(ctx)
	defer cancel()
	res, err := g.client.client.DescribeGroups(ctx, &kafkago.DescribeGroupsRequest{Addr: g.client.addr, GroupIDs: []string{g.cfg.ID}})
	if err == nil && len(res.Groups) == 1 {
		err = res.Groups[0].Error
	}
	if err != nil {
		return nil, g.client.renewal.note(fmt.Errorf("ask who is in group %q: %w", g.cfg.ID, err))
	}
	var owners []Owner
	for _, group := range res.Groups {
		for i := range group.Members {
			m := &group.Members[i]
			for _, t := range m.MemberAssignments.Topics {
				for _, p := range t.Partitions {
					owners = append(owners, Owner{contactsync.TopicPartition{Topic: t.Topic, Partition: int32(p)}, m.ClientID, m.ClientHost})
				}
			}
		}
	}
	return owners, nil
}

// PartitionOf is where Java's producers, and those that do as they, write a record with a key, in a topic with so
// many partitions.
func PartitionOf(key []byte, partitions int) int32 {
	numbers := make([]int, partitions)
	for i := range numbers {
		numbers[i] = i
	}
	return int32(balance(messageOf(contactsync.Record{Key: key}), numbers...))
}
