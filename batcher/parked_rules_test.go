package batcher

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// lettersOf has Kafka acknowledge the dead letters that wait, and counts those of each offset.
func (w *parkingWindow) lettersOf(letters map[int64]int) {
	taken := w.TakeDeadLetters()
	for _, l := range taken {
		for _, p := range l.Positions {
			letters[p.Offset]++
		}
	}
	w.DeadLettersAcked(w.now, taken)
}

// Two streams are read again, and one of them is refused once more: the other one goes on.
func TestWindow_AParkedStreamWithoutRoomDoesNotStopAnother(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	one, two := w.hold("one"), w.hold("two")
	w.put(contactsOf("one", 10)...)
	w.put(contactsOf("two", 20)...)
	parked := w.claims.owned[testClaim].parked[one.key()].events
	for _, st := range []*stream{one, two} {
		w.health.endHold(w.now, st, endedByOperator)
	}
	w.drain()
	if w.parking().ReadAgain(w.now, testClaim) == 0 {
		t.Fatal("nothing is read again")
	}
	two = w.schedule.stream("two", "a")
	w.health.putOnHold(w.now, two, holdGone, refusedAsUnknown)
	w.put(contactsOf("two", 20)...)
	w.schedule.held = w.cfg.holdPart() // by others
	sent := 0
	for range 20 {
		w.readAgain(1000)
		w.now = w.now.Add(time.Minute)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			if req.Batch.Stream == "one" {
				sent += len(req.rows)
				w.settle(req, allDelivered(req.Batch))
			} else {
				w.settle(req, refusedAsUnknown)
			}
		}
	}
	if left := len(w.claims.owned[testClaim].parked); parked == 0 || sent != parked || left != 1 {
		t.Errorf("%d contacts of the stream that is accepted were sent, want %d; %d streams are parked, want 1", sent, parked, left)
	}
}

// A window that is kept full by new events does not keep a stream that is accepted again from
// being read again: what is handed over waits for room as they do.
func TestWindow_AFullWindowDoesNotKeepAFreedStreamFromBeingRead(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	w.put(contactsOf("dead", 20)...)
	for i := 0; !w.Full(); i++ {
		w.put(contactsOf("live", 20)[i])
	}
	w.health.endHold(w.now, st, endedByOperator)
	for st.bytes >= w.cfg.holdPart()/2 {
		req := w.send()
		w.settle(req, allDelivered(req.Batch))
	}
	for i := 0; !w.Full(); i++ {
		w.put(contactsOf("other", 40)[i])
	}
	if w.parking().ReadAgain(w.now, testClaim) == 0 {
		t.Error("nothing is read again")
	}
}

// What may have been applied and was set aside counts as sent: a newer state that had ended under an
// earlier owner is sent again behind it, before Kafka has the dead letter and after.
func TestWindow_WhatHadEndedIsSentAgainBehindADeadLetterThatMayBeApplied(t *testing.T) {
	t.Parallel()
	for name, written := range map[string]bool{"not written": false, "written": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := parkWindow(t, 20)
			w.put("x")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
			refused := contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
			w.refuseAlone(contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{refused}})
			letters := w.TakeDeadLetters()
			if len(letters) != 1 {
				t.Fatalf("%d dead letters", len(letters))
			}
			if written {
				w.DeadLettersAcked(w.now, letters)
			}
			if sent := w.readEnded("x", false); len(sent) != 1 {
				t.Errorf("sent %v", sent)
			}
		})
	}
}

// A decision to set a stream aside is about what was left of it in every partition, and over only
// when all of that is set aside.
func TestWindow_WhatWasParkedIsSetAsideInEveryPartition(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	w.Assign(w.now, []contactsync.Claim{secondClaim}, false)
	st := w.hold("dead")
	for _, id := range contactsOf("dead", 30) {
		w.put(id, id+"'")
	}
	before := len(w.log)
	if err := (decisions{w.Window}.setAside(w.now, "", "dead", "")); err != nil {
		t.Fatal(err)
	}
	letters := map[int64]int{}
	for range 50 {
		w.readAgain(1000)
		w.Expire(w.now)
		w.lettersOf(letters)
	}
	if st.health.hold.asideBelow == 0 {
		t.Error("the decision is over, and the second partition was not read")
	}
	for range 50 {
		w.readClaimAgain(secondClaim, 1000)
		w.Expire(w.now)
		w.lettersOf(letters)
	}
	for o := range int64(before) {
		if letters[o] != 1 {
			t.Errorf("offset %d is in %d dead letters", o, letters[o])
		}
	}
	if on := st.health.hold; on != nil && on.asideBelow > 0 {
		t.Error("the decision is not over")
	}
}

