package batcher_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// simKey is one contact of one stream.
type simKey struct{ stream, id string }

// simEvent is one record of a partition.
type simEvent struct {
	key     simKey // its stream is empty in a tombstone that names only an id, both in one that names nothing
	kind    event.Kind
	n       int                // counts the events of a contact; a late one has the number of an earlier one
	late    bool               // an event with a higher number came before it
	reason  contactsync.Reason // of a broken one
	body    map[string]any     // the contact of an update
	order   simOrder
	checked int64 // of a replay
	record  contactsync.Record
}

func (e *simEvent) String() string {
	return fmt.Sprintf("%v %v %s/%s n=%d %s", e.record.Position, e.kind, e.key.stream, e.key.id, e.n, e.record.Value)
}

// simWorld is everything outside of the service: the log, the API, the dead-letter topic.
type simWorld struct {
	plan simPlan
	rand *rand.Rand
	now  time.Time

	streams []string
	account map[string]string // by stream
	ids     []string

	logs    [][]*simEvent // by partition
	last    map[simKey]int
	hot     simKey                   // of the latest event
	looked  *simEvent                // a replay that is not yet written
	written []contactsync.DeadLetter // what the dead-letter topic holds
}

func newSimWorld(p simPlan) *simWorld {
	w := &simWorld{
		plan: p, now: time.Unix(1_700_000_000, 0).UTC(), account: map[string]string{},
		logs: make([][]*simEvent, p.partitions), last: map[simKey]int{},
	}
	for i := range p.accounts * p.streams {
		stream := fmt.Sprint("s", i)
		w.streams = append(w.streams, stream)
		w.account[stream] = fmt.Sprint("a", i%p.accounts)
	}
	for i := range p.contacts {
		w.ids = append(w.ids, fmt.Sprint("c", i))
	}
	return w
}

// chance is true once in n times.
func (w *simWorld) chance(n int) bool { return w.rand.IntN(n) == 0 }

func (w *simWorld) partition(k simKey) int {
	if w.plan.wander && k.id == "c0" {
		return w.rand.IntN(w.plan.partitions)
	}
	return (slices.Index(w.streams, k.stream) + slices.Index(w.ids, k.id)) % w.plan.partitions
}

// wanders reports whether a contact is in several partitions, which have no order.
func (w *simWorld) wanders(k simKey) bool {
	return w.plan.wander && w.plan.partitions > 1 && k.id == "c0"
}

// produce appends an event of some contact.
func (w *simWorld) produce() *simEvent {
	e := &simEvent{key: w.hot, kind: event.Update}
	if w.hot.id == "" || !w.chance(4) {
		e.key = simKey{w.streams[w.rand.IntN(len(w.streams))], w.ids[w.rand.IntN(len(w.ids))]}
	}
	w.hot = e.key
	p := w.partition(e.key)
	w.last[e.key]++
	e.n = w.last[e.key]
	switch {
	case w.plan.broken && w.chance(12):
		e.kind = event.Broken
	case w.plan.deletes && w.chance(8):
		e.kind = event.Delete
	case w.plan.tombstones && w.chance(8):
		e.kind = event.Tombstone
		switch w.rand.IntN(6) {
		case 0, 1:
			e.key.stream = ""
		case 2:
			e.key = simKey{}
		}
	}
	if ordered := e.kind == event.Update || e.kind == event.Delete; ordered && w.plan.late && e.n > 2 && w.chance(3) {
		w.last[e.key]--
		e.late, e.n = true, 1+w.rand.IntN(e.n-2)
	}
	w.declare(e)
	if e.kind == event.Update {
		e.body = w.body(e)
	}
	e.record.Key = []byte(e.key.stream + "/" + e.key.id)
	switch {
	case e.kind == event.Tombstone && e.key.id == "":
		e.record.Key = []byte("no key of ours")
	case e.kind == event.Tombstone && e.key.stream == "":
		e.record.Key = []byte(e.key.id)
	case e.kind == event.Broken && w.chance(2):
		e.reason, e.record.Value = contactsync.ReasonUndecodable, []byte(`{"streamId":`)
	case e.kind == event.Broken:
		e.reason, e.record.Value = contactsync.ReasonInvalid, fmt.Appendf(nil, `{"streamId":%q,"contact":{"id":%q},"op":1}`, e.key.stream, e.key.id)
	case e.kind != event.Tombstone:
		e.record.Value = e.value()
	}
	w.append(p, e)
	return e
}

// declare sets what an event says of its order.
func (w *simWorld) declare(e *simEvent) {
	if e.kind != event.Update && e.kind != event.Delete {
		return
	}
	how := w.plan.declared
	if how == "mixed" && !e.late {
		how = []string{"nothing", "version", "occurred", "both"}[w.rand.IntN(4)]
	}
	if how == "version" || how == "both" || how == "mixed" {
		e.order.version = int64(e.n)
	}
	if how == "occurred" || how == "both" || how == "mixed" {
		e.order.occurred = time.Unix(1_600_000_000+int64(e.n), 0).UTC()
	}
}

