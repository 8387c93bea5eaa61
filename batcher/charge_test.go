package batcher

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/event"
)

// liveHeap is what is reachable: the second collection frees what the first has only swept.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// loaded is a window that takes in records as they are read.
type loaded struct {
	*testWindow
	decoder *event.Decoder
}

// read takes in one record, whose key and value lie in one allocation, as those of a batch do.
func (l *loaded) read(key, value string) {
	ev := l.event("any")
	rec := ev.Record
	both := append(make([]byte, 0, len(key)+len(value)), key...)
	rec.Key = both[:len(key):len(key)]
	if value != "" {
		rec.Value = append(both, value...)[len(key):]
	}
	decoded := l.decoder.Decode(rec)
	if decoded.Contact.Account == "" {
		decoded.Contact.Account = "a"
	}
	if decoded.Kind == event.Tombstone {
		decoded.Contact.Account = ""
	}
	l.Add(l.now, &decoded)
}

// What the window charges is what its heap grows by, whatever the load looks like.
func TestWindow_ChargesWhatItTakes(t *testing.T) { //nolint:paralleltest // it looks at the heap of the process
	const n = 20_000
	value := func(stream, id, more string) string {
		return fmt.Sprintf(`{"streamId":%q,"contact":{"id":%q,"firstName":"John","lastName":"Doe","cellPhone":{"phoneNumber":"2445612345"}%s}}`, stream, id, more)
	}
	for _, shape := range []struct {
		name string
		load func(l *loaded)
	}{
		{"many streams with one contact", func(l *loaded) {
			for i := range n {
				l.read("", value(fmt.Sprintf("st-%d", i), fmt.Sprintf("6964af60%016x", i), ""))
			}
		}},
		{"few streams with many contacts", func(l *loaded) {
			for i := range n {
				l.read("", value(fmt.Sprintf("st-%d", i%3), fmt.Sprintf("6964af60%016x", i), ""))
			}
		}},
		{"large bodies", func(l *loaded) {
			for i := range n / 10 {
				l.read("", value(fmt.Sprintf("st-%d", i%100), fmt.Sprintf("6964af60%016x", i), `,"note":"`+strings.Repeat("x", 20<<10)+`"`))
			}
		}},
		{"merged bodies of many members", func(l *loaded) {
			for i := range n {
				l.read("", value(fmt.Sprintf("st-%d", i%100), fmt.Sprintf("6964af60%016x", i%(n/10)), fmt.Sprintf(`,"custom%d":"value %d"`, i/(n/10), i)))
			}
		}},
		{"many events of each contact", func(l *loaded) {
			for i := range 5 * n {
				l.read("", value(fmt.Sprintf("st-%d", i%100), fmt.Sprintf("6964af60%016x", i%(n/10)), ""))
			}
		}},
		{"long ids and keys", func(l *loaded) {
			for i := range n {
				id := fmt.Sprintf("%064d", i)
				l.read(strings.Repeat("k", 500)+id, value(fmt.Sprintf("st-%061d", i%100), id, ""))
			}
		}},
		{"several contacts in each of many streams", func(l *loaded) {
			for i := range n {
				l.read("", value(fmt.Sprintf("st-%d", i%(n/10)), fmt.Sprintf("6964af60%016x", i), ""))
			}
		}},
		{"dead letters", func(l *loaded) {
			for i := range n {
				l.read("", fmt.Sprintf(`{"streamId":"st-1","contact":{"id":"%d","firstName":1}}`, i))
			}
		}},
	} {
		t.Run(shape.name, func(t *testing.T) { //nolint:paralleltest // likewise
			w := newTestWindow(t, func(c *Config) { c.WindowBytes, c.MaxRows, c.MaxBytes, c.RememberContacts = 1<<40, 1<<30, 1<<40, 0 })
			cfg := event.DefaultConfig()
			cfg.Validation = event.Lenient
			d, err := event.NewDecoder(cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			l := &loaded{w, d}
			before := liveHeap()
			shape.load(l)
			w.Next(w.now)
			w.TakeEnded()
			w.TakeLogEvents()
			heap, charged := liveHeap()-before, w.bytes()
			off := 100 * float64(charged-heap) / float64(heap)
			t.Logf("%d KiB of heap, %d KiB are charged: %+.1f %%; %d contacts in %d streams, %d dead letters",
				heap>>10, charged>>10, off, w.pending.contacts, len(w.schedule.streams), w.DeadLettersPending())
			runtime.KeepAlive(l)
			if off < -15 || off > 15 {
				t.Errorf("what is charged is %+.1f %% off", off)
			}
		})
	}
}

// What is remembered of a contact takes what the documentation of remember_contacts says, and counts in no window:
// its number is bounded.
func TestSeen_TakesWhatIsDocumented(t *testing.T) { //nolint:paralleltest // it looks at the heap of the process
	const n, documented = 50_000, 440
	for name, kind := range map[string]event.Kind{"deleted contacts": event.Delete, "tombstones that name no stream": event.Tombstone} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // likewise
			w := newTestWindow(t, func(c *Config) { c.RememberContacts = n })
			before := liveHeap()
			for i := range 2 * n {
				ev := w.event(fmt.Sprintf("st-%d/6964af60%016x", i%100, i))
				ev.Kind = kind
				if kind == event.Tombstone {
					ev.Contact.Stream, ev.Contact.Account = "", ""
				}
				w.Add(w.now, ev)
				w.TakeEnded()
				w.TakeLogEvents()
			}
			each := float64(liveHeap()-before) / n
			t.Logf("%.0f bytes each", each)
			if runtime.KeepAlive(w); w.seen.len() != n || each < 0.85*documented || each > 1.15*documented {
				t.Errorf("%d contacts are remembered with %.0f bytes each", w.seen.len(), each)
			}
		})
	}
}
