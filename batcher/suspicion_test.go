package batcher

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// lifetime plays an account with some streams to an API, in virtual time: a contact of a
// stream changes every so often, a call takes a while, and the account has a budget.
type lifetime struct {
	*testWindow
	streams []string
	every   time.Duration // between two events of a stream
	ids     int           // contacts of a stream
	budget  time.Duration // between two calls; 0 for any number
	latency time.Duration
	answer  func(now time.Time, b contactsync.Batch) contactsync.Result

	next    time.Time // call that the budget allows
	events  int
	added   map[string]time.Time // of contacts that wait, by stream and id
	ages    map[string][]time.Duration
	calls   int
	failed  int
	letters []*DeadLetter
	flight  []flight
}

type flight struct {
	ends time.Time
	req  *Request
}

// PerSecond implements Gate.
func (l *lifetime) PerSecond() float64 {
	if l.budget == 0 {
		return 0
	}
	return 1 / l.budget.Seconds()
}

// Admit implements Gate.
func (l *lifetime) Admit(now time.Time, _ string, _ bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	if now.Before(l.next) {
		return nil, l.next
	}
	l.next = now.Add(l.budget)
	return func(time.Time, contactsync.Result) time.Time { return time.Time{} }, time.Time{}
}

func newLifetime(t *testing.T, streams int, change func(*Config)) *lifetime {
	l := &lifetime{
		testWindow: newTestWindow(t, change), every: 2 * time.Second, ids: 50, latency: 100 * time.Millisecond,
		added: map[string]time.Time{}, ages: map[string][]time.Duration{},
	}
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	l.Window = NewWindow(cfg, func(string) (Gate, bool) { return l, true }, &l.set.Batcher, 1)
	l.Assign(l.now, []contactsync.Claim{testClaim}, false)
	for i := range streams {
		l.streams = append(l.streams, fmt.Sprint("s", i))
	}
	return l
}

const lifeStep = 50 * time.Millisecond

// live lets time pass. With feed the streams' contacts change.
func (l *lifetime) live(d time.Duration, feed bool) {
	for end := l.now.Add(d); l.now.Before(end); l.now = l.now.Add(lifeStep) {
		if feed && l.now.UnixNano()%int64(l.every) < int64(lifeStep) {
			for _, s := range l.streams {
				l.change(s, fmt.Sprint("c", l.events%l.ids))
				l.events++
			}
		}
		l.flight = slices.DeleteFunc(l.flight, func(f flight) bool {
			if f.ends.After(l.now) {
				return false
			}
			r := l.answer(l.now, f.req.Batch)
			if r.Kind != contactsync.Answered {
				l.failed++
			}
			for i, row := range f.req.Batch.Rows {
				key := f.req.Batch.Stream + "/" + row.ID
				if at, ok := l.added[key]; ok && len(r.Rows) > i && r.Rows[i].Verdict == contactsync.Delivered {
					l.ages[f.req.Batch.Stream] = append(l.ages[f.req.Batch.Stream], l.now.Sub(at))
					delete(l.added, key)
				}
			}
			l.Settle(l.now, f.req, r)
			return true
		})
		for req := l.Next(l.now); req != nil; req = l.Next(l.now) {
			l.calls++
			l.flight = append(l.flight, flight{l.now.Add(l.latency), req})
		}
		letters := l.TakeDeadLetters()
		l.letters = append(l.letters, letters...)
		l.DeadLettersAcked(l.now, letters)
		l.TakeEnded()
		if l.now.UnixNano()%int64(time.Second) < int64(lifeStep) {
			l.Expire(l.now)
		}
	}
}

func (l *lifetime) change(stream, id string) {
	if _, waits := l.added[stream+"/"+id]; !waits {
		l.added[stream+"/"+id] = l.now
	}
	l.add(stream + "/" + id)
}

// p99 is the age below which 99 of 100 contacts of the streams were when they were delivered.
func (l *lifetime) p99(streams ...string) time.Duration {
	var all []time.Duration
	for _, s := range streams {
		all = append(all, l.ages[s]...)
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return p99(all)
}

var (
	fails    = contactsync.Result{Kind: contactsync.Unavailable, Status: 500, MayBeRows: true}
	timesOut = contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true, MayBeRows: true}
)

func hasRow(b contactsync.Batch, ids ...string) bool {
	return slices.ContainsFunc(b.Rows, func(r contactsync.Row) bool { return slices.Contains(ids, r.ID) })
}

