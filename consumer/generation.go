package consumer

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/crash"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
	"github.com/contactsync/contactsync/internal/setting"
)

var errDrain = errors.New("the drain time-out has passed")

// generation is one assignment: the claims, their fetchers, and what is committed.
type generation struct {
	*kafka.Generation
	c        *Consumer
	claims   []contactsync.Claim
	fetchers []*fetcher
	stop     context.CancelCauseFunc // ends fetching and starts the drain

	commitsFail atomic.Int64 // since when, in Unix nanoseconds; 0 where the last one was taken
}

// generation lives through one assignment. It returns when nothing of it is in
// flight any more; only then may the group go on.
func (c *Consumer) generation(stop context.Context, assigned *kafka.Generation) {
	ctx, cancel := context.WithCancelCause(stop)
	defer cancel(nil)
	unhook := context.AfterFunc(assigned.Ended, func() { cancel(context.Cause(assigned.Ended)) })
	defer unhook()

	g := c.newGeneration(assigned, cancel)
	c.deps.Metrics.Rebalances.Inc()
	c.deps.Metrics.Assigned.Set(float64(len(g.claims)))
	c.deps.Metrics.MissingTopics.Set(float64(len(g.Missing)))
	c.deps.Log.Info("partitions assigned", "generation", g.Group, "assignment", g.ID, "member", g.Member, "owned", len(g.claims), "all", g.All)
	c.deps.OnAssign(len(g.claims), g.All)
	catchUp := c.cfg.CatchupMax > 0 || g.waits(time.Now())
	c.sink.Assign(g.claims, catchUp)
	if catchUp {
		c.deps.Metrics.CatchingUp.Set(float64(len(g.claims)))
	}
	var running sync.WaitGroup
	for i, f := range g.fetchers {
		f.caughtUp.Store(!catchUp)
		f.restart = cancel
		running.Go(func() { defer crash.Exit(); f.run(ctx, assigned, g.Owned[i]) })
	}
	c.present.Store(g)
	running.Go(func() { defer crash.Exit(); g.commitLoop(ctx) })
	running.Go(func() { defer crash.Exit(); g.watchEnds(ctx) })
	<-ctx.Done()
	why := "rebalance"
	if stop.Err() != nil {
		why = "stopping"
	}
	c.deps.Log.Info(why+": releasing partitions", "generation", g.Group, "cause", context.Cause(ctx))
	running.Wait()
	g.drain()
	if why, _ := c.notRead(); why == "" {
		c.wasRead()
	}
	c.present.CompareAndSwap(g, nil)
	g.close()
}

func (c *Consumer) newGeneration(assigned *kafka.Generation, stop context.CancelCauseFunc) *generation {
	g := &generation{Generation: assigned, c: c, stop: stop}
	most := min(c.cfg.FetchMaxBytes, max(leastFetch, setting.Size(allFetches/max(1, len(g.Owned)))))
	for _, p := range g.Owned {
		claim := contactsync.Claim{TopicPartition: p.TopicPartition, Generation: g.ID}
		f := &fetcher{c: c, claim: claim, tracker: progress.NewTracker(), decode: c.deps.Decoder.Clone().Decode, assigned: time.Now(), most: most, target: -1, decided: make(chan decision, 1)}
		f.end.Store(-1)
		f.first.Store(-1)
		f.turn()
		f.feed.init(f)
		f.again.f = f
		f.resume(p)
		c.trackers.add(claim, f.tracker)
		g.noteCommit(p.TopicPartition, f.assigned) // or where none is taken, nothing would show for how long
		g.claims, g.fetchers = append(g.claims, claim), append(g.fetchers, f)
	}
	return g
}

// drain waits for what is in flight and commits what has ended. The sink starts
// nothing more; the next owner reads the rest again. Where the partitions
// are lost, before or meanwhile, nothing is sent or committed any more: there may
// be another owner already.
func (g *generation) drain() {
	owned, lose := context.WithCancelCause(context.Background())
	defer lose(nil)
	if g.Lost.Err() != nil {
		lose(context.Cause(g.Lost))
	}
	defer context.AfterFunc(g.Lost, func() { lose(context.Cause(g.Lost)) })()
	ctx, cancel := context.WithTimeoutCause(owned, g.c.cfg.DrainTimeout, errDrain)
	defer cancel()
	if len(g.claims) > 0 {
		atWork, err := g.c.sink.Release(ctx)
		g.c.atWork = atWork
		switch {
		case errors.Is(err, errDrain):
			g.c.deps.Metrics.DrainTimeouts.Inc()
			g.c.deps.Log.Warn("drain_timeout passed: requests and dead letters in flight were given up, and the next owner reads their events again", "cause", err)
		case err != nil:
			g.c.deps.Log.Warn("requests and dead letters in flight were given up, and the next owner reads their events again", "cause", err)
		}
	}
	// The last commit has a time of its own: what was delivered and is not
	// committed is sent a second time by the next owner.
	last, cancelLast := context.WithTimeout(owned, g.c.cfg.DrainTimeout/2)
	defer cancelLast()
	retry := kafka.NewRetry()
	for owned.Err() == nil {
		err := g.commit(last, true)
		if err == nil || errors.Is(err, kafka.ErrFenced) {
			return
		}
		if !kafka.Sleep(last, retry.NextBackOff()) {
			g.c.deps.Log.Warn("the last offsets were not committed: what ended since the commit before is done again by the next owner", "generation", g.Group, "err", err)
			return
		}
	}
}

// close forgets the claims, and their series.
func (g *generation) close() {
	m := g.c.deps.Metrics
	for _, claim := range g.claims {
		g.c.trackers.remove(claim)
		partition := strconv.Itoa(int(claim.Partition))
		m.PendingRecords.DeleteLabelValues(claim.Topic, partition)
		m.ParkedRecords.DeleteLabelValues(claim.Topic, partition)
		m.Lag.DeleteLabelValues(claim.Topic, partition)
		m.UnreadRecords.DeleteLabelValues(claim.Topic, partition)
		m.LastCommit.DeleteLabelValues(claim.Topic, partition)
		m.CommittedOffset.DeleteLabelValues(claim.Topic, partition)
		m.ReadOffset.DeleteLabelValues(claim.Topic, partition)
		m.PartitionState.DeletePartialMatch(prometheus.Labels{"topic": claim.Topic, "partition": partition})
	}
	m.Assigned.Set(0)
	m.MissingTopics.Set(0)
	m.CatchingUp.Set(0)
}

// endPoll is how often Kafka is asked where a partition ends whose fetcher waits.
const endPoll = time.Second

// watchEnds keeps the lag true where nothing is fetched: the window is full, or the
// partition cannot be read. A long outage is when somebody looks. An end that Kafka does
// not tell is not known, and not what it was.
func (g *generation) watchEnds(ctx context.Context) {
	for kafka.Sleep(ctx, endPoll) {
		now := time.Now()
		for _, f := range g.fetchers {
			reads := now.Sub(time.Unix(0, f.beat.Load())) < 5*endPoll
			if f.adding.Load() == 0 && f.problem.Load() == nil && reads {
				continue
			}
			switch b, err := g.c.deps.Kafka.Bounds(ctx, f.claim.TopicPartition); {
			case err == nil:
				f.first.Store(b.First)
				f.end.Store(b.End)
			case f.problem.Load() != nil:
				f.end.Store(-1)
			}
		}
	}
}
