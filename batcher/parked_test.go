package batcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/setting"
)

// parkingWindow is a window with a log, out of which it is given again what it has left.
type parkingWindow struct {
	*testWindow

	log    []*event.Event
	parked map[int64]bool
	gone   map[int64]bool // offsets that the log does not have any more
	again  map[contactsync.Claim]*parkingRead
}

// parkingRead is how far what was left of a claim is read again.
type parkingRead struct {
	pass, gone int
	next       int64
}

// secondClaim has the contacts whose ids end in "'", where it is assigned.
var secondClaim = contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 2}, Generation: 4}

// parkWindow returns a window that takes about so many contacts, half of which may be on hold.
func parkWindow(t *testing.T, contacts int) *parkingWindow {
	t.Helper()
	w := newParkingWindow()
	w.testWindow = newTestWindow(t, func(c *Config) {
		c.MaxRows, c.WindowBytes = 4, setting.Size(contacts*(contactOverhead+sourceBytes)+streamOverhead/2)
	})
	return w
}

func newParkingWindow() *parkingWindow {
	return &parkingWindow{parked: map[int64]bool{}, gone: map[int64]bool{}, again: map[contactsync.Claim]*parkingRead{testClaim: {}, secondClaim: {}}}
}

// put adds new events, each an update of "stream/id", or a delete of "-stream/id", or a
// tombstone of "!id".
func (w *parkingWindow) put(ids ...string) {
	for _, id := range ids {
		var ev *event.Event
		switch id[0] {
		case '-':
			ev = w.event(id[1:])
			ev.Kind = event.Delete
		case '!':
			ev = w.event("/" + id[1:])
			ev.Kind, ev.Contact.Account = event.Tombstone, ""
		default:
			ev = w.event(id)
		}
		if strings.HasSuffix(id, "'") {
			ev.Record.TopicPartition = secondClaim.TopicPartition
		}
		kept := *ev
		w.log = append(w.log, &kept)
		w.Add(w.now, ev)
		w.noteParked()
	}
}

func (w *parkingWindow) parking() Parking { return Parking{w.Window} }

func (w *parkingWindow) noteParked() {
	for _, p := range w.parking().TakeParked() {
		w.parked[p.Offset] = true
	}
}

// readAgain hands over what may be read again, as the consumer does, for at most so many records.
func (w *parkingWindow) readAgain(most int) (got []int64) {
	return w.readClaimAgain(testClaim, most)
}

func (w *parkingWindow) readClaimAgain(c contactsync.Claim, most int) (got []int64) {
	got, over := w.readSomeAgain(c, most)
	if !over {
		w.t.Fatal("it does not end")
	}
	return got
}

// readSomeAgain does so, and reports whether nothing else may be read again.
func (w *parkingWindow) readSomeAgain(c contactsync.Claim, most int) (got []int64, over bool) {
	a := w.again[c]
	for range most {
		w.noteParked()
		pass := w.parking().ReadAgain(w.now, c)
		if pass == 0 {
			return got, true
		}
		if pass != a.pass {
			a.pass, a.next = pass, 0
		}
		if a.next == int64(len(w.log)) {
			w.parking().ReadAgainDone(w.now, c, pass, a.gone)
			a.gone = 0
			continue
		}
		o := a.next
		a.next++
		switch here := w.log[o].Record.TopicPartition == c.TopicPartition; {
		case !here || !w.parked[o]:
			continue
		case w.gone[o]:
			delete(w.parked, o)
			a.gone++
			continue
		}
		delete(w.parked, o)
		ev := *w.log[o]
		ev.Again = true
		w.Add(w.now, &ev)
		if w.noteParked(); !w.parked[o] {
			got = append(got, o)
		}
	}
	return got, false
}

// drain has the API accept everything, and returns what it was sent, in order.
func (w *parkingWindow) drain() (sent []string) {
	w.now = w.now.Add(10 * time.Minute)
	for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
		for _, r := range req.Batch.Rows {
			sent = append(sent, fmt.Sprintf("%s/%s %s", req.Batch.Stream, r.ID, r.Body))
		}
		w.settle(req, allDelivered(req.Batch))
		w.noteParked()
	}
	return sent
}

