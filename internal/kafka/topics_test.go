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
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// metadataOf answers metadata requests with an error, or with the code of the one topic
// and its one partition.
type metadataOf func() (code kafkago.Error, err error)

func (f metadataOf) RoundTrip(_ context.Context, _ net.Addr, req kafkago.Request) (kafkago.Response, error) {
	code, err := f()
	if err != nil {
		return nil, err
	}
	topic := metadata.ResponseTopic{Name: req.(*metadata.Request).TopicNames[0], ErrorCode: int16(code)}
	if code == 0 {
		topic.Partitions = []metadata.ResponsePartition{{}}
	}
	return &metadata.Response{Topics: []metadata.ResponseTopic{topic}}, nil
}

// A broker that comes back, or a topic that was created a moment ago, is not known
// everywhere at first.
func TestPartitions_AMissingTopicIsBelievedWhenItStaysMissing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		metadataTTL time.Duration
		answers     func(after time.Duration) (kafkago.Error, error)
		least, most time.Duration // until there is an answer
		want        error
	}{
		{
			"it stays missing", 2 * time.Second,
			func(time.Duration) (kafkago.Error, error) { return kafkago.UnknownTopicOrPartition, nil },
			topicSettles, topicSettles + 5*time.Second, ErrNoTopic,
		},
		{
			"what is known of topics is old", time.Minute,
			func(time.Duration) (kafkago.Error, error) { return kafkago.UnknownTopicOrPartition, nil },
			time.Minute, time.Minute + 5*time.Second, ErrNoTopic,
		},
		{
			"it appears", 2 * time.Second,
			func(after time.Duration) (kafkago.Error, error) {
				if after < 2*time.Second {
					return kafkago.UnknownTopicOrPartition, nil
				}
				return 0, nil
			},
			2 * time.Second, 7 * time.Second, nil,
		},
		{
			"the brokers were away in between", 2 * time.Second,
			func(after time.Duration) (kafkago.Error, error) {
				if after > time.Second && after < time.Minute {
					return 0, syscall.ECONNREFUSED
				}
				return kafkago.UnknownTopicOrPartition, nil
			},
			time.Minute + topicSettles, time.Minute + topicSettles + 10*time.Second, ErrNoTopic,
		},
		{
			"the right is missing", 2 * time.Second,
			func(time.Duration) (kafkago.Error, error) { return kafkago.TopicAuthorizationFailed, nil },
			0, 0, ErrDenied,
		},
		{
			"nobody answers", 2 * time.Second,
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
				client.cfg.MetadataTTL = c.metadataTTL
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
