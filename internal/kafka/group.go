package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync"
)

// GroupConfig says how to be a member of a consumer group.
type GroupConfig struct {
	ID                string
	Topics            []string
	SessionTimeout    time.Duration
	RebalanceTimeout  time.Duration
	HeartbeatInterval time.Duration
	// PartitionCheckInterval is how often it is asked whether a topic has got more
	// partitions. The generation ends when one has.
	PartitionCheckInterval time.Duration
}

// NoOffset says that nothing is committed.
const NoOffset = -1

// Committed is what a group has committed, or is to commit, for one partition.
type Committed struct {
	contactsync.TopicPartition
	Offset int64 // of the record to read next; NoOffset where nothing is committed
}

// Generation is one assignment of a group's partitions, as one member sees it.
type Generation struct {
	ID     int32
	Member string
	Owned  []Committed // the partitions of this member
	All    int         // how many partitions the topics have, whoever owns them

	// Ended is done when the member has to give its partitions up. Its cause is
	// ErrRebalance while commits may still be taken.
	Ended context.Context
}

// Group is this process's membership in a consumer group. One goroutine calls Next
// and Leave; Commit may be called by another between two calls of Next.
//
// It is kafka-go's ConsumerGroup, which ends its heartbeats with the generation and
// does not say why that ended.
type Group struct {
	client *Client
	cfg    GroupConfig

	inner    *kafkago.ConsumerGroup // nil before the first Next, and after too many failures
	failures int                    // in a row
	missing  absence
	held     *heldGeneration // what Next returned last; nil once it is given up
}

// heldGeneration keeps kafka-go from going on to the next generation.
type heldGeneration struct {
	end     context.CancelCauseFunc // of Generation.Ended
	over    chan struct{}           // closed when kafka-go has ended the generation
	release chan struct{}           // closed to let it go on
	running sync.WaitGroup
}

// NewGroup returns a member that has not joined yet.
func (c *Client) NewGroup(cfg GroupConfig) *Group { return &Group{client: c, cfg: cfg} }

// timeout bounds one answer of the coordinator. One that hangs ends the generation,
// so it must not outlast a few heartbeats, nor be so short that a slow answer ends it.
func (g *Group) timeout() time.Duration {
	return min(g.client.cfg.RequestTimeout, g.cfg.SessionTimeout/3)
}

// maxFailures is after how many failures in a row a fresh group object is better.
const maxFailures = 20

// Next gives up the generation that it returned last, takes part in the rebalance
// and returns the next generation. So it is to be called when nothing of the last
// one is in flight.
//
// It makes one attempt, and any error but ErrNoTopic is worth another one.
// ErrNoTopic comes only where a topic is missing before the group is joined, and
// only when that is to be believed. ErrRebalance says that another member was
// quicker.
func (g *Group) Next(ctx context.Context) (*Generation, error) {
	g.giveUp()
	// kafka-go asks for topics in a way that may create them: not before they exist.
	counts, err := g.client.partitions(ctx, g.cfg.Topics...)
	if believed := g.missing.believed(err, g.client.cfg.MetadataTTL); err != nil {
		if errors.Is(err, ErrNoTopic) && (!believed || g.inner != nil) {
			return nil, errors.New(err.Error()) // may pass
		}
		return nil, err
	}
	if g.inner == nil {
		if g.inner, err = g.newInner(); err != nil {
			return nil, err
		}
	}
	gen, err := g.inner.Next(ctx)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			gen.Start(func(context.Context) {}) // not taken up: end it
		}
		return nil, context.Cause(ctx)
	case err != nil:
		if g.failures++; g.failures >= maxFailures {
			stop, cancel := context.WithTimeout(ctx, g.timeout())
			defer cancel()
			_ = g.Leave(stop) // what is left of it ends in the background
		}
		if errors.Is(err, kafkago.RebalanceInProgress) {
			return nil, ErrRebalance
		}
		return nil, fmt.Errorf("join group %q: %w", g.cfg.ID, err)
	}
	g.failures = 0
	return g.hold(gen, counts), nil
}

func (g *Group) newInner() (*kafkago.ConsumerGroup, error) {
	g.failures = 0
	inner, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID: g.cfg.ID, Brokers: g.client.cfg.Brokers, Topics: g.cfg.Topics, Dialer: g.client.dialer(),
		HeartbeatInterval: g.cfg.HeartbeatInterval, SessionTimeout: g.cfg.SessionTimeout,
		RebalanceTimeout: g.cfg.RebalanceTimeout, JoinGroupBackoff: time.Second,
		Timeout: g.timeout(), StartOffset: kafkago.FirstOffset,
		ErrorLogger: kafkago.LoggerFunc(func(format string, args ...any) {
			g.client.log.Debug("kafka group: " + fmt.Sprintf(format, args...))
		}),
	})
	if err != nil { // only for settings that are not valid, and they were validated
		return nil, fmt.Errorf("join group %q: %w", g.cfg.ID, err)
	}
	return inner, nil
}

