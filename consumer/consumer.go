package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
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
	// ReadAgain says whether events of a claim that it has left may be added again, with
	// Again set, in the order of their offsets: a number that is another one where that has to
	// begin from the first of them, and 0 for no. What it has left of what was added before
	// is known by then.
	ReadAgain(claim contactsync.Claim) (pass int)
	// ReadAgainDone says that all of them were added, up to where new ones are read, but for
	// so many that the log does not have any more.
	ReadAgainDone(claim contactsync.Claim, pass, gone int)
	// Release gives every claim back. It returns when nothing is in flight any
	// more, at the latest soon after ctx ended, and until when the API may still apply
	// requests whose answers were not waited for; zero where there are none.
	Release(ctx context.Context) (atWork time.Time, err error)
}

// Group is the membership in a consumer group. Next and Leave are called by one
// goroutine, the others by others while the generation is held.
type Group interface {
	// Next gives up the generation that it returned last, joins, and returns the next
	// one. It makes one attempt. kafka.ErrNoTopic is final; any other error is worth
	// another attempt. The generation is held, whatever ends it, until Next or Leave
	// is called: the drain and the last commit belong to it.
	Next(ctx context.Context) (*kafka.Generation, error)
	// Commit commits offsets in a generation. It returns for each why it was not
	// taken, kafka.ErrFenced where this member owns nothing any more; with an error
	// of its own nothing is known of any.
	Commit(ctx context.Context, gen *kafka.Generation, offsets []kafka.Committed) ([]error, error)
	// Committed asks again for what is committed for one partition of a generation.
	Committed(ctx context.Context, gen *kafka.Generation, partition contactsync.TopicPartition) kafka.Committed
	// TopicID asks which topic has a name now; zero where that is not known.
	TopicID(ctx context.Context, topic string) ([16]byte, error)
	// LeaseUntil is until when the generation is certainly this member's; zero where
	// there is none. It may be called at any time.
	LeaseUntil() time.Time
	// Leave gives up the generation and leaves the group; it waits until ctx ends at most.
	Leave(ctx context.Context) error
}

// Deps are the consumer's neighbours.
type Deps struct {
	Kafka    *kafka.Client // reads the partitions
	Group    Group
	Decoder  *event.Decoder       // cloned for each partition
	OnAssign func(owned, all int) // called with how many of the topics' partitions this replica owns
	Log      *slog.Logger
	Metrics  *metrics.Consumer
	Commands contactsync.Commands // that the log names
}

// Consumer is a member of a consumer group.
type Consumer struct {
	cfg      Config
	deps     Deps
	sink     Sink // set by Run
	trackers *trackers
	losses   losses

	// Owned by Run and the last commit of a generation.
	atWork  time.Time    // until when requests that were given up may still be applied
	maxText atomic.Int64 // bytes that the brokers take with an offset

	// keepAfter is before when nothing is written to the progress topic. It is the
	// committing goroutine's.
	keepAfter time.Time
	keeper    *kafka.Keeper // of the progress topic

	present   atomic.Pointer[generation]
	notBefore atomic.Int64          // Unix nanoseconds; see NotBefore
	joining   atomic.Int64          // Unix nanoseconds of the last attempt to join the group; 0 before the first
	joinError atomic.Pointer[error] // why the group is not joined
	readAt    atomic.Int64          // Unix nanoseconds; when an owned partition was read last; 0 before
}

// New returns a consumer; Run starts it.
func New(cfg Config, deps Deps) *Consumer {
	c := &Consumer{cfg: cfg, deps: deps, trackers: newTrackers(), losses: losses{at: map[contactsync.TopicPartition]int64{}}}
	c.maxText.Store(progress.MaxText)
	c.keeper = kafka.NewKeeper(deps.Kafka, cfg.ProgressTopic)
	return c
}

// LeaseUntil is until when this replica may work on its partitions: the last time that
// Kafka has confirmed the membership, counted from the question, and a session less
// a margin. It is zero where nothing is owned.
func (c *Consumer) LeaseUntil() time.Time { return c.deps.Group.LeaseUntil() }

// NotBefore is until when requests of earlier owners of any partition may still be
// applied: before that nothing may be sent that was not read to its end, however full the
// window is. It is in the past, or zero, where there are none.
func (c *Consumer) NotBefore() time.Time { return time.Unix(0, c.notBefore.Load()) }

// Done notes that events have ended, so that the offsets behind them may be
// committed. Events of a generation that is over change nothing.
func (c *Consumer) Done(ended []contactsync.Ended) { c.trackers.done(ended) }

// Park notes that events are not kept, and are to be read again when the sink says so.
func (c *Consumer) Park(left []contactsync.Parked) { c.trackers.park(left) }

// Run takes part in the group and hands the events to sink until ctx ends, then
// gives its partitions back in order: no more fetches, requests in flight finish
// within the drain time-out, the last offsets are committed, the group is left. It
// returns an error only where going on makes no sense: none of the topics exists
// before the group is joined.
func (c *Consumer) Run(ctx context.Context, sink Sink) error {
	c.sink = sink
	defer c.leave()
	retry := kafka.NewRetry()
	for ctx.Err() == nil {
		c.joining.Store(time.Now().UnixNano())
		gen, err := c.deps.Group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			retry.Reset()
			c.joinError.Store(nil)
			c.generation(ctx, gen)
			continue
		case errors.Is(err, kafka.ErrNoTopic):
			return fmt.Errorf("%w: create it, or correct consumer.topics", err)
		}
		c.deps.Metrics.GroupErrors.Inc()
		if !errors.Is(err, kafka.ErrRebalance) {
			c.joinError.Store(&err)
			c.deps.Log.Warn("joining the group failed; retried", "err", err)
		}
		kafka.Sleep(ctx, retry.NextBackOff())
	}
	return nil
}

// leave leaves the group, which takes as long as the network lets it, so it is not
// waited for without end.
func (c *Consumer) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.DrainTimeout)
	defer cancel()
	if err := c.deps.Group.Leave(ctx); err != nil {
		c.deps.Log.Warn("the group was not left: Kafka will notice when the session times out", "err", err)
	}
}

// Stuck returns why the consumer does not go on by itself, for at least the given
// time, and the empty string while it works. An absent Kafka and a full window
// are not such reasons: a restart cures neither.
func (c *Consumer) Stuck(now time.Time, after time.Duration) string {
	g := c.present.Load()
	if g == nil {
		limit := after + c.cfg.SessionTimeout + c.cfg.RebalanceTimeout
		if at := c.joining.Load(); at != 0 && now.Sub(time.Unix(0, at)) > limit {
			return "joining the consumer group hangs"
		}
		return ""
	}
	for _, f := range g.fetchers {
		if f.adding.Load() != 0 {
			return "" // the window is full: whoever waits for room to decompress waits for that
		}
	}
	for _, f := range g.fetchers {
		if beat := f.beat.Load(); beat != 0 && now.Sub(time.Unix(0, beat)) > after+c.deps.Kafka.RequestTimeout() {
			return fmt.Sprintf("partition %v is not read", f.claim)
		}
	}
	return ""
}
