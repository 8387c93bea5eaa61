package batcher

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

func TestBatcher_CutsOnAgeOfTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		for i := range 10 { // a trickle: no newcomer may put the cut off
			s.at(time.Duration(i) * 100 * time.Millisecond)
			s.add(fmt.Sprint("c", i))
		}
		s.at(3 * time.Second)
		s.wantCalls("500ms c0 c1 c2 c3 c4", "1s c5 c6 c7 c8 c9")
	})
}

func TestBatcher_CutsFullRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.MaxRows = 2 })
		s.add("a", "b", "c")
		s.wantCalls("0s a b")
		s.at(time.Second)
		s.wantCalls("0s a b", "500ms c")
		s.wantEnded(0, 1, 2)
	})
}

func TestBatcher_CutsOnBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.MaxBytes, c.Linger = 40, time.Hour })
		s.add("a", "b", "c") // 18 bytes and a comma each
		s.wantCalls("0s a b")
	})
}

func TestBatcher_SendsNewestStateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.add("a", "b", "a", "a")
		s.at(time.Second)
		s.wantCalls("500ms a b")
		if got := string(s.calls[0].batch.Rows[0].Body); got != `{"id":"a","seq":3}` {
			t.Errorf("sent %s, want the newest state", got)
		}
		s.wantEnded(0, 1, 2, 3)
	})
}

func TestBatcher_SecondRequestOfAContactWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.MaxRows = 1 })
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			time.Sleep(2 * time.Second)
			return allDelivered(b)
		}
		s.add("a")
		s.at(100 * time.Millisecond)
		s.add("a", "b")
		s.at(time.Second)
		s.wantCalls("0s a", "100ms b")
		s.at(5 * time.Second)
		s.wantCalls("0s a", "100ms b", "2s a")
	})
}

func TestBatcher_CountsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		answer := make(chan struct{})
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			<-answer
			return allDelivered(b)
		}
		s.add("a", "b", "c")
		s.at(3 * time.Second)
		if requests, rows := testutil.ToFloat64(s.m.Batcher.InFlightRequests), testutil.ToFloat64(s.m.Batcher.InFlightRows); requests != 1 || rows != 3 {
			t.Errorf("%v requests with %v rows in flight, want 1 with 3", requests, rows)
		}
		close(answer)
		s.at(5 * time.Second)
		if rows := testutil.ToFloat64(s.m.Batcher.InFlightRows); rows != 0 {
			t.Errorf("%v rows in flight after the answer", rows)
		}
	})
}

func TestBatcher_BacksOffAndKeepsRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.BackoffMin, c.BackoffMax = time.Second, 4*time.Second })
		s.answer = func(_ context.Context, n int, b contactsync.Batch) contactsync.Result {
			if n <= 6 {
				return contactsync.Result{Kind: contactsync.Unavailable, Status: 503}
			}
			return allDelivered(b)
		}
		s.add("a")
		s.at(time.Minute)
		if len(s.calls) != 7 {
			t.Fatalf("%d calls, want 7", len(s.calls))
		}
		for i, most := range []time.Duration{1, 2, 4, 4, 4, 4} {
			wait := s.calls[i+1].at - s.calls[i].at
			if wait < most*time.Second/2 || wait > most*time.Second {
				t.Errorf("wait %d is %v, want between half and all of %v", i, wait, most*time.Second)
			}
		}
		s.wantEnded(0)
		if len(s.deadLetters) != 0 {
			t.Errorf("I6: an outage made %d dead letters", len(s.deadLetters))
		}
	})
}

func TestBatcher_HoldsAmbiguousRowsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) {
			c.AmbiguousRetryDelay, c.BackoffMin, c.BackoffMax = 10*time.Second, time.Millisecond, time.Millisecond
		})
		s.answer = func(_ context.Context, n int, b contactsync.Batch) contactsync.Result {
			if n == 1 {
				return contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true}
			}
			return allDelivered(b)
		}
		s.add("a")
		s.at(time.Second)
		s.add("b", "a") // the newest state of a waits with it; b does not
		s.at(time.Minute)
		s.wantCalls("500ms a", "1.5s b", "10.5s a")
		if got := string(s.calls[2].batch.Rows[0].Body); got != `{"id":"a","seq":2}` {
			t.Errorf("sent %s after the hold, want the newest state", got)
		}
	})
}

func TestBatcher_RejectedRowTakesItsEventsAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			r := allDelivered(b)
			r.Rows[0] = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "phone number is taken"}
			return r
		}
		s.add("bad", "good", "bad")
		s.at(time.Minute)
		s.wantEnded(0, 1, 2)
		if len(s.deadLetters) != 1 {
			t.Fatalf("%d dead letters, want 1", len(s.deadLetters))
		}
		l := s.deadLetters[0]
		if l.Reason != contactsync.ReasonRejected || l.Contact != "bad" || len(l.Positions) != 2 || l.Record.Offset != 2 || l.Detail != "phone number is taken" {
			t.Errorf("dead letter %+v", l)
		}
	})
}

func TestBatcher_BisectsToTheRowAtFault(t *testing.T) {
	for _, bad := range []int{0, 1, 37, 49, 50, 63, 98, 99} {
		t.Run(fmt.Sprint("row ", bad), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, nil)
				poison := fmt.Sprint("c", bad)
				s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
					for _, r := range b.Rows {
						if r.ID == poison {
							return contactsync.Result{Kind: contactsync.BadRequest, Status: 412, Detail: "invalid"}
						}
					}
					return allDelivered(b)
				}
				var ids []string
				for i := range 100 {
					ids = append(ids, fmt.Sprint("c", i))
				}
				s.add(ids...)
				s.at(time.Minute)
				if len(s.ended) != 100 || len(s.deadLetters) != 1 || s.deadLetters[0].Contact != poison {
					t.Fatalf("%d ended, dead letters %v", len(s.ended), s.deadLetters)
				}
				if spent := len(s.calls) - 1; spent > 13 { // 2·log2(100)
					t.Errorf("%d calls spent to find one row among 100", spent)
				}
				if got := strings.Count(s.log.String(), "refuses whole requests"); got != 1 || !strings.Contains(s.log.String(), "rows=100 status=412 detail=invalid") {
					t.Errorf("logged %d times, want once a minute, by the first:\n%s", got, &s.log)
				}
			})
		})
	}
}

func TestBatcher_FullWindowBlocksAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.WindowBytes, c.Linger = 3*contactOverhead+streamOverhead, time.Hour })
		s.add("a", "b", "c", "d")
		blocked, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errors.New("blocked"))
		defer cancel()
		if err := s.b.Add(blocked, []event.Event{{}}); err == nil {
			t.Fatal("I8: a full window took more")
		}
	})
}

func TestBatcher_ReleaseWaitsForWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = time.Second })
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			time.Sleep(2 * time.Second)
			return allDelivered(b)
		}
		s.add("a", "b")
		s.at(1500 * time.Millisecond)
		s.add("left to the next owner")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := s.b.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if since := time.Since(s.start); since != 3*time.Second {
			t.Errorf("released after %v, want as soon as the answer is in", since)
		}
		s.wantCalls("1s a b")
		s.wantEnded(0, 1)
		s.add("c") // of the claim that was given back
		s.at(3 * time.Hour)
		s.wantCalls("1s a b")

		next := testClaim
		next.Generation++
		s.b.Assign([]contactsync.Claim{next}, false)
		testEvent := event.Event{Kind: event.Update, Record: contactsync.Record{Position: contactsync.Position{TopicPartition: next.TopicPartition}, Generation: next.Generation}, Contact: event.Contact{Stream: "st", ID: "d", Account: "a", Body: []byte(`{}`)}}
		if err := s.b.Add(t.Context(), []event.Event{testEvent}); err != nil {
			t.Fatal(err)
		}
		s.at(4 * time.Hour)
		if len(s.calls) != 2 {
			t.Errorf("the next generation's contact was not sent")
		}
	})
}

