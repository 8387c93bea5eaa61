package deadletter

import (
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/contactsync/contactsync/internal/kafka"
)

// explain makes one error of the reasons: the first, how many letters wait, and
// what an operator can do about it.
func (w *Writer) explain(reasons []error) error {
	if len(reasons) == 0 {
		return nil
	}
	err := reasons[0]
	if hint := w.hint(err); hint != "" {
		return fmt.Errorf("write %d dead letters to topic %s: %w: %s", len(reasons), w.cfg.Topic, err, hint)
	}
	return fmt.Errorf("write %d dead letters to topic %s: %w", len(reasons), w.cfg.Topic, err)
}

func (w *Writer) hint(err error) string {
	switch {
	case errors.Is(err, kafkago.UnknownTopicOrPartition), errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition):
		return "it does not exist, or DESCRIBE on it is missing; it is never created by the service: " +
			"create it with one partition or more, as many replicas as the source topic and cleanup.policy=delete"
	case errors.Is(err, kafkago.TopicAuthorizationFailed), errors.Is(err, kafkago.ClusterAuthorizationFailed):
		return "grant the service WRITE and DESCRIBE on the topic"
	case errors.Is(err, kafkago.NotEnoughReplicas), errors.Is(err, kafkago.NotEnoughReplicasAfterAppend):
		return "fewer replicas are in sync than min.insync.replicas asks for: bring the brokers back"
	case kafka.TooLarge(err):
		return "not even the envelope fits: raise the topic's max.message.bytes or lower deadletter.envelope_bytes"
	case errors.Is(err, kafkago.InvalidRecord):
		return "the topic refuses the record: with cleanup.policy=compact it takes none without a key, so set it to delete"
	default:
		return ""
	}
}
