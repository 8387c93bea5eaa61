package batcher

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// counts are the events that ended, by how.
func (w *testWindow) counts() string {
	n := w.outbox.total.Ended
	return fmt.Sprintf("delivered %d superseded %d dead letter %d skipped %d",
		n[metrics.Delivered].Count, n[metrics.Superseded].Count, n[metrics.SetAside].Count, n[metrics.Skipped].Count)
}

// wantNothing checks that nothing is pending and nothing charged.
func (w *testWindow) wantNothing() {
	w.t.Helper()
	if w.pending.contacts != 0 || w.pending.bytes != 0 || w.outbox.bytes != 0 {
		w.t.Errorf("left: %d contacts, %d and %d bytes", w.pending.contacts, w.pending.bytes, w.outbox.bytes)
	}
}

// lenientDecoder takes events of any members.
func lenientDecoder(t *testing.T) *event.Decoder {
	t.Helper()
	cfg := event.DefaultConfig()
	cfg.Validation = "lenient"
	d, err := event.NewDecoder(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// update adds an event with a body as the decoder hands it over.
func (w *testWindow) update(d *event.Decoder, id, contact string) {
	w.t.Helper()
	rec := w.event(id).Record
	rec.Value = fmt.Appendf(nil, `{"streamId":"st","contact":{"id":%q,%s}}`, id, contact)
	ev := d.Decode(rec)
	if ev.Kind != event.Update {
		w.t.Fatalf("%s: %v", rec.Value, ev.Err)
	}
	ev.Contact.Account = "a"
	w.Add(w.now, &ev)
}

// What is sent of a contact is what all of its events say together, however they are
// merged: while it waits, behind a request, or when a request has failed.
func TestPending_MergesStates(t *testing.T) {
	t.Parallel()
	d := lenientDecoder(t)
	for _, tt := range []struct {
		name   string
		events []string
		want   string
	}{
		{"the same members", []string{`"a":1,"b":1`, `"a":2,"b":2`}, `{"id":"x","a":2,"b":2}`},
		{"other members", []string{`"a":1`, `"b":2`}, `{"id":"x","a":1,"b":2}`},
		{
			"the same names at other paths",
			[]string{`"home":{"city":1},"work":{"zip":1}`, `"home":{"zip":2},"work":{"city":2}`},
			`{"id":"x","home":{"city":1,"zip":2},"work":{"zip":1,"city":2}}`,
		},
		{"a null stays", []string{`"a":1`, `"b":null`}, `{"id":"x","a":1,"b":null}`},
		{"three states", []string{`"a":1`, `"b":2`, `"a":3`}, `{"id":"x","a":3,"b":2}`},
		{"members that came and stay", []string{`"a":1`, `"b":2`, `"b":3`, `"c":4`}, `{"id":"x","a":1,"b":3,"c":4}`},
	} {
		for how, merge := range map[string]func(w *testWindow){
			"while it waits": func(w *testWindow) {
				for _, contact := range tt.events {
					w.update(d, "x", contact)
				}
			},
			"behind a request": func(w *testWindow) {
				w.update(d, "x", tt.events[0])
				f := w.send()
				for _, contact := range tt.events[1:] {
					w.update(d, "x", contact)
				}
				w.settle(f, contactsync.Result{Kind: contactsync.Throttled})
			},
			"after each request": func(w *testWindow) {
				for _, contact := range tt.events {
					w.update(d, "x", contact)
					w.settle(w.send(), contactsync.Result{Kind: contactsync.Throttled})
				}
			},
		} {
			w := newTestWindow(t, nil)
			merge(w)
			f := w.send()
			var got, want map[string]any
			if err := json.Unmarshal(f.Batch.Rows[0].Body, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, %s: sent %s, want %s", tt.name, how, f.Batch.Rows[0].Body, tt.want)
			}
			if st := w.schedule.streams[streamKey{"a", "st"}]; st.queue.bytes != 0 || f.bytes != int64(len(f.Batch.Rows[0].Body)+1) {
				t.Errorf("%s, %s: %d bytes queued, %d in the request", tt.name, how, st.queue.bytes, f.bytes)
			}
			w.settle(f, allDelivered(f.Batch))
			if want := fmt.Sprintf("delivered 1 superseded %d dead letter 0 skipped 0", len(tt.events)-1); w.counts() != want {
				t.Errorf("%s, %s: %s, want %s", tt.name, how, w.counts(), want)
			}
			w.wantNothing()
		}
	}
}

// A new state after a delete has nothing of what was in the request: neither its place nor its attempts.
func TestPending_WhatComesAfterADeleteStartsAnew(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.RowAttempts = 2 })
	w.add("x")
	f := w.send()
	w.add("other/y")
	w.now = w.now.Add(time.Minute)
	w.remove("x")
	w.add("x")
	open := contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: make([]contactsync.Outcome, 1)}
	w.settle(f, open)
	f = w.send()
	if f.Batch.Stream != "other" {
		t.Errorf("%s goes first, and other is older", f.Batch.Stream)
	}
	w.settle(f, allDelivered(f.Batch))
	w.settle(w.send(), open)
	if n := w.DeadLettersPending(); n != 0 {
		t.Error("the answer that left the deleted state open counts")
	}
}

