package consumer

import (
	"slices"
	"sync"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/progress"
)

// trackers are those of the present generation.
type trackers struct {
	mu      sync.Mutex
	byClaim map[contactsync.Claim]*progress.Tracker
}

func newTrackers() *trackers {
	return &trackers{byClaim: map[contactsync.Claim]*progress.Tracker{}}
}

// done notes that events have ended. Those of a generation that is over move
// nothing.
func (s *trackers) done(ended []contactsync.Ended) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(ended) > 0 {
		claim := ended[0].Claim
		n := slices.IndexFunc(ended, func(e contactsync.Ended) bool { return e.Claim != claim })
		if n < 0 {
			n = len(ended)
		}
		if t := s.byClaim[claim]; t != nil {
			t.Done(ended[:n])
		}
		ended = ended[n:]
	}
}

// park notes that events are to be read again.
func (s *trackers) park(left []contactsync.Parked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(left) > 0 {
		claim := left[0].Claim
		n := slices.IndexFunc(left, func(p contactsync.Parked) bool { return p.Claim != claim })
		if n < 0 {
			n = len(left)
		}
		if t := s.byClaim[claim]; t != nil {
			t.Park(left[:n])
		}
		left = left[n:]
	}
}

func (s *trackers) add(c contactsync.Claim, t *progress.Tracker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byClaim[c] = t
}

func (s *trackers) remove(c contactsync.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byClaim, c)
}
