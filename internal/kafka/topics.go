package kafka

import (
	"context"
	"fmt"
	"strconv"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync/internal/setting"
)

// Partitions returns how many partitions each topic has. The question is repeated
// until it is answered, for two minutes at most. ErrNoTopic means that one has been
// missing for long enough to be believed.
func (c *Client) Partitions(ctx context.Context, topics ...string) (counts map[string]int, err error) {
	err = c.retry(ctx, func(ctx context.Context) error {
		counts, err = c.partitions(ctx, topics...)
		return err
	})
	return counts, err
}

// partitions asks once, without creating a topic.
func (c *Client) partitions(ctx context.Context, topics ...string) (map[string]int, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	found, errs, err := c.topics(ctx, topics)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for i, t := range found {
		if errs[i] != nil {
			return nil, c.renewal.note(errs[i])
		}
		counts[t.Name] = len(t.Partitions)
	}
	return counts, nil
}

// Topic is what an operator wants to know of a topic before the service relies on it.
type Topic struct {
	Name     string
	Err      error // why it cannot be used: ErrNoTopic, ErrDenied or another
	Replicas int   // of the partition that has the fewest

	ConfigErr         error        // why the settings below could not be read; they are zero then
	CleanupPolicy     string       // delete, compact, or both with a comma
	MinInsyncReplicas int          // replicas that must have a record before it is acknowledged
	MaxMessageBytes   setting.Size // of one record batch as it is sent
}

// The names of the settings in Kafka.
const (
	cleanupPolicy     = "cleanup.policy"
	minInsyncReplicas = "min.insync.replicas"
	maxMessageBytes   = "max.message.bytes"
)

// DescribeTopics asks once for topics by name, and returns them in that order. It
// creates none: the metadata request forbids it. It needs
// DESCRIBE, and for the settings DESCRIBE_CONFIGS, on each topic; without the latter
// ConfigErr says so. The error is for the cluster as a whole.
func (c *Client) DescribeTopics(ctx context.Context, topics ...string) ([]Topic, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	described, errs, err := c.topics(ctx, topics)
	if err != nil {
		return nil, err
	}
	found := make([]Topic, len(described))
	var existing []*Topic
	for i, t := range described {
		found[i] = Topic{Name: t.Name, Err: errs[i]}
		if found[i].Err != nil {
			continue
		}
		found[i].Replicas = len(t.Partitions[0].ReplicaNodes)
		for _, p := range t.Partitions {
			found[i].Replicas = min(found[i].Replicas, len(p.ReplicaNodes))
		}
		existing = append(existing, &found[i])
	}
	readSettings(ctx, c.client, existing)
	return found, nil
}

// readSettings fills in the settings of topics, or why they cannot be read.
func readSettings(ctx context.Context, client *kafkago.Client, topics []*Topic) {
	if len(topics) == 0 {
		return
	}
	req := &kafkago.DescribeConfigsRequest{}
	for _, t := range topics {
		t.ConfigErr = fmt.Errorf("read the settings of topic %s: kafka gave none", t.Name)
		req.Resources = append(req.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic,
			ResourceName: t.Name,
			ConfigNames:  []string{cleanupPolicy, minInsyncReplicas, maxMessageBytes},
		})
	}
	res, err := client.DescribeConfigs(ctx, req)
	for _, t := range topics {
		if err != nil {
			t.ConfigErr = fmt.Errorf("read the settings of topic %s: %w", t.Name, err)
			continue
		}
		for _, r := range res.Resources {
			if r.ResourceName == t.Name {
				t.ConfigErr = t.set(r)
			}
		}
	}
}

func (t *Topic) set(r kafkago.DescribeConfigResponseResource) error {
	if r.Error != nil {
		return fmt.Errorf("read the settings of topic %s: %w", t.Name, r.Error)
	}
	for _, e := range r.ConfigEntries {
		if e.ConfigName == cleanupPolicy {
			t.CleanupPolicy = e.ConfigValue
			continue
		}
		n, err := strconv.ParseInt(e.ConfigValue, 10, 64)
		if err != nil {
			return fmt.Errorf("read the settings of topic %s: %s is %q, not a number", t.Name, e.ConfigName, e.ConfigValue)
		}
		switch e.ConfigName {
		case minInsyncReplicas:
			t.MinInsyncReplicas = int(n)
		case maxMessageBytes:
			t.MaxMessageBytes = setting.Size(n)
		}
	}
	return nil
}
