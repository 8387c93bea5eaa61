package consumer

import (
	"errors"
	"time"

	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/progress"
)

// resume takes over from the earlier owner of the partition: what it has committed, what
// had ended beyond that, and until when its requests may still be applied.
func (f *fetcher) resume(from kafka.Committed) {
	log := progress.NewLog(from.Cluster, from.TopicID)
	ahead, err := progress.Parse(from.Metadata, from.Offset, log)
	var ignored progress.Ignored
	if from.Err == nil && errors.As(err, &ignored) {
		f.c.deps.Metrics.ProgressIgnored.WithLabelValues(string(ignored)).Inc()
		if ignored == progress.OtherLog && from.Offset >= 0 {
			f.lost = recreated
		}
		f.c.deps.Log.Warn(err.Error(), "topic", f.claim.Topic, "partition", f.claim.Partition, "committed", from.Offset)
	}
	f.log, f.topicID = log, from.TopicID
	if from.Err != nil {
		from.Offset = kafka.NoOffset
	}
	f.tracker.Resume(from.Offset, ahead)
	f.resumed.Store(from.Err == nil)
	f.inherited = ahead
	f.notBefore = f.c.atWork
	wait := time.Duration(0)
	if ahead != nil {
		if ahead.Lost {
			f.lost = earlier
		}
		if wait = ahead.AtWork; wait > 0 {
			f.tracker.Recommit() // what is left of it, and not all of it once more
		}
	}
	if f.c.cfg.InstanceID != "" && ahead != nil && ahead.Released {
		f.tracker.Recommit() // it is owned again, and who replaces this process must wait
	}
	if f.c.cfg.InstanceID != "" && from.Offset >= 0 && (ahead == nil || !ahead.Released) {
		// The process that had this instance id may have died a moment ago. Without one,
		// Kafka would have waited for a session.
		wait = max(wait, f.c.cfg.Lease())
	}
	if until := time.Now().Add(wait); until.After(f.notBefore) {
		f.notBefore = until
	}
	f.c.raiseNotBefore(f.notBefore)
}

func (c *Consumer) raiseNotBefore(at time.Time) {
	for {
		old := c.notBefore.Load()
		if at.IsZero() || at.UnixNano() <= old || c.notBefore.CompareAndSwap(old, at.UnixNano()) {
			return
		}
	}
}

// waits reports whether a partition has an earlier owner whose requests may still be
// applied.
func (g *generation) waits(now time.Time) bool {
	for _, f := range g.fetchers {
		if now.Before(f.notBefore) {
			g.c.deps.Log.Info("requests of an earlier owner may still be applied: contacts wait for that", "topic", f.claim.Topic, "partition", f.claim.Partition, "for", f.notBefore.Sub(now).Round(time.Millisecond))
			return true
		}
	}
	return false
}

// mustRelease reports whether the next owner has to be told that the partition was given
// back, or until when requests may still be applied, although nothing else has changed.
func (f *fetcher) mustRelease(now time.Time) bool {
	return f.c.cfg.InstanceID != "" || now.Before(f.atWork())
}

// atWork is until when requests that were made before may still be applied.
func (f *fetcher) atWork() time.Time {
	if f.c.atWork.After(f.notBefore) {
		return f.c.atWork
	}
	return f.notBefore
}

// shrinkText notes that the brokers do not take so many bytes with an offset.
func (c *Consumer) shrinkText(bytes int) {
	most := int64(bytes / 2)
	if most < 128 {
		most = 0 // too little for anything
	}
	if most >= c.maxText.Load() {
		return // by another partition of the same commit
	}
	c.maxText.Store(most)
	c.deps.Log.Warn("the brokers keep less with a committed offset than usual, so less of what ended beyond it is known after a rebalance: raise their offset.metadata.max.bytes",
		"refused", bytes, "bytes", most, "usual", progress.MaxText)
}
