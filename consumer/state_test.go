package consumer

import (
	"slices"
	"testing"

	"github.com/contactsync/contactsync/metrics"
)

// TestLabels_AreThoseThatTheMetricsKnow: a series with another one would stay at zero.
func TestLabels_AreThoseThatTheMetricsKnow(t *testing.T) {
	t.Parallel()
	for _, s := range []State{CatchingUp, Reading, Waiting, Unavailable, Forbidden, Missing, Halted, FeedHalted, FeedSkipped} {
		if !slices.Contains(metrics.States, string(s)) {
			t.Errorf("%s is no state of the metrics: %v", s, metrics.States)
		}
	}
	for _, l := range []loss{belowLogStart, beyondEnd, recreated} {
		if !slices.Contains(metrics.LostReasons, string(l)) {
			t.Errorf("%s is no reason of the metrics: %v", l, metrics.LostReasons)
		}
	}
}
