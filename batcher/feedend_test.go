package batcher

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// A feed of which up to a tenth of the contacts are bad may end with any of them. However it ends, and however the API refuses them, nothing
// stays: no offset is held by a stream of which nothing new comes.
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
	for name, answer := range answers {
		for seed := range uint64(20) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			l := newLifetime(t, 0, nil)
			l.answer, l.budget = answer, time.Second/2
			streams, every, share := 1+rnd.IntN(8), time.Duration(50+rnd.IntN(3000))*time.Millisecond, []float64{0.01, 0.05, 0.1}[rnd.IntN(3)]
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
			if l.live(4*time.Minute, false); l.pending.contacts > 0 {
				t.Errorf("%s, seed %d: %d contacts in %d streams, one changes each %v, %v bad: %d wait four minutes after the last, %d dead letters", name, seed, len(contacts), streams, every, share, l.pending.contacts, len(l.letters))
			}
		}
	}
}