// Nor is it when the hold has another cause meanwhile.
func TestWindow_WhatWasParkedIsSetAsideWhateverTheCause(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	w.health.endHold(w.now, st, endedByOperator)
	w.health.putOnHold(w.now, st, holdRejecting, refusedAsUnknown)
	w.put(contactsOf("dead", 50)...)
	before := len(w.log)
	if err := (decisions{w.Window}.setAside(w.now, "", "dead", "gone for good")); err != nil {
		t.Fatal(err)
	}
	w.health.putOnHold(w.now, st, holdGone, refusedAsUnknown)
	letters := map[int64]int{}
	for range 50 {
		w.lettersOf(letters)
		w.readAgain(1000)
		w.Expire(w.now)
	}
	if len(letters) != before {
		t.Errorf("%d events were set aside, want %d", len(letters), before)
	}
}

// A decision ends with the generation, and the log says so: who has the partition then was not
// asked.
func TestWindow_ADecisionThatWasNotCarriedOutIsTold(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	st := w.hold("dead")
	w.put(contactsOf("dead", 50)...)
	if err := (decisions{w.Window}.setAside(w.now, "", "dead", "gone for good")); err != nil {
		t.Fatal(err)
	}
	w.Forget(w.now)
	w.wantLogged("before all that an operator has set aside was", "dead")
	if st.health.hold.asideBelow != 0 {
		t.Error("it is carried out for what comes later")
	}
}

// What the log does not have any more does not count as parked, of the streams that stay on hold
// either.
func TestWindow_WhatIsGoneIsNotParked(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	one := w.hold("one")
	w.put(contactsOf("one", 10)...)
	w.hold("two")
	w.put(contactsOf("two", 20)...)
	for o := range w.parked {
		w.gone[o] = o%2 == 0
	}
	w.health.endHold(w.now, one, endedByOperator)
	for range 5 {
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			if req.Batch.Stream == "one" {
				w.settle(req, allDelivered(req.Batch))
			} else {
				w.settle(req, refusedAsUnknown)
			}
		}
		w.readAgain(1000)
		w.now = w.now.Add(time.Minute)
	}
	holds := w.Status(w.now).Holds
	at := slices.IndexFunc(holds, func(h HoldStatus) bool { return h.Stream == "two" })
	if at < 0 || holds[at].Parked != len(w.parked) || len(w.parked) == 0 {
		t.Errorf("%d events are parked, and the status says %+v", len(w.parked), holds)
	}
	if cl := w.claims.owned[testClaim]; int(w.outbox.total.Waiting) != cl.open {
		t.Errorf("%d events wait, and %d are open", w.outbox.total.Waiting, cl.open)
	}
}

// Many streams with one contact each, whose credential is put on hold, do not fill the window: all
// but a few give even that one back.
func TestWindow_ManyStreamsOfACredentialOnHoldDoNotFillTheWindow(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 200)
	w.schedule.credential = func(_, stream string) string { return stream[:1] }
	for i := range 400 {
		w.put(fmt.Sprintf("s%d/only", i))
	}
	if !w.Full() {
		t.Fatalf("%d bytes of %d", w.bytes(), w.cfg.WindowBytes)
	}
	for range accountStrikes {
		w.settle(w.send(), refusedAsUnknown)
		w.noteParked()
	}
	held := w.schedule.account("a").onHold()
	if held == nil || w.Full() || w.schedule.held > w.parking().room() {
		t.Fatalf("%+v is on hold, full %v, %d bytes on hold, and %d may be", held, w.Full(), w.schedule.held, w.parking().room())
	}
	held.probe = never
	w.put(contactsOf("other", 20)...)
	if sent := w.drain(); len(sent) != 20 {
		t.Errorf("%d contacts of the other credential were sent, want 20", len(sent))
	}
	held.probe = time.Time{}
	sent := 0
	for range 100 {
		w.Expire(w.now)
		sent += len(w.drain())
		w.readAgain(10_000)
	}
	if sent != 400 || len(w.parked) > 0 || w.bytes() != 0 {
		t.Errorf("%d contacts were sent when it was accepted again, want 400; %d events are parked, %d bytes in the window", sent, len(w.parked), w.bytes())
	}
}

