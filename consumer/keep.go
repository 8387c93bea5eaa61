package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
)

const (
	// keepTimeout bounds the writing to the progress topic for one commit, which waits for it.
	keepTimeout = 3 * time.Second
	// keepPause is for how long nothing is written there after a failure.
	keepPause = 30 * time.Second
	// keepBytes is what a partition may write there in each commit_interval.
	keepBytes = 64 << 10
	// keptTimeout bounds the reading, for which the partition waits.
	keptTimeout = 10 * time.Second
)

// kept is what a partition has in the progress topic.
type kept struct {
	at   *progress.Kept // the record of this generation; nil before the first
	next time.Time      // the next one is not written before that
}

// toCommit is what to commit of the partition, and the text that is kept with it. keeping
// bounds the writing to the progress topic; stop ends with the generation.
func (f *fetcher) toCommit(stop, keeping context.Context, now time.Time, last bool) (progress.Commit, string) {
	keep := f.c.cfg.ProgressTopic != "" && (last || !now.Before(f.kept.next)) && !now.Before(f.c.keepAfter)
	runs := progress.TextRuns
	if keep {
		runs = progress.RecordRuns
	}
	c := f.tracker.ToCommit(runs)
	a := c.Ahead
	a.Feed = f.feed.fuse.kept(c.Offset)
	a.Log, a.Lost, a.Released, a.AtWork = f.log, f.halted.Load(), last, max(f.atWork().Sub(now), 0)
	most := int(f.c.maxText.Load())
	if most == 0 {
		return c, ""
	}
	text, whole := a.Text(most)
	if whole {
		return c, text
	}
	if keep {
		whole = f.keep(stop, keeping, now, a)
	}
	if a.Kept = f.kept.at; a.Kept != nil {
		text, _ = a.Text(most)
	}
	if !whole {
		f.c.deps.Metrics.ProgressCut.Inc()
	}
	return c, text
}

// keep writes all that has ended beyond the offset to the progress topic, and reports
// whether it did. Where it fails, the record before stands: what had ended stays so.
func (f *fetcher) keep(stop, keeping context.Context, now time.Time, a progress.Ahead) bool {
	record, whole := a.Bytes()
	topic := f.c.cfg.ProgressTopic
	key := fmt.Sprintf("%s/%s/%d", f.c.cfg.Group, f.claim.Topic, f.claim.Partition)
	partition, offset, err := f.c.keeper.Keep(keeping, []byte(key), record)
	if stop.Err() != nil { // the generation ends, and its last commit comes
		return false
	}
	if errors.Is(err, kafka.ErrRefused) { // this record, and not the topic
		f.kept.next = now.Add(keepPause)
		f.c.deps.Log.Warn("the progress topic refuses what does not fit a commit: it is sent again after a restart; retried", "topic", topic, "partition", f.claim.Partition, "bytes", len(record), "err", err, "again_in", keepPause)
		return false
	}
	if err != nil {
		f.c.keepAfter = time.Now().Add(keepPause)
		f.c.deps.Log.Warn("the progress topic takes nothing: what does not fit a commit is sent again after a restart; retried", "topic", topic, "err", err, "again_in", keepPause)
		return false
	}
	f.kept.at = &progress.Kept{Partition: partition, Offset: offset, Sum: progress.SumOf(record)}
	f.kept.next = now.Add(f.c.cfg.CommitInterval * time.Duration(len(record)/keepBytes))
	return whole
}

// readKept adds what an earlier owner kept in the progress topic. Reading has not begun
// yet. Without it, what did not fit the commit is done again.
func (f *fetcher) readKept(ctx context.Context) {
	if f.inherited == nil || f.inherited.Kept == nil {
		return
	}
	k, topic := f.inherited.Kept, f.c.cfg.ProgressTopic
	err := errors.New("consumer.progress_topic is not set any more")
	if topic != "" {
		err = f.extend(ctx, k)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	reason, ok := errors.AsType[progress.Ignored](err)
	if !ok {
		reason = progress.Replaced
	}
	f.c.deps.Metrics.ProgressIgnored.WithLabelValues(string(reason)).Inc()
	f.c.deps.Log.Warn("what an earlier owner kept in the progress topic is not known: a part of it is sent again", "topic", f.claim.Topic, "partition", f.claim.Partition,
		"progress_topic", topic, "progress_partition", k.Partition, "progress_offset", k.Offset, "err", err)
}

func (f *fetcher) extend(ctx context.Context, k *progress.Kept) error {
	ctx, cancel := context.WithTimeout(ctx, keptTimeout)
	defer cancel()
	record, err := f.c.keeper.Kept(ctx, k.Partition, k.Offset)
	if err != nil {
		return err
	}
	return f.inherited.Extend(record)
}
