package event

import (
	"strings"
	"testing"
)

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Config)
		key    string // of the one fault; empty for none
		says   string
	}{
		{"defaults", func(*Config) {}, "", ""},
		{"format", func(c *Config) { c.Format = "avro" }, "format", `"avro" is unknown`},
		{"no format", func(c *Config) { c.Format = "" }, "format", "unknown"},
		{"validation", func(c *Config) { c.Validation = "Strict" }, "validation", "strict or lenient"},
		{"event bytes too small", func(c *Config) { c.MaxEventBytes = 1023 }, "max_event_bytes", "1KiB"},
		{"event bytes too large", func(c *Config) { c.MaxEventBytes = 65 << 20 }, "max_event_bytes", "64MiB"},
		{"depth too small", func(c *Config) { c.MaxDepth = 2 }, "max_depth", "between 3"},
		{"depth too large", func(c *Config) { c.MaxDepth = 1001 }, "max_depth", "1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := DefaultConfig()
			c.change(&cfg)
			faults := cfg.Validate()
			_, err := NewDecoder(cfg, nil)
			if c.key == "" {
				if len(faults) > 0 || err != nil {
					t.Errorf("faults %v, error %v: want none", faults, err)
				}
				return
			}
			if len(faults) != 1 || faults[0].Key != c.key || !strings.Contains(faults[0].Problem, c.says) {
				t.Errorf("faults %v: want one of %s that says %q", faults, c.key, c.says)
			}
			if err == nil || !strings.Contains(err.Error(), c.key) {
				t.Errorf("NewDecoder: %v: want an error that names %s", err, c.key)
			}
		})
	}
}
