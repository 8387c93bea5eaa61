package deadletter

import (
	"errors"
	"fmt"

	"github.com/contactsync/contactsync/internal/kafka"
)

// explain makes one error of the reasons: the first, how many dead letters wait, and
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
	case errors.Is(err, kafka.ErrNoTopic):
		return "it is never created by the service: " +
			"create it with one partition or more, as many replicas as the source topic and cleanup.policy=delete"
	case errors.Is(err, kafka.ErrFewReplicas):
		return "bring the brokers back"
	case errors.Is(err, kafka.ErrTooLarge):
		return "not even the envelope fits: raise the topic's max.message.bytes or lower deadletter.envelope_bytes"
	case errors.Is(err, kafka.ErrRefused):
		return "with cleanup.policy=compact it takes none without a key, so set it to delete"
	default:
		return ""
	}
}
