package consumer

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
	"github.com/contactsync/contactsync/metrics"
)

// commitPoll is how often the commit loop looks whether commit_events is reached.
const commitPoll = 100 * time.Millisecond

// recommitAfter commits an unchanged offset again, so that Kafka does not forget
// the offsets of a topic that is quiet for longer than it keeps them.
const recommitAfter = 6 * time.Hour

// commitLoop commits until ctx ends. The last commit is the drain's.
func (g *generation) commitLoop(ctx context.Context) {
	last, fresh := time.Now(), time.Now()
	var failed string    // why the last commit was not taken
	var warned time.Time // when that was logged
	g.observe()
	for kafka.Sleep(ctx, min(commitPoll, g.c.cfg.CommitInterval)) {
		due := time.Since(last) >= g.c.cfg.CommitInterval
		ended := 0
		for _, f := range g.fetchers {
			ended += f.tracker.State().Ended
		}
		if !due && (ended < g.c.cfg.CommitEvents || failed != "") {
			continue
		}
		last = time.Now()
		g.observe()
		if time.Since(fresh) >= recommitAfter {
			fresh = time.Now()
			for _, f := range g.fetchers {
				f.tracker.Recommit()
			}
		}
		err := g.commit(ctx, false)
		if errors.Is(err, kafka.ErrFenced) {
			g.stop(err)
			return
		}
		switch {
		case err == nil:
			failed = ""
			g.commitsFail.Store(0)
		case ctx.Err() == nil:
			g.commitsFail.CompareAndSwap(0, time.Now().UnixNano())
			if failed != err.Error() || time.Since(warned) >= time.Minute {
				failed, warned = err.Error(), time.Now()
				g.c.deps.Log.Warn("offsets were not committed; retried", "err", err)
			}
		}
	}
}

// commit commits the watermark of every partition, and with it what has ended beyond
// it, where either has changed. The last commit of a generation says of each partition
// that it is released. It returns kafka.ErrFenced where Kafka says that this member owns
// nothing any more.
func (g *generation) commit(ctx context.Context, last bool) error {
	now := time.Now()
	// The commit itself matters more than what does not fit it.
	keeping := keepTimeout
	if end, ok := ctx.Deadline(); ok {
		keeping = min(keeping, end.Sub(now)/4)
	}
	keepCtx, cancel := context.WithTimeout(ctx, keeping)
	defer cancel()
	var offsets []kafka.Committed
	var commits []progress.Commit
	var of []*fetcher
	for _, f := range g.fetchers {
		if (f.located.Load() || f.halted.Load()) && (f.tracker.Changed() || last && f.mustRelease(now)) {
			c, text := f.toCommit(ctx, keepCtx, now, last)
			offsets = append(offsets, kafka.Committed{TopicPartition: f.claim.TopicPartition, Offset: c.Offset, Metadata: text})
			commits, of = append(commits, c), append(of, f)
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	results := g.c.deps.Metrics.Commits
	failed, err := g.c.deps.Group.Commit(ctx, g.Generation, offsets)
	if err != nil {
		results.WithLabelValues(failedAs(err)).Inc()
		return err
	}
	for i, o := range offsets {
		switch {
		case failed[i] == nil:
			results.WithLabelValues("ok").Inc()
			of[i].tracker.Committed(commits[i])
			partition := strconv.Itoa(int(o.Partition))
			g.c.deps.Metrics.CommittedOffset.WithLabelValues(o.Topic, partition).Set(float64(o.Offset))
			g.noteCommit(o.TopicPartition, time.Now())
		case errors.Is(failed[i], kafka.ErrFenced):
			results.WithLabelValues("refused").Inc()
		case errors.Is(failed[i], kafka.ErrMetadataTooLarge):
			results.WithLabelValues("error").Inc()
			g.c.shrinkText(len(o.Metadata))
		default:
			results.WithLabelValues(failedAs(failed[i])).Inc()
		}
	}
	return errors.Join(failed...)
}

// noteCommit notes when a partition was committed last, or assigned.
func (g *generation) noteCommit(p contactsync.TopicPartition, at time.Time) {
	g.c.deps.Metrics.LastCommit.WithLabelValues(p.Topic, strconv.Itoa(int(p.Partition))).Set(float64(at.Unix()))
}

// failedAs names the result of a commit that failed, and may be tried again.
func failedAs(err error) string {
	if errors.Is(err, kafka.ErrDenied) {
		return "forbidden"
	}
	return "error"
}

// observe brings the gauges of the owned partitions up to date.
func (g *generation) observe() {
	m := g.c.deps.Metrics
	for _, file := range kafka.Files(g.c.deps.Kafka) {
		if !file.Ends.IsZero() {
			m.CertificateExpiry.WithLabelValues(file.Setting).Set(float64(file.Ends.Unix()))
		}
	}
	for _, f := range g.fetchers {
		partition := strconv.Itoa(int(f.claim.Partition))
		s := f.status(time.Now())
		m.PendingRecords.WithLabelValues(f.claim.Topic, partition).Set(float64(f.tracker.State().Open))
		m.ParkedRecords.WithLabelValues(f.claim.Topic, partition).Set(float64(s.Parked))
		m.ReadOffset.WithLabelValues(f.claim.Topic, partition).Set(float64(s.Next))
		m.CommittedOffset.WithLabelValues(f.claim.Topic, partition).Set(float64(s.Committed))
		if s.Lag >= 0 {
			m.Lag.WithLabelValues(f.claim.Topic, partition).Set(float64(s.Lag))
			m.UnreadRecords.WithLabelValues(f.claim.Topic, partition).Set(float64(max(0, s.End-s.Next)))
		} else { // nothing is better than a number that is not true
			m.UnreadRecords.DeleteLabelValues(f.claim.Topic, partition)
			m.Lag.DeleteLabelValues(f.claim.Topic, partition)
		}
		for _, state := range metrics.States {
			is := 0.0
			if state == string(s.State) {
				is = 1
			}
			m.PartitionState.WithLabelValues(f.claim.Topic, partition, state).Set(is)
		}
	}
}