// readAll reads what is parked again, with what is sent of it accepted, until nothing is left.
// It returns what was sent, in order.
func (w *parkingWindow) readAll(st *stream) (sent []string) {
	w.t.Helper()
	for range 10 {
		w.now = later(w.now, st.health.backoff)
		sent = append(sent, w.drain()...)
		w.readAgain(1000)
	}
	if n := len(w.parked); n > 0 {
		w.t.Fatalf("%d events are still parked", n)
	}
	return sent
}

// readEnded reads an event of a contact that had ended under an earlier owner, and returns what
// is sent then.
func (w *parkingWindow) readEnded(id string, again bool) (sent []string) {
	ev := w.event(id)
	ev.Before, ev.Again = contactsync.Completed, again
	w.Add(w.now, ev)
	return w.drain()
}

func (w *parkingWindow) hold(stream string) *stream {
	w.t.Helper()
	w.put(stream + "/first")
	w.now = w.now.Add(time.Minute)
	req := w.Next(w.now)
	if req == nil || req.Batch.Stream != stream {
		w.t.Fatalf("no request of %s", stream)
	}
	w.settle(req, refusedAsUnknown)
	w.noteParked()
	return req.stream
}

func contactsOf(stream string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s/%d", stream, i))
	}
	return ids
}

// A stream on hold with more contacts than the window has room for leaves room for others.
func TestWindow_AHoldDoesNotFillTheWindow(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	w.hold("dead")
	w.put(contactsOf("dead", 100)...)
	if w.Full() || len(w.parked) < 80 || w.schedule.held < w.cfg.holdPart() {
		t.Fatalf("full %v, %d events are parked, %d bytes on hold", w.Full(), len(w.parked), w.schedule.held)
	}
	w.put("live/a")
	if sent := w.drain(); !slices.ContainsFunc(sent, func(s string) bool { return s[:4] == "live" }) {
		t.Errorf("sent %v", sent)
	}
	w.wantLogged("what is on hold has its part of the window", "dead")
}

// A stream that has filled the window before it was refused gives room back.
func TestWindow_AHoldGivesBackWhatItHasTooMuch(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	w.put(contactsOf("dead", 20)...)
	if !w.Full() {
		t.Fatalf("%d bytes of %d", w.bytes(), w.cfg.WindowBytes)
	}
	w.settle(w.send(), refusedAsUnknown)
	w.noteParked()
	if w.Full() || w.schedule.held > w.cfg.holdPart() || len(w.parked) == 0 {
		t.Fatalf("full %v, %d bytes on hold, %d events are parked", w.Full(), w.schedule.held, len(w.parked))
	}
	for o := range w.parked {
		if o < int64(w.pending.contacts) {
			t.Errorf("offset %d is parked: the oldest stay", o)
		}
	}
}

// When the stream is accepted again, everything arrives once, each contact in its order, and
// what comes meanwhile waits its turn.
func TestWindow_WhatWasParkedArrivesInOrder(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	for range 5 {
		w.put(contactsOf("dead", 20)...)
	}
	if got := w.readAgain(1000); len(got) != 0 {
		t.Fatalf("%v are read again during the hold", got)
	}
	last := map[string]int64{}
	ended := map[int64]bool{}
	for round := 0; len(w.parked) > 0 || w.pending.contacts > 0; round++ {
		if round > 100 {
			t.Fatalf("%d events are parked, %d contacts pending", len(w.parked), w.pending.contacts)
		}
		w.now = later(w.now, st.health.backoff)
		for _, s := range w.drain() {
			var id string
			var seq int64
			if _, err := fmt.Sscanf(s, `%s {"seq":%d}`, &id, &seq); err != nil {
				t.Fatal(err)
			}
			if before, ok := last[id]; ok && seq <= before {
				t.Errorf("%s: %d after %d", id, seq, before)
			}
			last[id] = seq
		}
		if round == 1 {
			w.put("dead/0")
			if w.parked[int64(len(w.log)-1)] != (len(w.parked) > 0) {
				t.Error("a new event goes before those that are parked")
			}
		}
		w.readAgain(1000)
		if total := w.outbox.total; total.Waiting != uint64(w.claims.owned[testClaim].open) || total.Consumed != uint64(len(w.log)) {
			t.Fatalf("%+v, and %d events are open", total, w.claims.owned[testClaim].open)
		}
		for _, e := range w.TakeEnded() {
			if ended[e.Offset] {
				t.Errorf("offset %d has ended twice", e.Offset)
			}
			ended[e.Offset] = true
		}
	}
	if len(ended) != len(w.log) {
		t.Errorf("%d of %d events have ended", len(ended), len(w.log))
	}
	if n := len(w.claims.owned[testClaim].parked); n != 0 || w.bytes() != 0 || w.claims.owned[testClaim].open != 0 {
		t.Errorf("%d streams are parked, %d bytes, %d open events are left", n, w.bytes(), w.claims.owned[testClaim].open)
	}
	w.put("dead/new")
	if len(w.parked) != 0 {
		t.Error("a stream that is normal again is parked")
	}
}

