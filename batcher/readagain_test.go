package batcher

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
)

// What gives way to a reading of what was left is older than that, or may be: the consumer must know of it when the reading begins, or it
// would begin behind it.
func TestBatcher_WhatMakesRoomForAReadingIsToldBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.WindowBytes, c.MaxRows = 40*(contactOverhead+sourceBytes), 4 })
		s.answer = func(context.Context, int, contactsync.Batch) contactsync.Result { return failed500 }
		s.add(contactsOf("bad", 15)...)
		s.at(time.Minute)
		s.add(contactsOf("bad", 60)...)
		for begun := time.Now(); time.Since(begun) < 24*time.Hour; {
			kept := s.parkedSoFar()
			pause := make(chan struct{})
			s.pause.Store(&pause) // the loop does not get on from here before the test says so
			pass := s.b.ReadAgain(testClaim)
			told := s.parkedSoFar()
			s.pause.Store(nil)
			close(pause)
			synctest.Wait()
			if all := s.parkedSoFar(); pass != 0 && len(all) > len(kept) {
				if !slices.Equal(told, all) {
					t.Errorf("%d events were left for the reading, and the consumer was told of %d of them before it", len(all)-len(kept), len(told)-len(kept))
				}
				return
			}
			if pass != 0 {
				s.b.ReadAgainDone(testClaim, pass, 0)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		t.Error("nothing has made room")
	})
}

func (s *harness) parkedSoFar() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.parked)
}