// Where a delete arrives, everything before it ends, and nothing that comes after it.
func TestPending_Deletes(t *testing.T) {
	t.Parallel()
	failed := contactsync.Result{Kind: contactsync.Throttled}
	for _, tt := range []struct {
		name  string
		do    func(w *testWindow)
		ended []int64 // before the next request
		body  string  // of that
	}{
		{"while it waits", func(w *testWindow) { w.add("x", "x"); w.remove("x") }, []int64{0, 1, 2}, ""},
		{"and comes again", func(w *testWindow) { w.add("x"); w.remove("x"); w.add("x") }, []int64{0, 1}, `{"seq":2}`},
		{"in a request that fails", func(w *testWindow) {
			w.add("x")
			f := w.send()
			w.remove("x")
			w.settle(f, failed)
		}, []int64{0, 1}, ""},
		{"in a request that is answered", func(w *testWindow) {
			w.add("x")
			f := w.send()
			w.remove("x")
			w.settle(f, allDelivered(f.Batch))
		}, []int64{0, 1}, ""},
		{"in a request that refuses it", func(w *testWindow) {
			w.add("x")
			f := w.send()
			w.remove("x")
			w.settle(f, contactsync.Result{Kind: contactsync.BadRequest})
		}, []int64{0, 1}, ""},
		{"behind a request", func(w *testWindow) {
			w.add("x")
			f := w.send()
			w.add("x")
			w.remove("x")
			w.settle(f, failed)
		}, []int64{0, 1, 2}, ""},
		{"in a request that fails, and comes again", func(w *testWindow) {
			w.add("x")
			f := w.send()
			w.remove("x")
			w.add("x")
			w.settle(f, failed)
		}, []int64{0, 1}, `{"seq":2}`},
		{"in a request that is answered, and comes again", func(w *testWindow) {
			w.add("x")
			f := w.send()
			w.add("x")
			w.remove("x")
			w.add("x")
			w.settle(f, allDelivered(f.Batch))
		}, []int64{0, 1, 2}, `{"seq":3}`},
		{"in a set of its own", func(w *testWindow) {
			w.add("x", "y")
			w.settle(w.send(), contactsync.Result{Kind: contactsync.BadRequest})
			w.remove("x")
			w.remove("y")
		}, []int64{0, 1, 2, 3}, ""},
		{"another contact", func(w *testWindow) { w.add("x"); w.remove("other/x"); w.remove("y") }, []int64{1, 2}, `{"seq":0}`},
	} {
		w := newTestWindow(t, nil)
		w.t = t
		tt.do(w)
		w.wantEnded(tt.ended...)
		w.now = w.now.Add(time.Hour)
		f := w.Next(w.now)
		got := ""
		if f != nil {
			got = string(f.Batch.Rows[0].Body)
			w.settle(f, allDelivered(f.Batch))
		}
		if got != tt.body {
			t.Errorf("%s: sent %q, want %q", tt.name, got, tt.body)
		}
		w.wantNothing()
		if len(w.TakeDeadLetters()) != 0 {
			t.Errorf("%s: a contact that was deleted became a dead letter", tt.name)
		}
		if t.Failed() {
			t.Fatal(tt.name)
		}
	}
}