// A delete ends what waits in memory at once, and what was parked before it when that is read.
func TestWindow_ADeleteOfAParkedStreamHoldsItsPlace(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]string{"delete": "-dead/x", "tombstone": "!x"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := parkWindow(t, 20)
			w.put("dead/x")
			st := w.hold("dead")
			w.put(contactsOf("dead", 20)...)
			w.put("dead/x", gone)
			if w.pending.find(contactKey{st.key(), "x"}) != nil {
				t.Error("what waited of it is still there")
			}
			w.put("other/x")
			w.drain()
			w.readAgain(1000)
			for _, s := range w.drain() {
				if s[:6] == "dead/x" {
					t.Errorf("sent %s", s)
				}
			}
			if w.readAgain(1000); len(w.parked) > 0 {
				t.Errorf("still parked: %v", w.parked)
			}
		})
	}
}

// A tombstone that is read again is not about what came after it in another stream.
func TestWindow_ATombstoneThatIsReadAgainSparesWhatCameAfterIt(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	w.put(contactsOf("dead", 20)...)
	w.health.endHold(w.now, st, endedByOperator)
	for st.bytes >= w.cfg.holdPart()/2 {
		req := w.send()
		w.settle(req, allDelivered(req.Batch))
	}
	w.put("!x", "other/x")
	tombstone := int64(len(w.log) - 2)
	for n := 0; !slices.Contains(w.readAgain(1000), tombstone); n++ {
		if n == 10 {
			t.Fatal("the tombstone is not read again")
		}
		w.now = w.now.Add(time.Minute)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			if req.stream == st { // the other one stays in flight
				w.settle(req, allDelivered(req.Batch))
			}
		}
	}
	if c := w.pending.find(contactKey{streamKey{"a", "other"}, "x"}); c == nil || c.deleted != nil {
		t.Error("the tombstone has ended a contact that was made after it")
	}
}

// A stream that stays on hold does not stop one that is accepted again.
func TestWindow_AParkedStreamDoesNotWaitForAnother(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	one := w.hold("one")
	w.put(contactsOf("one", 10)...)
	w.hold("two")
	w.put(contactsOf("two", 10)...)
	w.health.endHold(w.now, one, endedByOperator)
	sent := 0
	for range 20 {
		w.now = w.now.Add(10 * time.Minute)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			if req.Batch.Stream == "two" {
				w.settle(req, refusedAsUnknown)
			} else {
				sent += len(req.rows)
				w.settle(req, allDelivered(req.Batch))
			}
		}
		w.readAgain(1000)
	}
	if sent != 11 {
		t.Errorf("%d rows of the stream that is accepted were sent, want 11", sent)
	}
	if len(w.parked) == 0 || w.Full() {
		t.Errorf("%d events are parked", len(w.parked))
	}
}

