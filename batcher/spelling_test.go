package batcher

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

const lower, upper = "6964af60450340957c61a2b3", "6964AF60450340957C61A2B3"

// addSpelled adds an update of a contact that sets some members.
func (w *testWindow) addSpelled(id string, members ...string) {
	ev := w.event(id)
	body := fmt.Sprintf(`{"id":%q`, id)
	for _, name := range members {
		body += fmt.Sprintf(`,%q:%d`, name, ev.Record.Offset)
	}
	ev.Contact.Body, ev.Contact.Shape = []byte(body+"}"), uint64(len(members))
	for _, name := range members {
		ev.Contact.Shape = ev.Contact.Shape*31 + uint64(name[0])
	}
	w.Add(w.now, ev)
}

// next returns the request that is due a second later, as its bodies; empty for none.
func (w *testWindow) next() (req *Request, bodies string) {
	w.now = w.now.Add(time.Second)
	req = w.Next(w.now)
	if req == nil {
		return nil, ""
	}
	for _, row := range req.Batch.Rows {
		bodies += string(row.Body)
	}
	return req, bodies
}

// Both spellings are one contact: never in one request, never in two at once, never
// merged, and the older one first.
func TestWindow_SpellingsOfOneIDAreSentInTurn(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.addSpelled(lower, "f")
	w.addSpelled(upper, "g")
	w.addSpelled(upper, "h") // of the same spelling, so merged
	w.addSpelled(lower, "f")
	w.addSpelled("other", "f")
	for _, want := range []string{
		`{"id":"` + lower + `","f":0}{"id":"other","f":4}`, `{"id":"` + upper + `","g":1,"h":2}`, `{"id":"` + lower + `","f":3}`,
	} {
		req, got := w.next()
		if got != want {
			t.Fatalf("sent %s, want %s", got, want)
		}
		if other, got := w.next(); other != nil {
			t.Fatalf("sent %s while the other spelling is in a request", got)
		}
		w.settle(req, allDelivered(req.Batch))
	}
	w.wantNothing()
	w.wantEnded(0, 1, 2, 3, 4)
	if n := testutil.ToFloat64(w.m.ContactsRespelled); n != 2 {
		t.Errorf("%v counted as respelled, want 2", n)
	}
	if w.bytes() != 0 {
		t.Errorf("the window charges %d bytes for nothing", w.bytes())
	}
}

// A spelling that was refused does not take the other one along, and one that failed goes
// first again.
func TestWindow_SpellingsOfOneIDFailEachForItself(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.addSpelled(lower, "f")
	w.addSpelled(upper, "g")
	req, _ := w.next()
	w.settle(req, contactsync.Result{Kind: contactsync.Unavailable, Status: 503})
	w.addSpelled(lower, "h") // behind the other spelling, so not merged into its own
	w.now = w.now.Add(time.Minute)
	req, got := w.next()
	if want := `{"id":"` + lower + `","f":0}`; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	w.settle(req, refusedWhole)
	w.settle(w.send(), refusedWhole)
	if l := w.TakeDeadLetters(); len(l) != 1 || l[0].Contact != lower || len(l[0].Positions) != 1 {
		t.Errorf("dead letters %+v, want one of what was refused", l)
	}
	for _, want := range []string{`{"id":"` + upper + `","g":1}`, `{"id":"` + lower + `","h":2}`} {
		req, got := w.next()
		if got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
		w.settle(req, allDelivered(req.Batch))
	}
}

// What comes after a delete takes the place of a request that failed, in its own spelling.
func TestWindow_SpellingAfterADeleteInFlight(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.addSpelled(lower, "f")
	req, _ := w.next()
	w.addFor("a", lower, func(ev *event.Event) { ev.Kind = event.Delete })
	w.addSpelled(upper, "g")
	w.settle(req, contactsync.Result{Kind: contactsync.Throttled, Status: 429})
	if req, got := w.next(); req == nil || req.Batch.Rows[0].ID != upper || got != `{"id":"`+upper+`","g":2}` {
		t.Errorf("sent %s in %+v", got, req)
	}
}

