package batcher

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// wholly are the answers that a stream may get whatever its rows are.
func wholly() map[string]func(rows int) contactsync.Result {
	all := map[string]func(rows int) contactsync.Result{
		"413": func(int) contactsync.Result { return contactsync.Result{Kind: contactsync.TooLarge, Status: 413} },
	}
	maps.Copy(all, wholeRefusals)
	calls := 0
	all["by turns"] = func(rows int) contactsync.Result {
		names := []string{"400", "413", "each by name", "without a word of them"}
		calls++
		return all[names[calls%len(names)]](rows)
	}
	return all
}

// refusesStreams is an API that answers so for all streams whose name begins with bad.
func refusesStreams(whole func(rows int) contactsync.Result) func(time.Time, contactsync.Batch) contactsync.Result {
	return func(_ time.Time, b contactsync.Batch) contactsync.Result {
		if strings.HasPrefix(b.Stream, "bad") {
			return whole(len(b.Rows))
		}
		return allDelivered(b)
	}
}

func acceptsAll(_ time.Time, b contactsync.Batch) contactsync.Result { return allDelivered(b) }

// mend has the API accept everything, and fails where that does not end what waits, or makes dead letters.
func (l *lifetime) mend(name string) {
	l.t.Helper()
	letters := len(l.letters)
	l.answer = acceptsAll
	l.live(time.Hour, false)
	if n := len(l.letters) - letters; n > 0 || l.pending.contacts > 0 {
		l.t.Errorf("%s: mended, %d dead letters, %d contacts wait", name, n, l.pending.contacts)
	}
}

// A stream of which nothing is accepted is on hold after a few contacts, whatever the answer is, how many come at once, and whether
// it was accepted before. What is set aside is at most the first two that come alone, beside others that are accepted.
func TestWindow_AStreamOfWhichNothingIsAcceptedIsOnHold(t *testing.T) {
	t.Parallel()
	for name, whole := range wholly() {
		for _, tt := range []struct {
			rows     int // at once
			every    time.Duration
			accepted bool // before
			letters  int  // at most
		}{
			{1, 3 * time.Minute, false, 2}, // the stream has nothing to send in between
			{1, 3 * time.Minute, true, 2},
			{10, 10 * time.Minute, false, 0},
			{10, 10 * time.Minute, true, 0},
		} {
			l := newLifetime(t, 2, nil)
			l.answer, l.budget = refusesStreams(whole), time.Second
			if tt.accepted {
				l.answer = acceptsAll
				l.change("bad", "before")
				l.live(5*time.Minute, true)
				l.answer = refusesStreams(whole)
			}
			for n := 0; n < int(2*time.Hour/tt.every); n++ {
				for i := range tt.rows {
					l.change("bad", fmt.Sprint("c", n*tt.rows+i))
				}
				l.live(tt.every, true)
			}
			h := &l.schedule.streams[streamKey{"a", "bad"}].health
			if !h.onHold(holdRejecting) || !h.hold.whole || len(l.letters) > tt.letters || h.hold.probes > 2*90 {
				t.Errorf("%s, %+v: on hold %+v, %d dead letters", name, tt, h.hold, len(l.letters))
			}
			l.mend(name)
		}
	}
}

// An outage in which the API refuses rows makes no dead letter, though each stream has one contact, and is not on hold before it begins.
func TestWindow_AnOutageThatRefusesRowsMakesNoDeadLetter(t *testing.T) {
	t.Parallel()
	for name, whole := range wholly() {
		l := newLifetime(t, 0, nil)
		l.answer, l.budget = acceptsAll, time.Second
		put := func(minutes int) {
			for range minutes {
				l.change(fmt.Sprint("bad", l.events%20), fmt.Sprint("c", l.events))
				l.events++
				l.live(20*time.Second, false)
			}
		}
		put(20)
		l.answer = refusesStreams(whole)
		put(200)
		if len(l.letters) > 0 {
			t.Errorf("%s: %d dead letters, the first of %s", name, len(l.letters), l.letters[0].Stream)
		}
		l.mend(name)
	}
}

// A row that was refused beside accepted ones, and has a newer state since, has its chance when all of a request are refused.
func TestWindow_ANewerStateWasNotRefusedBesideOthers(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.add("a", "b", "c")
	no := contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
	w.settle(w.send(), contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{no, no, {Verdict: contactsync.Delivered}}})
	w.add("a", "b")
	again := w.send()
	if w.settle(again, each(len(again.rows), no)); w.DeadLettersPending() > 0 {
		t.Errorf("%d dead letters of %s, sent together", w.DeadLettersPending(), ids(again))
	}
}

