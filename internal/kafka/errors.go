package kafka

import (
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// What the errors of this package are, beyond those that pass by themselves. They
// are found with errors.Is.
var (
	// ErrNoTopic says that a topic does not exist, or that this client may not see it.
	ErrNoTopic = errors.New("the topic does not exist, or DESCRIBE on it is missing")
	// ErrDenied says that a right is missing. Trying again does not help.
	ErrDenied = errors.New("access to the topic is denied")
	// ErrRefused says that a topic does not take a record as it is: it is too large,
	// or has no key and the topic is compacted. Trying again does not help.
	ErrRefused = errors.New("the topic refuses the record")
	// ErrTooLarge says why a record was refused. It comes with ErrRefused.
	ErrTooLarge = errors.New("it is too large")
	// ErrFewReplicas says that a write was not acknowledged for want of replicas.
	ErrFewReplicas = errors.New("fewer replicas are in sync than min.insync.replicas asks for")
	// ErrUnreadable says that Kafka's answer holds something that is no record.
	ErrUnreadable = errors.New("the record batch cannot be read")
	// ErrRebalance says that the group rebalances: the generation has ended.
	ErrRebalance = errors.New("the group rebalances")
	// ErrMetadataTooLarge says that the brokers do not keep so much with an offset.
	ErrMetadataTooLarge = errors.New("more than the brokers keep with an offset (offset.metadata.max.bytes)")
	// ErrFenced says that Kafka refuses what this member commits: its partitions have
	// another owner.
	ErrFenced = errors.New("commits of this member are refused: its partitions have another owner")
)

// denied says which right an error asks for.
func denied(err error, right string) error {
	if errors.Is(err, kafkago.TopicAuthorizationFailed) || errors.Is(err, kafkago.ClusterAuthorizationFailed) {
		return fmt.Errorf("%w: grant %s on it: %w", ErrDenied, right, err)
	}
	return err
}

// topicError says what an error is where a broker that does not know the topic
// means that there is none.
func topicError(err error, right string) error {
	if errors.Is(err, kafkago.UnknownTopicOrPartition) || errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition) {
		return fmt.Errorf("%w: %w", ErrNoTopic, err)
	}
	return denied(err, right)
}

// writeError says what an error of a write is. That the time of a record is out of
// range is no refusal: all are written with that of now.
func writeError(err error) error {
	switch {
	case errors.Is(err, kafkago.MessageSizeTooLarge), errors.Is(err, kafkago.RecordListTooLarge):
		return fmt.Errorf("%w: %w: %w", ErrRefused, ErrTooLarge, err)
	case errors.Is(err, kafkago.InvalidRecord), errors.Is(err, kafkago.InvalidMessage):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.Is(err, kafkago.NotEnoughReplicas), errors.Is(err, kafkago.NotEnoughReplicasAfterAppend):
		return fmt.Errorf("%w: %w", ErrFewReplicas, err)
	}
	return topicError(err, "WRITE")
}
