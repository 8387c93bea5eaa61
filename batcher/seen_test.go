package batcher

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

func numbered(n int64) func(*event.Event) {
	return func(ev *event.Event) { ev.Contact.Version, ev.Contact.HasVersion = n, true }
}

func occurred(at time.Time) func(*event.Event) {
	return func(ev *event.Event) { ev.Contact.OccurredAt = at }
}

func (s *harness) stale() float64 {
	return testutil.ToFloat64(s.m.Batcher.Skipped.WithLabelValues("stale"))
}

func TestBatcher_SkipsStaleEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		noon := time.Now()
		s.addWith(numbered(7), "a")
		s.addWith(numbered(6), "a") // older than what is pending
		s.wantEnded(1)
		s.at(time.Second)
		s.addWith(numbered(5), "a") // older than what was accepted
		s.addWith(numbered(7), "a") // as new: it may be a correction, and does no harm
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
		if got := strings.Count(s.log.String(), "older than what is known"); got != 1 || !strings.Contains(s.log.String(), "position=contacts/1@1") {
			t.Errorf("logged %d times, want once a minute, by the first:\n%s", got, &s.log)
		}
	})
}

func TestBatcher_StaleAfterADelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		gone := func(n int64) func(*event.Event) {
			return func(ev *event.Event) { numbered(n)(ev); ev.Kind = event.Delete }
		}
		s.addWith(numbered(4), "a")
		s.addWith(gone(3), "a") // a delete that came late deletes nothing
		s.at(time.Second)
		s.addWith(gone(8), "b")
		s.addWith(numbered(7), "b") // must not bring the contact back
		s.at(2 * time.Second)
		s.wantCalls("500ms a")
		s.wantEnded(0, 1, 2, 3)
	})
}

func TestBatcher_RemembersABoundedNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.RememberContacts = 2 })
		s.addWith(numbered(9), "a", "b", "c")
		s.at(time.Second)
		s.addWith(numbered(8), "a", "b", "c") // a is forgotten
		s.at(3 * time.Second)
		s.wantCalls("500ms a b c", "1.5s a")
		if n := testutil.ToFloat64(s.m.Batcher.RememberedContacts); n != 2 {
			t.Errorf("%v contacts remembered, want 2", n)
		}
	})
}

func TestBatcher_ReportsAContactInTwoPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		other := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 9}, Generation: 4}
		s.b.Assign([]contactsync.Claim{other}, false)
		elsewhere := func(ev *event.Event) {
			ev.Record.TopicPartition, ev.Record.Generation = other.TopicPartition, other.Generation
		}
		s.add("a", "b")
		s.addWith(elsewhere, "a") // while it is pending
		s.at(time.Second)
		s.addWith(elsewhere, "b") // after it was delivered
		s.addWith(elsewhere, "b")
		s.at(2 * time.Second)
		if n := testutil.ToFloat64(s.m.Batcher.ContactsRepartitioned); n != 2 {
			t.Errorf("%v counted, want 2", n)
		}
		if log := s.log.String(); strings.Count(log, "two partitions") != 1 || !strings.Contains(log, "contacts/9@2") {
			t.Errorf("want it logged once a minute, with the place:\n%s", log)
		}
	})
}

// replayOf makes an event the replay of one that stood at an offset.
func replayOf(origin, checked int64) func(*event.Event) {
	return func(ev *event.Event) {
		at := contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: testClaim.Topic, Partition: testClaim.Partition}, Offset: origin}
		ev.Replay = &event.Replay{Count: 1, Of: at, Origin: at, OriginTime: ev.Record.Time.Add(-time.Hour), Checked: checked}
	}
}

