package batcher

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

var failed500 = contactsync.Result{Kind: contactsync.Unavailable, Status: 500, MayBeRows: true}

// fails has so many requests fail one after the other, and returns of which streams they were.
func (w *parkingWindow) fails(requests int) (streams []string) {
	w.t.Helper()
	for range requests {
		w.now = w.now.Add(w.cfg.BackoffMax)
		req := w.Next(w.now)
		if req == nil {
			w.t.Fatal("nothing is sent")
		}
		streams = append(streams, req.Batch.Stream)
		w.settle(req, failed500)
		w.noteParked()
	}
	return streams
}

// A stream whose requests fail one after the other takes no more of the window than streams on hold: the rest is read again when
// some are answered, and others go on.
func TestWindow_AStreamThatStallsDoesNotFillTheWindow(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 30)
	ids := contactsOf("bad", 60)
	if w.put(ids...); len(w.parked) > 0 || !w.Full() {
		t.Fatalf("%d events are parked, and full is %v", len(w.parked), w.Full())
	}
	w.fails(1)
	if len(w.parked) == 0 || w.Full() || w.schedule.held > w.parking().room() {
		t.Fatalf("%d events are parked; %d bytes are held of %d", len(w.parked), w.schedule.held, w.parking().room())
	}
	s := w.Status(w.now)
	if a := s.Accounts[0]; a.FailingContacts != len(w.schedule.streams[streamKey{"a", "bad"}].contacts) || a.HeldContacts > 0 || a.HeldStreams > 0 || a.HeldEvents > 0 || a.HeldBytes != w.schedule.held {
		t.Errorf("the status has %+v", a)
	}
	if f := s.Failing[0]; f.Stream != "bad" || f.Parked != len(w.parked) || f.Contacts+f.Parked != len(ids) {
		t.Errorf("the status has %+v, with %d parked", f, len(w.parked))
	}
	w.put("good/1")
	w.now = w.now.Add(w.cfg.Linger)
	if req := w.send(); req.Batch.Stream != "good" {
		t.Errorf("a request of %s goes first", req.Batch.Stream)
	} else {
		w.settle(req, allDelivered(req.Batch))
	}
	var sent []string
	for range 20 {
		sent = append(sent, w.drain()...)
		w.readAgain(1000)
	}
	if len(sent) != len(ids) || len(w.parked) > 0 || w.outbox.pending() > 0 {
		t.Errorf("%d of %d contacts are delivered, %d events are parked, %d dead letters", len(sent), len(ids), len(w.parked), w.outbox.pending())
	}
}

// What the API may have applied is given back only where it came as one event: otherwise an older state would be sent
// after it. It still waits until the API can be done with it.
func TestWindow_WhatMayBeAppliedIsParkedAsOneEventOnly(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 16)
	w.cfg.AmbiguousRetryDelay = 24 * time.Hour
	w.put("dead/a", "dead/b", "dead/b", "dead/c", "dead/d")
	w.put(contactsOf("dead", 10)...)
	req := w.send()
	w.settle(req, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
	until := w.now.Add(w.cfg.AmbiguousRetryDelay)
	w.settle(w.send(), refusedAsUnknown)
	w.noteParked()
	parked := 0
	for _, c := range req.rows {
		switch {
		case c.sources.n > 1 && w.parked[c.sources.first.offset]:
			t.Errorf("%s came as %d events, and is parked", c.id, c.sources.n)
		case w.parked[c.sources.first.offset]:
			parked++
		}
	}
	if parked == 0 {
		t.Fatal("nothing of the request is parked")
	}
	if err := (decisions{w.Window}).release(w.now, "a", "dead"); err != nil {
		t.Fatal(err)
	}
	w.drain()
	w.readAgain(1000)
	again := 0
	for id, c := range w.schedule.streams[streamKey{"a", "dead"}].contacts {
		if !slices.ContainsFunc(req.rows, func(of *contact) bool { return of.id == id }) {
			continue
		}
		if again++; !c.lateUntil.Equal(until) {
			t.Errorf("%s waits until %v for the request that may be applied, want %v", id, c.lateUntil, until)
		}
	}
	if again != len(req.rows) {
		t.Errorf("%d contacts of the request wait again, want %d", again, len(req.rows))
	}
}

