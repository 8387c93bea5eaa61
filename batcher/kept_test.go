package batcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// live has seconds pass in which the window makes so many calls each, and what was left is read again. Each ten
// of them bring contacts of the stream that are accepted. It returns what else was.
func (w *parkingWindow) live(seconds, calls int, unknown func(id string) bool) (sent []string) {
	for i := range seconds {
		w.now = w.now.Add(time.Second)
		w.Expire(w.now)
		if i%10 == 0 {
			w.put("st/fine1", "st/fine2", "st/fine3")
		}
		for range calls {
			req := w.Next(w.now)
			if req == nil {
				break
			}
			if slices.ContainsFunc(req.Batch.Rows, func(r contactsync.Row) bool { return unknown(r.ID) }) {
				w.settle(req, refusedAsUnknown)
			} else {
				for _, r := range req.Batch.Rows {
					if strings.HasPrefix(r.ID, "fine") {
						continue
					}
					sent = append(sent, fmt.Sprintf("%s/%s %s", req.Batch.Stream, r.ID, r.Body))
				}
				w.settle(req, allDelivered(req.Batch))
			}
		}
		w.noteParked()
		for range 2000 {
			if _, over := w.readSomeAgain(testClaim, 1); over || w.Full() {
				break
			}
		}
	}
	return sent
}

func isBad(id string) bool { return strings.HasPrefix(id, "bad") }

func nobody(string) bool { return false }

// A contact that is refused alone waits for ever, and its stream is well: the status tells it from a request that
// may still fill up.
func TestSnapshot_ContactsThatAreKeptAlone(t *testing.T) {
	t.Parallel()
	w := windowOfKept(t, 1)
	s := w.Status(w.now)
	if got := s.Busiest[0]; got.Stream != "st" || got.WaitsFor != "alone" || !got.Until.After(w.now) {
		t.Errorf("busiest %+v", got)
	}
	if a := s.Accounts[0]; a.AloneContacts != 1 || a.HeldContacts != 1 || a.HeldStreams != 0 {
		t.Errorf("account %+v", a)
	}
	w.put("st/new")
	if got := w.Status(w.now).Busiest[0]; got.WaitsFor == "alone" {
		t.Errorf("with a contact that was not refused, the stream waits for %s", got.WaitsFor)
	}
}

// What a stream waits for is what the first contact of its next request does: after a time-out, the answer that may
// still come, and not rows that fill up a request.
func TestSnapshot_WhatAStreamWaitsFor(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	waits := func() string { return w.Status(w.now).Busiest[0].WaitsFor }
	w.add("a")
	if got := waits(); got != waitsForRows {
		t.Errorf("a stream with one contact waits for %s", got)
	}
	req := w.send()
	if got := waits(); got != waitsForRequest {
		t.Errorf("with its only contact in a request it waits for %s", got)
	}
	w.settle(req, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
	if got := waits(); got != waitsForAmbiguous {
		t.Errorf("after a time-out it waits for %s", got)
	}
	w.now = w.now.Add(time.Hour)
	if got := waits(); got != WaitsForTurn {
		t.Errorf("when it is due it waits for %s", got)
	}
	w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone})
	if got := waits(); got != WaitsForHold {
		t.Errorf("on hold it waits for %s", got)
	}
}

// windowOfKept is a window in which contacts of a stream, which is accepted, are kept alone: more than may be.
func windowOfKept(t *testing.T, contacts int) *parkingWindow {
	t.Helper()
	w := parkWindow(t, 60)
	w.cfg.MaxRows = 10
	w.put("st/first", "other/first")
	w.live(60, 10, isBad)
	for i := range contacts {
		w.put(fmt.Sprint("st/bad", i))
		w.live(10, 10, isBad)
		if w.Full() {
			t.Fatalf("the window is full with the contact %d: %d of %d bytes are held", i, w.schedule.held, w.cfg.holdPart())
		}
	}
	w.live(60, 10, isBad)
	return w
}

