package batcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// A dead letter that Kafka does not take belongs to a generation that is over: it
// ends nothing, and the next generation can be given back without it.
func TestBatcher_DeadLettersOutliveTheirGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.publish = func(int) error {
			if time.Since(s.start) < time.Minute {
				return errors.New("not enough replicas")
			}
			return nil
		}
		s.add("broken")
		late := errors.New("late")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, late)
		defer cancel()
		if _, err := s.b.Release(ctx); !errors.Is(err, late) {
			t.Fatalf("release: %v: it did not wait for the dead letter", err)
		}

		next := testClaim
		next.Generation++
		s.b.Assign([]contactsync.Claim{next}, false)
		s.addWith(func(ev *event.Event) {
			ev.Record.TopicPartition, ev.Record.Generation = next.TopicPartition, next.Generation
		}, "a")
		s.at(10 * time.Second)
		s.wantEnded(1)
		ctx, cancel = context.WithTimeoutCause(t.Context(), time.Second, late)
		defer cancel()
		if _, err := s.b.Release(ctx); err != nil || time.Since(s.start) != 10*time.Second {
			t.Errorf("released after %v (%v): it waited for a dead letter of nobody", time.Since(s.start), err)
		}
		if n := s.status().DeadLettersPending; n != 1 {
			t.Errorf("%d dead letters wait, want 1", n)
		}
		s.at(2 * time.Minute)
		s.wantEnded(1)
		if st := s.status(); len(s.deadLetters) != 1 || st.DeadLettersPending != 0 || st.Bytes != 0 || s.b.window.outbox.staleInFlight != 0 {
			t.Errorf("%d dead letters written, left %+v", len(s.deadLetters), st)
		}
	})
}

// While Kafka takes no dead letters, each generation reads the same bad events again.
// Their letters must not pile up, or the window is full of them in the end and
// nothing else is read.
func TestBatcher_DeadLettersOfFormerGenerationsDoNotFillTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.WindowBytes = 256 << 10 })
		s.publish = func(int) error { return errors.New("topic is missing") }
		claim := testClaim
		var bytes int64
		for generation := range 20 {
			s.offset = 0 // nothing was committed
			for range 50 {
				s.addWith(func(ev *event.Event) {
					ev.Record.TopicPartition, ev.Record.Generation = claim.TopicPartition, claim.Generation
				}, "broken")
			}
			st := s.status()
			if generation == 1 {
				bytes = st.Bytes
			}
			if generation > 1 && st.Bytes != bytes || st.DeadLettersPending > 2*50 {
				t.Fatalf("generation %d: %d letters wait, %d bytes, want as many as in generation 1: %d", generation, st.DeadLettersPending, st.Bytes, bytes)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _ = s.b.Release(ctx) // in vain: Kafka does not take the letters
			cancel()
			claim.Generation++
			s.b.Assign([]contactsync.Claim{claim}, false)
		}
	})
}

// The answer to a request of a generation that is over settles nothing of the next
// one, whose event of the same contact waits behind it and is then sent.
func TestWindow_LateAnswerSettlesNothingOfTheNextGeneration(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(contactsync.Batch) contactsync.Result{
		"delivered": allDelivered,
		"refused": func(contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.BadRequest, Status: 412}
		},
		"canceled": func(contactsync.Batch) contactsync.Result { return contactsync.Result{Kind: contactsync.Canceled} },
		"open": func(contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.Answered, Status: 200}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, next := newTestWindow(t, nil), testClaim
			next.Generation++
			w.addTo(testClaim, "a")
			old := w.send()
			w.addTo(testClaim, "a")
			w.Forget(w.now)
			if w.pending.contacts != 1 || w.bytes() == 0 {
				t.Fatalf("%d contacts, %d bytes, want the one in flight", w.pending.contacts, w.bytes())
			}
			w.Assign(w.now, []contactsync.Claim{next}, false)
			at := w.addTo(next, "a")
			w.Settle(w.now, old, answer(old.Batch))
			if ended := w.TakeEnded(); len(ended) != 0 || len(w.TakeDeadLetters()) != 0 {
				t.Fatalf("a late answer ended %v", ended)
			}
			f := w.send()
			w.Settle(w.now, f, allDelivered(f.Batch))
			if ended, want := w.TakeEnded(), []contactsync.Ended{{Claim: next, Offset: at}}; !slices.Equal(ended, want) {
				t.Errorf("ended %v, want %v", ended, want)
			}
			if w.pending.contacts != 0 || w.bytes() != 0 {
				t.Errorf("%d contacts and %d bytes are left", w.pending.contacts, w.bytes())
			}
		})
	}
}

