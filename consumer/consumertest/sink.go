package consumertest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/event"
)

// sink takes the events of a member. They end as the test decides.
type sink struct {
	consumer *consumer.Consumer // gets what has ended

	mu       sync.Mutex
	keep     func(contactsync.Record) bool // events that stay open; nil for none
	block    chan struct{}                 // Add waits for it; nil for not at all
	records  []contactsync.Record
	before   []contactsync.State // of the records
	open     []contactsync.Ended
	claims   []contactsync.Claim
	caughtUp []contactsync.Claim
	released int
	early    []contactsync.Position // events of claims that were not assigned
}

func (s *sink) Assign(claims []contactsync.Claim, _ bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = slices.Clone(claims)
}

func (s *sink) Add(ctx context.Context, events []event.Event) error {
	s.mu.Lock()
	block := s.block
	s.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ended []contactsync.Ended
	for _, e := range events {
		if !slices.Contains(s.claims, e.Record.Claim()) {
			s.early = append(s.early, e.Record.Position)
		}
		s.records, s.before = append(s.records, e.Record), append(s.before, e.Before)
		if s.keep != nil && s.keep(e.Record) {
			s.open = append(s.open, contactsync.Ended{Claim: e.Record.Claim(), Offset: e.Record.Offset})
		} else {
			ended = append(ended, contactsync.Ended{Claim: e.Record.Claim(), Offset: e.Record.Offset})
		}
	}
	s.consumer.Done(ended)
	return nil
}

func (s *sink) CaughtUp(c contactsync.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caughtUp = append(s.caughtUp, c)
}

func (s *sink) ReadAgain(contactsync.Claim) int { return 0 }

func (s *sink) ReadAgainDone(contactsync.Claim, int, int) {}

func (s *sink) Release(context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released++
	s.claims = nil
	return time.Time{}, nil
}

// endOpen ends what stayed open.
func (s *sink) endOpen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumer.Done(s.open)
	s.open = nil
}

func (s *sink) seen() []contactsync.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records)
}

func (s *sink) owned() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.claims)
}

func (s *sink) caughtUpCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.caughtUp)
}