func TestBatcher_ReplayNeverBeatsANewerState(t *testing.T) {
	for _, tt := range []struct {
		name  string
		do    func(s *harness)
		calls []string
		stale float64
	}{
		{"nothing newer", func(s *harness) { s.addWith(replayOf(2, 10), "a") }, []string{"500ms a"}, 0},
		{"newer is pending", func(s *harness) { s.add("a"); s.addWith(replayOf(2, 10), "a") }, []string{"500ms a"}, 1},
		{"newer was accepted", func(s *harness) {
			s.add("a")
			s.at(time.Second)
			s.addWith(replayOf(2, 10), "a")
		}, []string{"500ms a"}, 1},
		{"newer was deleted", func(s *harness) {
			s.addWith(func(ev *event.Event) { ev.Kind = event.Delete }, "a")
			s.addWith(replayOf(2, 10), "a")
		}, nil, 1},
		{"newer was a tombstone", func(s *harness) {
			s.addWith(func(ev *event.Event) { ev.Kind = event.Tombstone }, "a")
			s.addWith(replayOf(2, 10), "a")
		}, nil, 1},
		{"newer comes after it", func(s *harness) { s.addWith(replayOf(2, 10), "a"); s.add("a") }, []string{"500ms a"}, 0},
		{"as old in another partition", func(s *harness) {
			other := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: testClaim.Topic, Partition: 9}, Generation: testClaim.Generation}
			s.b.Assign([]contactsync.Claim{other}, false)
			s.addWith(func(ev *event.Event) {
				ev.Record.TopicPartition, ev.Record.Generation, ev.Record.Time = other.TopicPartition, other.Generation, ev.Record.Time.Add(-time.Hour)
			}, "a")
			s.addWith(replayOf(2, 11), "a")
		}, []string{"500ms a"}, 1},
		{"an older replay after a newer one", func(s *harness) {
			s.addWith(replayOf(5, 10), "a")
			s.addWith(replayOf(2, 10), "a")
		}, []string{"500ms a"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, nil)
				s.offset = 10 // the replayer looked at all below 10
				tt.do(s)
				s.at(3 * time.Second)
				s.wantCalls(tt.calls...)
				if s.stale() != tt.stale || len(s.deadLetters) != 0 || int64(len(s.ended)) != s.offset-10 {
					t.Errorf("%v stale, want %v; dead letters %v; ended %v", s.stale(), tt.stale, s.deadLetters, s.ended)
				}
			})
		})
	}
}

func TestBatcher_ReplayThatCannotBeProvedGoesBack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config func(*Config)
		do     func(s *harness)
	}{
		{"read from later on", nil, func(s *harness) { s.addWith(replayOf(2, 9), "a") }},
		{"forgot what came since", func(c *Config) { c.RememberContacts = 1 }, func(s *harness) {
			s.add("a", "b", "c")
			s.at(time.Second)
			s.addWith(replayOf(2, 10), "a")
		}},
		{"remembers nothing", func(c *Config) { c.RememberContacts = 0 }, func(s *harness) { s.addWith(replayOf(2, 10), "a") }},
		{"from another partition", nil, func(s *harness) {
			s.addWith(func(ev *event.Event) { replayOf(2, 10)(ev); ev.Replay.Origin.Partition = 7 }, "a")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, tt.config)
				s.offset = 10
				tt.do(s)
				s.at(3 * time.Second)
				if len(s.deadLetters) != 1 || s.deadLetters[0].Reason != contactsync.ReasonUnverifiable || s.deadLetters[0].Contact != "a" || s.deadLetters[0].Detail == "" {
					t.Fatalf("dead letters %+v", s.deadLetters)
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

// A tombstone that names no stream means the contact in any.
func TestBatcher_ReplayAfterATombstoneWithoutStream(t *testing.T) {
	for name, before := range map[string]func(*harness){
		"nothing known":   func(*harness) {},
		"accepted before": func(s *harness) { s.add("a"); s.at(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, nil)
				s.offset = 10
				before(s)
				calls := len(s.calls)
				s.addWith(func(ev *event.Event) {
					ev.Kind, ev.Contact = event.Tombstone, event.Contact{ID: "a"}
				}, "a")
				s.addWith(replayOf(2, 10), "a")
				s.at(5 * time.Second)
				if len(s.calls) != calls || s.stale() != 1 {
					t.Errorf("the contact was brought back: %d requests, %v stale", len(s.calls)-calls, s.stale())
				}
			})
		})
	}
}