// A tombstone whose key names no stream ends the contact in all of them.
func TestPending_TombstoneWithoutStream(t *testing.T) {
	t.Parallel()
	tombstone := func(w *testWindow, stream, id string) {
		ev := w.event("x")
		ev.Kind, ev.Contact = event.Tombstone, event.Contact{Stream: stream, ID: id}
		w.Add(w.now, ev)
	}
	for _, tt := range []struct {
		stream, id string
		ended      []int64
	}{
		{"", "x", []int64{0, 1, 2, 4}},
		{"two", "x", []int64{1, 4}},
		{"four", "x", []int64{4}},
		{"", "", []int64{4}},
	} {
		w := newTestWindow(t, nil)
		w.add("one/x", "two/x", "three/x", "three/y")
		tombstone(w, tt.stream, tt.id)
		w.wantEnded(tt.ended...)
		if want := 5 - len(tt.ended); w.pending.contacts != want {
			t.Errorf("key %s/%s: %d contacts are pending, want %d", tt.stream, tt.id, w.pending.contacts, want)
		}
	}
}

// The index that tombstones without a stream are looked up in follows what is pending,
// however contacts come and go.
func TestPending_IndexFollowsTheContacts(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.Linger, c.MaxRows = 0, 3 })
	check := func() {
		t.Helper()
		got, want := map[*contact]string{}, map[*contact]string{}
		for id, c := range w.pending.index.byID {
			for ; c != nil; c = c.sameIDNext {
				got[c] = id
			}
		}
		for _, st := range w.schedule.streams {
			for id, c := range st.contacts {
				want[c] = id
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("the index has %v, want %v", got, want)
		}
	}
	w.add("s0/x")
	w.pending.index.named("nobody") // from here on there is one
	random := rand.New(rand.NewPCG(1, 2))
	var requests []*Request
	for range 3000 {
		key := fmt.Sprintf("s%d/%c", random.IntN(4), 'a'+rune(random.IntN(4)))
		switch ev := w.event(key); random.IntN(9) {
		case 0, 1, 2, 3:
			w.Add(w.now, ev)
		case 4:
			ev.Kind = event.Tombstone
			w.Add(w.now, ev)
		case 5:
			ev.Kind, ev.Contact.Stream = event.Tombstone, ""
			w.Add(w.now, ev)
		case 6:
			if req := w.Next(w.now); req != nil {
				requests = append(requests, req)
			}
		case 7:
			for _, req := range requests {
				r := allDelivered(req.Batch)
				for i := range r.Rows {
					r.Rows[i] = contactsync.Outcome{Verdict: contactsync.Verdict(random.IntN(3)), Reason: "no"}
				}
				w.Settle(w.now, req, r)
			}
			requests = nil
		case 8:
			w.now = w.now.Add(time.Second)
		}
		check()
	}
	w.Forget(w.now)
	check()
}

// A tombstone without a stream costs the contacts that it names, and no look at the others.
func BenchmarkPending_TombstoneWithoutStream(b *testing.B) {
	w := newTestWindow(b, nil)
	for i := range 100_000 {
		w.add(fmt.Sprintf("st-%d/c%d", i, i))
	}
	w.pending.index.named("nobody")
	n := 0
	for b.Loop() {
		ev := w.event(fmt.Sprintf("x/c%d", n%100_000))
		ev.Kind, ev.Contact.Stream = event.Tombstone, ""
		w.Add(w.now, ev)
		n++
	}
}

