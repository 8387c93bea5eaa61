package kafka

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
)

// metadataOf answers metadata requests with an error, or with the code of the one topic
// and its one partition.
type metadataOf func() (code kafkago.Error, err error)

func (f metadataOf) RoundTrip(_ context.Context, _ net.Addr, req kafkago.Request) (kafkago.Response, error) {
	code, err := f()
	if err != nil {
		return nil, err
	}
	return kafkatest.Metadata[protocol.Message](req, func(req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = req.Topics[0].Topic, int16(code)
		if code == 0 {
			topic.Partitions = append(topic.Partitions, kmsg.NewMetadataResponseTopicPartition())
		}
		res := kmsg.NewPtrMetadataResponse()
		if code != notTold {
			res.Topics = append(res.Topics, topic)
		}
		return res
	})
}

// notTold has the broker leave the topic out.
const notTold = kafkago.Error(-99)

// A broker that comes back, or a topic that was created a moment ago, is not known
// everywhere at first.
func TestPartitions_AMissingTopicIsBelievedWhenItStaysMissing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		answers     func(after time.Duration) (kafkago.Error, error)
		least, most time.Duration // until there is an answer
		want        error
	}{
		{
			"it stays missing",
			func(time.Duration) (kafkago.Error, error) { return kafkago.UnknownTopicOrPartition, nil },
			topicSettles, topicSettles + 5*time.Second, ErrNoTopic,
		},
		{
			"it appears",
			func(after time.Duration) (kafkago.Error, error) {
				if after < 2*time.Second {
					return kafkago.UnknownTopicOrPartition, nil
				}
				return 0, nil
			},
			2 * time.Second, 7 * time.Second, nil,
		},
		{
			"the brokers were away in between",
			func(after time.Duration) (kafkago.Error, error) {
				if after > time.Second && after < time.Minute {
					return 0, syscall.ECONNREFUSED
				}
				return kafkago.UnknownTopicOrPartition, nil
			},
			time.Minute + topicSettles, time.Minute + topicSettles + 10*time.Second, ErrNoTopic,
		},
		{
			"the right is missing",
			func(time.Duration) (kafkago.Error, error) { return kafkago.TopicAuthorizationFailed, nil },
			0, 0, ErrDenied,
		},
		{
			"a broker does not say",
			func(time.Duration) (kafkago.Error, error) { return notTold, nil },
			patience, patience + 5*time.Second, errNotTold,
		},
		{
			"nobody answers",
			func(time.Duration) (kafkago.Error, error) { return 0, syscall.ECONNREFUSED },
			patience, patience + 5*time.Second, syscall.ECONNREFUSED,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				client := NewOn(metadataOf(func() (kafkago.Error, error) { return c.answers(time.Since(start)) }),
					[]string{"broker:1"}, time.Second, slog.New(slog.DiscardHandler))
				counts, err := client.Partitions(t.Context(), "contacts")
				if took := time.Since(start); took < c.least || took > c.most {
					t.Errorf("an answer after %v, want one after %v", took, c.least)
				}
				if !errors.Is(err, c.want) || err == nil && counts["contacts"] != 1 {
					t.Errorf("%v, %v: want %v", counts, err, c.want)
				}
			})
		})
	}
}