func TestBatcher_ReleaseGivesUpAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.MaxRows = 1 })
		s.answer = func(ctx context.Context, _ int, _ contactsync.Batch) contactsync.Result {
			<-ctx.Done()
			return contactsync.Result{Kind: contactsync.Canceled, Ambiguous: true}
		}
		s.add("a", "b")
		late := errors.New("late")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, late)
		defer cancel()
		if _, err := s.b.Release(ctx); !errors.Is(err, late) {
			t.Fatalf("release: %v, want the cause", err)
		}
		if since := time.Since(s.start); since != 3*time.Second {
			t.Errorf("released after %v, want at the deadline", since)
		}
		s.at(time.Hour)
		if len(s.calls) != 2 {
			t.Errorf("%d requests, want the two that were given up", len(s.calls))
		}
		s.wantEnded()
	})
}

// Partitions that are lost may have another owner: what is in flight ends, and what
// was ready is not sent.
func TestBatcher_ReleaseOfLostPartitionsSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.MaxRows = 2 })
		s.answer = func(ctx context.Context, _ int, _ contactsync.Batch) contactsync.Result {
			<-ctx.Done()
			return contactsync.Result{Kind: contactsync.Canceled, Ambiguous: true}
		}
		s.add("a", "b") // in flight
		s.add("c")      // lingers; a drain would send it
		lost := errors.New("lost")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(lost)
		if _, err := s.b.Release(ctx); !errors.Is(err, lost) {
			t.Fatalf("release: %v, want the cause", err)
		}
		if since := time.Since(s.start); since != 0 {
			t.Errorf("released after %v", since)
		}
		s.at(time.Hour)
		if len(s.calls) != 1 {
			t.Errorf("I4: %d requests, want the one that was given up", len(s.calls))
		}
		s.wantEnded()
	})
}

// Without the lease another process may own the partitions: nothing starts, whatever
// is ready, and no drain waits for it.
func TestBatcher_StartsNothingWithoutTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.lease.Store(int64(1200 * time.Millisecond))
		s.add("a")
		s.at(time.Second)
		s.wantCalls("500ms a")
		s.add("b")
		s.at(time.Minute)
		s.wantCalls("500ms a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.b.Release(ctx); err != nil || time.Since(s.start) != time.Minute {
			t.Errorf("released after %v: %v", time.Since(s.start), err)
		}
		s.wantCalls("500ms a")
	})
}

func TestBatcher_StartsAgainWithANewLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.lease.Store(0)
		s.add("a")
		s.at(time.Minute)
		s.wantCalls()
		s.lease.Store(math.MaxInt64)
		s.at(time.Minute + 2*ownedPoll)
		if len(s.calls) != 1 {
			t.Errorf("%d calls, want one as soon as the lease is there", len(s.calls))
		}
		s.wantEnded(0)
	})
}

// A process can be frozen between the decision and the request.
func TestBatcher_LooksAtTheLeaseBeforeTheRequestItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = 0 })
		synctest.Wait()
		before := s.asked.Load()
		s.refuseStart.Store(before + 2) // the loop asks, then the request
		s.add("a")
		s.at(time.Second)
		if asked := s.asked.Load() - before; asked < 4 || len(s.calls) != 1 {
			t.Errorf("asked %d times, %d calls, want the first request dropped and the second made", asked, len(s.calls))
		}
		s.wantEnded(0)
	})
}