// A decision to set a hold aside is about what was parked as well.
func TestWindow_WhatWasParkedIsSetAside(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	w.hold("dead")
	w.put(contactsOf("dead", 50)...)
	before := len(w.log)
	if err := (decisions{w.Window}.setAside(w.now, "", "dead", "gone for good")); err != nil {
		t.Fatal(err)
	}
	w.put("dead/later")
	letters := map[int64]int{}
	for range 100 {
		taken := w.TakeDeadLetters()
		for _, l := range taken {
			for _, p := range l.Positions {
				letters[p.Offset]++
			}
		}
		w.DeadLettersAcked(w.now, taken)
		w.readAgain(1000)
		w.Expire(w.now)
		w.now = w.now.Add(time.Second)
	}
	for o := range int64(before) {
		if letters[o] != 1 {
			t.Errorf("offset %d is in %d dead letters", o, letters[o])
		}
	}
	if len(letters) != before {
		t.Errorf("%d events were set aside, want %d: not what came later", len(letters), before)
	}
	if sent := w.drain(); len(sent) != 1 || sent[0][:10] != "dead/later" {
		t.Errorf("sent %v, want what came later", sent)
	}
}

// An event that had ended under an earlier owner is sent again where this one has sent an
// older state since.
func TestWindow_WhatHadEndedIsSentAgainBehindAnOlderState(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	w.put("x")
	req := w.send()
	w.settle(req, allDelivered(req.Batch))
	if sent := w.readEnded("x", false); len(sent) != 1 {
		t.Errorf("sent %v", sent)
	}
}

// A new event of a stream that is being read again waits behind what is still to come.
func TestWindow_ANewEventWaitsForAReadingThatGoesOn(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	w.put(contactsOf("dead", 20)...)
	w.now = later(w.now, st.health.backoff)
	w.drain()
	if w.parking().ReadAgain(w.now, testClaim) == 0 {
		t.Fatal("nothing is read again")
	}
	if w.put("dead/19"); !w.parked[int64(len(w.log)-1)] {
		t.Error("it goes before an older one of its contact")
	}
}

// A credential on hold holds all the streams that it signs for, refused by themselves or
// not: together they leave room for those of another one.
func TestWindow_ACredentialOnHoldDoesNotFillTheWindow(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 40)
	w.schedule.credential = func(_, stream string) string { return stream[:1] }
	for _, stream := range []string{"s1", "s2", "s3"} {
		w.hold(stream)
	}
	held := w.schedule.account("a").onHold()
	if held == nil {
		t.Fatal("the credential is not on hold")
	}
	w.put(contactsOf("s4", 60)...)
	if w.Full() || len(w.parked) < 40 {
		t.Fatalf("full %v, %d events are parked: %d of %d bytes", w.Full(), len(w.parked), w.bytes(), w.cfg.WindowBytes)
	}
	w.put(contactsOf("other", 60)...)
	held.probe = never
	if sent := w.drain(); len(sent) != 60 {
		t.Errorf("%d contacts of the other credential were sent, want 60", len(sent))
	}
	if got := w.readAgain(1000); len(got) > 0 {
		t.Errorf("%d events are read again while the credential is on hold", len(got))
	}
	held.probe = time.Time{}
	sent := 0
	for range 20 {
		sent += len(w.drain())
		w.readAgain(1000)
	}
	if sent != 63 || len(w.parked) > 0 || w.bytes() != 0 || w.schedule.held != 0 {
		t.Errorf("%d contacts were sent when it was accepted again, want 63; %d events are parked, %d bytes in the window, %d on hold", sent, len(w.parked), w.bytes(), w.schedule.held)
	}
}

// What streams have in the window when their credential is put on hold is given back, as far as
// it is more than the part of holds.
func TestWindow_ACredentialOnHoldGivesBackWhatItHasTooMuch(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 40)
	w.schedule.credential = func(_, stream string) string { return stream[:1] }
	for _, stream := range []string{"s1", "s2", "s3"} {
		w.put(stream + "/first")
	}
	w.put(contactsOf("s4", 37)...)
	for range 3 {
		req := w.send()
		for req.Batch.Stream == "s4" {
			w.settle(req, contactsync.Result{Kind: contactsync.Throttled, Status: 429})
			req = w.send()
		}
		w.settle(req, refusedAsUnknown)
	}
	w.noteParked()
	if w.Full() || w.schedule.held > w.cfg.holdPart() || len(w.parked) == 0 {
		t.Errorf("full %v, %d bytes on hold, %d events are parked", w.Full(), w.schedule.held, len(w.parked))
	}
}
