package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
)

// Sink takes the events. The consumer calls Assign before the first Add of a
// generation and Release after the last one; the next generation begins when
// Release has returned.
type Sink interface {
	// Assign makes claims known; with catchUp their contacts wait for CaughtUp.
	Assign(claims []contactsync.Claim, catchUp bool)
	// Add takes events in the order of their offsets. It may block, and takes the
	// events over.
	Add(ctx context.Context, events []event.Event) error
	// CaughtUp says that a claim's contacts may be sent.
	CaughtUp(claim contactsync.Claim)
	// Release gives every claim back. It returns when nothing is on its way any
	// more, at the latest soon after ctx ended.
	Release(ctx context.Context) error
}

// Deps are the consumer's neighbours.
type Deps struct {
	Dialer    *kafkago.Dialer    // for the group protocol
	Transport *kafkago.Transport // for everything else
	Brokers   []string
	Ledgers   *Ledgers
	Sink      Sink
	Decoder   *event.Decoder // cloned for each partition
	// OnAssign is told how many of the topics' partitions this replica owns.
	OnAssign       func(owned, all int)
	RequestTimeout time.Duration
	Log            *slog.Logger
	Metrics        *metrics.Consumer
}

// Consumer is a member of a consumer group.
type Consumer struct {
	cfg    Config
	deps   Deps
	addr   net.Addr
	client *kafkago.Client

	present atomic.Pointer[generation]
	joined  atomic.Int64 // Unix nanoseconds of the last sign of life of the group protocol
}

// ErrTopicMissing says that a topic to read does not exist.
var ErrTopicMissing = errors.New("the topic does not exist")

// topicSettles is how long a topic may be unknown before that is believed: a
// broker that has just started, or has not heard of a new topic yet, says so too.
const topicSettles = 3 * time.Second

// New returns a consumer; Run starts it.
func New(cfg Config, deps Deps) *Consumer {
	addr := kafkago.TCP(deps.Brokers...)
	return &Consumer{
		cfg: cfg, deps: deps, addr: addr,
		client: &kafkago.Client{Addr: addr, Transport: deps.Transport, Timeout: deps.RequestTimeout},
	}
}

// Run takes part in the group until ctx ends, then gives its partitions back in
// order: no more fetches, what is on its way finishes within the drain time-out,
// the last offsets are committed, the group is left. It returns an error only
// where going on makes no sense: a topic that does not exist at the start.
func (c *Consumer) Run(ctx context.Context) error {
	retry := kafka.NewRetry()
	var missing time.Time
	for ctx.Err() == nil {
		_, err := c.partitions(ctx)
		switch {
		case err == nil:
			missing = time.Time{}
			c.group(ctx)
			continue
		case !errors.Is(err, ErrTopicMissing):
			missing = time.Time{}
		case missing.IsZero():
			missing = time.Now()
		case time.Since(missing) >= topicSettles:
			return err
		}
		if ctx.Err() == nil {
			c.deps.Log.Warn("the topics cannot be read yet; retried", "brokers", c.deps.Brokers, "err", err)
			kafka.Sleep(ctx, retry.NextBackOff())
		}
	}
	return nil
}

// group joins the group and takes part until ctx ends or the group object has
// reported so many errors that a fresh one is better.
func (c *Consumer) group(ctx context.Context) {
	group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID: c.cfg.Group, Brokers: c.deps.Brokers, Topics: c.cfg.Topics, Dialer: c.deps.Dialer,
		HeartbeatInterval: c.cfg.HeartbeatInterval, SessionTimeout: c.cfg.SessionTimeout,
		RebalanceTimeout: c.cfg.RebalanceTimeout, JoinGroupBackoff: time.Second,
		// One call of the coordinator that hangs ends the generation, so it must
		// not outlast a few heartbeats; nor may a slow answer end it at once.
		Timeout: min(c.deps.RequestTimeout, c.cfg.SessionTimeout/3), StartOffset: kafkago.FirstOffset,
		ErrorLogger: kafkago.LoggerFunc(func(format string, args ...any) {
			c.deps.Log.Debug("kafka group: " + fmt.Sprintf(format, args...))
		}),
	})
	if err != nil { // only a fault of the settings, which were validated
		c.deps.Log.Error("the group cannot be joined", "err", err)
		kafka.Sleep(ctx, c.cfg.SessionTimeout)
		return
	}
	defer c.leave(group)
	retry := kafka.NewRetry()
	for failures := 0; failures < 20; {
		c.joined.Store(time.Now().UnixNano())
		gen, err := group.Next(ctx)
		if ctx.Err() != nil {
			if err == nil {
				gen.Start(func(context.Context) {}) // not taken up: end it
			}
			return
		}
		if err != nil {
			failures++
			c.deps.Metrics.GroupErrors.Inc()
			if !errors.Is(err, kafkago.RebalanceInProgress) {
				c.deps.Log.Warn("the group protocol failed; retried", "err", err)
			}
			if !kafka.Sleep(ctx, retry.NextBackOff()) {
				return
			}
			continue
		}
		failures = 0
		retry.Reset()
		done := make(chan struct{})
		gen.Start(func(gctx context.Context) {
			defer close(done)
			c.generation(ctx, gctx, gen)
			if ctx.Err() != nil {
				c.closing(gctx, group)
			}
		})
		<-done
	}
}

