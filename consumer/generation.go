package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
)

// Why a generation stops before the group ends it.
var (
	errFenced     = errors.New("commits of this member are refused: its partitions have another owner")
	errPartitions = errors.New("the number of partitions has changed")
	errDrain      = errors.New("the drain time-out has passed")
)

// generation is one assignment: the claims, their fetchers, and what is committed.
type generation struct {
	c        *Consumer
	id       int32
	member   string
	claims   []contactsync.Claim
	starts   []int64
	fetchers []*fetcher
	stop     context.CancelCauseFunc // ends fetching and starts the drain
}

// generation lives through one assignment. It returns when nothing of it is on
// its way any more; only then may the group go on.
func (c *Consumer) generation(stop, ended context.Context, gen *kafkago.Generation) {
	ctx, cancel := context.WithCancelCause(stop)
	defer cancel(nil)
	unhook := context.AfterFunc(ended, func() { cancel(kafkago.ErrGenerationEnded) })
	defer unhook()

	all, err := c.partitions(ctx)
	if err != nil {
		c.deps.Log.Warn("the partitions cannot be counted; the group is joined again", "err", err)
		kafka.Sleep(ctx, time.Second)
		return
	}
	g := c.newGeneration(gen, cancel)
	total := 0
	for n := range maps.Values(all) {
		total += n
	}
	c.deps.Metrics.Rebalances.Inc()
	c.deps.Metrics.Assigned.Set(float64(len(g.claims)))
	c.deps.Log.Info("partitions assigned", "generation", gen.ID, "member", gen.MemberID, "owned", len(g.claims), "all", total)
	c.deps.OnAssign(len(g.claims), total)
	catchUp := c.cfg.CatchupMax > 0
	c.deps.Sink.Assign(g.claims, catchUp)
	if catchUp {
		c.deps.Metrics.CatchingUp.Set(float64(len(g.claims)))
	}
	var readers, keepers sync.WaitGroup
	for i, f := range g.fetchers {
		f.caughtUp = !catchUp
		readers.Go(func() { f.run(ctx, g.starts[i]) })
	}
	c.present.Store(g)
	keepers.Go(func() { g.commitLoop(ctx) })
	keepers.Go(func() { g.watchPartitions(ctx, all) })
	keepers.Go(func() { g.watchEnds(ctx) })
	<-ctx.Done()
	c.deps.Log.Info("partitions are given back", "generation", gen.ID, "cause", context.Cause(ctx))
	readers.Wait()
	keepers.Wait()
	g.drain()
	c.present.CompareAndSwap(g, nil)
	g.close()
}

func (c *Consumer) newGeneration(gen *kafkago.Generation, stop context.CancelCauseFunc) *generation {
	g := &generation{c: c, id: gen.ID, member: gen.MemberID, stop: stop}
	for topic, parts := range gen.Assignments {
		for _, p := range parts {
			claim := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: topic, Partition: int32(p.ID)}, Generation: gen.ID}
			f := &fetcher{c: c, claim: claim, ledger: newLedger(), decode: c.deps.Decoder.Clone().Decode, assigned: time.Now(), target: -1}
			f.ledger.start(max(p.Offset, 0))
			if p.Offset >= 0 {
				f.ledger.committed(p.Offset)
			}
			g.claims, g.starts, g.fetchers = append(g.claims, claim), append(g.starts, p.Offset), append(g.fetchers, f)
			c.deps.Ledgers.add(claim, f.ledger)
		}
	}
	return g
}

// drain waits for what is on its way and commits what has ended. The sink sends
// what it can at once; what is left the next owner reads again.
func (g *generation) drain() {
	ctx, cancel := context.WithTimeoutCause(context.Background(), g.c.cfg.DrainTimeout, errDrain)
	defer cancel()
	if len(g.claims) > 0 {
		if err := g.c.deps.Sink.Release(ctx); err != nil {
			g.c.deps.Metrics.DrainTimeouts.Inc()
			g.c.deps.Log.Warn("not all that was on its way has ended in drain_timeout: requests and dead letters were given up, and the next owner reads their events again", "cause", err)
		}
	}
	// The last commit has a time of its own: what was delivered and is not
	// committed is sent a second time by the next owner.
	last, cancelLast := context.WithTimeout(context.Background(), g.c.cfg.DrainTimeout/2)
	defer cancelLast()
	retry := kafka.NewRetry()
	for {
		err := g.commit(last)
		if err == nil || errors.Is(err, errFenced) || !kafka.Sleep(last, retry.NextBackOff()) {
			return
		}
	}
}

// close forgets the claims, and their series.
func (g *generation) close() {
	m := g.c.deps.Metrics
	for _, claim := range g.claims {
		g.c.deps.Ledgers.remove(claim)
		partition := strconv.Itoa(int(claim.Partition))
		m.PendingRecords.DeleteLabelValues(claim.Topic, partition)
		m.Lag.DeleteLabelValues(claim.Topic, partition)
		m.CommittedOffset.DeleteLabelValues(claim.Topic, partition)
		m.ReadOffset.DeleteLabelValues(claim.Topic, partition)
	}
	m.Assigned.Set(0)
	m.CatchingUp.Set(0)
}

// endPoll is how often Kafka is asked where a partition ends whose fetcher waits.
const endPoll = time.Second

// watchEnds keeps the lag true while the window is full: a fetcher that waits for
// room asks Kafka for nothing, and a long outage is when somebody looks.
func (g *generation) watchEnds(ctx context.Context) {
	for kafka.Sleep(ctx, endPoll) {
		for _, f := range g.fetchers {
			if !f.adding.Load() {
				continue
			}
			if _, end, err := f.bounds(ctx); err == nil && f.adding.Load() {
				f.end.Store(end)
			}
		}
	}
}

// watchPartitions ends the generation when a topic has got more partitions, so
// that they are assigned. kafka-go's own watcher can miss a change at the start
// and asks in a way that can create a deleted topic.
func (g *generation) watchPartitions(ctx context.Context, known map[string]int) {
	for kafka.Sleep(ctx, g.c.cfg.PartitionCheckInterval) {
		now, err := g.c.partitions(ctx)
		if err != nil {
			if ctx.Err() == nil {
				g.c.deps.Log.Warn("the partitions cannot be counted; retried", "err", err)
			}
			continue
		}
		if !maps.Equal(known, now) {
			g.stop(fmt.Errorf("%w: %v, now %v", errPartitions, known, now))
			return
		}
	}
}