// A row that the API fails at harms nobody but itself: neither the others of its stream nor
// other streams wait for it, and in the end it is set aside.
func TestWindow_ARowThatMakesRequestsFailHarmsOnlyItself(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]contactsync.Result{"500": fails, "time-out": timesOut} {
		for _, budget := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprintf("%s, a call each %v", name, budget), func(t *testing.T) {
				t.Parallel()
				base := newLifetime(t, 10, nil)
				base.budget = budget
				base.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result { return allDelivered(b) }
				base.live(20*time.Minute, true)
				l := newLifetime(t, 10, nil)
				l.budget = budget
				l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result {
					if hasRow(b, "poison") {
						return bad
					}
					return allDelivered(b)
				}
				l.live(time.Minute, true)
				l.change("s0", "poison")
				l.live(20*time.Minute, true)
				for _, streams := range [][]string{{"s0"}, l.streams[1:]} {
					before, now := base.p99(streams...), l.p99(streams...)
					t.Logf("%s: p99 %v without, %v with; %d calls failed", strings.Join(streams, " "), before, now, l.failed)
					most := 2.0
					if budget > 0 && streams[0] == "s0" {
						most = 2.5 // every call is wanted, and the stream has its part only until others of its rows pass
					}
					if now.Seconds() > most*before.Seconds() {
						t.Errorf("%s: p99 %v, without the bad row %v", strings.Join(streams, " "), now, before)
					}
				}
				if len(l.letters) != 1 || l.letters[0].Contact != "poison" || l.letters[0].Reason != contactsync.ReasonUnanswered {
					t.Errorf("%d dead letters: %+v", len(l.letters), l.letters)
				}
			})
		}
	}
}

// Whatever makes requests fail at large makes no dead letters, and afterwards requests are
// as large as before within ten minutes.
func TestWindow_AnOutageMakesNoDeadLetters(t *testing.T) {
	t.Parallel()
	ok := allDelivered
	for name, answer := range map[string]func(rnd *rand.Rand, since time.Duration, b contactsync.Batch) contactsync.Result{
		"everything fails": func(*rand.Rand, time.Duration, contactsync.Batch) contactsync.Result { return fails },
		"a gateway refuses everything": func(*rand.Rand, time.Duration, contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.Unavailable, Status: 403, MayBeRows: true}
		},
		"one stream fails": func(_ *rand.Rand, _ time.Duration, b contactsync.Batch) contactsync.Result {
			if b.Stream == "s0" {
				return fails
			}
			return ok(b)
		},
		"one stream times out": func(_ *rand.Rand, _ time.Duration, b contactsync.Batch) contactsync.Result {
			if b.Stream == "s0" {
				return timesOut
			}
			return ok(b)
		},
		"three of ten": func(rnd *rand.Rand, _ time.Duration, b contactsync.Batch) contactsync.Result {
			if rnd.IntN(10) < 3 {
				return fails
			}
			return ok(b)
		},
		"half": func(rnd *rand.Rand, _ time.Duration, b contactsync.Batch) contactsync.Result {
			if rnd.IntN(2) == 0 {
				return fails
			}
			return ok(b)
		},
		"seven of ten": func(rnd *rand.Rand, _ time.Duration, b contactsync.Batch) contactsync.Result {
			if rnd.IntN(10) < 7 {
				return timesOut
			}
			return ok(b)
		},
		"every twenty seconds": func(_ *rand.Rand, since time.Duration, b contactsync.Batch) contactsync.Result {
			if since/(20*time.Second)%2 == 0 {
				return fails
			}
			return ok(b)
		},
		"large requests": func(_ *rand.Rand, _ time.Duration, b contactsync.Batch) contactsync.Result {
			if len(b.Rows) > 3 {
				return timesOut
			}
			return ok(b)
		},
		"credentials at half of the nodes": func(rnd *rand.Rand, _ time.Duration, b contactsync.Batch) contactsync.Result {
			if rnd.IntN(2) == 0 {
				return contactsync.Result{Kind: contactsync.Unauthorized, Status: 401}
			}
			return ok(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, rnd := newLifetime(t, 5, nil), rand.New(rand.NewPCG(1, 2))
			l.every = 300 * time.Millisecond
			l.budget = time.Second
			l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result { return ok(b) }
			l.live(time.Minute, true)
			start := l.now
			l.answer = func(now time.Time, b contactsync.Batch) contactsync.Result { return answer(rnd, now.Sub(start), b) }
			l.live(2*time.Hour, true)
			during := l.calls
			l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result { return ok(b) }
			l.live(10*time.Minute, true)
			if len(l.letters) != 0 {
				t.Errorf("%d dead letters, the first %+v", len(l.letters), l.letters[0].DeadLetter)
			}
			if size := l.schedule.account("a").health.size; size.lowered() {
				t.Errorf("ten minutes later: %+v", size)
			}
			clear(l.ages)
			l.live(time.Minute, true)
			for _, s := range l.streams {
				if age := l.p99(s); age > 30*time.Second || age == 0 {
					t.Errorf("ten minutes later %s has contacts that are %v old", s, age)
				}
			}
			t.Logf("%d calls during it, %d failed", during, l.failed)
		})
	}
}

