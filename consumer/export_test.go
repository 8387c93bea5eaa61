package consumer

// Tracked is how many claims have an offset tracker.
func (c *Consumer) Tracked() int {
	c.offsets.mu.Lock()
	defer c.offsets.mu.Unlock()
	return len(c.offsets.byClaim)
}
