package consumer

// Tracked is how many claims have an offset tracker.
func (c *Consumer) Tracked() int {
	c.trackers.mu.Lock()
	defer c.trackers.mu.Unlock()
	return len(c.trackers.byClaim)
}

// SetFeedPolicy changes consumer.on_unreadable_feed for generations to come.
func (c *Consumer) SetFeedPolicy(policy string) { c.cfg.OnUnreadableFeed = policy }
