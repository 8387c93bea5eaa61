package batcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// versioned adds a new event with a declared version.
func (w *parkingWindow) versioned(kind event.Kind, id string, number int64) {
	ev := w.event(id)
	ev.Kind, ev.Contact.Version, ev.Contact.HasVersion = kind, number, true
	if kind == event.Tombstone {
		ev.Contact.Account, ev.Contact.HasVersion = "", false
	}
	kept := *ev
	w.log = append(w.log, &kept)
	w.Add(w.now, ev)
	w.noteParked()
}

// A delete that is older than what waits of its contact does not end that, left or not.
func TestWindow_ADeleteThatIsLeftEndsNothingNewer(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	w.versioned(event.Update, "dead/x", 5)
	w.put(contactsOf("dead", 20)...)
	w.versioned(event.Delete, "dead/x", 3)
	if !w.parked[int64(len(w.log)-1)] {
		t.Fatal("the delete was not left")
	}
	if w.pending.find(contactKey{st.key(), "x"}) == nil {
		t.Error("an older delete has ended a newer state")
	}
}

// What an earlier owner may have sent of a contact is left while its partition catches up. So is the older state of
// it that was taken before: sent as a probe it would follow the newer one.
func TestWindow_CatchUpKeepsNothingOlderThanWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	w.Assign(w.now, []contactsync.Claim{secondClaim}, true)
	w.put("dead/x'")
	x := int64(len(w.log) - 1)
	w.put(contactsOf("dead", 30)...)
	w.put("dead/x'")
	if !w.parked[int64(len(w.log)-1)] {
		t.Fatal("the newer state was not left")
	}
	if w.pending.find(contactKey{st.key(), "x'"}) != nil || !w.parked[x] {
		t.Error("the older state is kept")
	}
	w.CaughtUp(w.now, secondClaim)
	w.now = later(w.now, st.health.backoff)
	if sent := w.drain(); slices.ContainsFunc(sent, func(s string) bool { return strings.HasPrefix(s, "dead/x' ") }) {
		t.Errorf("sent %v", sent)
	}
	for range 10 {
		w.readClaimAgain(secondClaim, 1000)
		w.readAgain(1000)
		w.drain()
	}
	if n := len(w.parked); n > 0 {
		t.Errorf("%d events are still parked", n)
	}
}

// A tombstone that is read again does not let what came after it in another stream be followed
// by an older state; what came before it in its own may be, by a contact that counts anew.
func TestWindow_ATombstoneThatIsReadAgainKeepsItsPlace(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	w.put(contactsOf("dead", 20)...)
	w.versioned(event.Update, "dead/x", 7)
	w.put(contactsOf("dead", 40)...) // so that it is sent before the tombstone is read again
	w.versioned(event.Tombstone, "/x", 0)
	w.versioned(event.Update, "dead/x", 1)
	w.versioned(event.Update, "other/x", 5)
	sent := w.readAll(st)
	sent = slices.DeleteFunc(sent, func(s string) bool { return !strings.HasPrefix(s, "dead/x ") })
	if len(sent) != 2 {
		t.Errorf("sent %v, want what was there before the tombstone, and the contact that counts anew", sent)
	}
	w.versioned(event.Update, "other/x", 3)
	if sent := w.drain(); len(sent) > 0 {
		t.Errorf("sent %v: it is older than what was sent", sent)
	}
}

// What had ended under an earlier owner is sent again where this one may have sent an older
// state of it that it does not remember.
func TestWindow_WhatHadEndedIsSentAgainWhereNothingIsRemembered(t *testing.T) {
	t.Parallel()
	w := newParkingWindow()
	w.testWindow = newTestWindow(t, func(c *Config) { c.MaxRows, c.RememberContacts = 4, 0 })
	w.put("x")
	w.drain()
	if sent := w.readEnded("x", true); len(sent) != 1 {
		t.Errorf("sent %v", sent)
	}
}

// So is it where a delete came between the older state and it, which the API was not told.
func TestWindow_WhatHadEndedIsSentAgainBehindADelete(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	w.put("x")
	w.drain()
	w.put("-st/x")
	if sent := w.readEnded("x", false); len(sent) != 1 {
		t.Errorf("sent %v", sent)
	}
}