// hold keeps a generation until it is given up.
func (g *Group) hold(gen *kafkago.Generation, counts map[string]int) *Generation {
	ended, end := context.WithCancelCause(context.Background())
	h := &heldGeneration{end: end, over: make(chan struct{}), release: make(chan struct{})}
	h.running.Add(1)
	gen.Start(func(ctx context.Context) {
		defer h.running.Done()
		select {
		case <-ctx.Done():
			end(ErrRebalance)
			close(h.over)
			<-h.release
		case <-h.release:
		}
	})
	h.running.Go(func() { g.watchPartitions(ended, end, counts) })
	g.held = h

	out := &Generation{ID: gen.ID, Member: gen.MemberID, Ended: ended}
	for n := range maps.Values(counts) {
		out.All += n
	}
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			at := contactsync.TopicPartition{Topic: topic, Partition: int32(p.ID)}
			out.Owned = append(out.Owned, Committed{at, max(p.Offset, NoOffset)})
		}
	}
	return out
}

// giveUp lets kafka-go go on.
func (g *Group) giveUp() {
	if g.held == nil {
		return
	}
	g.held.end(ErrRebalance)
	close(g.held.release)
	g.held.running.Wait()
	g.held = nil
}

var errPartitions = errors.New("the number of partitions has changed")

// watchPartitions ends the generation when a topic has got more partitions, so
// that they are assigned. kafka-go's own watcher can miss a change at the start
// and asks in a way that can create a deleted topic.
func (g *Group) watchPartitions(ctx context.Context, end context.CancelCauseFunc, known map[string]int) {
	for Sleep(ctx, g.cfg.PartitionCheckInterval) {
		now, err := g.client.partitions(ctx, g.cfg.Topics...)
		if err != nil {
			if ctx.Err() == nil {
				g.client.log.Warn("counting the partitions of the topics failed; retried", "err", err)
			}
			continue
		}
		if !maps.Equal(known, now) {
			end(fmt.Errorf("%w: %w: %v, now %v", ErrRebalance, errPartitions, known, now))
			return
		}
	}
}

// Commit commits offsets of partitions that a generation owns. It returns for each
// why it was not taken, and nil for one that was: ErrFenced where this member owns
// nothing any more. With an error of its own nothing is known of any.
func (g *Group) Commit(ctx context.Context, gen *Generation, offsets []Committed) ([]error, error) {
	topics := map[string][]kafkago.OffsetCommit{}
	for _, o := range offsets {
		topics[o.Topic] = append(topics[o.Topic], kafkago.OffsetCommit{Partition: int(o.Partition), Offset: o.Offset})
	}
	ctx, cancel := g.client.bounded(ctx)
	defer cancel()
	res, err := g.client.client.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{
		Addr: g.client.addr, GroupID: g.cfg.ID, GenerationID: int(gen.ID), MemberID: gen.Member, Topics: topics,
	})
	if err != nil {
		return nil, fmt.Errorf("commit offsets of group %q: %w", g.cfg.ID, err)
	}
	answers := map[contactsync.TopicPartition]error{}
	for topic, partitions := range res.Topics {
		for _, p := range partitions {
			answers[contactsync.TopicPartition{Topic: topic, Partition: int32(p.Partition)}] = p.Error
		}
	}
	failed := make([]error, len(offsets))
	for i, o := range offsets {
		err, answered := answers[o.TopicPartition]
		switch {
		case !answered:
			failed[i] = fmt.Errorf("commit %v of group %q: the answer does not hold it", o.TopicPartition, g.cfg.ID)
		case errors.Is(err, kafkago.IllegalGeneration), errors.Is(err, kafkago.UnknownMemberId), errors.Is(err, kafkago.RebalanceInProgress):
			failed[i] = fmt.Errorf("%w: %v: %w", ErrFenced, o.TopicPartition, err)
		case err != nil:
			failed[i] = fmt.Errorf("commit %v of group %q: %w", o.TopicPartition, g.cfg.ID, err)
		}
	}
	return failed, nil
}

// Leave gives up the generation and leaves the group, if it was joined. It waits
// until ctx ends at most: Kafka then notices when the session times out.
func (g *Group) Leave(ctx context.Context) error {
	if g.inner == nil {
		return nil
	}
	inner := g.inner
	g.inner = nil
	left := make(chan struct{})
	go func() {
		defer close(left)
		_ = inner.Close()
	}()
	// kafka-go leaves while the generation stands. Were that over first, it would
	// join the group once more before it leaves, and make every other replica give
	// its partitions back for that.
	if g.held != nil {
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case <-g.held.over:
		case <-t.C:
		}
		g.giveUp()
	}
	select {
	case <-left:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave group %q: %w", g.cfg.ID, context.Cause(ctx))
	}
}
