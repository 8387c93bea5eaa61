package upstream

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// reading bounds the memory that all answers of a client take while they are read, however many
// requests are in flight.
type reading struct {
	most int64 // of one answer
	room *semaphore.Weighted

	mu      sync.Mutex
	hosts   map[string]*semaphore.Weighted // one answer of each waits for room, or has it
	waiting int                            // hosts that wait
	holder  *share                         // what has room; nil for nothing
}

// smallAnswer is what an answer takes of no room: one about a thousand rows is less.
const smallAnswer = 1 << 20

// While other hosts wait, an answer that has room keeps it only as long as so much of it comes in each stretch.
const (
	stretch      = 2 * time.Second
	leastStretch = 512 << 10
)

func newReading(most int64) *reading {
	return &reading{most: most, room: semaphore.NewWeighted(most), hosts: map[string]*semaphore.Weighted{}}
}

// host returns the turns of a host.
func (r *reading) host(name string) *semaphore.Weighted {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts[name] == nil {
		r.hosts[name] = semaphore.NewWeighted(1)
	}
	return r.hosts[name]
}

// wait notes that one host more or less waits: an answer that hardly comes is given up then.
func (r *reading) wait(more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting += more; r.waiting > 0 && r.holder != nil && r.holder.slow {
		_ = r.holder.body.Close() // so that reading it fails
	}
}

// share is what one answer takes. Those that are large take turns, so that none waits for what
// another one holds that waits itself, and a host has one turn at most, so that none waits for another one's many.
type share struct {
	*reading

	ctx  context.Context // of the request
	host string
	body io.Closer // of the answer

	held  bool
	read  atomic.Int64 // bytes so far
	timer *time.Timer  // the end of a stretch
	then  int64        // bytes read when it began
	slow  bool         // too little of the answer came in the last stretch
}

// take is called before an answer becomes larger than n bytes. It waits for room, and fails with
// errCut if the request ends before there is any.
func (s *share) take(n int64) error {
	if s.held || n <= smallAnswer {
		return nil
	}
	turns := s.reading.host(s.host)
	if err := turns.Acquire(s.ctx, 1); err != nil {
		return s.noRoom(err)
	}
	s.wait(1)
	err := s.room.Acquire(s.ctx, s.most)
	s.wait(-1)
	if err != nil {
		turns.Release(1)
		return s.noRoom(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.holder, s.then = true, s, s.read.Load()
	s.timer = time.AfterFunc(stretch, s.look)
	return nil
}

func (s *share) noRoom(err error) error {
	return fmt.Errorf("%w: no room for a large answer: %w", errCut, err)
}

// look finds out whether enough of the answer came in the last stretch.
func (s *share) look() {
	s.mu.Lock()
	s.slow = s.read.Load()-s.then < leastStretch
	s.then = s.read.Load()
	if s.holder == s {
		s.timer.Reset(stretch)
	}
	s.mu.Unlock()
	s.wait(0)
}

func (s *share) release() {
	if !s.held {
		return
	}
	s.mu.Lock()
	s.holder = nil
	s.timer.Stop()
	s.mu.Unlock()
	s.room.Release(s.most)
	s.reading.host(s.host).Release(1)
}