// closing begins to leave the group while the generation still stands. Were it
// over first, kafka-go would join the group once more before it leaves, and make
// every other replica give its partitions back for that.
func (c *Consumer) closing(generation context.Context, group *kafkago.ConsumerGroup) {
	go func() { _ = group.Close() }() // leave waits for it
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-generation.Done():
	case <-t.C:
	}
}

// leave closes the group, which takes as long as the network lets it, so it is
// not waited for without end.
func (c *Consumer) leave(group *kafkago.ConsumerGroup) {
	left := make(chan struct{})
	go func() {
		defer close(left)
		if err := group.Close(); err != nil {
			c.deps.Log.Warn("the group was not left cleanly", "err", err)
		}
	}()
	t := time.NewTimer(c.cfg.DrainTimeout)
	defer t.Stop()
	select {
	case <-left:
	case <-t.C:
		c.deps.Log.Warn("leaving the group takes too long: Kafka will notice when the session times out")
	}
}

// partitions returns how many partitions the topics have, without creating any.
func (c *Consumer) partitions(ctx context.Context) (map[string]int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.deps.RequestTimeout, errors.New("the brokers did not answer in time"))
	defer cancel()
	res, err := c.client.Metadata(ctx, &kafkago.MetadataRequest{Addr: c.addr, Topics: c.cfg.Topics})
	if err != nil {
		return nil, fmt.Errorf("ask for the partitions of %q: %w", c.cfg.Topics, err)
	}
	count := map[string]int{}
	for _, t := range res.Topics {
		switch {
		case errors.Is(t.Error, kafkago.UnknownTopicOrPartition):
			return nil, fmt.Errorf("topic %q: %w: create it, or correct consumer.topics", t.Name, ErrTopicMissing)
		case t.Error != nil:
			return nil, fmt.Errorf("ask for the partitions of %q: %w", t.Name, t.Error)
		}
		count[t.Name] = len(t.Partitions)
	}
	return count, nil
}

// Ready reports whether the consumer owns what the group gave it and reads it:
// false before the first assignment and while a partition is halted.
func (c *Consumer) Ready() bool {
	g := c.present.Load()
	if g == nil {
		return false
	}
	for _, f := range g.fetchers {
		if f.halted.Load() {
			return false
		}
	}
	return true
}

// Stuck returns why the consumer does not go on by itself, for at least the given
// time, and the empty string while it works. An absent Kafka and a full window
// are not such reasons: a restart cures neither.
func (c *Consumer) Stuck(now time.Time, after time.Duration) string {
	g := c.present.Load()
	if g == nil {
		limit := after + c.cfg.SessionTimeout + c.cfg.RebalanceTimeout
		if at := c.joined.Load(); at != 0 && now.Sub(time.Unix(0, at)) > limit {
			return "the group protocol gives no sign of life"
		}
		return ""
	}
	for _, f := range g.fetchers {
		if beat := f.beat.Load(); beat != 0 && !f.adding.Load() && !f.halted.Load() && now.Sub(time.Unix(0, beat)) > after+c.deps.RequestTimeout {
			return fmt.Sprintf("partition %v is not read", f.claim)
		}
	}
	return ""
}
