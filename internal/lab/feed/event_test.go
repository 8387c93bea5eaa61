package feed

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

func newDecoder(t *testing.T, validation string) *event.Decoder {
	t.Helper()
	cfg := event.DefaultConfig()
	cfg.Validation = validation
	d, err := event.NewDecoder(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func events(t *testing.T, cfg Config) []Event {
	t.Helper()
	g, err := NewGenerator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all []Event
	for ev, ok := g.Next(); ok; ev, ok = g.Next() {
		all = append(all, ev)
	}
	return all
}

func mixed() Config {
	cfg := DefaultConfig()
	cfg.Streams, cfg.Contacts, cfg.Events = 7, 50, 4000
	cfg.PoisonShare, cfg.RejectShare, cfg.TombstoneShare, cfg.DeleteShare = 0.2, 0.1, 0.05, 0.05
	return cfg
}

// The service's own decoder must take every event for what the feed calls it,
// however it validates.
func TestGenerator_EventsAreWhatTheyAreCalled(t *testing.T) {
	t.Parallel()
	cfg := mixed()
	g, err := NewGenerator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Class]int{}
	for _, validation := range []string{event.Strict, event.Lenient} {
		d := newDecoder(t, validation)
		for i, ev := range events(t, cfg) {
			seen[ev.Class]++
			want := g.Contact(ev.Contact)
			if key := want.Stream + "/" + want.ID; string(ev.Key) != key {
				t.Fatalf("event %d: key %s, want %s", i, ev.Key, key)
			}
			got := d.Decode(contactsync.Record{Key: ev.Key, Value: ev.Value})
			kind, reason := event.Update, contactsync.Reason("")
			switch ev.Class {
			case Undecodable, Invalid:
				kind, reason = event.Broken, contactsync.Reason(ev.Class.String())
			case Tombstone:
				kind = event.Tombstone
			case Delete:
				kind = event.Delete
			}
			if got.Kind != kind || got.Err != nil && got.Err.Reason != reason {
				t.Fatalf("event %d, %v: decoded as %v (%v): %s", i, ev.Class, got.Kind, got.Err, ev.Value)
			}
			if kind == event.Update || kind == event.Delete {
				if got.Contact.Stream != want.Stream || got.Contact.ID != want.ID || len(want.ID) != 24 {
					t.Fatalf("event %d is of %+v, want %+v", i, got.Contact, want)
				}
			}
			if kind == event.Update {
				var c struct {
					Seq int64 `json:"seq"`
				}
				if err := json.Unmarshal(got.Contact.Body, &c); err != nil || c.Seq != ev.Seq {
					t.Fatalf("event %d: seq %d in the body (%v), want %d", i, c.Seq, err, ev.Seq)
				}
				if strings.HasPrefix(want.ID, "bad") != (ev.Class == Rejected) {
					t.Fatalf("event %d, %v: contact %s", i, ev.Class, want.ID)
				}
			}
		}
	}
	for c := range Aborted {
		if seen[c] == 0 {
			t.Errorf("no %v event was made", c)
		}
	}
	if share := float64(seen[Undecodable]+seen[Invalid]) / 8000; share < 0.17 || share > 0.23 {
		t.Errorf("the share of poison is %v, want about 0.2", share)
	}
}

func TestGenerator_IsDecidedByTheSeed(t *testing.T) {
	t.Parallel()
	cfg := mixed()
	a, b := events(t, cfg), events(t, cfg)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed makes different events")
	}
	cfg.Seed = 2
	if reflect.DeepEqual(a, events(t, cfg)) {
		t.Error("another seed makes the same events")
	}
}

func TestGenerator_SeqRisesPerContact(t *testing.T) {
	t.Parallel()
	cfg := mixed()
	cfg.SeqBase = 1000
	last := map[int]int64{}
	for i, ev := range events(t, cfg) {
		want := last[ev.Contact] + 1
		if last[ev.Contact] == 0 {
			want = 1001
		}
		if ev.Seq != want {
			t.Fatalf("event %d has seq %d, want %d", i, ev.Seq, want)
		}
		last[ev.Contact] = ev.Seq
	}
}

func TestGenerator_Skew(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	most := func() int {
		count := map[int]int{}
		for _, ev := range events(t, cfg) {
			count[ev.Contact]++
		}
		top := 0
		for _, n := range count {
			top = max(top, n)
		}
		return top
	}
	if n := most(); n > 50 {
		t.Errorf("uniform: one contact has %d of 100000 events", n)
	}
	cfg.Skew = 1.2
	if n := most(); n < 10_000 {
		t.Errorf("skewed: the hottest contact has %d of 100000 events only", n)
	}
}

func TestGenerator_Size(t *testing.T) {
	t.Parallel()
	for _, ev := range events(t, DefaultConfig()) {
		if n := len(ev.Value); n < 290 || n > 370 {
			t.Fatalf("an event has %d bytes, want about 333: %s", n, ev.Value)
		}
	}
}

// Events are cut from a common slab: appending to one must not reach the next.
func TestGenerator_EventsDoNotOverlap(t *testing.T) {
	t.Parallel()
	all := events(t, mixed())
	for i := range all {
		all[i].Key = append(all[i].Key, "xxx"...)
	}
	for i, ev := range all {
		if ev.Class == Update && !bytes.HasPrefix(ev.Value, []byte(`{"streamId"`)) {
			t.Fatalf("event %d was written over: %s", i, ev.Value)
		}
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"defaults", func(*Config) {}, ""},
		{"skew", func(c *Config) { c.Skew = 1.1 }, ""},
		{"no stream", func(c *Config) { c.Streams = 0 }, "0 streams"},
		{"share", func(c *Config) { c.PoisonShare = 1.5 }, "poison is 1.5"},
		{"shares together", func(c *Config) { c.PoisonShare, c.DeleteShare = 0.6, 0.6 }, "together"},
		{"flat skew", func(c *Config) { c.Skew = 1 }, "skew 1"},
		{"rate", func(c *Config) { c.Rate = -1 }, "rate -1"},
		{"empty transactions", func(c *Config) { c.Transactional, c.TxnEvents = true, 0 }, "0 events a transaction"},
		{"codec", func(c *Config) { c.Compression = "lzo" }, `"lzo"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := DefaultConfig()
			tt.change(&cfg)
			err := cfg.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestClass_String(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(Update, Aborted, classCount); got != "update aborted class 7" {
		t.Error(got)
	}
}