// However many contacts of a stream the API refuses alone, the others of it and other streams go on: those
// that wait so take no more of the window than streams on hold, and the rest is read again later.
func TestWindow_ContactsThatAreKeptAloneDoNotFillTheWindow(t *testing.T) {
	t.Parallel()
	const contacts = 200
	w := windowOfKept(t, contacts)
	st := w.schedule.streams[streamKey{"a", "st"}]
	if st.health.hold != nil || w.schedule.held > w.parking().room() || len(w.parked) == 0 || w.outbox.pending() > 0 {
		t.Fatalf("on hold: %+v; %d bytes are held, and %d may be; %d events are parked, %d dead letters", st.health.hold, w.schedule.held, w.parking().room(), len(w.parked), w.outbox.pending())
	}
	if waiting := len(w.parked) + len(st.contacts); waiting != contacts {
		t.Errorf("%d contacts wait, want only the %d that are refused", waiting, contacts)
	}
	w.put("st/good", "other/good")
	if sent := w.live(5, 10, isBad); len(sent) != 2 {
		t.Errorf("sent %v, want two contacts that are not refused", sent)
	}
	w.wantLogged("has its part of the window", "st")
	for id := range w.claims.owned[testClaim].parked[st.key()].only {
		if s := explain(w.Window, w.now, nil, "st", id); len(s.Parked) != 1 {
			t.Errorf("of %s, which is left, %d partitions have events", id, len(s.Parked))
		}
	}
	if s := explain(w.Window, w.now, nil, "st", "good"); len(s.Parked) != 0 {
		t.Errorf("a contact of the stream that is not left may be among these: %+v", s.Parked)
	}
	var held int64
	for _, a := range w.Status(w.now).Accounts {
		held += a.HeldBytes
	}
	if held != w.schedule.held {
		t.Errorf("the status has %d bytes on hold, and the window %d", held, w.schedule.held)
	}

	arrived := map[string]int{}
	for range 50 {
		for _, s := range w.live(600, 10, nobody) {
			arrived[s]++
		}
	}
	if len(arrived) != contacts || len(w.parked) > 0 || w.pending.contacts > 0 || w.bytes() != 0 || w.schedule.held != 0 {
		t.Errorf("%d contacts were sent when they were known, want %d; %d events are parked, %d contacts wait, %d bytes, %d held", len(arrived), contacts, len(w.parked), w.pending.contacts, w.bytes(), w.schedule.held)
	}
	for s, n := range arrived {
		if n != 1 {
			t.Errorf("%s was sent %d times", s, n)
		}
	}
	if cl := w.claims.owned[testClaim]; len(cl.parked) > 0 || cl.open != 0 {
		t.Errorf("%d streams are parked, %d events are open", len(cl.parked), cl.open)
	}
}

// Those that were left are all tried in turn, not only the first ones: each that the API knows by then arrives.
func TestWindow_EachContactThatWasKeptAloneIsTriedInTurn(t *testing.T) {
	t.Parallel()
	const contacts = 100
	for _, known := range []int{5, 99} {
		w := windowOfKept(t, contacts)
		id := fmt.Sprint("bad", known)
		sent := w.live(12*3600, 1, func(s string) bool { return isBad(s) && s != id })
		if len(sent) != 1 {
			t.Errorf("contact %d of %d was sent %d times within half a day of the API knowing it, want once", known, contacts, len(sent))
		}
	}
}

