package batcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// How many contacts in a row are about their stream goes by how many of its rows were bad before. Where it may be by chance for all that is known, they
// are kept for a time only.
func TestStreak_GoesByHowLikelyItIs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		of           badRate
		enough, last int // contacts in a row that are enough, and the last of which it may be chance
	}{
		{badRate{}, 3, 13}, // nothing is known
		{badRate{rows: 10}, 3, 4},
		{badRate{rows: 250}, 3, 1},
		{badRate{rows: 200, bad: 10}, 3, 3},
		{badRate{rows: 200, bad: 20}, 3, 4},
		{badRate{rows: 200, bad: 60}, 4, 8},
		{badRate{rows: 200, bad: 100}, 7, 13},
		{badRate{rows: 200, bad: 180}, 13, 13},
	} {
		var s streak
		enough, last := 0, 0
		for n := 1; n <= 20; n++ {
			key := contactKey{streamKey{"a", "s"}, fmt.Sprint(n)}
			completes := s.completes(key, tt.of)
			for range 2 { // a contact counts once
				s.note(key, tt.of)
			}
			if s.enough() != completes {
				t.Errorf("%+v: %d contacts are enough %v, and were to be %v", tt.of, n, s.enough(), completes)
			}
			if s.enough() && enough == 0 {
				enough = n
			}
			if s.mayBeChance() {
				last = n
			}
		}
		if enough != tt.enough || last != tt.last {
			t.Errorf("%+v: %d contacts are enough, and %d may be by chance; want %d and %d", tt.of, enough, last, tt.enough, tt.last)
		}
	}
}

// breaking is a stream of which all is refused from a time on.
type breaking struct {
	*lifetime
	whole bool
}

// breakAfter is one of which such a share was bad before; a negative one if nothing of it came.
func breakAfter(t *testing.T, streams int, share float64, whole func(rows int) contactsync.Result) *breaking {
	b := &breaking{lifetime: newLifetime(t, streams, nil)}
	part := refusesBadSo(whole)
	b.budget = time.Second / 2
	b.answer = func(now time.Time, batch contactsync.Batch) contactsync.Result {
		if b.whole && batch.Stream == "broken" {
			return whole(len(batch.Rows))
		}
		return part(now, batch)
	}
	if share < 0 {
		return b
	}
	for i := range 300 {
		id := "c"
		if float64(i%10) < 10*share {
			id = "bad"
		}
		b.change("broken", fmt.Sprint(id, i))
		b.live(5*time.Second, true)
	}
	for i := range 5 {
		b.change("broken", fmt.Sprint("last", i))
	}
	b.live(5*time.Minute, true)
	if b.pending.contacts > 50 {
		t.Fatalf("%d contacts wait", b.pending.contacts)
	}
	return b
}

// However much of a stream was bad before, it is on hold when all of it is refused, and few contacts are set aside for that: of those that come one by one, one less
// than make it sure, and as many as may be by chance if no more come for a day. So it is where it is alone in its account.
func TestWindow_AStreamThatIsRefusedFromNowOnIsOnHoldWhateverItWas(t *testing.T) {
	t.Parallel()
	for name, whole := range wholeRefusals {
		for _, tt := range []struct {
			share         float64
			letters, last int // at most, when contacts go on to come, and when no more do
		}{
			{-1, 2, 3},
			{0, 2, 2},
			{0.1, 2, 3},
			{0.5, 6, 7},
		} {
			for _, streams := range []int{0, 2} {
				for _, more := range []int{40, 0} { // contacts that come when it is on hold
					l := breakAfter(t, streams, tt.share, whole)
					l.whole = true
					before, came := len(l.letters), 0
					held := func() bool {
						st := l.schedule.streams[streamKey{"a", "broken"}]
						return st != nil && st.health.onHold(holdRejecting)
					}
					for ; !held() && came < 20; came++ {
						l.change("broken", fmt.Sprint("new", came))
						l.live(5*time.Minute, streams > 0)
					}
					letters := len(l.letters) - before
					if !held() || letters > tt.letters || came > tt.letters+1 {
						t.Errorf("%s, %v bad, %d others: on hold %v after %d contacts, %d dead letters, want at most %d", name, tt.share, streams, held(), came, letters, tt.letters)
					}
					for i := range more {
						l.change("broken", fmt.Sprint("more", i))
						l.live(time.Minute, streams > 0)
					}
					l.pass(2*24*time.Hour, streams > 0)
					most := tt.last
					if more > 0 {
						most = tt.letters
					}
					if n := len(l.letters) - before; n > most || more > 0 && !held() {
						t.Errorf("%s, %v bad, %d others, %d more contacts: %d dead letters in two days, want at most %d; on hold %v", name, tt.share, streams, more, n, most, held())
					}
				}
			}
		}
	}
}

// Where a contact comes every other day, and nothing is known of the stream, no more are set aside than may be by chance.
func TestWindow_NoMoreAreSetAsideThanMayBeBadByChance(t *testing.T) {
	t.Parallel()
	l := breakAfter(t, 2, -1, wholeRefusals["400"])
	l.whole = true
	for i := range 20 {
		l.change("broken", fmt.Sprint("c", i))
		l.pass(2*24*time.Hour, false)
		l.live(time.Minute, true)
	}
	if len(l.letters) != mostAlike || l.pending.contacts != 20-mostAlike {
		t.Errorf("%d dead letters, %d contacts wait; want %d", len(l.letters), l.pending.contacts, mostAlike)
	}
	l.mend("mended")
}

// What was refused while all of its stream was is not bad for that, though others were accepted in between.
func TestWindow_AStreamThatIsAcceptedForAMomentMakesFewDeadLetters(t *testing.T) {
	t.Parallel()
	for name, whole := range wholeRefusals {
		l := breakAfter(t, 2, 0, whole)
		l.whole = true
		for i := range 40 {
			l.change("broken", fmt.Sprint("c", i))
		}
		l.live(2*time.Hour, true)
		before, waited := len(l.letters), l.pending.contacts
		l.whole = false
		for l.pending.contacts > waited-3 {
			l.live(lifeStep, false)
		}
		l.whole = true
		if l.live(3*time.Hour, true); before > 0 || len(l.letters) > 10 {
			t.Errorf("%s: %d dead letters before it was accepted for a moment, and %d after it", name, before, len(l.letters)-before)
		}
		l.mend(name)
	}
}

// What is refused alone, and again when others of its stream were accepted, is bad for itself: that so many of these come last says nothing of the stream.
func TestWindow_WhatWasRefusedBeforeOthersWereAcceptedIsNoStreak(t *testing.T) {
	t.Parallel()
	for name, whole := range wholeRefusals {
		l := newLifetime(t, 0, nil)
		l.answer, l.budget = refusesBadSo(whole), time.Second/10
		for i := range 200 {
			l.change("s", fmt.Sprint("c", i))
		}
		l.live(time.Minute, false)
		for i := range 5 {
			l.change("s", fmt.Sprint("bad", i))
			l.live(time.Second, false)
			l.change("s", fmt.Sprint("c", i))
			l.live(time.Second, false)
		}
		if l.live(5*time.Minute, false); len(l.letters) != 5 || l.pending.contacts > 0 {
			t.Errorf("%s: %d dead letters, %d contacts wait", name, len(l.letters), l.pending.contacts)
		}
	}
}