func TestBatcher_CatchUpHoldsContactsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.MaxRows = 2 })
		behind := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 2}, Generation: 4}
		s.b.Assign([]contactsync.Claim{behind}, true)
		old := event.Event{Kind: event.Update, Record: contactsync.Record{Position: contactsync.Position{TopicPartition: behind.TopicPartition}, Generation: behind.Generation}, Contact: event.Contact{Stream: "st", ID: "x", Account: "a", Body: []byte(`{"old":1}`), Shape: 7}}
		if err := s.b.Add(t.Context(), []event.Event{old}); err != nil {
			t.Fatal(err)
		}
		s.add("a", "b", "c")
		s.at(time.Minute)
		s.wantCalls("0s a b") // full requests go; c waits for company from partition 2
		s.b.CaughtUp(behind)
		s.at(2 * time.Minute)
		s.wantCalls("0s a b", "1m0s c x")
	})
}

// A full window ends catch-up: only sending makes room, and nothing could be read else.
func TestBatcher_FullWindowEndsCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.WindowBytes = 4*contactOverhead + streamOverhead })
		next := testClaim
		next.Partition = 2
		s.b.Assign([]contactsync.Claim{next}, true)
		behind := func(ev *event.Event) { ev.Record.TopicPartition = next.TopicPartition }
		s.addWith(behind, "a", "b")
		s.at(time.Minute)
		s.wantCalls()
		s.addWith(behind, "c", "d")
		s.at(2 * time.Minute)
		s.wantCalls("1m0.5s a b c d")
		s.addWith(behind, "e") // it has caught up for good
		s.at(3 * time.Minute)
		s.wantCalls("1m0.5s a b c d", "2m0.5s e")
	})
}

// A full window must not send while requests of an earlier owner may still be applied.
func TestBatcher_AFullWindowWaitsForRequestsOfAnEarlierOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.WindowBytes = 4*contactOverhead + streamOverhead })
		s.notBefore.Store(int64(90 * time.Second))
		next := testClaim
		next.Partition = 2
		s.b.Assign([]contactsync.Claim{next}, true)
		behind := func(ev *event.Event) { ev.Record.TopicPartition = next.TopicPartition }
		s.addWith(behind, "a", "b", "c", "d")
		s.at(89 * time.Second)
		s.wantCalls()
		s.at(2 * time.Minute)
		s.wantCalls("1m30.5s a b c d")
	})
}

func TestBatcher_Stuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.answer = func(context.Context, int, contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.Unavailable}
		}
		s.add("a")
		s.at(time.Hour)
		if why := s.b.Stuck(time.Now(), time.Minute); why != "" {
			t.Errorf("an API that is away made the batcher call itself stuck: %s", why)
		}
		if why := s.b.Stuck(time.Now().Add(time.Hour), time.Minute); why == "" {
			t.Error("a loop that does not turn was not noticed")
		}
	})
}

func TestBatcher_SendsOnlyTheRemainderAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.BackoffMin, c.BackoffMax = time.Second, time.Second })
		s.answer = func(_ context.Context, n int, b contactsync.Batch) contactsync.Result {
			r := allDelivered(b)
			for i, row := range b.Rows {
				switch {
				case n == 1 && (row.ID == "b" || row.ID == "d"):
					r.Rows[i] = contactsync.Outcome{} // not named
				case n <= 2 && row.ID == "c":
					r.Rows[i] = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "try again", Transient: true}
				}
			}
			return r
		}
		s.add("a", "b", "c", "d", "e")
		s.at(time.Second)
		s.add("c") // newer than what is tried again: it goes along
		s.at(time.Minute)
		var got []string
		for _, c := range s.calls {
			line := ""
			for _, r := range c.batch.Rows {
				line += r.ID
			}
			got = append(got, line)
		}
		if want := "[abcde bcd c]"; fmt.Sprint(got) != want {
			t.Errorf("sent %v, want %v", got, want)
		}
		if body := string(s.calls[2].batch.Rows[0].Body); body != `{"id":"c","seq":5}` {
			t.Errorf("sent %s, want the newest state", body)
		}
		s.wantEnded(0, 1, 2, 3, 4, 5)
	})
}