// However little room there is, a few streams of a credential on hold keep a contact to probe it with, although those that
// were refused by themselves have none any more.
func TestWindow_ACredentialOnHoldKeepsSomethingToProbeItWith(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 4)
	w.schedule.credential = func(_, stream string) string { return stream[:1] }
	for i := range 10 {
		w.put(fmt.Sprintf("s%d/only", i))
	}
	for range accountStrikes {
		req := w.send()
		w.settle(req, refusedAsUnknown)
		w.put("-" + req.Batch.Stream + "/only")
	}
	w.Expire(w.now)
	w.noteParked()
	if w.schedule.account("a").onHold() == nil || w.pending.contacts < 2 || len(w.parked) == 0 {
		t.Errorf("on hold %v, %d contacts are kept, %d events are parked", w.schedule.account("a").onHold() != nil, w.pending.contacts, len(w.parked))
	}
}

// What is charged for events that are to be read again counts among what holds may take, and never
// leaves no room to read them in.
func TestWindow_WhatIsChargedForParkedEventsIsOfTheHolds(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 20)
	part, all := w.cfg.holdPart(), int64(w.cfg.WindowBytes)
	for charged, want := range map[int64]int64{0: part, part / 2: part - part/2, part: part / 4, 10 * all: part / 4} {
		if w.claims.parkedBytes = charged; w.parking().room() != want {
			t.Errorf("holds may take %d bytes beside %d for parked events, want %d", w.parking().room(), charged, want)
		}
	}
	if w.claims.parkedBytes = 10 * all; w.Full() {
		t.Error("the window is full of nothing but what parked events are charged")
	}
	if w.pending.bytes = all / 4; !w.Full() {
		t.Error("the window takes more than a quarter beside them")
	}
	w.pending.bytes, w.claims.parkedBytes = all-part/2, part/2
	if !w.Full() {
		t.Error("what parked events are charged does not count")
	}
}

// A credential on hold of whose streams nothing is left to probe it with, because a delete came,
// is tried anew with what is read again.
func TestWindow_ACredentialWithoutAnythingToProbeItIsTriedAnew(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 40)
	for _, stream := range []string{"s1", "s2", "s3"} {
		w.hold(stream)
	}
	w.put(contactsOf("s4", 60)...)
	parked := len(w.parked)
	for _, st := range w.schedule.holding(func(*stream) bool { return true }) {
		for _, c := range st.contacts {
			w.put("-" + st.name + "/" + c.id)
		}
	}
	if parked == 0 || w.pending.contacts > 0 || w.schedule.account("a").onHold() == nil {
		t.Fatalf("%d events are parked, %d contacts pending", parked, w.pending.contacts)
	}
	sent := 0
	for range 50 {
		w.Expire(w.now)
		w.readAgain(1000)
		sent += len(w.drain())
	}
	if sent != parked || len(w.parked) > 0 {
		t.Errorf("%d contacts were sent, want %d; %d events are parked", sent, parked, len(w.parked))
	}
}

// Each stream that was refused by itself keeps a contact to be probed with. However many there are, up to half of the
// window beyond the part of holds, they take nothing of what others may have; and never more than that.
func TestWindow_ManyStreamsThatWereRefusedDoNotFillTheWindow(t *testing.T) {
	t.Parallel()
	const contacts = 400
	w := parkWindow(t, contacts)
	w.put("live/first")
	w.drain()
	part, each := w.cfg.holdPart(), int64(0)
	refused := 0
	for ; w.schedule.held < 2*part; refused++ {
		stream := fmt.Sprintf("s%d", refused)
		w.put(contactsOf(stream, 3)...)
		w.now = w.now.Add(time.Second)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			w.settle(req, refusedAsUnknown)
		}
		w.schedule.account("a").signer("").held = false // one that is on hold keeps three contacts
		w.noteParked()
		if w.Full() && w.schedule.held < 2*part {
			t.Fatalf("the window is full with %d streams on hold: %d bytes of them, and %d are their part", refused, w.schedule.held, part)
		}
	}
	each = w.bytes() / int64(refused)
	if each > streamOverhead+contactOverhead+parkedOverhead+parkedCharge {
		t.Errorf("each stream on hold is charged %d bytes", each)
	}
	for i := range 1000 {
		if w.put(fmt.Sprintf("live/%d", i)); w.Full() {
			break
		}
	}
	st := w.schedule.streams[streamKey{"a", "live"}]
	if !w.Full() || st.bytes < part/4 || w.pending.bytes > 2*part+part {
		t.Errorf("full %v with %d bytes of a stream that is not on hold, and %d in all: %d and %d are the parts", w.Full(), st.bytes, w.pending.bytes, part, w.cfg.WindowBytes)
	}
}
