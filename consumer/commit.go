package consumer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"

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
			_, _, _, _, n := f.ledger.state()
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
				f.ledger.committed(-1)
			}
		}
		err := g.commit(ctx)
		if errors.Is(err, errFenced) {
			g.stop(err)
			return
		}
		if err != nil && ctx.Err() == nil {
			g.c.deps.Log.Warn("offsets were not committed; retried", "err", err)
		}
	}
}

// commit commits the watermark of every partition where it has moved. It returns
// errFenced where Kafka says that this member owns nothing any more.
func (g *generation) commit(ctx context.Context) error {
	topics := map[string][]kafkago.OffsetCommit{}
	offsets := map[string]map[int]int64{}
	byPartition := map[string]map[int]*fetcher{}
	for _, f := range g.fetchers {
		offset, moved := f.ledger.toCommit()
		if !moved || !f.located.Load() {
			continue
		}
		t, p := f.claim.Topic, int(f.claim.Partition)
		if offsets[t] == nil {
			offsets[t], byPartition[t] = map[int]int64{}, map[int]*fetcher{}
		}
		topics[t] = append(topics[t], kafkago.OffsetCommit{Partition: p, Offset: offset})
		offsets[t][p], byPartition[t][p] = offset, f
	}
	if len(topics) == 0 {
		return nil
	}
	results := g.c.deps.Metrics.Commits
	ctx, cancel := context.WithTimeoutCause(ctx, g.c.deps.RequestTimeout, errors.New("the coordinator did not answer in time"))
	defer cancel()
	res, err := g.c.client.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{
		Addr: g.c.addr, GroupID: g.c.cfg.Group, GenerationID: int(g.id), MemberID: g.member, Topics: topics,
	})
	if err != nil {
		results.WithLabelValues("error").Inc()
		return fmt.Errorf("commit offsets of group %q: %w", g.c.cfg.Group, err)
	}
	var errs []error
	for topic, parts := range res.Topics {
		for _, p := range parts {
			switch {
			case p.Error == nil:
				results.WithLabelValues("ok").Inc()
				f := byPartition[topic][p.Partition]
				f.ledger.committed(offsets[topic][p.Partition])
				g.c.deps.Metrics.CommittedOffset.WithLabelValues(topic, strconv.Itoa(p.Partition)).Set(float64(offsets[topic][p.Partition]))
			case errors.Is(p.Error, kafkago.IllegalGeneration), errors.Is(p.Error, kafkago.UnknownMemberId), errors.Is(p.Error, kafkago.RebalanceInProgress):
				results.WithLabelValues("refused").Inc()
				errs = append(errs, fmt.Errorf("%w: %s/%d: %w", errFenced, topic, p.Partition, p.Error))
			default:
				results.WithLabelValues("error").Inc()
				errs = append(errs, fmt.Errorf("commit %s/%d of group %q: %w", topic, p.Partition, g.c.cfg.Group, p.Error))
			}
		}
	}
	return errors.Join(errs...)
}

// observe brings the gauges of the owned partitions up to date.
func (g *generation) observe() {
	m := g.c.deps.Metrics
	for _, f := range g.fetchers {
		partition := strconv.Itoa(int(f.claim.Partition))
		open, next, watermark, last, _ := f.ledger.state()
		m.PendingRecords.WithLabelValues(f.claim.Topic, partition).Set(float64(open))
		m.ReadOffset.WithLabelValues(f.claim.Topic, partition).Set(float64(next))
		m.Lag.WithLabelValues(f.claim.Topic, partition).Set(float64(max(f.end.Load()-watermark, 0)))
		m.CommittedOffset.WithLabelValues(f.claim.Topic, partition).Set(float64(last))
	}
}