// What is recreated after a tombstone may count from the beginning, whatever the tombstone
// named.
func TestBatcher_RecreatedAfterATombstone(t *testing.T) {
	for _, named := range []event.Contact{{Stream: "st", ID: "a"}, {ID: "a"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newHarness(t, func(c *Config) { c.Linger = 0 })
			s.addWith(numbered(17), "a")
			s.at(time.Second)
			s.addWith(numbered(16), "a")
			s.addWith(func(ev *event.Event) { ev.Kind, ev.Contact = event.Tombstone, named }, "a")
			s.addWith(numbered(1), "a")
			s.at(2 * time.Second)
			s.addWith(numbered(0), "a") // which is older than what came after the tombstone
			s.at(3 * time.Second)
			s.wantCalls("0s a", "1s a")
			s.wantEnded(0, 1, 2, 3, 4)
			if s.stale() != 2 {
				t.Errorf("after a tombstone for %+v: %v stale, want what is older on either side of it", named, s.stale())
			}
		})
	}
}

// A state that may have been applied became a dead letter, and a tombstone came: a new contact counts from the
// beginning, whether Kafka has the dead letter by then or not, and goes on to count when Kafka has it.
func TestWindow_RecreatedBeforeTheDeadLetterIsWritten(t *testing.T) {
	t.Parallel()
	for _, named := range []string{"c", "/c"} {
		for written := range 3 { // after so many of the events
			w := newTestWindow(t, func(c *Config) { c.Linger = 0 })
			w.before("c", contactsync.Open, numbered(9))
			w.settle(w.send(), contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
			w.refuseAlone(contactsync.Result{Kind: contactsync.BadRequest, Status: 400})
			letters := w.TakeDeadLetters()
			if len(letters) != 1 {
				t.Fatalf("%d dead letters", len(letters))
			}
			write := func(after int) {
				if after == written {
					w.DeadLettersAcked(w.now, letters)
				}
			}
			w.before(named, contactsync.Open, func(ev *event.Event) { ev.Kind, ev.Contact.Account = event.Tombstone, "" })
			write(0)
			w.before("c", contactsync.Open, numbered(2))
			write(1)
			f := w.send()
			w.settle(f, allDelivered(f.Batch))
			write(2)
			w.before("c", contactsync.Open, numbered(1))
			w.wantEnded(0, 1, 2, 3)
			if n := testutil.ToFloat64(w.m.skippedStale); n != 1 {
				t.Errorf("after a tombstone of %s, written %d: %v stale, want what is older than the new contact", named, written, n)
			}
		}
	}
}

// Where a tombstone is of another partition than what is known of its contact, the order counts in which they became known.
func TestSeen_ATombstoneOfAnotherPartition(t *testing.T) {
	t.Parallel()
	at := func(partition int32, offset int64) (v version) {
		v.Origin.TopicPartition, v.read = contactsync.TopicPartition{Topic: "contacts", Partition: partition}, offset
		return v
	}
	s, key := newSeen(10), contactKey{streamKey{"a", "st"}, "x"}
	s.note(key, at(1, 50))
	s.noteTombstone(contactKey{id: "x"}, at(2, 5), false)
	if !s.deletedSince(key, at(2, 6)) {
		t.Error("a contact that comes after the tombstone is none that is new")
	}
	s.note(key, at(1, 3))
	if s.deletedSince(key, at(2, 6)) {
		t.Error("the tombstone came after what was accepted since")
	}
}

// What is forgotten of a replay counts by where it was read, not by where it stood.
func TestBatcher_OlderReplayAfterANewerOneThatIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.RememberContacts = 1 })
		s.offset = 10
		s.addWith(replayOf(5, 10), "a")
		s.at(time.Second)
		s.addWith(replayOf(6, 10), "b") // a is forgotten
		s.at(2 * time.Second)
		s.addWith(replayOf(2, 10), "a")
		s.at(3 * time.Second)
		s.wantCalls("500ms a", "1.5s b")
		if len(s.deadLetters) != 1 || s.deadLetters[0].Reason != contactsync.ReasonUnverifiable {
			t.Errorf("dead letters %+v", s.deadLetters)
		}
	})
}

