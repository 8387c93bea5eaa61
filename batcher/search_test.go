package batcher

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

var refusedWhole = contactsync.Result{Kind: contactsync.BadRequest, Status: 400}

// wholeRefusals are the answers that refuse a request as a whole, but for 413, which may be for its size.
var wholeRefusals = map[string]func(rows int) contactsync.Result{
	"400": func(int) contactsync.Result { return refusedWhole },
	"each by name": func(rows int) contactsync.Result {
		return each(rows, contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"})
	},
	"each by name and for a reason of its own": func(rows int) contactsync.Result {
		r := each(rows, contactsync.Outcome{Verdict: contactsync.Failed})
		for i := range r.Rows {
			r.Rows[i].Reason = fmt.Sprint("no ", i)
		}
		return r
	},
	"each for a transient reason": func(rows int) contactsync.Result {
		return each(rows, contactsync.Outcome{Verdict: contactsync.Failed, Reason: "later", Transient: true})
	},
	"without a word of them": func(rows int) contactsync.Result { return each(rows, contactsync.Outcome{}) },
}

// each is an answer that says the same of each row.
func each(rows int, o contactsync.Outcome) contactsync.Result {
	return contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: slices.Repeat([]contactsync.Outcome{o}, rows)}
}

// refusesBad is an API that refuses whole requests with a contact whose name begins with bad.
func refusesBad(now time.Time, b contactsync.Batch) contactsync.Result {
	return refusesBadSo(wholeRefusals["400"])(now, b)
}

// refusesBadSo is one that does with such an answer.
func refusesBadSo(whole func(rows int) contactsync.Result) func(time.Time, contactsync.Batch) contactsync.Result {
	return func(_ time.Time, b contactsync.Batch) contactsync.Result {
		for _, r := range b.Rows {
			if strings.HasPrefix(r.ID, "bad") {
				return whole(len(b.Rows))
			}
		}
		return allDelivered(b)
	}
}

// addRows lets rows of a stream wait, of which a share is bad, and returns how many.
func (l *lifetime) addRows(rnd *rand.Rand, stream string, rows int, share float64) (bad int) {
	for i := range rows {
		id := fmt.Sprint("c", i)
		if rnd.Float64() < share {
			id = fmt.Sprint("bad", i)
			bad++
		}
		l.change(stream, id)
	}
	return bad
}

// done lets time pass until nothing is pending.
func (l *lifetime) done() {
	for end := l.now.Add(24 * time.Hour); l.pending.contacts > 0 && l.now.Before(end); {
		l.live(10*time.Second, false)
	}
}

// The more rows are bad, the smaller are the requests of the search: it costs hardly more than the
// least number of answers that can tell the bad rows apart.
func TestWindow_TheSearchForBadRowsCostsLittleAtAnyRate(t *testing.T) {
	t.Parallel()
	const rows = 2000
	for _, rate := range []float64{0.001, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.9} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			t.Parallel()
			l, rnd := newLifetime(t, 1, func(c *Config) { c.DeadLetterMaxRatio = 1 }), rand.New(rand.NewPCG(1, 2))
			l.answer, l.budget = refusesBad, time.Second
			bad := l.addRows(rnd, "s0", rows, rate)
			l.done()
			h := func(p float64) float64 { return -p * math.Log2(p) }
			best := float64(rows)
			if rate < 0.38 { // above, single rows are the best
				best *= h(rate) + h(1-rate)
			}
			t.Logf("%d bad rows of %d: %d calls, %.0f at best", bad, rows, l.calls, best)
			if most := 1.2*best + rows/50; float64(l.calls) > most {
				t.Errorf("more than %.0f calls", most)
			}
			if len(l.letters) != bad || l.pending.contacts > 0 {
				t.Errorf("%d dead letters of %d bad rows, %d contacts left", len(l.letters), bad, l.pending.contacts)
			}
		})
	}
}

// Where bad rows have become rare, the search for one is by halves again.
func TestWindow_TheSearchForgetsTheRateOfBadRows(t *testing.T) {
	t.Parallel()
	l, rnd := newLifetime(t, 1, func(c *Config) { c.DeadLetterMaxRatio = 1 }), rand.New(rand.NewPCG(1, 2))
	l.answer, l.budget = refusesBad, time.Second
	l.addRows(rnd, "s0", 300, 0.5)
	l.done()
	l.addRows(rnd, "s0", 1000, 0)
	l.done()
	l.calls = 0
	l.change("s0", "bad")
	l.addRows(rnd, "s0", 99, 0)
	l.done()
	if l.calls > 1+2*7 {
		t.Errorf("%d calls for one bad row of a hundred", l.calls)
	}
}

