package batcher

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// expire lets seconds pass in which every stream is refused, Kafka has each dead letter at once, and what may be is read again.
func (w *parkingWindow) expire(seconds int) {
	for range seconds {
		w.now = w.now.Add(time.Second)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			w.settle(req, refusedAsUnknown)
		}
		w.Expire(w.now)
		w.DeadLettersAcked(w.now, w.TakeDeadLetters())
		if w.noteParked(); len(w.parked) > 0 { // else the consumer does not ask
			w.readAgain(10_000)
		}
	}
}

// Where Kafka takes no dead letters, what is given up waits where it is: letters do not fill the window, and others go on.
func TestWindow_WhatIsGivenUpDoesNotFillTheWindow(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"operator", "hold_max"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			w := parkWindow(t, 100)
			st := w.hold("dead")
			w.put(contactsOf("dead", 500)...)
			if by == "operator" {
				if err := (decisions{w.Window}.setAside(w.now, "", "dead", "")); err != nil {
					t.Fatal(err)
				}
			} else {
				w.cfg.HoldMax = time.Minute
			}
			for range 300 {
				w.now = w.now.Add(time.Second)
				w.Expire(w.now)
				w.noteParked()
				for range 100 {
					if _, over := w.readSomeAgain(testClaim, 1); over || w.Full() {
						break
					}
				}
				if w.Full() {
					t.Fatalf("the window is full: %d dead letters, %d bytes of %d on hold", w.DeadLettersPending(), w.schedule.held, w.room())
				}
			}
			if w.DeadLettersPending() == 0 || st.health.hold == nil {
				t.Fatalf("%d dead letters wait for Kafka", w.DeadLettersPending())
			}
			gone := map[int64]bool{}
			for range 1000 {
				w.now = w.now.Add(time.Second)
				letters := w.TakeDeadLetters()
				for _, l := range letters {
					gone[l.Record.Offset] = true
				}
				w.DeadLettersAcked(w.now, letters)
				w.Expire(w.now)
				w.noteParked()
				w.readAgain(10_000)
			}
			if by == "operator" && len(gone) != 501 || len(gone) < 40 { // what is parked is not of hold_max
				t.Errorf("%d of 501 events are dead letters when Kafka takes them", len(gone))
			}
		})
	}
}

func (w *parkingWindow) room() int64 { return w.parking().room() }

// What an operator gives up for a second time ends as what was given up first, although nothing is parked any more.
func TestWindow_AHoldIsSetAsideTwice(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 40)
	w.Assign(w.now, []contactsync.Claim{secondClaim}, false)
	st := w.hold("dead")
	w.put(contactsOf("dead", 100)...)
	for turn := range 2 {
		if err := (decisions{w.Window}.setAside(w.now, "", "dead", "")); err != nil {
			t.Fatal(err)
		}
		for turn == 0 && w.parking().full() {
			w.expire(1)
		}
		if turn == 0 {
			w.put("dead/a'") // so the hold goes on
		}
		w.expire(180)
	}
	if st.health.hold != nil || w.outbox.total.Waiting != 0 {
		t.Errorf("the stream is on hold: %+v; %d events are open", st.health.hold, w.outbox.total.Waiting)
	}
}

// Where an event that was given up finds no room, those behind it are left as well: the hold may end before it is read again, and
// then it would follow a newer one of its contact.
func TestWindow_WhatIsGivenUpKeepsItsOrder(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 40)
	st := w.hold("dead")
	w.put(contactsOf("dead", 60)...)
	w.put("dead/a", "dead/a")
	first, second := int64(len(w.log)-2), int64(len(w.log)-1)
	if !w.parked[first] || !w.parked[second] {
		t.Fatal("the contact is not parked")
	}
	if err := (decisions{w.Window}.setAside(w.now, "", "dead", "")); err != nil {
		t.Fatal(err)
	}
	hand := func(offset int64) {
		delete(w.parked, offset)
		ev := *w.log[offset]
		ev.Again = true
		w.Add(w.now, &ev)
		w.noteParked()
	}
	for tries := 0; w.parking().ReadAgain(w.now, testClaim) == 0; tries++ {
		if tries == 10 {
			t.Fatal("nothing is read again")
		}
		w.DeadLettersAcked(w.now, w.TakeDeadLetters())
		w.Expire(w.now)
	}
	st.bytes += w.cfg.holdPart()
	hand(first)
	st.bytes -= w.cfg.holdPart()
	hand(second)
	if !w.parked[first] || !w.parked[second] {
		t.Errorf("of the contact's events the first is parked: %v, the second: %v", w.parked[first], w.parked[second])
	}
	w.expire(60)
	if n := w.outbox.total.Waiting; n != 0 {
		t.Errorf("%d events are open", n)
	}
}