// What was read is sent, though it is no newer than what is known of its contact: it is
// nowhere else.
func TestBatcher_EquallyOldInAnotherPartitionIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		other := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 9}, Generation: 4}
		s.b.Assign([]contactsync.Claim{other}, false)
		noon := time.Now()
		at := func(claim contactsync.Claim) func(*event.Event) {
			return func(ev *event.Event) {
				ev.Record.TopicPartition, ev.Record.Generation, ev.Record.Time = claim.TopicPartition, claim.Generation, noon
			}
		}
		s.addWith(at(testClaim), "a")
		s.at(time.Second)
		s.addWith(at(other), "a")
		s.at(2 * time.Second)
		s.addWith(func(ev *event.Event) { at(testClaim)(ev); ev.Record.Time = noon.Add(-time.Hour) }, "a")
		s.at(3 * time.Second)
		s.wantCalls("500ms a", "1.5s a", "2.5s a")
		if s.stale() != 0 {
			t.Errorf("%v events counted as stale", s.stale())
		}
	})
}

// A row that no answer accounts for may have been applied: nothing older follows.
func TestBatcher_NothingOlderAfterWhatMayHaveBeenApplied(t *testing.T) {
	for name, first := range map[string]contactsync.Result{
		"not accounted for": {Kind: contactsync.Answered, Status: 200},
		"unreadable":        {Kind: contactsync.Unavailable, Status: 200},
		"timed out":         {Kind: contactsync.Unavailable, Ambiguous: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, func(c *Config) { c.RowAttempts = 1 })
				s.answer = func(_ context.Context, n int, _ contactsync.Batch) contactsync.Result {
					if n > 1 {
						return contactsync.Result{Kind: contactsync.BadRequest, Status: 400}
					}
					return first
				}
				s.addWith(numbered(9), "a")
				s.at(3 * time.Minute)
				if len(s.deadLetters) != 1 {
					t.Fatalf("dead letters %+v", s.deadLetters)
				}
				calls := len(s.calls)
				s.addWith(numbered(8), "a")
				s.at(4 * time.Minute)
				if len(s.calls) != calls || s.stale() != 1 {
					t.Errorf("version 8 was sent after version 9 may have been applied")
				}
			})
		})
	}
}

func TestVersion_Order(t *testing.T) {
	t.Parallel()
	at := func(partition int32, offset int64) contactsync.Position {
		return contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: partition}, Offset: offset}
	}
	noon := time.Unix(1_700_000_000, 0)
	v := func(n int64) version {
		return version{Version: event.Version{Number: n, HasNumber: true, OccurredAt: noon.Add(time.Duration(-n) * time.Hour)}}
	}
	occurred := func(at time.Time) version { return version{Version: event.Version{OccurredAt: at}} }
	stood := func(s version, at contactsync.Position, time time.Time) version {
		s.Origin, s.Time = at, time
		return s
	}
	live := func(at contactsync.Position, time time.Time) version { return stood(version{}, at, time) }
	replay := func(s version, at contactsync.Position, time time.Time) version {
		s.replayed = true
		return stood(s, at, time)
	}
	for _, tt := range []struct {
		name     string
		a, known version
		older    bool
	}{
		{"lower version", v(1), v(2), true},
		{"higher version, earlier time", v(2), v(1), false},
		{"equal version", v(2), v(2), false},
		{"equal version, other time", v(2), version{Version: event.Version{Number: 2, HasNumber: true, OccurredAt: noon}}, false},
		{"earlier time", occurred(noon), occurred(noon.Add(1)), true},
		{"earlier time, one version", occurred(noon), v(-1), true},
		{"nothing said", live(at(0, 5), noon), live(at(0, 9), noon), false},
		{"replay of an earlier event", replay(version{}, at(0, 5), noon), live(at(0, 9), noon), true},
		{"replay of the same event", replay(version{}, at(0, 9), noon), live(at(0, 9), noon), false},
		{"replay of an earlier event with a higher version", replay(v(3), at(0, 5), noon), stood(v(2), at(0, 9), noon), false},
		{"replay with an equal version", replay(v(3), at(0, 5), noon), stood(v(3), at(0, 9), noon), true},
		{"replay from another partition, earlier", replay(version{}, at(1, 50), noon), live(at(0, 9), noon.Add(1)), true},
		{"replay from another partition, later", replay(version{}, at(1, 50), noon.Add(1)), live(at(0, 9), noon), false},
		{"replay from another partition, equally old", replay(version{}, at(1, 50), noon), live(at(0, 9), noon), true},
		{"another partition, equally old", live(at(1, 50), noon), live(at(0, 9), noon), false},
		{"another partition, earlier", live(at(1, 50), noon), live(at(0, 9), noon.Add(1)), false},
		{"another partition, equally old, after a replay", live(at(1, 50), noon), replay(version{}, at(0, 9), noon), false},
	} {
		if got := tt.a.olderThan(tt.known); got != tt.older {
			t.Errorf("%s: older is %v, want %v", tt.name, got, tt.older)
		}
	}
}

