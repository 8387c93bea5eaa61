package harness

import "testing"

func TestSeries_ValuePanicsWithoutSuchASeries(t *testing.T) {
	t.Parallel()
	s := Series{"batcher_events_completed_total{delivered}": 3}
	if got := s.Value("batcher_events_completed_total{delivered}"); got != 3 {
		t.Errorf("got %v, want 3", got)
	}
	for name, known := range map[string]bool{
		"batcher_events_completed_total":          true,
		"batcher_events_completed_total{skipped}": true,
		"upstream_requests_total{any account}":    true,
		"batcher_events_completed_total{maybe}":   false,
		"batcher_events":                          false,
	} {
		func() {
			defer func() {
				if panicked := recover() != nil; panicked == known {
					t.Errorf("%s: panicked: %v", name, panicked)
				}
			}()
			s.Value(name)
		}()
	}
}