// Contacts whose partition catches up are not sent before it has, wherever their
// stream's requests come from; those of other partitions are.
func TestPending_CatchUp(t *testing.T) {
	t.Parallel()
	behind := testClaim
	behind.Partition = 2
	w := newTestWindow(t, func(c *Config) { c.MaxRows = 2 })
	w.Assign(w.now, []contactsync.Claim{behind}, true)
	w.addTo(behind, "x")
	w.addTo(testClaim, "x") // merged into what waits
	w.addTo(testClaim, "y")
	w.addTo(behind, "y") // merged into what does not
	w.addTo(testClaim, "z")
	if f := w.send(); ids(f) != "y z" || f.Reason != BatchRows {
		t.Errorf("sent %q because of %v, want the full request of contacts that need not wait", ids(f), f.Reason)
	}
	w.addTo(testClaim, "a")
	w.now = w.now.Add(time.Hour)
	if f := w.Next(w.now); f != nil {
		t.Errorf("sent %q although it is not full", ids(f))
	}
	w.CaughtUp(w.now, behind)
	if wake := w.Wake(); !wake.Equal(w.now) { // a and x are a full request
		t.Errorf("the next request is due at %v, want at once", wake)
	}
	if f := w.send(); ids(f) != "a x" {
		t.Errorf("sent %q, want both", ids(f))
	}
}

// The contacts of a partition that has caught up are let go in steps. What arrives in between waits behind them.
func TestPending_CatchUpKeepsWhatArrivesBehindIt(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	behind := testClaim
	behind.Partition = 2
	w.Assign(w.now, []contactsync.Claim{behind}, true)
	w.addTo(behind, "x")
	w.addTo(behind, "y")
	w.pending.catchUp.room = 1
	w.CaughtUp(w.now, behind)
	w.add("z")
	if f := w.send(); ids(f) != "x y z" {
		t.Errorf("sent %q", ids(f))
	}
}

// It begins to linger when the partition has caught up, not when it was read.
func TestPending_LingersAfterCatchUp(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.Linger = time.Second })
	behind := testClaim
	behind.Partition = 2
	w.Assign(w.now, []contactsync.Claim{behind}, true)
	w.addTo(behind, "x")
	w.now = w.now.Add(time.Hour)
	w.CaughtUp(w.now, behind)
	if wake := w.Wake(); !wake.Equal(w.now.Add(time.Second)) {
		t.Errorf("due at %v, want a second after the end of catch-up", wake)
	}
}

func TestPending_TakesUpToTheLimits(t *testing.T) {
	t.Parallel()
	row := int64(len(`{"seq":0}`) + 1)
	for _, tt := range []struct {
		name   string
		rows   int
		bytes  int64
		queue  int
		want   string
		reason BatchReason
	}{
		{"all that wait", 10, 1000, 3, "c0 c1 c2", BatchLinger},
		{"the most rows", 2, 1000, 3, "c0 c1", BatchRows},
		{"just the most rows", 3, 1000, 3, "c0 c1 c2", BatchRows},
		{"the most bytes", 10, 2 * row, 3, "c0 c1", BatchBytes},
		{"not a byte more", 10, 2*row - 1, 3, "c0", BatchBytes},
		{"one that is too large goes alone", 10, 1, 3, "c0", BatchBytes},
	} {
		w := newTestWindow(t, nil)
		for i := range tt.queue {
			w.add(fmt.Sprint("c", i))
		}
		f := w.pending.take(w.now, w.schedule.streams[streamKey{"a", "st"}], tt.rows, tt.bytes, false)
		if ids(f) != tt.want || f.Reason != tt.reason || f.bytes != row*int64(len(f.rows)) {
			t.Errorf("%s: %q because of %v, %d bytes; want %q because of %v", tt.name, ids(f), f.Reason, f.bytes, tt.want, tt.reason)
		}
	}
}