// The search has a share of the calls: other streams hardly notice it.
func TestWindow_BadRowsDoNotSlowOtherStreams(t *testing.T) {
	t.Parallel()
	age := func(rate float64) time.Duration {
		l, rnd := newLifetime(t, 10, nil), rand.New(rand.NewPCG(1, 2))
		l.answer, l.budget, l.every = refusesBad, time.Second, 20*time.Second
		l.live(time.Minute, true)
		l.addRows(rnd, "bad", 2000, rate)
		l.live(time.Hour, true)
		return l.p99(l.streams...)
	}
	good := age(0)
	for _, rate := range []float64{0.02, 0.1, 0.35} {
		if bad := age(rate); bad > 2*good {
			t.Errorf("p99 of the others is %v with a rate of %v, %v without bad rows", bad, rate, good)
		} else {
			t.Logf("p99 of the others is %v with a rate of %v, %v without bad rows", bad, rate, good)
		}
	}
}

// What the whole, both halves and three single contacts get alike is about the stream: it is on hold, and
// none of its rows becomes a dead letter, until the API takes them.
func TestWindow_ARefusalOfAllRowsIsAboutTheStream(t *testing.T) {
	t.Parallel()
	for _, rows := range []int{3, 4, 30, 100} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			t.Parallel()
			l, rnd := newLifetime(t, 2, nil), rand.New(rand.NewPCG(1, 2))
			l.budget = time.Second
			l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result {
				if b.Stream == "all" {
					return refusedWhole
				}
				return allDelivered(b)
			}
			l.addRows(rnd, "all", rows, 0)
			l.live(20*time.Second, true)
			st := l.schedule.streams[streamKey{"a", "all"}]
			if !st.health.onHold(holdRejecting) {
				t.Fatal("the stream is not on hold")
			}
			l.live(3*time.Hour, true)
			if len(l.letters) > 0 || len(st.contacts) != rows {
				t.Errorf("%d dead letters, %d contacts wait", len(l.letters), len(st.contacts))
			}
			l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result { return allDelivered(b) }
			l.live(30*time.Minute, true)
			if len(l.letters) > 0 || len(st.contacts) != 0 {
				t.Errorf("afterwards %d dead letters, %d contacts wait", len(l.letters), len(st.contacts))
			}
		})
	}
}

// addBadAndGood adds contacts of which the first are bad.
func (w *testWindow) addBadAndGood(bad, good int) {
	for i := range bad {
		w.add(fmt.Sprint("bad", i))
	}
	for i := range good {
		w.add(fmt.Sprint("c", bad+i))
	}
}

// It takes six calls to tell, and fewer than three contacts tell nothing of their stream.
func TestWindow_AFewCallsTellARefusedStreamFromBadRows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rows, good int // of which the first are bad and the others good
		calls      int
		letters    int
		held       bool
	}{{1, 0, 2, 1, false}, {2, 0, 5, 2, false}, {2, 1, 4, 1, false}, {100, 0, 6, 0, true}, {100, 99, 14, 1, false}} {
		for what, whole := range wholeRefusals {
			w := newTestWindow(t, func(c *Config) { c.RowAttempts = 1 })
			w.addBadAndGood(tt.rows-tt.good, tt.good)
			calls, st := 0, w.schedule.streams[streamKey{"a", "st"}]
			for ; len(st.contacts) > 0 && st.health.hold == nil && calls < 100; calls++ {
				req := w.send()
				w.settle(req, refusesBadSo(whole)(w.now, req.Batch))
			}
			if held := st.health.onHold(holdRejecting); calls > tt.calls || held != tt.held || w.DeadLettersPending() != tt.letters {
				t.Errorf("%s, %d rows, %d good: %d calls, on hold %v, %d dead letters; want %+v", what, tt.rows, tt.good, calls, held, w.DeadLettersPending(), tt)
			}
		}
	}
}

// searchOf sends rows that are refused as a whole, and then in both halves.
func searchOf(t *testing.T, rows ...string) *testWindow {
	t.Helper()
	w := newTestWindow(t, nil)
	w.add(rows...)
	for range wholeAndHalves {
		w.settle(w.send(), refusedWhole)
	}
	return w
}

