package batcher

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestConfig_ValidateNamesEveryFault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Config)
		keys   []string
	}{
		{"default", func(*Config) {}, nil},
		{"everything off that can be", func(c *Config) {
			c.Linger, c.AmbiguousRetryDelay, c.HoldMax, c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio, c.RememberContacts = 0, 0, 0, 0, 0, 0
		}, nil},
		{"too small", func(c *Config) {
			c.MaxRows, c.MaxBytes, c.WindowBytes, c.Linger, c.MaxInFlight, c.BackoffMin = 0, 1, 1, -1, -1, 0
			c.RowAttempts, c.AmbiguousRetryDelay, c.HoldProbeMax, c.HoldMax, c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio, c.RememberContacts = 0, -1, -1, -1, -1, -0.1, -1
		}, []string{
			"max_rows", "max_bytes", "window_bytes", "linger", "max_in_flight", "backoff_min", "row_attempts",
			"ambiguous_retry_delay", "hold_probe_max", "hold_max", "dead_letter_max_per_minute", "dead_letter_max_ratio", "remember_contacts",
		}},
		{"too large", func(c *Config) {
			c.MaxRows, c.MaxInFlight, c.BackoffMin, c.DeadLetterMaxRatio, c.RememberContacts = 1<<20, 1<<20, time.Hour, 1.1, 1<<30
		}, []string{"max_rows", "max_in_flight", "backoff_min", "hold_probe_max", "dead_letter_max_ratio", "remember_contacts"}},
		{"not a number", func(c *Config) { c.DeadLetterMaxRatio = math.NaN() }, []string{"dead_letter_max_ratio"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := DefaultConfig()
			test.change(&c)
			var keys []string
			for _, f := range c.Validate() {
				keys = append(keys, f.Key)
			}
			if !slices.Equal(keys, test.keys) {
				t.Errorf("faults at %q, want %q", keys, test.keys)
			}
		})
	}
}

// A wait that is doubled must not run over: it would become none at all.
func TestConfig_BackoffNeverRunsOver(t *testing.T) {
	t.Parallel()
	c := Config{BackoffMin: 3 * time.Hour}
	for n := 1; n < 100; n++ {
		if d := c.backoff(n, 24*time.Hour); d < 3*time.Hour || d > 24*time.Hour {
			t.Fatalf("wait %d is %v", n, d)
		}
	}
}