// Where an API fails at random, many rows are in three requests that fail, and all are tried apart. When it is
// well again a few of them show it, and the others go back to where full requests are made of them. Nor
// is it taken for the size of requests that smaller ones pass, while larger ones do, too.
func TestWindow_AnAPIThatFailsAtRandomCondemnsNoRows(t *testing.T) {
	t.Parallel()
	for _, failing := range []int{3, 5, 7} { // of ten requests
		t.Run(fmt.Sprint(failing, " of ten"), func(t *testing.T) {
			t.Parallel()
			var calls, lowered, left, more int // of several hours: one of them says little
			for seed := range uint64(4) {
				l, rnd := newLifetime(t, 10, func(c *Config) { c.MaxRows = 20 }), rand.New(rand.NewPCG(seed, 2))
				l.ids, l.every, l.budget, l.offset = 1000, 700*time.Millisecond, time.Second, 100_000
				l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result {
					if l.schedule.account("a").health.size.lowered() {
						lowered++
					}
					if rnd.IntN(10) < failing {
						return fails
					}
					return allDelivered(b)
				}
				l.live(time.Hour, true)
				calls, left, more = calls+l.calls, left+l.pending.contacts, more-l.calls
				l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result { return allDelivered(b) }
				l.live(10*time.Minute, false)
				if more += l.calls; l.pending.contacts > 0 || len(l.letters) > 0 {
					t.Errorf("%d contacts were left after ten minutes, %d dead letters", l.pending.contacts, len(l.letters))
				}
			}
			t.Logf("%d of %d requests were smaller; %d contacts were left, and took %d calls", lowered, calls, left, more)
			if lowered > calls*3/4 || more > left/20+4*150 {
				t.Error("that is too many smaller requests, or calls for what was left")
			}
		})
	}
}

// Where rows are the cause, those of a request that were not pass alone beside those that fail, and acquit none.
func TestWindow_BadRowsAreNotAcquitted(t *testing.T) {
	t.Parallel()
	l := newLifetime(t, 4, nil)
	l.budget = time.Second
	l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result {
		if hasRow(b, "bad0", "bad1", "bad2", "bad3", "bad4") {
			return fails
		}
		return allDelivered(b)
	}
	l.live(time.Minute, true)
	for i := range 5 {
		for _, s := range l.streams {
			l.change(s, fmt.Sprint("bad", i))
			l.change(s, fmt.Sprint("good", i))
		}
	}
	l.live(30*time.Minute, true)
	h := &l.schedule.account("a").health
	if !h.acquitted.IsZero() || len(l.letters) != 20 {
		t.Errorf("acquitted at %v, %d of 20 dead letters", h.acquitted, len(l.letters))
	}
}

// The size of requests is learned from failures where the API refuses without a word.
func TestWindow_LearnsTheSizeFromFailures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		takes  func(b contactsync.Batch) bool
		result contactsync.Result
		rows   int // that the API takes
	}{
		"37 rows, by resets":   {func(b contactsync.Batch) bool { return len(b.Rows) <= 37 }, timesOut, 37},
		"50 rows, by 504":      {func(b contactsync.Batch) bool { return len(b.Rows) <= 50 }, fails, 50},
		"37 rows, 413":         {func(b contactsync.Batch) bool { return len(b.Rows) <= 37 }, contactsync.Result{Kind: contactsync.TooLarge, Status: 413}, 37},
		"700 bytes, by resets": {func(b contactsync.Batch) bool { return batchBytes(b) <= 700 }, timesOut, 46},
		"one row":              {func(b contactsync.Batch) bool { return len(b.Rows) <= 1 }, fails, 1},
		"96 rows":              {func(b contactsync.Batch) bool { return len(b.Rows) <= 96 }, fails, 96},
	} {
		for _, streams := range []int{1, 10} {
			t.Run(fmt.Sprintf("%s, %d streams", name, streams), func(t *testing.T) {
				t.Parallel()
				const contacts = 20_000
				l := newLifetime(t, streams, nil)
				l.budget = 200 * time.Millisecond
				l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result {
					if tt.takes(b) {
						return allDelivered(b)
					}
					return tt.result
				}
				n := contacts
				l.offset = 100_000
				for i := range n {
					l.change(l.streams[i%streams], fmt.Sprintf("c%05d", i))
				}
				for l.pending.contacts > 0 && l.now.Before(time.Unix(1_700_000_000, 0).Add(24*time.Hour)) {
					l.live(10*time.Second, false)
				}
				floor := (n + tt.rows - 1) / tt.rows
				t.Logf("%d calls, %.3f of %d; %d failed", l.calls, float64(l.calls)/float64(floor), floor, l.failed)
				if l.pending.contacts > 0 || len(l.letters) > 0 {
					t.Fatalf("%d contacts are left, %d dead letters", l.pending.contacts, len(l.letters))
				}
				if float64(l.calls) > 1.1*float64(floor) {
					t.Errorf("%d calls, more than a tenth above %d", l.calls, floor)
				}
			})
		}
	}
}