// An API that was set right between two single contacts has refused the first one like all others, whichever answer
// comes first, and whatever was accepted: that is no dead letter. Refused again, it is one.
func TestWindow_ARefusalSentBeforeAnythingWasAcceptedCondemnsNoRow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		ordinary bool // what is accepted is no part of the search
		bad      bool // the row is refused again
		letters  int
	}{{name: "of the search"}, {name: "an ordinary request", ordinary: true}, {name: "a bad row", bad: true, letters: 1}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := searchOf(t, "a", "b", "c", "d")
			first := w.send()
			if tt.ordinary {
				w.add("e")
			}
			var other *Request
			for other = w.send(); tt.ordinary && other.group != nil; other = w.send() {
				continue
			}
			if len(first.rows) != 1 {
				t.Fatalf("%s are sent, want one", ids(first))
			}
			w.settle(other, allDelivered(other.Batch))
			w.settle(first, refusedWhole)
			if n := w.DeadLettersPending(); n != 0 {
				t.Errorf("%d dead letters of a row that was sent before anything was accepted", n)
			}
			for again := false; !again; {
				req := w.send()
				if again = ids(req) == ids(first); again && tt.bad {
					w.settle(req, refusedWhole)
				} else {
					w.settle(req, allDelivered(req.Batch))
				}
			}
			if n := w.DeadLettersPending(); n != tt.letters {
				t.Errorf("%d dead letters after the row was sent once more, want %d", n, tt.letters)
			}
		})
	}
}

// A row that is refused alone twice, because the answers about the others take longer, says no more than one.
func TestWindow_TheSameRowTwiceTellsNothingOfAStream(t *testing.T) {
	t.Parallel()
	w := searchOf(t, "a", "b", "c", "d")
	first, second := w.send(), w.send()
	w.settle(first, refusedWhole)
	for w.settle(second, refusedWhole); ; {
		again := w.send()
		if ids(again) == ids(first) {
			w.settle(again, refusedWhole)
			break
		}
	}
	if n := w.DeadLettersPending(); n != 0 {
		t.Errorf("%d dead letters while the API has accepted nothing", n)
	}
}

// A hold that began so makes dead letters again when a row of the stream was accepted.
func TestWindow_AfterARefusalOfAllRowsBadOnesEnd(t *testing.T) {
	t.Parallel()
	l, rnd := newLifetime(t, 1, nil), rand.New(rand.NewPCG(1, 2))
	l.budget = time.Second
	l.answer = func(time.Time, contactsync.Batch) contactsync.Result { return refusedWhole }
	for i := range 10 {
		l.change("s0", fmt.Sprint("bad", i))
	}
	l.addRows(rnd, "s0", 5, 0)
	l.live(10*time.Minute, false)
	l.answer = refusesBad
	l.live(2*time.Hour, true)
	if len(l.letters) != 10 {
		t.Errorf("%d dead letters of 10 bad rows, %d contacts wait", len(l.letters), l.pending.contacts)
	}
}

// refusesUnknown is an API that answers 404 to a request with a contact whose name begins with bad.
func refusesUnknown(_ time.Time, b contactsync.Batch) contactsync.Result {
	if r := refusesBad(time.Time{}, b); r.Kind == contactsync.Answered {
		return r
	}
	return refusedAsUnknown
}

// An API may say 404 of a contact that it does not know. Of a stream that it knows, that harms the contact only: the
// others are delivered, nobody is set aside, and the stream is not on hold.
func TestWindow_A404ForOneContactHarmsOnlyThat(t *testing.T) {
	t.Parallel()
	l, rnd := newLifetime(t, 2, nil), rand.New(rand.NewPCG(1, 2))
	l.answer, l.budget, l.every = refusesUnknown, time.Second, 10*time.Second
	l.live(time.Minute, true)
	l.change("s0", "bad")
	l.addRows(rnd, "s0", 40, 0)
	held := 0
	for range 360 {
		l.live(10*time.Second, true)
		if l.schedule.streams[streamKey{"a", "s0"}].health.hold != nil {
			held++
		}
	}
	st := l.schedule.streams[streamKey{"a", "s0"}]
	if len(l.letters) > 0 || held > 0 || st.contacts["bad"] == nil || len(st.contacts) > 3 {
		t.Errorf("%d dead letters, on hold at %d of 360 times, %d contacts wait", len(l.letters), held, len(st.contacts))
	}
	if age := l.p99("s0"); age > 10*time.Second { // those of the search included
		t.Errorf("p99 of its stream is %v", age)
	}
	l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result { return allDelivered(b) }
	l.live(10*time.Minute, true)
	if st.contacts["bad"] != nil {
		t.Error("the contact was not sent when the API knew it")
	}
}

