package batcher

import (
	"fmt"
	"testing"
	"time"
)

// manyLeft has so many streams on hold of which far more is left than the window holds, an equal part of each, and ends the holds of some.
func manyLeft(t *testing.T, streams, each, over int) *parkingWindow {
	t.Helper()
	w := parkWindow(t, 60)
	for i := range streams {
		w.schedule.stream(fmt.Sprint("st", i), "a").health.hold = &hold{kind: holdGone, since: w.now}
		w.put(contactsOf(fmt.Sprint("st", i), each)...)
	}
	for i := range over {
		w.health.endHold(w.now, w.schedule.stream(fmt.Sprint("st", i), "a"), endedAnswer)
	}
	return w
}

// reading returns of how many streams what was left is read again now.
func (w *parkingWindow) reading() (streams int) {
	pass := w.parking().ReadAgain(w.now, testClaim)
	for _, p := range w.claims.of(testClaim).parked {
		if pass > 0 && p.pass == pass {
			streams++
		}
	}
	return streams
}

// Where many streams are no longer on hold, only as many are read again at once as there is room for: all of a stream comes together, then,
// and goes with few requests.
func TestReading_IsForTheStreamsThatThereIsRoomFor(t *testing.T) {
	t.Parallel()
	w := manyLeft(t, 20, 20, 20)
	if n := w.reading(); n < 1 || n > 3 {
		t.Errorf("%d streams of 20 are read again, and there is room for the contacts of two", n)
	}
}

// littleLeft has little left of each stream, far less than of all, and a reading that is over.
func littleLeft(t *testing.T) *parkingWindow {
	t.Helper()
	w := manyLeft(t, 20, 20, 0)
	w.haveLittle()
	w.now = w.now.Add(w.cfg.HoldProbeMax)
	w.claims.of(testClaim).readAt = w.now
	return w
}

// haveLittle leaves a few events of each stream, as if the others were newer states.
func (w *parkingWindow) haveLittle() {
	for _, p := range w.claims.of(testClaim).parked {
		p.events = 5
	}
}

// A reading is of the whole log: for a stream of which little was left beside all others it is made now and then only, where the stream comes and goes.
func TestReading_IsNotMadeForLittle(t *testing.T) {
	t.Parallel()
	w := littleLeft(t)
	st := w.schedule.stream("st1", "a")
	st.health.hold.since = w.now.Add(time.Second - w.cfg.HoldProbeMax)
	w.health.endHold(w.now, st, endedAnswer)
	if n := w.reading(); n != 0 {
		t.Errorf("%d streams are read again for a few events just after a reading", n)
	}
	if w.now = w.now.Add(w.cfg.HoldProbeMax / 2); w.reading() != 1 {
		t.Error("the stream is not read again later")
	}
}

// A stream that is accepted again after a long hold is read again at once, and others on hold do not matter. A
// reading of the kind takes a tenth of the time at most.
func TestReading_OfAStreamThatIsBackIsMadeAtOnce(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(w *parkingWindow, st *stream){
		"it was on hold": func(w *parkingWindow, st *stream) { w.health.endHold(w.now, st, endedAnswer) },
		"what signs for it was": func(w *parkingWindow, st *stream) {
			st.signer.held, st.signer.heldSince, st.health.hold = true, st.health.hold.since, nil
			w.health.endCredential(w.now, st.signer)
		},
	} {
		w := littleLeft(t)
		ends(w, w.schedule.stream("st1", "a"))
		if n := w.reading(); n != 1 {
			t.Errorf("%s: %d streams are read again", name, n)
		}
		const took = time.Second
		w.now = w.now.Add(took)
		cl := w.claims.of(testClaim)
		w.parking().ReadAgainDone(w.now, testClaim, cl.pass, 0)
		w.haveLittle()
		w.health.endHold(w.now, w.schedule.stream("st2", "a"), endedAnswer)
		if w.now = w.now.Add(readingShare*took - 1); w.reading() != 0 {
			t.Errorf("%s: the next one is read again soon after that", name)
		}
		if w.now = w.now.Add(1); w.reading() != 1 {
			t.Errorf("%s: the next one is not read again", name)
		}
	}
}

// What stalls for long is read again more and more rarely.
func TestReading_OfWhatStallsCostsAnOutageAFew(t *testing.T) {
	t.Parallel()
	w := parkWindow(t, 30)
	w.put(contactsOf("bad", 60)...)
	began, readings := w.now, 0
	for w.now.Sub(began) < 100*w.cfg.HoldProbeMax {
		w.now = w.now.Add(time.Minute)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			w.settle(req, failed500)
		}
		w.noteParked()
		if got := w.readAgain(1000); len(got) > 0 {
			readings++
		}
	}
	if readings < 5 || readings > 8 { // after 1, 2, 4 ... times as long as streams on hold are probed
		t.Errorf("what is left was read again %d times", readings)
	}
}