// Of a stream that stalls some of what was parked is read again now and then, so that contacts are tried that do not fail,
// although all in memory do. The events of each stay in order.
func TestWindow_AStreamThatStallsIsTriedWithWhatIsParked(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 30)
	w.put(contactsOf("st/bad", 60)...)
	w.fails(1)
	w.put("st/good", "st/good", "st/good")
	if w.schedule.streams[streamKey{"a", "st"}].contacts["good"] != nil {
		t.Fatal("nothing of the contact is parked")
	}
	for range 50 {
		for range 20 {
			w.now = w.now.Add(w.cfg.HoldProbeMax / 20)
			w.Expire(w.now)
			for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
				if !slices.ContainsFunc(req.Batch.Rows, func(r contactsync.Row) bool { return isBad(r.ID) }) {
					if first := req.rows[0].sources.first.offset; first != 60 {
						t.Errorf("the contact is sent from offset %d on, want its first event", first)
					}
					return
				}
				w.settle(req, failed500)
			}
			w.noteParked()
			w.readSomeAgain(testClaim, 1000)
		}
	}
	t.Error("a contact that would be accepted was not tried")
}

// Where one stream after another begins to fail, all that were not accepted since count as on hold, so that others are read: one of these that
// was accepted before goes first, and its answer tells.
func TestWindow_StreamsThatMayFailNextDoNotFillTheWindow(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 30)
	w.put("good/1")
	w.now = w.now.Add(w.cfg.Linger)
	req := w.send()
	w.settle(req, allDelivered(req.Batch))
	w.now = w.now.Add(time.Minute)
	for i := range 10 {
		w.put(contactsOf(fmt.Sprint("bad", i), 4)...)
	}
	if w.now = w.now.Add(w.cfg.Linger); !w.Full() {
		t.Fatal("the window is not full")
	}
	for range troubleAfter {
		w.settle(w.Next(w.now), failed500)
	}
	if w.noteParked(); w.Full() || len(w.parked) == 0 {
		t.Fatalf("the window is full, and %d events are parked", len(w.parked))
	}
	w.put(contactsOf("bad9", 8)...)
	w.put("good/2")
	if len(w.schedule.streams[streamKey{"a", "good"}].contacts) != 1 {
		t.Fatal("the contact is parked of which the answer would tell")
	}
	w.schedule.accounts[0].others = 0 // others go first
	if good, strange := w.schedule.streams[streamKey{"a", "good"}], w.schedule.streams[streamKey{"a", "bad9"}]; good.spares(stranger) || !strange.spares(stranger) {
		t.Error("it waits for calls that are left over, or a stream does not that was never accepted")
	}
	w.now = w.now.Add(w.cfg.Linger)
	if first, then := w.Next(w.now), w.Next(w.now); first.stream.fails() && then.Batch.Stream != "good" || !first.stream.fails() && first.Batch.Stream != "good" {
		t.Errorf("requests of %s and %s go first", first.Batch.Stream, then.Batch.Stream)
	}
	w.now = w.now.Add(troubleMost * w.cfg.BackoffMax)
	w.Next(w.now)
	if st := w.schedule.streams[streamKey{"a", "bad9"}]; st.held > 0 {
		t.Errorf("%d bytes of a stream that did not fail are held when that is over", st.held)
	}
}

// However many streams stall, and whenever each of them began to, one reading now and then is for all of them: what is left is
// not read from Kafka once for each.
func TestWindow_StreamsThatStallAreReadAgainTogether(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 60)
	const minutes = 120
	for m := range minutes {
		w.put(contactsOf(fmt.Sprint("bad", m%10), m/10+1)...)
		w.now = w.now.Add(time.Minute)
		w.Expire(w.now)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			w.settle(req, failed500)
		}
		w.noteParked()
		w.readAgain(100_000)
	}
	cl := w.claims.of(testClaim)
	readings, most := cl.pass/2, 5 // a number for the reading, and one for its end; each wait is as long as all before it
	if len(cl.parked) < 5 || readings < 2 || readings > most {
		t.Errorf("%d streams are parked, and are read again %d times in %d minutes; want at most %d", len(cl.parked), readings, minutes, most)
	}
}

// What begins to wait while a reading takes long waits for ten times as long as that took, too.
func TestWindow_WhatStallsIsNotReadMoreOftenThanItIsWorth(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 30)
	cl := w.claims.of(testClaim)
	w.put(contactsOf("bad", 60)...)
	w.fails(1)
	w.now = w.now.Add(w.cfg.HoldProbeMax)
	pass := w.parking().ReadAgain(w.now, testClaim)
	w.put(contactsOf("other", 60)...)
	w.fails(2)
	w.now = w.now.Add(time.Hour)
	took := w.now.Sub(cl.beganAt)
	if w.parking().ReadAgainDone(w.now, testClaim, pass, 0); pass == 0 || cl.parked[streamKey{"a", "other"}] == nil {
		t.Fatal("there was no reading, or only one stream is parked")
	}
	over := w.now
	for w.parking().ReadAgain(w.now, testClaim) == 0 {
		w.now = w.now.Add(time.Minute)
	}
	if rest := w.now.Sub(over); rest < readingShare*took || rest > readingShare*took+time.Minute {
		t.Errorf("the next reading begins %v after one of %v", rest, took)
	}
}