// What comes of a contact that was left waits behind it, and what comes of others does not.
func TestWindow_OnlyWhatWasKeptAloneIsLeft(t *testing.T) {
	t.Parallel()
	w := windowOfKept(t, 100)
	var ids []string
	for o := range w.parked {
		ids = append(ids, "st/"+w.log[o].Contact.ID)
	}
	before := len(w.parked)
	from := len(w.log)
	w.put(ids...)
	w.put("-" + ids[0])
	w.put("!" + strings.TrimPrefix(ids[1], "st/"))
	if n := len(w.parked) - before; n != len(ids)+2 {
		t.Errorf("%d events of contacts that were left are left, want %d", n, len(ids)+2)
	}
	before = len(w.parked)
	w.put("st/new", "-st/other1", "!other2")
	if n := len(w.parked) - before; n != 0 {
		t.Errorf("%d events of other contacts are left", n)
	}
	newest := map[string]int{}
	for range 20 {
		for _, s := range w.live(600, 10, nobody) {
			var id string
			var seq int
			if _, err := fmt.Sscanf(s, `%s {"seq":%d}`, &id, &seq); err != nil {
				t.Fatal(err)
			}
			if before, ok := newest[id]; ok && before > seq {
				t.Errorf("%s: %d after %d", id, seq, before)
			}
			newest[id] = seq
		}
	}
	for _, id := range ids[2:] { // the others are deleted
		if newest[id] < from {
			t.Errorf("%s was sent with %d last, want its newest state, behind %d", id, newest[id], from)
		}
	}
	if len(w.parked) > 0 || w.bytes() != 0 {
		t.Errorf("%d events are parked, %d bytes", len(w.parked), w.bytes())
	}
}

// With hold_max they become dead letters as contacts in a hold do, and without it never, also where their stream
// is on hold.
func TestWindow_WhatIsKeptAloneExpiresAsHoldsDo(t *testing.T) {
	t.Parallel()
	for _, most := range []time.Duration{0, 2 * time.Hour} {
		w := windowOfKept(t, 10)
		w.cfg.HoldMax = most
		var letters []*DeadLetter
		for hour, want := range []int{0, 9, 10} {
			w.TakeLogEvents() // of which so many are kept
			if w.live(3600+100*hour, 1, isBad); hour == 0 {
				w.put("st/bad0") // another body is another case
			}
			if letters = append(letters, w.TakeDeadLetters()...); most > 0 && len(letters) != want || most == 0 && len(letters) > 0 {
				t.Fatalf("hold_max %v: %d dead letters after %d hours, want %d", most, len(letters), hour+1, want)
			}
		}
		for _, l := range letters {
			if l.Reason != contactsync.ReasonStreamGone || l.Status != 404 || l.Detail != refusedAsUnknown.Detail || l.Attempts < 10 {
				t.Errorf("dead letter %+v", l.DeadLetter)
			}
		}
		if most > 0 {
			w.wantLogged("has not known contacts of the stream for hold_max", "st")
		}
	}
}

// Where such a contact expires in a stream that is on hold for another cause, or not for so long, the log does not lay it to the hold.
func TestWindow_WhatIsKeptAloneDoesNotExpireForAHoldThatIsNotTheCause(t *testing.T) {
	t.Parallel()
	for _, kind := range []holdKind{holdGone, holdContract, holdRejecting} {
		w := windowOfKept(t, 1)
		w.cfg.HoldMax = time.Hour
		w.now = w.now.Add(time.Hour)
		st := w.schedule.streams[streamKey{"a", "st"}]
		w.health.putOnHold(w.now, st, kind, refusedAsUnknown)
		w.Expire(w.now)
		if letters := w.TakeDeadLetters(); len(letters) != 1 || st.health.hold.deadLetters != 1 {
			t.Fatalf("%v: %d dead letters, and %d of the hold, want 1", kind, len(letters), st.health.hold.deadLetters)
		}
		w.wantLogged("has not known contacts of the stream for hold_max", "st")
	}
}

