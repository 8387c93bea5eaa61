package batcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// What is sent again for its rows has its part of the calls only, although its events are the oldest: what an answer left
// open, and the halves of a request that was too large, if as large a one has passed. Else these tell the size, and go first.
func TestTurn_WhatIsSentAgainHasItsPart(t *testing.T) {
	t.Parallel()
	done, both := contactsync.Outcome{Verdict: contactsync.Delivered}, contactsync.Outcome{Verdict: contactsync.Contradicted}
	answered := func(b contactsync.Outcome) contactsync.Result {
		return contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{done, b, done, done}}
	}
	for _, tt := range []struct {
		name   string
		before []string // contacts that were sent together and delivered
		r      contactsync.Result
		want   int // requests of the stream among the next four
	}{
		{"left open", []string{"x"}, answered(contactsync.Outcome{}), 1},
		{"accepted and refused", []string{"x"}, answered(both), 1},
		{"too large, of a size that passed", []string{"w", "x", "y", "z"}, contactsync.Result{Kind: contactsync.TooLarge, Status: 413}, 1},
		{"too large, of a size that never did", []string{"x"}, contactsync.Result{Kind: contactsync.TooLarge, Status: 413}, 4},
	} {
		w := newTestWindow(t, func(c *Config) { c.MaxRows = 4 })
		w.offset = 100 // so that all bodies are equally long
		for _, ids := range [][]string{{"other/o"}, tt.before} {
			w.add(ids...)
			f := w.send()
			w.settle(f, allDelivered(f.Batch))
		}
		w.add("a", "b", "c", "d", "e", "f", "g", "h")
		one, two := w.send(), w.send()
		for i := range 16 {
			w.add(fmt.Sprint("other/", i))
		}
		w.settle(one, tt.r)
		w.settle(two, tt.r)
		got := 0
		for range 4 {
			if f := w.send(); f.Batch.Stream == "st" {
				got++
			}
		}
		if got != tt.want {
			t.Errorf("%s: %d of four requests are of its rows, want %d", tt.name, got, tt.want)
		}
	}
}

// A stream of which some rows were taken out because requests with them fail has its part of the calls only until others of
// its rows pass: there may be more of the kind. That those taken out pass says nothing of these.
func TestTurn_AStreamIsDoubtedUntilItsOtherRowsPass(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	failsAt := func(contactsync.Batch) contactsync.Result { return fails }
	for _, step := range []struct {
		add     []string
		sends   string
		r       func(contactsync.Batch) contactsync.Result
		doubted bool // afterwards
	}{
		{[]string{"x", "y"}, "x y", allDelivered, false},
		{[]string{"bad", "a"}, "bad a", failsAt, true},
		{[]string{"other/o"}, "o", allDelivered, true}, // else it would be the size that failed
		{nil, "bad a", failsAt, true},
		{nil, "bad", failsAt, true},
		{nil, "a", allDelivered, false},
		{[]string{"b"}, "bad b", failsAt, true}, // from now on one of them is suspect
		{nil, "bad", allDelivered, true},
		{nil, "b", allDelivered, false},
	} {
		w.add(step.add...)
		f := w.send()
		w.settle(f, step.r(f.Batch))
		if ids(f) != step.sends {
			t.Fatalf("%q is sent, want %q", ids(f), step.sends)
		}
		if got := w.schedule.stream("st", "a").troubled(); got != step.doubted {
			t.Errorf("after %q the stream is doubted: %v", step.sends, got)
		}
	}
}

// A stream that fails while others are answered, and passes with fewer rows, tells nothing of the size if as large a request has passed.
func TestLearnSize_BesideOthers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		passed []string // contacts that were sent together before
		want   int64
	}{
		"a size that passed":    {[]string{"other/w", "other/x", "other/y", "other/z"}, 4},
		"a size that never did": {[]string{"other/w"}, 2},
	} {
		w := newTestWindow(t, func(c *Config) { c.MaxRows = 4 })
		w.offset = 100 // so that all bodies are equally long
		deliver := func(ids ...string) {
			w.add(ids...)
			f := w.send()
			w.settle(f, allDelivered(f.Batch))
		}
		deliver(tt.passed...)
		w.add("a", "b", "c", "d")
		w.settle(w.send(), fails)
		deliver("other/v")
		for range 5 {
			f := w.send()
			if f.Batch.Stream == "st" && len(f.rows) <= 2 {
				w.settle(f, allDelivered(f.Batch))
				break
			} else if f.Batch.Stream == "st" {
				w.settle(f, fails)
				continue
			}
			w.settle(f, allDelivered(f.Batch))
		}
		if got := w.schedule.streams[streamKey{"a", "st"}].account.health.size.rows.limit; got != tt.want {
			t.Errorf("%s: requests have %d rows, want %d", name, got, tt.want)
		}
	}
}

// What took calls that were left over has had its part for three requests of regular work each, but not for more than twelve.
func TestTurn_WhatTookCallsThatWereLeftOverHasHadItsPart(t *testing.T) {
	t.Parallel()
	for took, want := range map[int]int{1: 3, 2: 6, 4: 12, 9: 12} {
		s := newTestSchedule()
		strange, live := s.with("strange", 2*time.Hour), s.with("live", time.Hour)
		strange.health.strange = true
		start := func(req *Request, is standing) {
			s.started(req, is)
			s.settled(req)
		}
		for range took {
			start(&Request{stream: strange, spare: true}, stranger)
		}
		got := 0
		for ; s.next(s.now) == live; got++ {
			start(&Request{stream: live}, regular)
		}
		if got != want {
			t.Errorf("after %d such requests %d of regular work go first, want %d", took, got, want)
		}
	}
}