// What the window charges for what is left does not grow with how often it is read again.
func TestWindow_WhatIsLeftOverAndOverIsChargedOnce(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 40)
	w.hold("dead")
	w.put(contactsOf("dead", 600)...)
	one := w.hold("flapping")
	cl := w.claims.owned[testClaim]
	for range 20 {
		w.put(contactsOf("flapping", 10)...)
		for i := 0; w.schedule.streams[one.key()] == one && len(one.contacts) > 0 || i == 0; i++ {
			w.now = later(w.now.Add(1), one.health.backoff)
			req := w.Next(w.now)
			if req == nil {
				break
			}
			if req.Batch.Stream == "flapping" {
				w.settle(req, allDelivered(req.Batch))
			} else {
				w.settle(req, refusedAsUnknown)
			}
		}
		w.now = w.now.Add(w.cfg.HoldProbeMax)
		w.readAgain(100_000)
		one = w.hold("flapping")
	}
	if most := 2*parkedOverhead + (w.offset/parkedRange+1)*parkedCharge; len(w.parked) < 500 || cl.parkedBytes > most {
		t.Errorf("%d events are parked, %d bytes are charged, want %d at most", len(w.parked), cl.parkedBytes, most)
	}
}

// What is read again is not of a new contact because of a tombstone that lies behind it, whether
// that was read again already or not.
func TestWindow_ATombstoneIsNotBeforeWhatIsReadAgainInFrontOfIt(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	w.versioned(event.Update, "dead/x", 5)
	w.drain()
	st := w.hold("dead")
	w.put(contactsOf("dead", 20)...)
	w.versioned(event.Update, "dead/x", 3)
	older := len(w.log) - 1
	w.put(contactsOf("dead", 20)...)
	w.versioned(event.Tombstone, "/x", 0)
	sent := w.readAll(st)
	if state := fmt.Sprintf(`dead/x {"seq":%d}`, older); slices.Contains(sent, state) {
		t.Errorf("sent %v, with %s: it is older than what was sent", sent, state)
	}
	for _, again := range []bool{false, true} {
		s, at := newSeen(10), func(o int64) (v version) {
			v.Origin.TopicPartition, v.read = testClaim.TopicPartition, o
			return v
		}
		key := contactKey{streamKey{"a", "dead"}, "x"}
		s.note(key, at(5))
		s.noteTombstone(contactKey{id: "x"}, at(49), again)
		if s.deletedSince(key, at(31)) || !s.deletedSince(key, at(50)) {
			t.Errorf("the tombstone is before what lies in front of it in the log: %v, what lies behind it: %v", s.deletedSince(key, at(31)), s.deletedSince(key, at(50)))
		}
	}
}

// A new contact counts anew behind the newest tombstone, although an older one was read again since
// that was, for the sake of another stream.
func TestWindow_ATombstoneThatIsReadAgainHidesNoLaterOne(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 24)
	ready := w.hold("ready")
	w.put(contactsOf("ready", 20)...)
	w.versioned(event.Tombstone, "/x", 0)
	w.versioned(event.Update, "ready/x", 9)
	w.hold("dead")
	w.put(contactsOf("dead", 20)...)
	w.versioned(event.Tombstone, "/x", 0)
	last := int64(len(w.log) - 1)
	cl := w.claims.owned[testClaim]
	for range 100 { // what was left of the one is sent as it is read again, and the other stays on hold
		w.now = later(w.now, ready.health.backoff).Add(time.Minute)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			if req.Batch.Stream == "dead" {
				w.settle(req, refusedAsUnknown)
			} else {
				w.settle(req, allDelivered(req.Batch))
			}
		}
		w.readOneAgain()
	}
	if cl.parked[ready.key()] != nil || !w.parked[last] {
		t.Fatalf("left are %v: want all of the stream on hold, and the tombstones", w.parked)
	}
	w.drain()
	for range 100 {
		if w.readOneAgain() == event.Tombstone { // the first of the two
			break
		}
	}
	w.versioned(event.Update, "ready/x", 1)
	if sent := w.drain(); !slices.ContainsFunc(sent, func(s string) bool { return strings.HasPrefix(s, "ready/x ") }) {
		t.Errorf("sent %v, and not the contact that counts anew", sent)
	}
}

// readOneAgain reads one event again, if there is one, and returns what it is.
func (w *parkingWindow) readOneAgain() event.Kind {
	a := w.again[testClaim]
	for pass := w.parking().ReadAgain(w.now, testClaim); pass != 0; pass = w.parking().ReadAgain(w.now, testClaim) {
		if pass != a.pass {
			a.pass, a.next = pass, 0
		}
		if a.next == int64(len(w.log)) {
			w.parking().ReadAgainDone(w.now, testClaim, pass, 0)
			break
		}
		o := a.next
		a.next++
		if w.parked[o] {
			delete(w.parked, o)
			ev := *w.log[o]
			ev.Again = true
			w.Add(w.now, &ev)
			w.noteParked()
			return ev.Kind
		}
	}
	return event.Broken
}
