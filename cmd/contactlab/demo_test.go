package main

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/plant"
)

// smallDemo is the demo at a size for tests: everything happens, in seconds.
func smallDemo() demoOptions {
	o := defaultDemo()
	o.feed.Events, o.feed.Contacts, o.feed.Streams = 20_000, 8_000, 5
	o.feed.PoisonShare, o.feed.RejectShare, o.feed.TombstoneShare = 0.002, 0.005, 0.002
	o.requests, o.outage, o.throttle = 40, 1500*time.Millisecond, 200*time.Millisecond
	return o
}

func TestDemo_EveryCheckHolds(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := demo(t.Context(), smallDemo(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"every check holds", "0 lost, 0 order violations, calls / floor ", "the API is away", "dead letters"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
}

// TestDemo_FindsPlantedBugs shows that the checker can fail: each bug breaks a
// promise in the way that real consumers do, and the run must end in a violation.
func TestDemo_FindsPlantedBugs(t *testing.T) {
	t.Parallel()
	found := map[string]string{
		"commit-max": "I2", "trust-status": "I1", "drop-on-error": "I1", "forget-letters": "I1", "resend-stale": "I3",
	}
	for _, bug := range slices.Sorted(maps.Keys(plant.Bugs)) {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			o := smallDemo()
			o.bug = bug
			var out strings.Builder
			err := demo(t.Context(), o, &out)
			if !errors.Is(err, errBroken) {
				t.Fatalf("the checker found nothing: %v\n%s", err, &out)
			}
			if want := "VIOLATION  " + found[bug]; found[bug] == "" || !strings.Contains(out.String(), want) {
				t.Errorf("no violation of %q:\n%s", found[bug], &out)
			}
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, "VIOLATION") {
					t.Log(strings.TrimSpace(line))
					break
				}
			}
		})
	}
}
