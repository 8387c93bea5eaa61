package batcher

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// groupOf is a group of rows with the ids given.
func groupOf(due time.Time, ids ...string) *group {
	var rows []*contact
	for _, id := range ids {
		rows = append(rows, &contact{id: id, body: []byte(`{}`)})
	}
	return newGroup(rows, due)
}

func (l *list) ids() (all string) {
	for c := l.head; c != nil; c = c.next {
		all += c.id
	}
	return all
}

func TestRetries_TheSoonestFirst(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	var r retries
	r.add(groupOf(now.Add(time.Second), "a"))
	r.add(groupOf(now.Add(-time.Second), "b"))
	r.add(groupOf(now.Add(-2*time.Second), "c"))
	r.add(groupOf(now.Add(-2*time.Second), "d"))
	if due, _ := r.soonest(false); !due.Equal(now.Add(-2 * time.Second)) {
		t.Errorf("the first falls due at %v", due)
	}
	for _, want := range []string{"c", "d", "b"} {
		if g := r.take(now, false); g == nil || g.ids() != want {
			t.Fatalf("got %+v, want %s", g, want)
		}
	}
	if g := r.take(now, false); g != nil {
		t.Errorf("%s is not due", g.ids())
	}
	if g := r.take(now.Add(time.Second), false); g == nil || g.ids() != "a" {
		t.Errorf("got %+v, want a when it is due", g)
	}
	if due, oldest := r.soonest(false); !due.Equal(never) || oldest != lastRank {
		t.Errorf("nothing waits, and yet until %v", due)
	}
}

func TestRetries_AnEmptyGroupGivesItsPlaceToItsOtherHalf(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	for name, tt := range map[string]struct {
		group *group
		want  string
	}{
		"rows":                     {groupOf(now, "a"), "a"},
		"none":                     {nil, ""},
		"empty":                    {groupOf(now), ""},
		"empty with an other half": {&group{due: now, then: groupOf(now, "b")}, "b"},
		"both are empty":           {&group{due: now, then: &group{due: now, then: groupOf(now, "c")}}, "c"},
	} {
		var r retries
		r.add(tt.group)
		got := ""
		for g := range r.all() {
			got += g.ids()
		}
		if got != tt.want {
			t.Errorf("%s: %q waits, want %q", name, got, tt.want)
		}
	}
}

func TestRetries_Dissolve(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	loose := func(due time.Time) *group {
		g := groupOf(due, "a")
		g.loose = true
		return g
	}
	suspect := func(due time.Time) *group {
		g := groupOf(due, "a")
		g.suspect = true
		return g
	}
	for name, tt := range map[string]struct {
		group     *group
		all, want bool
	}{
		"loose and due":             {loose(now), false, true},
		"loose and not yet due":     {loose(now.Add(1)), false, false},
		"a set of its own":          {groupOf(now, "a"), false, false},
		"a set of a stream on hold": {groupOf(now, "a"), true, true},
		"not yet due, on hold":      {groupOf(now.Add(1), "a"), true, false},
		"suspect":                   {suspect(now), false, false},
		"suspect, on hold":          {suspect(now), true, true},
		"suspect, not yet due":      {suspect(now.Add(1)), true, false},
	} {
		var r retries
		r.add(tt.group)
		if got := r.dissolve(now, &requestSize{rows: dimension{limit: 100}}, time.Time{}, tt.all) != nil; got != tt.want || (r.waiting() == 0) != tt.want {
			t.Errorf("%s: dissolved %v, want %v", name, got, tt.want)
		}
	}
}

// However many groups come and go, and are suspect or loose, what is next is the same as by a look at all of them.
func TestRetries_ManyGroups(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1_700_000_000, 0)
	var r retries
	all := map[*group]bool{}
	next := func(may func(*group) bool) (due time.Time) {
		due = never
		for g := range all {
			if may(g) {
				due = earlier(due, g.due)
			}
		}
		return due
	}
	for n := range 20_000 {
		now = now.Add(time.Duration(random.IntN(20)) * time.Millisecond)
		r.inFlight = random.IntN(2)
		switch random.IntN(4) {
		case 0, 1:
			g := groupOf(now.Add(time.Duration(random.IntN(2000))*time.Millisecond), fmt.Sprint(n))
			g.suspect, g.loose = n%3 == 1, n%3 == 2
			g.apart = g.suspect || n%2 == 1 && !g.loose
			r.add(g)
			all[g] = true
		case 2:
			regular := random.IntN(2) == 0
			want := next(func(g *group) bool {
				return !g.loose && !g.due.After(now) && (!regular || !g.apart) && (!g.suspect || r.inFlight == 0)
			})
			g := r.take(now, regular)
			if g == nil && want != never || g != nil && !g.due.Equal(want) {
				t.Fatalf("step %d: took %+v, and what is next falls due at %v", n, g, want)
			}
			delete(all, g)
		default:
			for g := range all { // any
				c := g.head
				g.remove(c)
				r.emptied(g)
				delete(all, g)
				break
			}
		}
		for _, apart := range []bool{false, true} {
			want := next(func(g *group) bool { return g.apart == apart && (!g.suspect || r.inFlight == 0) })
			if due, _ := r.soonest(apart); !due.Equal(want) {
				t.Fatalf("step %d: %v is next, want %v", n, due, want)
			}
		}
		if r.waiting() != len(all) {
			t.Fatalf("step %d: %d groups wait, want %d", n, r.waiting(), len(all))
		}
	}
	if len(all) < 500 {
		t.Errorf("no more than %d groups waited", len(all))
	}
}

