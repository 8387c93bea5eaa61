package batcher

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// failures says which requests fail whatever their rows.
type failures func(rnd *rand.Rand, since time.Duration) bool

func atRandom(percent int) failures {
	return func(rnd *rand.Rand, _ time.Duration) bool { return rnd.IntN(100) < percent }
}

func inTurns(d time.Duration) failures {
	return func(_ *rand.Rand, since time.Duration) bool { return since/d%2 == 1 }
}

// shaken is an account of which requests fail so; those with rows named bad do each time. No contact comes twice, so what failed is not
// replaced by a newer state.
func shaken(t *testing.T, seed uint64, streams int, every, budget time.Duration, fail failures) *lifetime {
	l := newLifetime(t, streams, nil)
	rnd := rand.New(rand.NewPCG(seed, 1))
	l.health.rand = rand.New(rand.NewPCG(seed, 2))
	l.every, l.budget, l.ids, l.offset = every, budget, 1<<30, 1<<30
	start := l.now
	l.answer = func(now time.Time, b contactsync.Batch) contactsync.Result {
		switch {
		case !fail(rnd, now.Sub(start)) && !hasRow(b, "bad"):
			return allDelivered(b)
		case rnd.IntN(2) == 0:
			return timesOut
		}
		return fails
	}
	return l
}

// Where requests fail at random, or all of them for a while, some row is in many that fail, and the fewer requests there are beside it the
// less they tell: none is set aside, in hundreds of such hours.
func TestWindow_RandomFailuresSetNoRowAside(t *testing.T) {
	t.Parallel()
	seeds := uint64(12)
	if testing.Short() {
		seeds = 2
	}
	for name, fail := range map[string]failures{
		"30 %": atRandom(30), "50 %": atRandom(50), "70 %": atRandom(70), "80 %": atRandom(80),
		"20 s in 40 s": inTurns(20 * time.Second), "a minute in two": inTurns(time.Minute),
	} {
		for _, load := range []struct {
			streams       int
			every, budget time.Duration
		}{
			{1, 2 * time.Second, time.Second},
			{1, 20 * time.Second, time.Second},
			{3, 5 * time.Second, time.Second},
			{10, 10 * time.Second, time.Second},
			{10, time.Minute, 0},
			{50, time.Minute, time.Second},
		} {
			t.Run(fmt.Sprintf("%s, %d streams, an event each %v", name, load.streams, load.every), func(t *testing.T) {
				t.Parallel()
				for seed := range seeds {
					l := shaken(t, seed, load.streams, load.every, load.budget, fail)
					l.live(time.Hour, true)
					if len(l.letters) > 0 {
						t.Errorf("seed %d: %d dead letters, the first %+v", seed, len(l.letters), l.letters[0].DeadLetter)
					}
				}
			})
		}
	}
}

// A row that fails each time is set aside although others fail, too: soon, where these are few.
func TestWindow_ABadRowIsSetAsideAmongRandomFailures(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		percent int
		within  time.Duration
	}{{0, 15 * time.Minute}, {5, 20 * time.Minute}, {20, 25 * time.Minute}, {30, 30 * time.Minute}} {
		for _, every := range []time.Duration{2 * time.Second, time.Minute} {
			t.Run(fmt.Sprintf("%d %%, an event each %v", tt.percent, every), func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(4) {
					l := shaken(t, seed, 5, every, time.Second, atRandom(tt.percent))
					l.live(10*time.Minute, true)
					l.change("s0", "bad")
					if l.live(l.cfg.UnansweredAfter, true); len(l.letters) > 0 {
						t.Errorf("seed %d: it is a dead letter sooner than in %v", seed, l.cfg.UnansweredAfter)
					}
					if l.live(tt.within-l.cfg.UnansweredAfter, true); len(l.letters) != 1 || l.letters[0].Contact != "bad" || l.letters[0].Reason != contactsync.ReasonUnanswered {
						t.Errorf("seed %d: %d dead letters %v later: %+v", seed, len(l.letters), tt.within, l.letters)
					}
				}
			})
		}
	}
}

// How often a row must have failed depends on how many others failed, and of how many that is known.
func TestSuspicion_ChanceMustBeNoExplanation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ requests, failed, tries int }{
		{0, 0, 0}, {4, 0, 68}, {12, 0, 11}, {40, 0, 5}, {100, 0, 5}, {100, 5, 6}, {100, 20, 10}, {100, 50, 24}, {100, 70, 50}, {100, 100, 0},
	} {
		cfg, now, tries := DefaultConfig(), time.Unix(1_700_000_000, 0), 0
		h := &streamHealth{ordinary: lapse{tt.requests, tt.failed}}
		for s := (suspicion{aloneSince: now}); s.alone < 1000 && tries == 0; {
			if s.alone++; s.convicted(now.Add(cfg.UnansweredAfter), h, &cfg) {
				tries = s.alone
			}
		}
		if tries != tt.tries {
			t.Errorf("%d of %d others failed: the row is the cause after %d tries, want %d", tt.failed, tt.requests, tries, tt.tries)
		}
	}
}
