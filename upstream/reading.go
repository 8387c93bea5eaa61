package upstream

import (
	"context"
	"fmt"

	"golang.org/x/sync/semaphore"
)

// reading bounds the memory that all answers of a client take while they are read, however many
// requests are in flight.
type reading struct {
	most int64 // of one answer
	room *semaphore.Weighted
}

// smallAnswer is what an answer takes of no room: one about a thousand rows is less.
const smallAnswer = 1 << 20

func newReading(most int64) *reading { return &reading{most, semaphore.NewWeighted(most)} }

// share is what one answer takes. Those that are large take turns, so that none waits for what
// another one holds that waits itself.
type share struct {
	*reading

	ctx  context.Context // of the request
	held bool
}

// take is called before an answer becomes larger than n bytes. It waits for room, and fails with
// errCut if the request ends before there is any.
func (s *share) take(n int64) error {
	if s.held || n <= smallAnswer {
		return nil
	}
	if err := s.room.Acquire(s.ctx, s.most); err != nil {
		return fmt.Errorf("%w: no room for a large answer: %w", errCut, err)
	}
	s.held = true
	return nil
}

func (s *share) release() {
	if s.held {
		s.room.Release(s.most)
	}
}
