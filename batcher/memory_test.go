package batcher

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"contactsync"
	"contactsync/event"
)

func version(n int64) func(*event.Event) {
	return func(ev *event.Event) { ev.Contact.Version, ev.Contact.HasVersion = n, true }
}

func occurred(at time.Time) func(*event.Event) {
	return func(ev *event.Event) { ev.Contact.OccurredAt = at }
}

func (s *bench) stale() float64 {
	return testutil.ToFloat64(s.m.Batcher.Skipped.WithLabelValues("stale"))
}

func TestBatcher_SkipsStaleEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, nil)
		noon := time.Now()
		s.addWith(version(7), "a")
		s.addWith(version(6), "a") // older than what is pending
		s.wantEnded(1)
		s.at(time.Second)
		s.addWith(version(5), "a") // older than what was accepted
		s.addWith(version(7), "a") // as new: it may be a correction, and does no harm
		s.addWith(occurred(noon), "b")
		s.at(2 * time.Second)
		s.addWith(occurred(noon.Add(-time.Hour)), "b")
		s.addWith(nil, "b") // nothing says how old it is: Kafka's order counts
		s.at(3 * time.Second)
		s.wantCalls("500ms a", "1.5s a b", "2.5s b")
		s.wantEnded(0, 1, 2, 3, 4, 5, 6)
		if s.stale() != 3 {
			t.Errorf("%v events counted as stale, want 3", s.stale())
		}
	})
}

func TestBatcher_StaleAfterADelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, nil)
		gone := func(n int64) func(*event.Event) {
			return func(ev *event.Event) { version(n)(ev); ev.Kind = event.Delete }
		}
		s.addWith(version(4), "a")
		s.addWith(gone(3), "a") // a delete that came late deletes nothing
		s.at(time.Second)
		s.addWith(gone(8), "b")
		s.addWith(version(7), "b") // must not bring the contact back
		s.at(2 * time.Second)
		s.wantCalls("500ms a")
		s.wantEnded(0, 1, 2, 3)
	})
}

func TestBatcher_RemembersABoundedNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, func(c *Config) { c.RememberContacts = 2 })
		s.addWith(version(9), "a", "b", "c")
		s.at(time.Second)
		s.addWith(version(8), "a", "b", "c") // a is forgotten
		s.at(3 * time.Second)
		s.wantCalls("500ms a b c", "1.5s a")
		if n := testutil.ToFloat64(s.m.Batcher.Remembered); n != 2 {
			t.Errorf("%v contacts remembered, want 2", n)
		}
	})
}

func TestBatcher_ReportsAContactInTwoPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, nil)
		other := contactsync.Claim{Topic: "contacts", Partition: 9, Generation: 4}
		s.b.Assign([]contactsync.Claim{other}, false)
		elsewhere := func(ev *event.Event) { ev.Record.Claim = other }
		s.add("a", "b")
		s.addWith(elsewhere, "a") // while it is pending
		s.at(time.Second)
		s.addWith(elsewhere, "b") // after it was delivered
		s.addWith(elsewhere, "b")
		s.at(2 * time.Second)
		if n := testutil.ToFloat64(s.m.Batcher.Moved); n != 2 {
			t.Errorf("%v counted, want 2", n)
		}
		if log := s.log.String(); strings.Count(log, "two partitions") != 1 || !strings.Contains(log, "contacts/9@2") {
			t.Errorf("want it told once a minute, with the place:\n%s", log)
		}
	})
}

// replayOf makes an event the replay of one that stood at an offset.
func replayOf(origin, checked int64) func(*event.Event) {
	return func(ev *event.Event) {
		at := contactsync.Position{Claim: contactsync.Claim{Topic: testClaim.Topic, Partition: testClaim.Partition}, Offset: origin}
		ev.Replay = &event.Replay{Count: 1, Of: at, Origin: at, OriginTime: ev.Record.Time.Add(-time.Hour), Checked: checked}
	}
}

func TestBatcher_ReplayNeverBeatsANewerState(t *testing.T) {
	for _, tt := range []struct {
		name  string
		do    func(s *bench)
		calls []string
		stale float64
	}{
		{"nothing newer", func(s *bench) { s.addWith(replayOf(2, 10), "a") }, []string{"500ms a"}, 0},
		{"newer is pending", func(s *bench) { s.add("a"); s.addWith(replayOf(2, 10), "a") }, []string{"500ms a"}, 1},
		{"newer was accepted", func(s *bench) {
			s.add("a")
			s.at(time.Second)
			s.addWith(replayOf(2, 10), "a")
		}, []string{"500ms a"}, 1},
		{"newer was deleted", func(s *bench) {
			s.addWith(func(ev *event.Event) { ev.Kind = event.Delete }, "a")
			s.addWith(replayOf(2, 10), "a")
		}, nil, 1},
		{"newer comes after it", func(s *bench) { s.addWith(replayOf(2, 10), "a"); s.add("a") }, []string{"500ms a"}, 0},
		{"an older replay after a newer one", func(s *bench) {
			s.addWith(replayOf(5, 10), "a")
			s.addWith(replayOf(2, 10), "a")
		}, []string{"500ms a"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBench(t, nil)
				s.offset = 10 // the replayer looked at all below 10
				tt.do(s)
				s.at(3 * time.Second)
				s.wantCalls(tt.calls...)
				if s.stale() != tt.stale || len(s.letters) != 0 || int64(len(s.ended)) != s.offset-10 {
					t.Errorf("%v stale, want %v; dead letters %v; ended %v", s.stale(), tt.stale, s.letters, s.ended)
				}
			})
		})
	}
}

func TestBatcher_ReplayThatCannotBeProvedGoesBack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config func(*Config)
		do     func(s *bench)
	}{
		{"read from later on", nil, func(s *bench) { s.addWith(replayOf(2, 9), "a") }},
		{"forgot what came since", func(c *Config) { c.RememberContacts = 1 }, func(s *bench) {
			s.add("a", "b", "c")
			s.at(time.Second)
			s.addWith(replayOf(2, 10), "a")
		}},
		{"remembers nothing", func(c *Config) { c.RememberContacts = 0 }, func(s *bench) { s.addWith(replayOf(2, 10), "a") }},
		{"from another partition", nil, func(s *bench) {
			s.addWith(func(ev *event.Event) { replayOf(2, 10)(ev); ev.Replay.Origin.Partition = 7 }, "a")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBench(t, tt.config)
				s.offset = 10
				tt.do(s)
				s.at(3 * time.Second)
				if len(s.letters) != 1 || s.letters[0].Reason != contactsync.ReasonUnproven || s.letters[0].Contact != "a" || s.letters[0].Detail == "" {
					t.Fatalf("dead letters %+v", s.letters)
				}
				if int64(len(s.ended)) != s.offset-10 {
					t.Errorf("ended %v of %d", s.ended, s.offset-10)
				}
				for _, c := range s.calls {
					if got := fmt.Sprint(c.batch.Rows); c.at > time.Second && strings.Contains(got, "a") {
						t.Errorf("it was sent all the same: %s", got)
					}
				}
			})
		})
	}
}
