package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// CreateTopic creates a topic and waits until every running node knows a leader
// for each of its partitions. configs may be nil.
func (c *Cluster) CreateTopic(ctx context.Context, name string, partitions int32, replication int16, configs map[string]string) error {
	values := make(map[string]*string, len(configs))
	for key, value := range configs {
		values[key] = &value
	}
	if _, err := c.admin.CreateTopic(ctx, partitions, replication, values, name); err != nil {
		return fmt.Errorf("creating topic %s: %w", name, err)
	}
	return c.awaitTopic(ctx, name, int(partitions))
}

// DeleteTopic deletes a topic and waits until no running node knows it.
func (c *Cluster) DeleteTopic(ctx context.Context, name string) error {
	if _, err := c.admin.DeleteTopic(ctx, name); err != nil {
		return fmt.Errorf("deleting topic %s: %w", name, err)
	}
	return poll(ctx, 50*time.Millisecond, "topic "+name+" to be gone", func(ctx context.Context) (bool, error) {
		there, err := c.HasTopic(ctx, name)
		return err == nil && !there, nil
	})
}

// HasTopic reports whether a running node knows a topic.
func (c *Cluster) HasTopic(ctx context.Context, name string) (bool, error) {
	for _, addr := range c.answering() {
		seen, err := metadata(ctx, addr, name)
		if err != nil || seen.Topics.Has(name) {
			return err == nil, err
		}
	}
	return false, nil
}

// AddPartitions grows a topic to total partitions and waits as CreateTopic does.
func (c *Cluster) AddPartitions(ctx context.Context, topic string, total int) error {
	answers, err := c.admin.UpdatePartitions(ctx, total, topic)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		return fmt.Errorf("growing topic %s to %d partitions: %w", topic, total, err)
	}
	return c.awaitTopic(ctx, topic, total)
}

// awaitTopic waits until every running node knows a leader of each partition, so
// that no client gets "unknown topic" from a node that is behind.
func (c *Cluster) awaitTopic(ctx context.Context, topic string, partitions int) error {
	return poll(ctx, 50*time.Millisecond, "leaders for topic "+topic, func(ctx context.Context) (bool, error) {
		for _, addr := range c.answering() {
			seen, err := metadata(ctx, addr, topic)
			if err != nil || len(seen.Topics[topic].Partitions) < partitions {
				return false, nil
			}
			for _, p := range seen.Topics[topic].Partitions {
				if p.Err != nil || p.Leader < 0 {
					return false, nil
				}
			}
		}
		return true, nil
	})
}

// answering lists the brokers that are neither down nor paused.
func (c *Cluster) answering() []string {
	if !c.Owned() {
		return c.brokers
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var addrs []string
	for _, n := range c.nodes {
		if n.running() && !n.paused {
			addrs = append(addrs, n.brokerAddr)
		}
	}
	return addrs
}

// Coordinator returns the node that coordinates a consumer group.
func (c *Cluster) Coordinator(ctx context.Context, group string) (int, error) {
	found := c.admin.FindGroupCoordinators(ctx, group)[group]
	if found.Err != nil {
		return 0, fmt.Errorf("finding the coordinator of group %s: %w", group, found.Err)
	}
	return int(found.NodeID), nil
}

// Leader returns the node that leads a partition, or -1 while there is none.
func (c *Cluster) Leader(ctx context.Context, topic string, partition int32) (int, error) {
	detail, err := c.partition(ctx, topic, partition)
	return int(detail.Leader), err
}

func (c *Cluster) partition(ctx context.Context, topic string, partition int32) (kadm.PartitionDetail, error) {
	none := kadm.PartitionDetail{Leader: -1}
	var faults []error
	for _, addr := range c.answering() {
		seen, err := metadata(ctx, addr, topic)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if detail, ok := seen.Topics[topic].Partitions[partition]; ok {
			return detail, nil
		}
		return none, fmt.Errorf("looking up %s/%d: there is no such partition", topic, partition)
	}
	return none, fmt.Errorf("looking up %s/%d: no node answers: %w", topic, partition, errors.Join(faults...))
}

// MoveLeader makes a node the leader of a partition, with as many replicas as
// before: a node that has none takes the place of the last one. It waits until it is done.
func (c *Cluster) MoveLeader(ctx context.Context, topic string, partition int32, node int) error {
	detail, err := c.partition(ctx, topic, partition)
	if err != nil {
		return err
	}
	first := int32(node)
	others := slices.DeleteFunc(slices.Clone(detail.Replicas), func(id int32) bool { return id == first })
	replicas := append([]int32{first}, others...)[:len(detail.Replicas)]
	var request kadm.AlterPartitionAssignmentsReq
	request.Assign(topic, partition, replicas)
	answers, err := c.admin.AlterPartitionAssignments(ctx, request)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		return fmt.Errorf("moving %s/%d to nodes %v: %w", topic, partition, replicas, err)
	}
	until := fmt.Sprintf("%s/%d to have replicas %v in sync", topic, partition, replicas)
	err = poll(ctx, 100*time.Millisecond, until, func(ctx context.Context) (bool, error) {
		detail, err := c.partition(ctx, topic, partition)
		return err == nil && slices.Equal(detail.Replicas, replicas) && slices.Contains(detail.ISR, first), nil
	})
	if err != nil {
		return err
	}
	return c.ElectLeader(ctx, topic, partition)
}

// ElectLeader gives a partition back to its preferred leader, the first of its
// replicas, and waits until that node leads it.
func (c *Cluster) ElectLeader(ctx context.Context, topic string, partition int32) error {
	until := fmt.Sprintf("the preferred leader to lead %s/%d", topic, partition)
	return poll(ctx, 100*time.Millisecond, until, func(ctx context.Context) (bool, error) {
		detail, err := c.partition(ctx, topic, partition)
		if err != nil {
			return false, nil //nolint:nilerr // nodes may be busy; the next look may see more
		}
		if detail.Leader == detail.Replicas[0] {
			return true, nil
		}
		var set kadm.TopicsSet
		set.Add(topic, partition)
		// An election that is not needed, or not possible yet, is reported as an error
		// of the partition: the next look at the metadata decides.
		_, _ = c.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
		return false, nil
	})
}