// A group all of whose rows were deleted while it waited is gone, and what waited for the answer to it takes its place.
func TestRetries_WhatIsEmptiedGoes(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*group){
		"one of few": func(*group) {},
		"suspect":    func(g *group) { g.suspect, g.apart = true, true },
		"loose":      func(g *group) { g.loose = true },
		"followed":   func(g *group) { g.apart, g.then = true, groupOf(g.due, "b") },
	} {
		w := newTestWindow(t, nil)
		w.add("x", "a")
		st := w.schedule.streams[streamKey{"a", "st"}]
		c := st.contacts["a"]
		w.pending.unlink(c)
		g := newGroup([]*contact{c}, w.now.Add(time.Hour))
		change(g)
		w.pending.sendApart(st, g)
		w.remove("a")
		left := ""
		for g := range st.retries.all() {
			left += g.ids()
		}
		if want := map[string]string{"followed": "b"}[name]; left != want {
			t.Errorf("%s: %q waits, want %q", name, left, want)
		}
	}
}

func TestHalve(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	for rows, want := range map[string][2]string{"": {"", ""}, "a": {"", "a"}, "ab": {"a", "b"}, "abc": {"a", "bc"}, "abcd": {"ab", "cd"}} {
		var all []*contact
		for _, id := range rows {
			all = append(all, &contact{id: string(id)})
		}
		left, right := halve(all, now)
		if got := [2]string{left.ids(), right.ids()}; got != want {
			t.Errorf("%q: %q, want %q", rows, got, want)
		}
	}
}

// Only where both halves pass was the size of the whole at fault.
func TestSplit_Answered(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, second bool
		want          bool
	}{{true, true, true}, {true, false, false}, {false, true, false}, {false, false, false}} {
		s := &split{open: 2}
		if s.answered(tt.first) {
			t.Error("one half has decided")
		}
		if got := s.answered(tt.second); got != tt.want {
			t.Errorf("halves that pass: %v, %v: too large %v, want %v", tt.first, tt.second, got, tt.want)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	var l list
	c := map[string]*contact{}
	for _, id := range []string{"a", "b", "c", "d"} {
		c[id] = &contact{id: id, body: []byte(`{"id":"` + id + `"}`)}
	}
	l.pushBack(c["b"])
	l.pushBack(c["c"])
	l.pushFront(c["a"])
	l.pushBack(c["d"])
	if l.ids() != "abcd" || l.rows != 4 || l.bytes != 4*11 {
		t.Fatalf("%q, %d rows, %d bytes", l.ids(), l.rows, l.bytes)
	}
	for _, step := range []struct{ remove, left string }{{"b", "acd"}, {"a", "cd"}, {"d", "c"}, {"c", ""}} {
		if l.remove(c[step.remove]); l.ids() != step.left || c[step.remove].in != nil {
			t.Errorf("without %s: %q, want %q", step.remove, l.ids(), step.left)
		}
	}
	if l.head != nil || l.tail != nil || l.rows != 0 || l.bytes != 0 {
		t.Errorf("left: %+v", l)
	}
}

// What is known of contacts that have ended, because requests with them may still be applied or failed because of
// them, counts in the window until it is over.
func TestWindow_ChargesWhatItKnowsOfContactsThatHaveEnded(t *testing.T) {
	t.Parallel()
	const contacts = 100
	for name, end := range map[string]func(w *testWindow){
		"deleted while requests may be applied": func(w *testWindow) {
			w.settle(w.send(), contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
			for i := range contacts {
				w.remove(fmt.Sprint("c", i))
			}
		},
		"set aside for requests that failed": func(w *testWindow) {
			for i := range contacts {
				w.pending.alone.put(contactKey{streamKey{"a", "st"}, fmt.Sprint("c", i)}, w.now.Add(aloneFor))
				w.remove(fmt.Sprint("c", i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, func(c *Config) { c.MaxRows = contacts })
			for i := range contacts {
				w.add(fmt.Sprint("c", i))
			}
			end(w)
			if n := w.bytes(); w.pending.contacts > 0 || n < contacts*keyedOverhead {
				t.Errorf("%d bytes are charged, want %d at least; %d contacts are pending", n, contacts*keyedOverhead, w.pending.contacts)
			}
			w.now = w.now.Add(2 * aloneFor)
			if w.Expire(w.now); w.bytes() != 0 {
				t.Errorf("%d bytes are charged when that is over", w.bytes())
			}
		})
	}
}