// body returns the contact of an update. Every body has the number of its event, and
// perhaps what the API refuses it for.
func (w *simWorld) body(e *simEvent) map[string]any {
	b := map[string]any{"id": e.key.id, "n": e.n}
	for i := range 3 {
		if name := fmt.Sprint("f", i); w.chance(2) {
			b[name] = e.n
			if w.plan.shapes {
				b[name] = w.member(e.n)
			}
		}
	}
	if w.plan.poison {
		switch w.rand.IntN(24) {
		case 0, 1, 2:
			b["bad"] = w.plan.poisons[w.rand.IntN(len(w.plan.poisons))]
		case 3, 4, 5, 6:
			b["bad"] = nil // what was bad is mended
		}
	}
	return clean(b)
}

func (w *simWorld) member(n int) any {
	switch w.rand.IntN(7) {
	case 0:
		return nil
	case 1:
		return map[string]any{"x": n}
	case 2:
		return map[string]any{"y": n, "x": nil}
	case 3:
		return map[string]any{"z": map[string]any{fmt.Sprint("x", w.rand.IntN(2)): n}}
	case 4:
		return []any{n}
	case 5:
		return fmt.Sprint(n)
	}
	return n
}

// value returns an update or a delete in the native format.
func (e *simEvent) value() []byte {
	v := map[string]any{"streamId": e.key.stream, "contact": e.body}
	if e.kind == event.Delete {
		v["op"], v["contact"] = "delete", map[string]any{"id": e.key.id}
	}
	if e.order.version != 0 {
		v["version"] = e.order.version
	}
	if !e.order.occurred.IsZero() {
		v["occurredAt"] = e.order.occurred.Format(time.RFC3339)
	}
	b, _ := json.Marshal(v)
	return b
}

func (w *simWorld) append(p int, e *simEvent) {
	e.record.Position = contactsync.Position{TopicPartition: simPartition(p), Offset: int64(len(w.logs[p]))}
	e.record.Time, e.order.read = w.now, e.record.Position
	if !e.order.replayed {
		e.order.origin, e.order.time = e.record.Position, w.now
	}
	w.logs[p] = append(w.logs[p], e)
}

func simPartition(p int) contactsync.TopicPartition {
	return contactsync.TopicPartition{Topic: "t", Partition: int32(p)}
}

// replay puts a dead letter back, as the replayer does: not where the log has something
// newer, and with the offset up to which it looked. It may take its time between the look
// and the writing.
func (w *simWorld) replay() *simEvent {
	if e := w.looked; e != nil {
		w.looked = nil
		w.append(int(e.order.origin.Partition), e)
		return e
	}
	if len(w.written) == 0 {
		return nil
	}
	l := w.written[w.rand.IntN(len(w.written))]
	var v struct {
		Contact    map[string]any
		Version    int64
		OccurredAt time.Time
	}
	if l.Contact == "" || l.Reason == contactsync.ReasonInvalid || json.Unmarshal(l.Record.Value, &v) != nil {
		return nil
	}
	e := &simEvent{key: simKey{l.Stream, l.Contact}, kind: event.Update, body: v.Contact, late: true}
	e.n = int(v.Contact["n"].(float64))
	p := int(l.Record.Partition)
	r := event.Replay{Of: l.Record.Position, Origin: l.Record.Position, OriginTime: l.Record.Time, Checked: int64(len(w.logs[p]))}
	if old, err := event.ReadReplay(l.Record.Headers); err == nil && old != nil {
		r.Count, r.Origin, r.OriginTime = old.Count, old.Origin, old.OriginTime
	}
	r.Count++
	e.order = simOrder{version: v.Version, occurred: v.OccurredAt, origin: r.Origin, time: r.OriginTime, replayed: true}
	for _, other := range w.logs[p] {
		if same := other.key == e.key || other.key == (simKey{"", e.key.id}); same && other.kind != event.Broken && e.order.older(other.order) {
			return nil
		}
	}
	e.checked = r.Checked
	e.record = contactsync.Record{Key: l.Record.Key, Value: l.Record.Value, Headers: r.Headers()}
	w.looked = e
	if w.chance(2) {
		return nil
	}
	return w.replay()
}

// clean returns a body as JSON reads it back.
func clean(body map[string]any) map[string]any {
	b, _ := json.Marshal(body)
	var out map[string]any
	_ = json.Unmarshal(b, &out)
	return out
}

// merged lays a newer state over an older one: objects member by member, anything else
// whole, and a null stays a null.
func merged(older, newer map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, older)
	for name, v := range newer {
		o, both := out[name].(map[string]any)
		n, ok := v.(map[string]any)
		if both && ok {
			v = merged(o, n)
		}
		out[name] = v
	}
	return out
}