// What waits apart in a stream on hold leaves the window and expires as the rest of it does, and is set aside with it.
func TestWindow_WhatWaitsApartInAHoldIsOfTheHold(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(w *parkingWindow, st *stream) (left int){
		"hold_max": func(w *parkingWindow, st *stream) int {
			w.cfg.HoldMax = time.Minute
			st.health.hold.since = w.now.Add(-time.Hour)
			w.now = w.now.Add(time.Minute)
			w.Expire(w.now)
			return len(st.contacts)
		},
		"set aside": func(w *parkingWindow, st *stream) int {
			if err := (decisions{w.Window}.setAside(w.now, "", "st", "")); err != nil {
				t.Error(err)
			}
			return len(st.contacts)
		},
		"no room": func(w *parkingWindow, st *stream) int {
			w.claims.parkedBytes = 1 << 40
			w.cfg.WindowBytes = 4 << 10
			w.Expire(w.now)
			return len(st.contacts) - 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := windowOfKept(t, 10)
			st := w.schedule.streams[streamKey{"a", "st"}]
			for g := range st.retries.all() {
				g.due = w.now.Add(time.Hour)
			}
			if w.health.putOnHold(w.now, st, holdGone, refusedAsUnknown); st.retries.waiting() != 10 {
				t.Fatalf("%d groups wait, want 10", st.retries.waiting())
			}
			if left := do(w, st); left > 0 {
				t.Errorf("%d contacts are left in the window", left)
			}
			if len(st.contacts) == 0 && st.kept != 0 || st.held != st.bytes {
				t.Errorf("%d contacts: %d bytes are kept alone, and %d of %d on hold", len(st.contacts), st.kept, st.held, st.bytes)
			}
		})
	}
}

// The log says where one of them is, what was answered, and no more of it than that.
func TestEventLog_AContactThatIsKeptAlone(t *testing.T) {
	t.Parallel()
	w := windowOfKept(t, 1)
	w.wantLogged("a contact was refused, or failed, in a request of its own", "stream st", "contacts/1@", "stream_gone", "404")
}

// A window that is full of them says so.
func TestEventLog_FullOfContactsThatAreKeptAlone(t *testing.T) {
	t.Parallel()
	w := windowOfKept(t, 10)
	w.cfg.WindowBytes = 1
	w.Window.log.full(w.Observe(w.now))
	w.wantLogged("the window is full, mostly", "st", "alone")
}

// What is known against a contact that is kept alone is not known against what comes after a delete of it.
func TestWindow_WhatComesAfterADeleteOfAContactThatIsKeptAloneStartsAnew(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]contactsync.Result{"404": refusedAsUnknown, "500": fails} {
		w := newTestWindow(t, func(c *Config) { c.UnansweredAttempts, c.UnansweredAfter, c.HoldMax = 2, time.Minute, time.Hour })
		var letters []*DeadLetter
		answer := func(until time.Duration, also func(req *Request)) {
			for end := w.now.Add(until); w.now.Before(end); w.now = w.now.Add(time.Second) {
				if w.Expire(w.now); w.now.Unix()%10 == 0 {
					w.add("other")
				}
				for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
					if hasRow(req.Batch, "bad") {
						also(req)
						w.settle(req, r)
					} else {
						w.settle(req, allDelivered(req.Batch))
					}
				}
				letters = append(letters, w.TakeDeadLetters()...)
			}
		}
		w.add("other", "bad")
		c := w.schedule.streams[streamKey{"a", "st"}].contacts["bad"]
		nothing := func(*Request) {}
		for c.suspicion.alone == 0 && c.gone == nil {
			answer(time.Second, nothing)
		}
		start, replaced := w.now, time.Time{}
		answer(4*time.Minute, func(*Request) {
			if replaced.IsZero() && w.now.Sub(start) >= time.Minute {
				w.remove("bad")
				w.add("bad")
				replaced = w.now
			}
		})
		switch {
		case replaced.IsZero():
			t.Fatalf("%s: it was not sent", name)
		case len(letters) > 0 && letters[0].Attempts < 2:
			t.Errorf("%s: a state that was sent once is set aside: %+v", name, letters[0].DeadLetter)
		case c.gone != nil && c.gone.since.Before(replaced):
			t.Errorf("%s: it is unknown since %v, and came at %v", name, c.gone.since, replaced)
		}
	}
}