// Many such contacts, each of which comes alone and so puts the stream on hold, harm the others of the stream no more
// than a few: what was refused alone before is behind them when the hold is probed.
func TestWindow_ProbesBeginWithWhatWasNotRefusedAlone(t *testing.T) {
	t.Parallel()
	l := newLifetime(t, 2, nil)
	l.answer, l.budget, l.every = refusesUnknown, time.Second, 5*time.Second
	l.live(time.Minute, true)
	const unknown = 40
	held, st := 0, l.schedule.streams[streamKey{"a", "s0"}]
	for i := range 400 {
		if i%5 == 0 && i < 5*unknown {
			l.change("s0", fmt.Sprint("bad", i))
		}
		l.live(20*time.Second, true)
		if st.health.hold != nil {
			held++
		}
	}
	if age := l.p99("s0"); held > 40 || age > time.Minute || len(l.letters) > 0 || len(st.contacts) < unknown {
		t.Errorf("on hold at %d of 400 times, p99 of the others %v, %d dead letters, %d contacts wait", held, age, len(l.letters), len(st.contacts))
	}
}

// A stream that the API does not know any more is on hold after six calls, however many contacts wait, and at once
// where one row is sent, or the API never knew it.
func TestWindow_AFewCallsTellAStreamThatIsGone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rows, good int // of which the first are bad and the others good
		stranger   bool
		calls      int
		held       bool
	}{{1, 0, false, 1, true}, {2, 0, false, 2, true}, {100, 0, false, 6, true}, {100, 0, true, 1, true}, {100, 99, false, 14, false}} {
		w := newTestWindow(t, nil)
		if !tt.stranger {
			w.add("known")
			f := w.send()
			w.settle(f, allDelivered(f.Batch))
		}
		w.addBadAndGood(tt.rows-tt.good, tt.good)
		calls, st := 0, w.schedule.streams[streamKey{"a", "st"}]
		for ; (len(st.contacts) > 1 || tt.good == 0) && st.health.hold == nil && calls < 100; calls++ {
			req := w.send()
			w.settle(req, refusesUnknown(w.now, req.Batch))
		}
		if held := st.health.onHold(holdGone); calls > tt.calls || held != tt.held || w.DeadLettersPending() != 0 {
			t.Errorf("%d rows, %d good: %d calls, on hold %v, %d dead letters; want %+v", tt.rows, tt.good, calls, held, w.DeadLettersPending(), tt)
		}
	}
}

// A stream on hold because the API does not know it is probed with one row, and with another one each time, whatever
// row the API said that of.
func TestWindow_ProbesOfAnUnknownStreamTurn(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("a", "b", "c")
	w.settle(w.send(), refusedAsUnknown)
	var probes []string
	for range 4 {
		req := w.send()
		probes = append(probes, ids(req))
		w.settle(req, refusedAsUnknown)
		w.now = w.now.Add(w.cfg.HoldProbeMax)
	}
	if got := strings.Join(probes, "|"); got != "a|b|c|a" {
		t.Errorf("probes %q", got)
	}
}

// Rows that are sent once more wait for three requests of other work, that which they were in included, though theirs is the oldest event, and for
// none where there is no other work.
func TestWindow_RowsThatAreSentOnceMoreWaitForOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		others int
		want   string
	}{{14, "c0 c1|c2 c3|bad|c4 c5|c6 c7|c8 c9|c10 c11|c12 c13"}, {0, "bad"}} {
		w := newTestWindow(t, func(c *Config) { c.MaxRows = 2 })
		w.known("st")
		w.known("other")
		answer := func(req *Request) {
			r := allDelivered(req.Batch)
			for i, row := range req.Batch.Rows {
				if row.ID == "bad" {
					r.Rows[i] = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
				}
			}
			w.settle(req, r)
		}
		w.add("a", "bad")
		answer(w.send())
		for i := range tt.others {
			w.add(fmt.Sprint("other/c", i))
		}
		var order []string
		w.now = w.now.Add(time.Minute)
		for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
			order = append(order, ids(req))
			answer(req)
		}
		if got := strings.Join(order, "|"); got != tt.want || w.DeadLettersPending() != 1 {
			t.Errorf("sent %q, want %q; %d dead letters", got, tt.want, w.DeadLettersPending())
		}
	}
}
