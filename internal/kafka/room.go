package kafka

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"
)

// answersRoom is the least room for answers to fetches that are larger than was asked for.
const answersRoom = 64 << 20

// usualOverhead is what an answer has besides its record batches, but for many aborted transactions.
const usualOverhead = 64 << 10

// permit is the part of the room for large answers that one fetch has taken; nil for one that takes none. What was asked for is free:
// whoever asks sees to it that all its fetches together ask for little. But a single batch comes whole
// however large it is, and with many partitions such batches would be held at a time for which nothing is
// charged: while the window is full.
type permit struct {
	room *semaphore.Weighted
	free int64 // how large an answer may be for which nothing is taken

	mu   sync.Mutex
	held int64
	over bool
}

// noRoom is the size of an answer for which there is no room now.
type noRoom int64

func (n noRoom) Error() string {
	return fmt.Sprintf("no room for an answer of %d bytes while others are held", int64(n))
}

// take takes the room for an answer of n bytes, or fails with noRoom. It never waits: the time of a request
// would pass meanwhile.
func (p *permit) take(n int64) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	more := n - p.held
	switch {
	case n <= p.free || more <= 0:
		return nil
	case p.over || !p.room.TryAcquire(more):
		return noRoom(n)
	}
	p.held += more
	return nil
}

// wait takes the room for an answer of n bytes as soon as there is any. The answer is to be asked for again.
func (p *permit) wait(ctx context.Context, n int64) error {
	p.release()
	if err := p.room.Acquire(ctx, n); err != nil {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.over = n, false
	return nil
}

// release gives back what was taken. A request that is given up may still be read by its connection, and
// takes nothing any more.
func (p *permit) release() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room.Release(p.held)
	p.held, p.over = 0, true
}
