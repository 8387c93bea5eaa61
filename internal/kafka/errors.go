package kafka

import (
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/contactsync/contactsync/internal/kafka/group"
)

// What the errors of this package are, beyond those that pass by themselves. They
// are found with errors.Is.
var (
	// ErrNoTopic says that a topic does not exist, or that this client may not see it.
	ErrNoTopic = errors.New("the topic does not exist, or DESCRIBE on it is missing")
	// ErrDenied says that a right is missing. Trying again does not help.
	ErrDenied = errors.New("access is denied")
	// ErrRefused says that a topic does not take a record as it is: it is too large,
	// or has no key and the topic is compacted. Trying again does not help.
	ErrRefused = errors.New("the topic refuses the record")
	// ErrTooLarge says why a record was refused. It comes with ErrRefused.
	ErrTooLarge = errors.New("it is too large")
	// ErrFewReplicas says that a write was not acknowledged for want of replicas.
	ErrFewReplicas = errors.New("fewer replicas are in sync than min.insync.replicas asks for")
	// ErrUnreadable says that Kafka's answer holds something that is no record.
	ErrUnreadable = errors.New("the record batch cannot be read")
	// ErrRebalance says that a generation has ended, and why the next one is not there yet.
	ErrRebalance = errors.New("the partitions are shared out anew")
	// ErrMetadataTooLarge says that the brokers do not keep so much with an offset.
	ErrMetadataTooLarge = errors.New("more than the brokers keep with an offset (offset.metadata.max.bytes)")
	// ErrFenced says that Kafka refuses what this member commits: its partitions have
	// another owner.
	ErrFenced = errors.New("commits of this member are refused: its partitions have another owner")
)

// deniedError is an ErrDenied that says what to grant.
type deniedError struct {
	grant string
	err   error
}

func (e *deniedError) Error() string {
	return fmt.Sprintf("%v: grant %s: %v", ErrDenied, e.grant, e.err)
}
func (e *deniedError) Unwrap() []error { return []error{ErrDenied, e.err} }

// denied says which right on a topic an error asks for.
func denied(err error, right string) error {
	if errors.Is(err, kafkago.TopicAuthorizationFailed) || errors.Is(err, kafkago.ClusterAuthorizationFailed) {
		return &deniedError{right + " on the topic", err}
	}
	return err
}

// groupError says which right an error of the group's coordinator asks for.
func groupError(err error, id string) error {
	switch code, _ := errors.AsType[group.Code](err); code {
	case group.CodeTopicForbidden:
		return &deniedError{"READ on the topic", err}
	case group.CodeGroupForbidden:
		return &deniedError{fmt.Sprintf("READ on the group %q", id), err}
	default:
		return err
	}
}

// Reason says in plain words why a partition is not read. It is the same for the same
// reason: addresses and ports are left out.
func Reason(err error) string {
	if d, ok := errors.AsType[*deniedError](err); ok {
		return "Kafka refuses it: grant " + d.grant
	}
	if errors.Is(err, ErrNoTopic) {
		return ErrNoTopic.Error()
	}
	switch Cause(err) {
	case CauseLeader:
		return "it has no leader, or its leader has moved"
	case CauseNetwork:
		return "its leader does not answer"
	case CauseOffset:
		return "Kafka refuses to read an offset that lies within the partition"
	}
	if code, ok := errors.AsType[kafkago.Error](err); ok {
		return "Kafka answers: " + code.Title()
	}
	if code, ok := errors.AsType[group.Code](err); ok {
		return "Kafka answers: " + code.Error()
	}
	return "the request fails: see the log"
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