// The charge follows whatever a contact holds: its record, what was merged into it, and
// the positions of its events.
func TestPending_ChargesWhatAContactTakes(t *testing.T) {
	t.Parallel()
	charge := func(do func(w *testWindow)) int64 {
		w := newTestWindow(t, nil)
		do(w)
		if w.pending.bytes != w.bytes() {
			t.Errorf("the window charges %d, its contacts %d", w.bytes(), w.pending.bytes)
		}
		return w.pending.bytes
	}
	add := func(w *testWindow, change func(*event.Event)) {
		ev := w.event("x")
		change(ev)
		w.Add(w.now, ev)
	}
	one := charge(func(w *testWindow) { w.add("x") })
	if one < contactOverhead+sourceBytes {
		t.Errorf("charged %d for a contact", one)
	}
	big := make([]byte, 5000)
	for name, tt := range map[string]struct{ got, least, most int64 }{
		"another contact": {charge(func(w *testWindow) { w.add("x", "y") }), one - streamOverhead, one - streamOverhead},
		"behind a request": {charge(func(w *testWindow) {
			w.add("x")
			w.send()
			w.add("x")
		}), one - streamOverhead, one - streamOverhead},
		"value": {charge(func(w *testWindow) { add(w, func(ev *event.Event) { ev.Record.Value = big }) }), 5000, 5000},
		"key":   {charge(func(w *testWindow) { add(w, func(ev *event.Event) { ev.Record.Key = big }) }), 5000, 5000},
		"a body that is no part of the value": {charge(func(w *testWindow) {
			add(w, func(ev *event.Event) { ev.Contact.Body, ev.Contact.Copied = big, true })
		}), 5000, 5000},
		"header": {charge(func(w *testWindow) {
			add(w, func(ev *event.Event) { ev.Record.Headers = []contactsync.Header{{Value: big}} })
		}), 5000, 5100},
		"events": {charge(func(w *testWindow) {
			for range 100 {
				w.add("x")
			}
		}), 99 * sourceBytes, 200 * sourceBytes},
		"a newer value frees the older": {charge(func(w *testWindow) {
			add(w, func(ev *event.Event) { ev.Record.Value = big })
			w.add("x")
		}), sourceBytes, 4 * sourceBytes},
		"merged": {charge(func(w *testWindow) {
			add(w, func(ev *event.Event) {
				ev.Contact.Body, ev.Contact.Shape = []byte(`{"other":"0123456789"}`), 2
			})
			w.add("x")
		}), sourceBytes + 20, 4*sourceBytes + 60},
	} {
		if more := tt.got - one; more < tt.least || more > tt.most {
			t.Errorf("%s: charged %d more, want %d to %d", name, more, tt.least, tt.most)
		}
	}
}

// Of contacts in a long hold those become dead letters that have waited long enough
// themselves, at most so many at a time.
func TestPending_Expire(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.HoldMax = time.Hour })
	st := w.schedule.stream("st", "a")
	st.health.hold = &hold{kind: holdGone, since: w.now.Add(time.Minute), last: said{detail: "unknown"}, status: 404}
	w.add("a", "b", "c")
	w.now = w.now.Add(30 * time.Minute)
	w.add("d")
	w.now = w.now.Add(30 * time.Minute)
	waited := func(c *contact) (expiry, bool) { return st.health.hold.expiry(), w.now.Sub(c.since) >= time.Hour }
	if n := w.pending.expire(w.now, st, 2, waited); n != 2 {
		t.Errorf("%d became dead letters, want 2 at a time", n)
	}
	if n := w.pending.expire(w.now, st, 2, waited); n != 1 {
		t.Errorf("%d became dead letters, want those that have waited for an hour", n)
	}
	letters := w.TakeDeadLetters()
	if len(letters) != 3 || w.pending.contacts != 1 {
		t.Fatalf("%d dead letters, %d pending", len(letters), w.pending.contacts)
	}
	l := letters[0]
	if l.Contact != "a" || l.Reason != contactsync.ReasonStreamGone || l.Detail != "unknown" || l.Status != 404 || !l.First.Equal(st.health.hold.since) || !l.Last.Equal(w.now) {
		t.Errorf("dead letter %+v", l.DeadLetter)
	}
}