// Events that were given back are not counted as skipped as well, although their
// contact was deleted while its request was on its way.
func TestWindow_LateAnswerCountsNoDelete(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.addTo(testClaim, "a")
	old := w.send()
	w.offset++
	w.Add(w.now, &event.Event{
		Record:  contactsync.Record{Position: contactsync.Position{TopicPartition: testClaim.TopicPartition, Offset: w.offset}, Generation: testClaim.Generation, Time: w.now},
		Contact: event.Contact{Stream: "st", ID: "a", Account: "a"}, Kind: event.Delete,
	})
	before := w.outbox.total
	w.Forget(w.now)
	w.Settle(w.now, old, contactsync.Result{Kind: contactsync.Unavailable})
	if n := w.outbox.total.Released - before.Released; n != 1 {
		t.Errorf("%v events counted as released, want 1", n)
	}
	if n := w.outbox.total.Ended[metrics.Skipped].Count - before.Ended[metrics.Skipped].Count; n != 0 {
		t.Errorf("%v events counted as skipped when they had been released", n)
	}
}

// Wherever a contact waits, nothing of it is left when the partitions are gone:
// it is pending anew when its next owner is this process again.
func TestWindow_ForgetsContactsWhereverTheyAre(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	behind := contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 2}, Generation: testClaim.Generation}
	for _, id := range []string{"a", "b", "c", "d"} {
		w.addTo(testClaim, id)
	}
	f := w.send()
	w.Settle(w.now, f, contactsync.Result{Kind: contactsync.BadRequest, Status: 412})
	half := w.send() // the other half waits for the answer to it
	w.Assign(w.now, []contactsync.Claim{behind}, true)
	w.addTo(behind, "x") // held back, with an event of a partition that is not
	w.addTo(testClaim, "x")
	w.addTo(testClaim, "queued")
	w.addTo(testClaim, half.Batch.Rows[0].ID)
	before := w.outbox.total.Released
	w.Forget(w.now)
	if n := w.outbox.total.Released - before; n != 8 {
		t.Errorf("%v events counted as released, want 8", n)
	}
	if w.pending.contacts != len(half.Batch.Rows) {
		t.Errorf("%d contacts pending, want the %d in flight", w.pending.contacts, len(half.Batch.Rows))
	}
	w.Settle(w.now, half, allDelivered(half.Batch))
	if w.pending.contacts != 0 || w.bytes() != 0 || len(w.TakeEnded()) != 0 || w.claims.catchingUp != 0 || !w.Drained() {
		t.Errorf("left: %+v", w.Status(w.now))
	}
	next := testClaim
	next.Generation++
	w.Assign(w.now, []contactsync.Claim{next}, false)
	for _, id := range []string{"a", "b", "c", "d", "x", "queued"} {
		w.addTo(next, id)
	}
	if f := w.send(); len(f.Batch.Rows) != 6 {
		t.Errorf("%d rows sent in the next generation, want all 6", len(f.Batch.Rows))
	}
}

// The account of an event may be gone from the settings: its requests are refused by
// the sender, and the window goes on.
func TestWindow_AccountWithoutGate(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.schedule.gates = func(string) (Gate, bool) { return (*metered)(nil), false }
	w.addTo(testClaim, "a")
	f := w.send()
	w.Settle(w.now, f, contactsync.Result{Kind: contactsync.Unknown})
	if w.pending.contacts != 1 || len(w.TakeDeadLetters()) != 0 {
		t.Errorf("%d contacts are pending, want the one that was refused", w.pending.contacts)
	}
}