func batchBytes(b contactsync.Batch) (n int) {
	for _, r := range b.Rows {
		n += len(r.Body) + 1
	}
	return n
}

// What speaks against a row was said of one state of the contact: another one begins anew.
func TestPending_ANewerStateIsNotSuspect(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("x")
	c := w.pending.find(contactKey{streamKey{"a", "st"}, "x"})
	c.suspicion.alone = 4
	w.add("x")
	if c.suspicion.alone != 0 {
		t.Errorf("%d failures alone are held against a state that was never sent", c.suspicion.alone)
	}
}

// Within a stream as well, three requests of its regular work go before each of the search.
func TestWindow_RegularWorkGoesBeforeTheSearch(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxRows = 2 })
	w.known("st") // else its first requests would be those of a stranger
	w.add("a", "bad")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.BadRequest, Status: 400})
	for i := range 12 {
		w.add(fmt.Sprint("c", i))
	}
	var order []string
	for range 6 {
		req := w.send()
		order = append(order, ids(req))
		r := allDelivered(req.Batch)
		if hasRow(req.Batch, "bad") {
			r = contactsync.Result{Kind: contactsync.BadRequest, Status: 400}
		}
		w.settle(req, r)
	}
	if got, want := strings.Join(order, "|"), "c0 c1|c2 c3|a|c4 c5|c6 c7|c8 c9"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}

// An API that reads only the beginning of a request leaves the rest open: that is no fault
// of its rows, however often, and teaches the size. One row that is left out is another
// matter.
func TestWindow_LearnsTheSizeFromAnswersCutShort(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		left  func(i int) bool
		limit int64 // of rows, afterwards
	}{
		"the first 20 rows": {func(i int) bool { return i >= 20 }, 20},
		"all but one":       {func(i int) bool { return i == 50 }, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLifetime(t, 1, nil)
			first := true
			l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result {
				r := allDelivered(b)
				for i := range r.Rows {
					if (first || name != "all but one") && tt.left(i) {
						r.Rows[i] = contactsync.Outcome{}
					}
				}
				first = false
				return r
			}
			for i := range 100 {
				l.change("s0", fmt.Sprintf("c%03d", i))
			}
			l.live(time.Minute, false)
			if l.pending.contacts > 0 || len(l.letters) > 0 {
				t.Errorf("%d contacts are left, %d dead letters", l.pending.contacts, len(l.letters))
			}
			if got := l.schedule.account("a").health.size.rows.limit; got != tt.limit {
				t.Errorf("at most %d rows as a rule, want %d", got, tt.limit)
			}
		})
	}
}

// The next state of a contact that was set aside would make others fail likewise.
func TestPending_AContactThatWasSetAsideGoesAlone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		until time.Duration
		want  []string
	}{"for a while": {time.Hour, []string{"x", "y"}}, "and not for ever": {0, []string{"x y"}}} {
		w := newTestWindow(t, nil)
		w.pending.alone.put(contactKey{streamKey{"a", "st"}, "x"}, w.now.Add(tt.until))
		w.add("x", "y")
		var sent []string
		for w.pending.contacts > 0 {
			req := w.send()
			sent = append(sent, ids(req))
			w.settle(req, allDelivered(req.Batch))
		}
		if slices.Sort(sent); !slices.Equal(sent, tt.want) {
			t.Errorf("%s: sent %q, want %q", name, sent, tt.want)
		}
	}
}
