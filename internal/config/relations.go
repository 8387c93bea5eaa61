package config

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync/internal/setting"
)

// stopMargin is what stopping needs beyond the drain: the last commit, leaving
// the group, and the last scrape of the metrics.
const stopMargin = 5 * time.Second

// relations returns the errors between sections, which no section can see. Only
// what cannot work, or would raise a false alarm, is an error.
func (c Config) relations() []setting.Error {
	var errs setting.Errors
	if t := c.Consumer.ProgressTopic; t != "" && t == c.DeadLetter.Topic {
		errs.Add("consumer.progress_topic", "%q is deadletter.topic: name a topic of its own", t)
	}
	if slices.Contains(c.Consumer.Topics, c.DeadLetter.Topic) && c.DeadLetter.Topic != "" {
		errs.Add("deadletter.topic", "%q is one of consumer.topics: dead letters would be read as events again", c.DeadLetter.Topic)
	}
	if least := c.Consumer.DrainTimeout + stopMargin; c.Shutdown.Timeout < least {
		errs.Add("shutdown.timeout", "%v leaves no time to drain and commit: must be at least %v, consumer.drain_timeout and %v", c.Shutdown.Timeout, least, stopMargin)
	}
	// A request starts only where it ends within the lease, which is counted from the
	// last heartbeat that Kafka confirmed. One heartbeat may be late.
	if most := c.Consumer.Lease() - 2*c.Consumer.HeartbeatInterval; c.Upstream.Timeout > most {
		errs.Add("upstream.timeout", "%v is too long for consumer.session_timeout (%v): a request must end before another replica can own its partitions, so at most %v, or a longer session", c.Upstream.Timeout, c.Consumer.SessionTimeout, most)
	}
	// One request may take all of its time-out while nothing else has work: that
	// must not look like a service that is stuck.
	if least := c.Batcher.Linger + c.Upstream.Timeout; c.Consumer.StallAfter <= least {
		errs.Add("consumer.stall_after", "%v would report the service as stuck during one slow request: must be more than %v, batcher.linger and upstream.timeout together", c.Consumer.StallAfter, least)
	}
	if c.Event.MaxEventBytes > c.Consumer.MaxBatchBytes {
		errs.Add("event.max_event_bytes", "%v is more than consumer.max_batch_bytes (%v): such an event would halt its partition before it is decoded", c.Event.MaxEventBytes, c.Consumer.MaxBatchBytes)
	}
	if c.Event.MaxEventBytes > c.Batcher.WindowBytes/4 {
		errs.Add("event.max_event_bytes", "%v is more than a quarter of batcher.window_bytes (%v): a few events would fill the window", c.Event.MaxEventBytes, c.Batcher.WindowBytes)
	}
	return errs
}
