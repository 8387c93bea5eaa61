package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// patience is how long a question is repeated before it is given up: longer than
// a cluster needs for a new leader, and than most brokers need to come back.
const patience = 2 * time.Minute

// Log reads topics of one cluster and appends to them. It is safe for concurrent use.
type Log struct {
	addr    net.Addr
	client  *kafkago.Client
	timeout time.Duration
	log     *slog.Logger
}

// NewLog returns a Log. timeout bounds one request.
func NewLog(transport kafkago.RoundTripper, brokers []string, timeout time.Duration, log *slog.Logger) *Log {
	addr := kafkago.TCP(brokers...)
	return &Log{addr: addr, timeout: timeout, log: log, client: &kafkago.Client{Addr: addr, Transport: transport, Timeout: timeout}}
}

// topicSettles is how long a topic may be unknown before that is believed: a
// broker that has just started, or has not heard of a new topic yet, says so too.
const topicSettles = 3 * time.Second

// ErrNoTopic says that a topic does not exist, or that this client may not see it.
var ErrNoTopic = errors.New("the topic does not exist, or DESCRIBE on it is missing")

// ErrDenied says that the topic may not be used so. Trying again does not help.
var ErrDenied = errors.New("access to the topic is denied")

// denied words a refusal; grant is the right that is missing.
func denied(err error, grant string) error {
	if errors.Is(err, kafkago.TopicAuthorizationFailed) {
		return fmt.Errorf("%w: grant %s on it: %w", ErrDenied, grant, err)
	}
	return err
}

// Bounds are the first offset of a partition and its last stable one: behind it
// lies nothing, or a transaction that is still open.
type Bounds struct{ First, End int64 }

// Bounds returns the bounds of every partition of a topic, by number.
func (l *Log) Bounds(ctx context.Context, topic string) ([]Bounds, error) {
	var bounds []Bounds
	err := l.retry(ctx, func(ctx context.Context) error {
		n, err := l.partitions(ctx, topic)
		if err != nil {
			return err
		}
		var ask []kafkago.OffsetRequest
		for p := range n {
			ask = append(ask, kafkago.FirstOffsetOf(p), kafkago.LastOffsetOf(p))
		}
		bounds = make([]Bounds, n)
		return l.listOffsets(ctx, topic, ask, func(o kafkago.PartitionOffsets) {
			bounds[o.Partition] = Bounds{o.FirstOffset, o.LastOffset}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the offsets of topic %s: %w", topic, err)
	}
	return bounds, nil
}

// OffsetsAt returns, for every partition by its number, the first offset whose
// record is not older than at; -1 where there is none.
func (l *Log) OffsetsAt(ctx context.Context, topic string, at time.Time) ([]int64, error) {
	var offsets []int64
	err := l.retry(ctx, func(ctx context.Context) error {
		n, err := l.partitions(ctx, topic)
		if err != nil {
			return err
		}
		var ask []kafkago.OffsetRequest
		for p := range n {
			ask = append(ask, kafkago.TimeOffsetOf(p, at))
		}
		offsets = make([]int64, n)
		return l.listOffsets(ctx, topic, ask, func(o kafkago.PartitionOffsets) {
			for offset := range o.Offsets { // the one that was asked for
				offsets[o.Partition] = offset
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("ask topic %s for its offsets at %v: %w", topic, at.UTC().Format(time.RFC3339), err)
	}
	return offsets, nil
}

// partitions returns how many partitions a topic has, without creating it.
func (l *Log) partitions(ctx context.Context, topic string) (int, error) {
	res, err := l.client.Metadata(ctx, &kafkago.MetadataRequest{Addr: l.addr, Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	for _, t := range res.Topics {
		switch {
		case errors.Is(t.Error, kafkago.UnknownTopicOrPartition):
			return 0, ErrNoTopic
		case t.Error != nil:
			return 0, t.Error
		case len(t.Partitions) > 0:
			return len(t.Partitions), nil
		}
	}
	return 0, ErrNoTopic
}

func (l *Log) listOffsets(ctx context.Context, topic string, ask []kafkago.OffsetRequest, each func(kafkago.PartitionOffsets)) error {
	res, err := l.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{
		Addr: l.addr, IsolationLevel: kafkago.ReadCommitted,
		Topics: map[string][]kafkago.OffsetRequest{topic: ask},
	})
	if err != nil {
		return err
	}
	seen := map[int]bool{}
	for _, o := range res.Topics[topic] {
		if o.Error != nil {
			return fmt.Errorf("partition %d: %w", o.Partition, o.Error)
		}
		seen[o.Partition] = true
		each(o)
	}
	for _, a := range ask {
		if !seen[a.Partition] {
			return fmt.Errorf("the answer does not hold partition %d", a.Partition)
		}
	}
	return nil
}

// retry repeats a question until it is answered, its error will not pass, patience
// is at its end, or ctx ends.
func (l *Log) retry(ctx context.Context, ask func(context.Context) error) error {
	wait := NewRetry()
	start := time.Now()
	for {
		once, cancel := context.WithTimeoutCause(ctx, l.timeout, errors.New("the brokers did not answer in time"))
		err := denied(ask(once), "DESCRIBE")
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch waited := time.Since(start); {
		case errors.Is(err, ErrDenied), errors.Is(err, ErrNoTopic) && waited > topicSettles:
			return err
		case waited > patience:
			return fmt.Errorf("no answer for %v: %w", patience, err)
		}
		l.log.Warn("asking Kafka failed; retried", "err", err)
		if !Sleep(ctx, wait.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}
