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

// A feed of which up to half of the contacts are bad may end with any of them. However it ends, and however the API refuses them, nothing
// stays: no offset is held by a stream of which nothing new comes. Where a tenth is bad at most that takes minutes. With more, bad ones go at the pace of the budget, and in one
// of a hundred streams so many come last that it may be the stream, in one of eight if it has had few: they wait for a day. So it is after a restart.
func TestWindow_NothingStaysWhereAFeedEnds(t *testing.T) {
	t.Parallel()
	answers := map[string]func(time.Time, contactsync.Batch) contactsync.Result{
		"named": func(_ time.Time, b contactsync.Batch) contactsync.Result {
			return rejects(func(id string) bool { return strings.HasPrefix(id, "bad") })(t.Context(), 0, b)
		},
	}
	for name, whole := range wholeRefusals {
		answers[name] = refusesBadSo(whole)
	}
	held := 0
	for name, answer := range answers {
		for seed := range uint64(20) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			l := newLifetime(t, 0, nil)
			l.answer, l.budget = answer, time.Second/2
			streams, every, share := 1+rnd.IntN(8), time.Duration(50+rnd.IntN(3000))*time.Millisecond, []float64{0.01, 0.05, 0.1, 0.3, 0.5}[rnd.IntN(5)]
			contacts := make([]string, 10+rnd.IntN(200))
			for i := range contacts {
				contacts[i] = fmt.Sprint("c", i)
				if rnd.Float64() < share {
					contacts[i] = fmt.Sprint("bad", i)
				}
			}
			for end := l.now.Add(time.Duration(20+rnd.IntN(300)) * time.Second); l.now.Before(end); l.live(lifeStep+time.Duration(rnd.Int64N(int64(2*every))), false) {
				n := 1
				if rnd.IntN(10) == 0 {
					n = rnd.IntN(50)
				}
				for range n {
					i := rnd.IntN(len(contacts))
					l.change(fmt.Sprint("s", i%streams), contacts[i])
				}
			}
			if seed%4 == 3 {
				l = l.restart(t)
			}
			l.live(4*time.Minute, false)
			if share > 0.1 {
				l.pass(2*time.Hour, false)
			}
			for _, st := range l.schedule.streams {
				if n := len(st.contacts); n > 0 && (st.health.hold == nil || !st.health.refused.enough() && !st.account.health.refused.enough()) {
					t.Errorf("%s, seed %d: %d contacts in %d streams, one changes each %v, %v bad: %d wait in one that is not on hold for good, %d dead letters", name, seed, len(contacts), streams, every, share, n, len(l.letters))
				}
			}
			if l.pending.contacts > 0 {
				held++
				l.pass(2*24*time.Hour, false)
			}
			if l.pending.contacts > 0 {
				t.Errorf("%s, seed %d: %d contacts in %d streams, one changes each %v, %v bad: %d wait two days after the last, %d dead letters", name, seed, len(contacts), streams, every, share, l.pending.contacts, len(l.letters))
			}
		}
	}
	if t.Logf("%d of %d feeds ended with a stream on hold", held, len(answers)*20); held > 10 {
		t.Errorf("%d feeds ended with a stream on hold", held)
	}
}

// pass lets a long time pass, with a look every ten minutes.
func (l *lifetime) pass(d time.Duration, feed bool) {
	for end := l.now.Add(d); l.now.Before(end); l.now = l.now.Add(time.Minute) {
		l.live(time.Second, feed)
	}
}

// restart is another process that reads what waits.
func (l *lifetime) restart(t *testing.T) *lifetime {
	t.Helper()
	next := newLifetime(t, 0, nil)
	next.now, next.answer, next.budget = l.now, l.answer, l.budget
	var waits []string
	for _, st := range l.schedule.streams {
		for id := range st.contacts {
			waits = append(waits, st.name+"/"+id)
		}
	}
	slices.Sort(waits)
	next.add(waits...)
	return next
}
