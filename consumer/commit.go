package consumer

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/contactsync/contactsync/internal/kafka"
)

// commitPoll is how often the commit loop looks whether commit_events is reached.
const commitPoll = 100 * time.Millisecond

// recommitAfter commits an unchanged offset again, so that Kafka does not forget
// the offsets of a topic that is quiet for longer than it keeps them.
const recommitAfter = 6 * time.Hour

// commitLoop commits until ctx ends. The last commit is the drain's.
func (g *generation) commitLoop(ctx context.Context) {
	last, fresh := time.Now(), time.Now()
	for kafka.Sleep(ctx, min(commitPoll, g.c.cfg.CommitInterval)) {
		due := time.Since(last) >= g.c.cfg.CommitInterval
		ended := 0
		for _, f := range g.fetchers {
			_, _, _, _, n := f.tracker.state()
			ended += n
		}
		if !due && ended < g.c.cfg.CommitEvents {
			continue
		}
		last = time.Now()
		g.observe()
		if time.Since(fresh) >= recommitAfter {
			fresh = time.Now()
			for _, f := range g.fetchers {
				f.tracker.committed(-1)
			}
		}
		err := g.commit(ctx)
		if errors.Is(err, kafka.ErrFenced) {
			g.stop(err)
			return
		}
		if err != nil && ctx.Err() == nil {
			g.c.deps.Log.Warn("offsets were not committed; retried", "err", err)
		}
	}
}

// commit commits the watermark of every partition where it has moved. It returns
// kafka.ErrFenced where Kafka says that this member owns nothing any more.
func (g *generation) commit(ctx context.Context) error {
	var offsets []kafka.Committed
	var of []*fetcher
	for _, f := range g.fetchers {
		if offset, moved := f.tracker.toCommit(); moved && f.located.Load() {
			offsets, of = append(offsets, kafka.Committed{TopicPartition: f.claim.TopicPartition, Offset: offset}), append(of, f)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	results := g.c.deps.Metrics.Commits
	failed, err := g.c.deps.Group.Commit(ctx, g.Generation, offsets)
	if err != nil {
		results.WithLabelValues("error").Inc()
		return err
	}
	for i, o := range offsets {
		switch {
		case failed[i] == nil:
			results.WithLabelValues("ok").Inc()
			of[i].tracker.committed(o.Offset)
			g.c.deps.Metrics.CommittedOffset.WithLabelValues(o.Topic, strconv.Itoa(int(o.Partition))).Set(float64(o.Offset))
		case errors.Is(failed[i], kafka.ErrFenced):
			results.WithLabelValues("refused").Inc()
		default:
			results.WithLabelValues("error").Inc()
		}
	}
	return errors.Join(failed...)
}

// observe brings the gauges of the owned partitions up to date.
func (g *generation) observe() {
	m := g.c.deps.Metrics
	for _, f := range g.fetchers {
		partition := strconv.Itoa(int(f.claim.Partition))
		open, next, watermark, last, _ := f.tracker.state()
		m.PendingRecords.WithLabelValues(f.claim.Topic, partition).Set(float64(open))
		m.ReadOffset.WithLabelValues(f.claim.Topic, partition).Set(float64(next))
		m.Lag.WithLabelValues(f.claim.Topic, partition).Set(float64(max(f.end.Load()-watermark, 0)))
		m.CommittedOffset.WithLabelValues(f.claim.Topic, partition).Set(float64(last))
	}
}