// What the dead letter of a contact holds: the newest record, or the merged state where
// older events had set members that the newest has not.
func TestPending_DeadLetterHoldsTheWholeState(t *testing.T) {
	t.Parallel()
	d := lenientDecoder(t)
	for _, tt := range []struct {
		name   string
		events []string
		want   map[string]any
	}{
		{"one event", []string{`"a":1`}, map[string]any{"id": "x", "a": 1.0}},
		{"the newest says all", []string{`"a":1`, `"a":2`}, map[string]any{"id": "x", "a": 2.0}},
		{"it does not", []string{`"a":1`, `"b":2`}, map[string]any{"id": "x", "a": 1.0, "b": 2.0}},
	} {
		w := newTestWindow(t, nil)
		for _, contact := range tt.events {
			w.update(d, "x", contact)
		}
		w.refuseAlone(contactsync.Result{Kind: contactsync.BadRequest, Status: 400, Detail: "no"})
		letters := w.TakeDeadLetters()
		if len(letters) != 1 || len(letters[0].Positions) != len(tt.events) || letters[0].Attempts != 2 {
			t.Fatalf("%s: dead letters %+v", tt.name, letters)
		}
		var got struct{ Contact map[string]any }
		if err := json.Unmarshal(letters[0].Record.Value, &got); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got.Contact, tt.want) || letters[0].Record.Offset != int64(len(tt.events)-1) {
			t.Errorf("%s: %s at %v, want %v", tt.name, letters[0].Record.Value, letters[0].Record.Position, tt.want)
		}
		w.DeadLettersAcked(w.now, letters)
		w.wantNothing()
	}
}

// Two events that waited behind a request say together what it said: the dead letter
// holds both of them, and not the last one only.
func TestPending_DeadLetterHoldsWhatWasMergedBehindARequest(t *testing.T) {
	t.Parallel()
	d := lenientDecoder(t)
	w := newTestWindow(t, nil)
	w.update(d, "x", `"a":1,"b":1`)
	f := w.send()
	w.update(d, "x", `"a":2`)
	w.update(d, "x", `"b":3`)
	w.settle(f, contactsync.Result{Kind: contactsync.Throttled})
	w.refuseAlone(contactsync.Result{Kind: contactsync.BadRequest, Status: 400, Detail: "no"})
	letters := w.TakeDeadLetters()
	if len(letters) != 1 {
		t.Fatalf("dead letters %+v", letters)
	}
	var got struct{ Contact map[string]any }
	if err := json.Unmarshal(letters[0].Record.Value, &got); err != nil {
		t.Fatal(err)
	}
	if want := map[string]any{"id": "x", "a": 2.0, "b": 3.0}; !maps.Equal(got.Contact, want) {
		t.Errorf("%s, want %v", letters[0].Record.Value, want)
	}
}

// Bodies come from the decoder, so merging does not fail. If it did, nothing would be
// lost: the older state becomes a dead letter, and the newer one goes on.
func TestPending_StatesThatCannotBeMerged(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(w *testWindow, newer *event.Event){
		"while it waits": func(w *testWindow, newer *event.Event) { w.Add(w.now, newer) },
		"behind a request": func(w *testWindow, newer *event.Event) {
			f := w.send()
			w.Add(w.now, newer)
			w.settle(f, contactsync.Result{Kind: contactsync.Throttled})
		},
	} {
		w := newTestWindow(t, nil)
		older, newer := w.event("x"), w.event("x")
		older.Contact.Body, older.Contact.Shape = []byte("no object"), 2
		w.Add(w.now, older)
		again(w, newer)
		letters := w.TakeDeadLetters()
		if len(letters) != 1 || letters[0].Reason != contactsync.ReasonUndecodable || letters[0].Record.Offset != 0 || len(letters[0].Positions) != 1 {
			t.Fatalf("%s: dead letters %+v", name, letters)
		}
		w.DeadLettersAcked(w.now, letters)
		w.wantEnded(0)
		f := w.send()
		if got := string(f.Batch.Rows[0].Body); got != `{"seq":1}` {
			t.Errorf("%s: sent %s, want the newer state", name, got)
		}
		w.settle(f, allDelivered(f.Batch))
		w.wantEnded(1)
		w.wantNothing()
	}
}

// A contact that grows may fill a request.
func TestPending_AMergeFillsARequest(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxBytes, c.Linger = 1<<10, time.Hour })
	w.add("x")
	if f := w.Next(w.now); f != nil {
		t.Fatal("sent before it has lingered")
	}
	ev := w.event("x")
	ev.Contact.Body = fmt.Appendf(nil, `{"name":%q}`, strings.Repeat("x", 1<<10))
	w.Add(w.now, ev)
	if w.Next(w.now) == nil {
		t.Error("a full request lingers")
	}
}