// Of a contact whose request is out, what came last counts: what waits behind the
// request, or the delete that came meanwhile.
func TestBatcher_StaleWhileInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = 0 })
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			time.Sleep(time.Second)
			return allDelivered(b)
		}
		s.addWith(numbered(1), "a", "b")
		s.addWith(numbered(5), "a")
		s.addWith(numbered(3), "a") // newer than what is out, older than what waits
		s.addWith(func(ev *event.Event) { numbered(5)(ev); ev.Kind = event.Delete }, "b")
		s.addWith(numbered(3), "b") // newer than what is out, older than the delete
		s.at(5 * time.Second)
		s.addWith(numbered(4), "b") // and so it stays when the request has come back
		s.at(10 * time.Second)
		if s.stale() != 3 || len(s.calls) != 2 || len(s.calls[1].batch.Rows) != 1 || len(s.ended) != int(s.offset) {
			t.Errorf("%v stale, want 3; calls %v; ended %v", s.stale(), s.calls, s.ended)
		}
	})
}

func TestBatcher_StaleAfterTheRequestCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger, c.BackoffMin, c.BackoffMax = 0, 10*time.Second, 10*time.Second })
		s.answer = func(_ context.Context, n int, b contactsync.Batch) contactsync.Result {
			time.Sleep(time.Second)
			if n == 1 {
				return contactsync.Result{Kind: contactsync.Unavailable}
			}
			return allDelivered(b)
		}
		s.addWith(numbered(1), "a")
		s.addWith(numbered(5), "a") // joins the first one when that comes back
		s.at(2 * time.Second)
		s.addWith(numbered(3), "a")
		s.at(time.Minute)
		if s.stale() != 1 || len(s.calls) != 2 || string(s.calls[1].batch.Rows[0].Body) != `{"id":"a","seq":1}` {
			t.Errorf("%v stale, calls %v", s.stale(), s.calls)
		}
	})
}

func TestBatcher_OrderHintsThatAreNotUsedAreCountedAndToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = 0 })
		for range 100 {
			s.addWith(func(ev *event.Event) { ev.Contact.Ignored = event.VersionUnreadable | event.OccurredAtAhead }, "a")
		}
		s.addWith(func(ev *event.Event) { ev.Kind, ev.Contact.Ignored = event.Delete, event.OccurredAtUnreadable }, "b")
		s.addWith(func(ev *event.Event) {
			ev.Kind, ev.Err, ev.Contact.Ignored = event.Broken, &event.DecodeError{Reason: contactsync.ReasonInvalid}, event.VersionUnreadable
		}, "c")
		s.at(time.Second)
		for reason, want := range map[string]float64{"version_unreadable": 100, "occurred_at_ahead": 100, "occurred_at_unreadable": 1} {
			if got := testutil.ToFloat64(s.m.Batcher.HintsIgnored.WithLabelValues(reason)); got != want {
				t.Errorf("%v counted as %s, want %v", got, reason, want)
			}
		}
		if log := s.log.String(); strings.Count(log, "of its order is not used") != 1 || !strings.Contains(log, `reasons="version_unreadable occurred_at_ahead" stream=st position=contacts/1@0`) {
			t.Errorf("logged as\n%s", log)
		}
		s.at(time.Minute + time.Second)
		s.addWith(func(ev *event.Event) { ev.Contact.Ignored = event.VersionUnreadable }, "a")
		if log := s.log.String(); strings.Count(log, "of its order is not used") != 2 {
			t.Errorf("logged as\n%s", log)
		}
	})
}

