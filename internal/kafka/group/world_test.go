package group

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	worldSeed = flag.Uint64("world.seed", 0, "play this one world, and print what happens in it")
	worldTime = flag.Duration("world.time", 0, "play as many worlds as fit this time")
)

// defaultWorlds is how many are played where no flag says otherwise.
const defaultWorlds = 300

// TestWorld plays whole worlds: several replicas, each with its membership, tracker
// and window, against a cluster, logs and an API that misbehave. Each world follows
// from its seed alone. One that fails is played again, as a trace:
//
//	make sim SEED=17
func TestWorld(t *testing.T) {
	t.Parallel()
	if *worldSeed != 0 {
		w, err := playWorld(*worldSeed, true)
		t.Log(strings.Join(w.trace, "\n"))
		if err != nil {
			t.Error(err)
		}
		return
	}
	sum, failed := playWorlds()
	t.Log(sum)
	if len(failed) > 0 {
		f := slices.Min(slices.Collect(maps.Keys(failed)))
		w, err := playWorld(f, true)
		lines := w.trace
		if n := len(lines) - 150; n > 0 {
			lines = append([]string{fmt.Sprintf("… %d lines", n)}, lines[n:]...)
		}
		t.Errorf("world %d after %d others: %v\n%s\nplay it again: make sim SEED=%d", f, failed[f], err, strings.Join(lines, "\n"), f)
	}
	if n := len(failed); n > 1 {
		t.Errorf("%d worlds failed: %v", n, slices.Sorted(maps.Keys(failed)))
	}
	sum.check(t)
}

// playWorlds plays worlds on all cores until a number, a time or failures say stop. It
// returns the failed ones, each with how many were played before it.
func playWorlds() (*worldSum, map[uint64]int) {
	sum, failed := newWorldSum(), map[uint64]int{}
	begin := time.Now()
	var mu sync.Mutex
	var next atomic.Uint64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for {
				seed := next.Add(1)
				if *worldTime == 0 && seed > defaultWorlds || *worldTime > 0 && time.Since(begin) > *worldTime {
					return
				}
				w, err := playWorld(seed, false)
				mu.Lock()
				sum.add(w)
				if err != nil {
					failed[seed] = sum.worlds - 1
				}
				stop := len(failed) >= 5
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wait.Wait()
	sum.took = time.Since(begin)
	return sum, failed
}

// worldSum is what was played.
type worldSum struct {
	worlds, events, rebalances int
	requests, duplicates       int
	inherited, cutsNoticed     int
	virtual, took              time.Duration
	with                       map[string]int // worlds with a fault of a kind
	times                      map[string]int // how often it happened
	thin                       map[string]int // worlds with less than is wanted, by what
}

func newWorldSum() *worldSum {
	return &worldSum{with: map[string]int{}, times: map[string]int{}, thin: map[string]int{}}
}

func (s *worldSum) add(w *world) {
	s.worlds++
	s.events += w.produced
	s.rebalances += w.group.rebalances
	s.requests += w.api.requests
	s.duplicates += w.duplicates
	s.inherited += w.inherited
	s.cutsNoticed += w.cutsNoticed
	s.virtual += w.now.Sub(w.begin)
	for _, kind := range worldFaults() {
		if n := w.faults[kind]; n > 0 {
			s.with[kind]++
			s.times[kind] += n
		}
	}
	for what, thin := range map[string]bool{
		"replicas": len(w.replicas) < 2, "events": w.produced < 100, "rebalances": w.group.rebalances < 2, "faults": len(w.faults) == 0,
		"requests": w.api.requests < 10,
	} {
		if thin {
			s.thin[what]++
		}
	}
}

func (s *worldSum) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d worlds in %v (%v of their time): %d events, %d rebalances, %d requests, %d rows sent again, %d events had ended under an earlier owner, %d times a log was noticed that had been cut off and had grown\n",
		s.worlds, s.took.Round(time.Millisecond), s.virtual.Round(time.Minute), s.events, s.rebalances, s.requests, s.duplicates, s.inherited, s.cutsNoticed)
	for _, kind := range worldFaults() {
		fmt.Fprintf(&b, "%6d times in %5d worlds: %s\n", s.times[kind], s.with[kind], kind)
	}
	return b.String()
}

// check wants worlds worth playing.
func (s *worldSum) check(t *testing.T) {
	for what, n := range s.thin {
		if n*100 < s.worlds {
			continue
		}
		t.Errorf("%d worlds have too few %s", n, what)
	}
	if s.worlds < defaultWorlds {
		return
	}
	for _, kind := range worldFaults() {
		if s.with[kind]*100 < s.worlds {
			t.Errorf("%q happened in %d of %d worlds: each kind of fault is wanted in one of a hundred", kind, s.with[kind], s.worlds)
		}
	}
}