// A request whose answer did not come may still be applied. A delete of its contact does not
// change that, whether it comes before the time-out or after it.
func TestWindow_WhatFollowsADeleteWaitsForRequestsThatMayBeApplied(t *testing.T) {
	t.Parallel()
	for name, inFlight := range map[string]bool{"deleted in flight": true, "deleted while it waits": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, nil)
			w.add("c1")
			f := w.send()
			if inFlight {
				w.remove("c1")
			}
			w.settle(f, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
			if !inFlight {
				w.remove("c1")
			}
			until := w.now.Add(w.cfg.AmbiguousRetryDelay)
			w.add("c1")
			w.now = until.Add(-time.Millisecond)
			if w.Next(w.now) != nil {
				t.Error("a newer state is sent while the older one may still be applied")
			}
			if got := w.Wake(); !got.Equal(until) {
				t.Errorf("wakes at %v, want %v", got, until)
			}
			w.now = until
			if w.Next(w.now) == nil {
				t.Error("it is not sent afterwards")
			}
		})
	}
}

// A contact with ever new members is sent before it grows without bound, its states in their order.
func TestPending_AContactWithEverNewMembersDoesNotGrowWithoutBound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                string
		events, size        int
		largest, most, rows int // bytes of a row, bytes that are merged for each that arrives
	}{
		{"large events", 60, 250 << 10, 512 << 10, 3, 30},
		{"small events", 2000, 100, 17 << 10, 170, 13},
		{"a large one, then small ones", 2000, 0, 300 << 10, 170, 14},
	} {
		w := newTestWindow(t, func(c *Config) { c.Linger = 0 })
		merged, arrived := 0, 0
		var want []string
		for i := range tt.events {
			size := tt.size
			if size == 0 {
				size = 100
				if i == 0 {
					size = 300 << 10
				}
			}
			ev := w.event("x")
			name := fmt.Sprintf("m%d", i)
			ev.Contact.Body, ev.Contact.Shape = fmt.Appendf(nil, `{%q:%q}`, name, strings.Repeat("v", size-len(name)-7)), uint64(i)+1<<40
			want = append(want, name)
			arrived += size
			w.Add(w.now, ev)
			c := w.pending.find(keyOf(ev))
			if last := c.last(); last.merged {
				merged += len(last.body)
			}
		}
		if merged > tt.most*arrived {
			t.Errorf("%s: %d bytes were merged for %d", tt.name, merged, arrived)
		}
		var got []string
		rows := 0
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			row := req.Batch.Rows[0].Body
			if rows++; len(row) > tt.largest {
				t.Errorf("%s: a row of %d bytes", tt.name, len(row))
			}
			for member := range strings.SplitSeq(strings.Trim(string(row), "{}"), ",") {
				got = append(got, strings.Trim(strings.SplitN(member, ":", 2)[0], `"`))
			}
			w.Settle(w.now, req, allDelivered(req.Batch))
		}
		if !slices.Equal(got, want) || rows > tt.rows {
			t.Errorf("%s: %d rows with %d of %d members in order", tt.name, rows, len(got), len(want))
		}
		w.wantNothing()
	}
}

// What arrived behind a request that failed does not make its row too large either.
func TestPending_AStateThatComesBackDoesNotGrowWithoutBound(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.Linger = 0 })
	var failing *Request
	for i := range 3 {
		ev := w.event("x")
		ev.Contact.Body, ev.Contact.Shape = fmt.Appendf(nil, `{"m%d":%q}`, i, strings.Repeat("v", 200<<10)), uint64(i)+1<<40
		w.Add(w.now, ev)
		if i == 1 {
			failing = w.send()
		}
	}
	w.settle(failing, contactsync.Result{Kind: contactsync.Throttled})
	var got []string
	for range 2 {
		req := w.send()
		row := req.Batch.Rows[0].Body
		got = append(got, fmt.Sprintf("%d KiB", len(row)>>10))
		w.settle(req, allDelivered(req.Batch))
	}
	if want := []string{"400 KiB", "200 KiB"}; !slices.Equal(got, want) {
		t.Errorf("rows of %v, want %v", got, want)
	}
	w.wantNothing()
}