// A request of a generation that is over comes back while the partition catches up
// again: what was read of its contact meanwhile waits for that, whatever the answer.
func TestWindow_LateAnswerDoesNotEndCatchUp(t *testing.T) {
	t.Parallel()
	refused := func(contactsync.Batch) contactsync.Result {
		return contactsync.Result{Kind: contactsync.BadRequest, Status: 412}
	}
	for name, answer := range map[string]func(contactsync.Batch) contactsync.Result{
		"delivered": allDelivered,
		"refused":   refused,
		"canceled":  func(contactsync.Batch) contactsync.Result { return contactsync.Result{Kind: contactsync.Canceled} },
		"ambiguous": func(contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true}
		},
		"open": func(contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.Answered, Status: 200}
		},
	} {
		for _, half := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", half ", half), func(t *testing.T) {
				t.Parallel()
				w, next := newTestWindow(t, nil), testClaim
				next.Generation++
				for _, id := range []string{"a", "b", "c", "d"} {
					w.addTo(testClaim, id)
				}
				old := w.send()
				if half {
					w.Settle(w.now, old, refused(old.Batch))
					old = w.send()
				}
				w.Forget(w.now)
				w.Assign(w.now, []contactsync.Claim{next}, true)
				for _, id := range []string{"a", "b", "c", "d"} {
					w.addTo(next, id)
				}
				w.Settle(w.now, old, answer(old.Batch))
				for id, c := range w.schedule.streams[streamKey{"a", "st"}].contacts {
					if c.in == nil || c.in != &c.sources.first.claim.deferred {
						t.Errorf("contact %s could be sent although its partition catches up", id)
					}
				}
				w.CaughtUp(w.now, next)
				if f := w.send(); len(f.Batch.Rows) != 4 {
					t.Errorf("%d rows were sent when it had caught up, want 4", len(f.Batch.Rows))
				}
			})
		}
	}
}

// A claim that is said to have caught up twice counts once: others still catch up.
func TestWindow_CaughtUpTwice(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	one, two := testClaim, testClaim
	one.Partition, two.Partition = 2, 3
	w.Assign(w.now, []contactsync.Claim{one, two}, true)
	w.CaughtUp(w.now, one)
	w.CaughtUp(w.now, one)
	w.CaughtUp(w.now, contactsync.Claim{})
	w.add("x")
	w.now = w.now.Add(time.Hour)
	if f := w.Next(w.now); f != nil {
		t.Error("a request that is not full was sent although a partition catches up")
	}
	if w.CaughtUp(w.now, two); w.Next(w.now) == nil {
		t.Error("no request was sent when all have caught up")
	}
}

// A caller's clock may go back; what was decided by it stands.
func TestWindow_ClockNeverGoesBack(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("x")
	w.CaughtUp(w.now.Add(time.Hour), testClaim)
	if w.Next(w.now) == nil {
		t.Error("an hour that had passed is forgotten")
	}
}

// TestWindow_ADrainStartsNothing: what is pending is the next owner's, which sends it in
// no more requests. What is in flight is waited for.
func TestWindow_ADrainStartsNothing(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(cfg *Config) { cfg.MaxRows = 2 })
	w.add("a", "b", "c", "d", "e")
	f := w.Next(w.now)
	w.Drain(w.now)
	w.now = w.now.Add(time.Hour)
	if w.Next(w.now) != nil || !w.Wake().IsZero() {
		t.Error("a request starts in a drain")
	}
	if w.Drained() {
		t.Error("drained, and a request is in flight")
	}
	w.settle(f, contactsync.Result{Kind: contactsync.Unavailable})
	if !w.Drained() || w.Next(w.now) != nil {
		t.Error("rows that come back keep the drain open")
	}
	w.Forget(w.now)
	w.Assign(w.now, []contactsync.Claim{testClaim}, false)
	w.add("f")
	if w.send() == nil {
		t.Error("the drain goes on in the next generation")
	}
}
