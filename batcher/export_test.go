package batcher

// RememberedStreams is how many streams take memory: with contacts, on hold, or answered lately.
func (w *Window) RememberedStreams() int { return len(w.schedule.streams) }