// A row that is bad comes to its end, be it alone in its stream or in its account.
func TestWindow_ALoneBadRowIsSetAside(t *testing.T) {
	t.Parallel()
	for name, whole := range wholeRefusals {
		for streams, within := range map[int]time.Duration{0: 3 * time.Minute, 2: time.Minute} {
			l := newLifetime(t, streams, nil)
			l.answer, l.budget = refusesBadSo(whole), time.Second
			l.live(time.Minute, true)
			l.change("lone", "bad")
			l.live(within, true)
			if len(l.letters) != 1 {
				t.Errorf("%s beside %d streams: %d dead letters within %v", name, streams, len(l.letters), within)
			}
		}
	}
}

// What is too large of a stream whatever its size is kept until three contacts tell, also while others of the account are accepted.
func TestWindow_AStreamThatIsTooLargeWhateverItsSizeMakesNoDeadLetter(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	w.known("other")
	w.known("st")
	w.add("a", "b", "c", "d", "e", "f", "g", "h")
	h := &w.schedule.streams[streamKey{"a", "st"}].health
	for calls := 0; h.hold == nil && calls < 40; calls++ {
		w.add(fmt.Sprint("other/", calls))
		req := w.send()
		r := allDelivered(req.Batch)
		if req.stream.name == "st" {
			r = contactsync.Result{Kind: contactsync.TooLarge, Status: 413}
		}
		w.settle(req, r)
	}
	if !h.onHold(holdRejecting) || w.DeadLettersPending() > 0 {
		t.Errorf("on hold %+v, %d dead letters", h.hold, w.DeadLettersPending())
	}
}

// What was sent before a row of the stream was accepted counts for nothing, however much of it there is: the API may have been set right.
func TestWindow_RefusalsSentBeforeARowWasAcceptedHoldNoStream(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxRows = 1 })
	w.add("a", "b", "c", "d")
	var sent []*Request
	for range 4 {
		sent = append(sent, w.send())
	}
	last := len(sent) - 1
	w.settle(sent[last], allDelivered(sent[last].Batch))
	for _, req := range sent[:last] {
		w.settle(req, refusedWhole)
	}
	if h := &w.schedule.streams[streamKey{"a", "st"}].health; h.hold != nil || w.DeadLettersPending() > 0 {
		t.Errorf("on hold %+v, %d dead letters", h.hold, w.DeadLettersPending())
	}
}

// A hold of which nothing is accepted is probed with the contact that came last, which tells more than those that were refused, and with all others in turn.
func TestWindow_ProbesBeginWithTheContactThatCameLast(t *testing.T) {
	t.Parallel()
	w := searchOf(t, "a", "b", "c", "d")
	for range aloneAlike {
		w.settle(w.send(), refusedWhole)
	}
	var probes []string
	for _, comes := range []string{"", "e", "", "f", "", "", ""} {
		if comes != "" {
			w.now = w.now.Add(time.Second)
			w.add(comes)
		}
		req := w.send()
		probes = append(probes, ids(req))
		w.settle(req, refusedWhole)
	}
	seen := map[string]bool{}
	for _, p := range probes {
		seen[p] = true
	}
	if len(seen) != 6 || probes[1] != "e" || probes[3] != "f" {
		t.Errorf("probes %q, want all six contacts, and those that come in between first", probes)
	}
}

// So is every stream of which nothing is accepted, whatever the answers are: one that has a row in each request would wait for all that
// were refused, or failed, before a good one, however many they are.
func TestWindow_WhatCameLastIsTriedFirstWhereNothingIsAccepted(t *testing.T) {
	t.Parallel()
	for _, answer := range []contactsync.Result{
		refusedAsUnknown, failed500, {Kind: contactsync.Unauthorized, Status: 401}, {Kind: contactsync.Unavailable},
	} {
		t.Run(fmt.Sprint(answer.Kind, answer.Status), func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, func(c *Config) { c.BackoffMin = time.Millisecond })
			w.known("st")
			for i := range 10 {
				w.add(fmt.Sprint("bad", i))
				w.settle(w.send(), answer)
			}
			w.add("older", "newest")
			if req := w.send(); mayBeRows(answer) && ids(req) != "newest" || !mayBeRows(answer) && len(req.rows) == 1 {
				t.Errorf("a request of %s goes first", ids(req))
			} else {
				w.settle(req, allDelivered(req.Batch))
			}
			if st := w.schedule.streams[streamKey{"a", "st"}]; st.troubled() {
				t.Error("an answer leaves the stream in trouble")
			}
		})
	}
}

// A probe that leaves its row open is one in vain: the next waits longer.
func TestWindow_AProbeThatTellsNothingIsInVain(t *testing.T) {
	t.Parallel()
	w := searchOf(t, "a", "b", "c", "d")
	for range aloneAlike {
		w.settle(w.send(), refusedWhole)
	}
	h := &w.schedule.streams[streamKey{"a", "st"}].health
	for range 3 {
		before := h.failures
		w.add(fmt.Sprint("new", before))
		req := w.send()
		if w.settle(req, each(1, contactsync.Outcome{})); h.failures <= before || !h.backoff.After(w.now) {
			t.Errorf("%s: %d failures, %d before; waits until %v", ids(req), h.failures, before, h.backoff)
		}
	}
}