func TestWindow_SpellingsOfOneIDAreOneToDeletesVersionsAndTombstones(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(w *testWindow)
		event  func(ev *event.Event)
		sent   string
		stale  float64
	}{
		{"a delete", nil, func(ev *event.Event) { ev.Kind = event.Delete }, "", 0},
		{"a tombstone", nil, func(ev *event.Event) { ev.Kind = event.Tombstone }, "", 0},
		{"a tombstone without a stream", nil, func(ev *event.Event) { ev.Kind, ev.Contact.Stream = event.Tombstone, "" }, "", 0},
		{"a tombstone without a stream behind others", func(w *testWindow) { w.pending.index.named("nobody") }, func(ev *event.Event) { ev.Kind, ev.Contact.Stream = event.Tombstone, "" }, "", 0},
		{"an older version", nil, numbered(3), lower, 1},
		{"a newer version", nil, numbered(9), lower + " " + upper, 0},
	} {
		w := newTestWindow(t, nil)
		if tt.before != nil {
			tt.before(w)
		}
		w.addFor("a", lower, numbered(5))
		w.addFor("a", upper, tt.event)
		var sent []string
		for req, _ := w.next(); req != nil; req, _ = w.next() {
			sent = append(sent, ids(req))
			w.settle(req, allDelivered(req.Batch))
		}
		if got := strings.Join(sent, " "); got != tt.sent {
			t.Errorf("%s: sent %q, want %q", tt.name, got, tt.sent)
		}
		w.addFor("a", upper, numbered(4)) // what was delivered is known by either spelling
		if got := testutil.ToFloat64(w.m.skippedStale); tt.sent != "" && got != tt.stale+1 {
			t.Errorf("%s: %v stale, want %v", tt.name, got, tt.stale+1)
		}
		if w.pending.contacts > 1 || tt.sent != "" && w.bytes() != 0 {
			t.Errorf("%s: %d contacts of %d bytes are left", tt.name, w.pending.contacts, w.bytes())
		}
	}
}

// Ids that are not of the API's form are what they are.
func TestWindow_OtherIDsAreNotFolded(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("Abc", "abc", upper+"0", lower+"0", "zz"+upper[2:], "zz"+lower[2:])
	if req, _ := w.next(); req == nil || len(req.Batch.Rows) != 6 {
		t.Errorf("a request %+v, want all six", req)
	}
}

// Whatever happens between, the API ends with what the events say in their order, each
// body has members of events of its own spelling only, and every event ends once.
func TestWindow_SpellingsOfOneIDInAnyOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7))
		w := newTestWindow(t, func(c *Config) { c.Linger, c.MaxRows, c.AmbiguousRetryDelay = 0, 4, time.Second })
		want, got := map[string]any{}, map[string]any{} // by member: the offset of the event that set it
		spelled := map[int64]string{}
		var requests []*Request
		settle := func(well bool) {
			for _, req := range requests {
				if !well && random.IntN(2) == 0 {
					kinds := []contactsync.Kind{contactsync.Unavailable, contactsync.BadRequest, contactsync.Throttled, contactsync.TooLarge}
					kind := kinds[random.IntN(len(kinds))]
					if len(req.Batch.Rows) > 1 || kind == contactsync.Unavailable || kind == contactsync.Throttled {
						w.settle(req, contactsync.Result{Kind: kind, Ambiguous: random.IntN(2) == 0})
						continue
					}
				}
				for _, row := range req.Batch.Rows {
					var body map[string]any
					if json.Unmarshal(row.Body, &body) != nil || body["id"] != row.ID {
						t.Fatalf("seed %d: body %s of %s", seed, row.Body, row.ID)
					}
					delete(body, "id")
					for name, offset := range body {
						if by := spelled[int64(offset.(float64))]; by != row.ID {
							t.Fatalf("seed %d: %s of an event of %s is in the body %s", seed, name, by, row.Body)
						}
					}
					if contactsync.FoldID(row.ID) == lower {
						maps.Copy(got, body)
					}
				}
				w.settle(req, allDelivered(req.Batch))
			}
			requests = nil
		}
		start := func() {
			inFlight := map[string]bool{}
			for _, req := range requests {
				for _, row := range req.Batch.Rows {
					inFlight[contactsync.FoldID(row.ID)] = true
				}
			}
			req := w.Next(w.now)
			if req == nil {
				return
			}
			for _, row := range req.Batch.Rows {
				if id := contactsync.FoldID(row.ID); inFlight[id] {
					t.Fatalf("seed %d: %s is twice in flight", seed, id)
				} else {
					inFlight[id] = true
				}
			}
			requests = append(requests, req)
		}
		for range 60 {
			switch random.IntN(4) {
			case 0, 1:
				id := []string{lower, upper, "6964Af60450340957c61a2b3", "other"}[random.IntN(4)]
				name := []string{"f", "g", "h"}[random.IntN(3)]
				spelled[w.offset] = id
				if id != "other" {
					want[name] = float64(w.offset)
				}
				w.addSpelled(id, name)
			case 2:
				start()
			case 3:
				settle(false)
				w.now = w.now.Add(time.Duration(random.IntN(3)) * time.Second)
			}
		}
		for range 300 {
			settle(true)
			w.now = w.now.Add(time.Minute)
			start()
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: the API has %v, want %v", seed, got, want)
		}
		if n := len(w.TakeEnded()); n != int(w.offset) || w.bytes() != 0 || len(w.TakeDeadLetters()) != 0 {
			t.Fatalf("seed %d: %d of %d events have ended, %d bytes are charged", seed, n, w.offset, w.bytes())
		}
	}
}
