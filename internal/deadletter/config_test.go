package deadletter_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/deadletter"
)

func TestConfig_ValidateNamesEveryFault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*deadletter.Config)
		keys   []string
	}{
		{"default", func(*deadletter.Config) {}, nil},
		{"no topic", func(c *deadletter.Config) { c.Topic = "" }, []string{"topic"}},
		{"illegal topic", func(c *deadletter.Config) { c.Topic = "a/b" }, []string{"topic"}},
		{"long topic", func(c *deadletter.Config) { c.Topic = strings.Repeat("a", 250) }, []string{"topic"}},
		{"directory as topic", func(c *deadletter.Config) { c.Topic = ".." }, []string{"topic"}},
		{
			"too small",
			func(c *deadletter.Config) { c.Linger, c.BatchBytes, c.Timeout, c.EnvelopeBytes = 0, 1, 0, -1 },
			[]string{"linger", "batch_bytes", "timeout", "envelope_bytes"},
		},
		{
			"too large",
			func(c *deadletter.Config) {
				c.Linger, c.BatchBytes, c.Timeout, c.EnvelopeBytes = time.Hour, 1<<40, time.Hour, 1<<20
			},
			[]string{"linger", "batch_bytes", "timeout", "envelope_bytes"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := deadletter.DefaultConfig()
			c.Topic = "dead"
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
