package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync/internal/setting"
)

// Topic is what an operator wants to know of a topic before the service relies on it.
type Topic struct {
	Name     string
	Exists   bool
	Err      error // why nothing is known, where that is not a missing topic
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

// TopicInfo asks for topics by name and returns them in that order. It creates
// none: the metadata request forbids it. It needs DESCRIBE, and for the settings
// DESCRIBE_CONFIGS, on each topic; without the latter ConfigErr says so. The
// error is for the cluster as a whole.
func (c *Conn) TopicInfo(ctx context.Context, topics ...string) ([]Topic, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	// The shared transport may know other topics only, and what it knows is not fresh.
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	transport := c.newTransport(ctx, topics)
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: c.addr(), Transport: transport}

	meta, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, fmt.Errorf("ask kafka for topics: %w", err)
	}
	found := make([]Topic, len(meta.Topics))
	var existing []*Topic
	for i, t := range meta.Topics {
		found[i] = describe(t)
		if found[i].Exists {
			existing = append(existing, &found[i])
		}
	}
	readSettings(ctx, client, existing)
	return found, nil
}

func describe(t kafkago.Topic) Topic {
	d := Topic{Name: t.Name}
	switch {
	case errors.Is(t.Error, kafkago.UnknownTopicOrPartition):
		return d
	case t.Error != nil:
		d.Err = fmt.Errorf("describe topic %s: %w", t.Name, t.Error)
		return d
	}
	d.Exists = true
	for i, p := range t.Partitions {
		if i == 0 || len(p.Replicas) < d.Replicas {
			d.Replicas = len(p.Replicas)
		}
	}
	return d
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