func TestBatcher_TombstonesThatNameNobodyAreCountedAndToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = 0 })
		for range 3 {
			s.addWith(func(ev *event.Event) {
				ev.Kind, ev.Contact, ev.Record.Key = event.Tombstone, event.Contact{}, []byte("a name of somebody")
			}, "a")
		}
		s.at(time.Second)
		s.wantEnded(0, 1, 2)
		if n := testutil.ToFloat64(s.m.Batcher.Skipped.WithLabelValues("unnamed_tombstone")); n != 3 {
			t.Errorf("%v counted, want 3", n)
		}
		if log := s.log.String(); strings.Count(log, "names no contact") != 1 || !strings.Contains(log, "position=contacts/1@0 key_bytes=18") {
			t.Errorf("logged as\n%s", log)
		}
	})
}

func TestBatcher_TombstoneInFlightIsCountedAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = 0 })
		s.answer = func(context.Context, int, contactsync.Batch) contactsync.Result {
			time.Sleep(time.Second)
			return contactsync.Result{Kind: contactsync.Unavailable}
		}
		s.add("a")
		s.addWith(func(ev *event.Event) { ev.Kind = event.Tombstone }, "a")
		s.at(5 * time.Second)
		s.wantEnded(0, 1)
		if n := testutil.ToFloat64(s.m.Batcher.Skipped.WithLabelValues("tombstone")); n != 2 {
			t.Errorf("%v counted as skipped for a tombstone, want both events", n)
		}
	})
}

// Whoever may write to a topic may write the headers of a replay too. They are believed only where
// they name what lies before the record in its own partition, and nothing is kept of their bytes.
func TestWindow_ForgedReplaysAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	elsewhere := contactsync.TopicPartition{Topic: strings.Repeat("t", 200), Partition: 1}
	here := testClaim.TopicPartition
	for name, forged := range map[string]event.Replay{
		"another partition":         {Origin: contactsync.Position{TopicPartition: elsewhere, Offset: 1}},
		"what comes later":          {Origin: contactsync.Position{TopicPartition: here, Offset: 1 << 40}},
		"searched up to what comes": {Origin: contactsync.Position{TopicPartition: here, Offset: 0}, Checked: 1 << 40},
	} {
		for _, kind := range []event.Kind{event.Update, event.Delete, event.Tombstone} {
			w := newTestWindow(t, func(c *Config) { c.RememberContacts = 2 })
			w.add("real")
			w.settle(w.send(), allDelivered(contactsync.Batch{Rows: make([]contactsync.Row, 1)}))
			w.TakeEnded()
			for i := range 10 {
				ev := w.event(fmt.Sprintf("c%d", i))
				ev.Kind = kind
				replay := forged
				ev.Replay = &replay
				w.Add(w.now, ev)
			}
			if n := len(w.outbox.waiting); n != 10 {
				t.Errorf("%s, %v: %d of 10 became dead letters", name, kind, n)
			}
			for _, d := range w.outbox.waiting {
				if d.Reason != contactsync.ReasonUnverifiable {
					t.Errorf("%s, %v: %v", name, kind, d.Reason)
				}
			}
			if w.seen.len() != 1 || len(w.seen.forgot) != 0 || w.pending.contacts != 0 {
				t.Errorf("%s, %v: %d contacts and %d partitions are remembered, %d contacts are pending", name, kind, w.seen.len(), len(w.seen.forgot), w.pending.contacts)
			}
		}
	}
}