// A stream on hold that was refused in part is so as a whole when nothing of it is accepted any more.
func TestHealth_AHoldBecomesOneOfTheWholeStream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		refused int // contacts of it in a row, since one was accepted
		tried   []tally
		want    bool
	}{
		{"one contact", 1, []tally{{refused: 10}}, false},
		{"three, after one was accepted", 3, []tally{{accepted: 1}, {refused: 5}}, false},
		{"three, and nothing else", 3, []tally{{refused: 5}}, true},
		{"ten", 3, []tally{{accepted: 1}, {refused: 10}}, true},
	} {
		w := newTestWindow(t, nil)
		st := w.schedule.stream("st", "a")
		on := &hold{kind: holdRejecting, since: w.now.Add(-time.Hour)}
		st.health.hold = on
		for _, rows := range tt.tried {
			w.health.withinBudget(w.now, st, rows, aboutRow)
		}
		for i := range tt.refused {
			st.health.refused.note(contactKey{st.key(), fmt.Sprint(i)}, badRate{})
		}
		if w.health.withinBudget(w.now, st, tally{refused: 1}, aboutRow); on.whole != tt.want {
			t.Errorf("%s: of the whole stream %v, want %v", tt.name, on.whole, tt.want)
		}
		if w.health.withinBudget(w.now, st, tally{accepted: 1}, aboutRow); on.whole || st.health.refused.n > 0 {
			t.Errorf("%s: %+v after a row was accepted, %d contacts", tt.name, on, st.health.refused.n)
		}
	}
}

// Contacts that are refused each time that they change say nothing of their stream, when nothing else of it comes between: they are set
// aside, though three came last. Where one was accepted meanwhile, what it is refused for may be its stream.
func TestWindow_ContactsThatAreBadAgainSayNothingOfTheirStream(t *testing.T) {
	t.Parallel()
	for name, whole := range wholeRefusals {
		for _, once := range []bool{false, true} { // whether the first states of them end before the next ones come
			l := newLifetime(t, 0, nil)
			l.answer, l.budget = refusesBadSo(whole), time.Second
			if name == "each by name" {
				l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result {
					return rejects(func(id string) bool { return strings.HasPrefix(id, "bad") })(t.Context(), 0, b)
				}
			}
			bad := func(n int) {
				for i := range n {
					l.change("s", fmt.Sprint("bad", i))
				}
			}
			bad(5)
			for i := range 20 {
				l.change("s", fmt.Sprint("c", i))
			}
			l.live(3*time.Second, false)
			if once {
				l.live(time.Minute, false)
			}
			for range 3 {
				bad(5)
				l.live(30*time.Second, false)
			}
			l.live(3*time.Minute, false)
			if l.pending.contacts > 0 || l.schedule.streams[streamKey{"a", "s"}] != nil && l.schedule.streams[streamKey{"a", "s"}].health.hold != nil {
				t.Errorf("%s, ended before %v: %d contacts wait, %d dead letters", name, once, l.pending.contacts, len(l.letters))
			}
			l.answer = acceptsAll
			bad(5)
			l.live(time.Minute, false)
			l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result { return whole(len(b.Rows)) }
			letters := len(l.letters)
			bad(5)
			if l.live(time.Hour, false); len(l.letters) > letters || l.pending.contacts != 5 {
				t.Errorf("%s: accepted once, and refused with all others then: %d dead letters, %d contacts wait", name, len(l.letters)-letters, l.pending.contacts)
			}
		}
	}
}

// Where such a contact changes while its stream is on hold for others, it is set aside, and they are not.
func TestWindow_AContactThatWasBadBeforeDoesNotWaitForItsStream(t *testing.T) {
	t.Parallel()
	for name, whole := range wholeRefusals {
		l := newLifetime(t, 0, nil)
		l.answer, l.budget = refusesBadSo(whole), time.Second
		for _, id := range []string{"bad0", "c0", "c1"} {
			l.change("s", id)
		}
		l.live(time.Minute, false)
		before := len(l.letters)
		for i := range 3 {
			l.change("s", fmt.Sprint("bad", i+1))
		}
		l.live(time.Minute, false)
		l.change("s", "bad0")
		if l.live(5*time.Minute, false); before != 1 || len(l.letters) != 2 || l.letters[1].Contact != "bad0" || l.pending.contacts != 3 {
			t.Errorf("%s: %d dead letters first, then %d; %d contacts wait", name, before, len(l.letters), l.pending.contacts)
		}
	}
}
