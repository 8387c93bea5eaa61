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
		{"stream pattern", func(c *Config) { c.StreamPattern = "st-[" }, "stream_pattern", "not a regular expression"},
		{"account pattern", func(c *Config) { c.AccountPattern = "(" }, "account_pattern", "not a regular expression"},
		{"a pattern cannot close its group", func(c *Config) { c.StreamPattern = "a)|(b" }, "stream_pattern", "not a regular expression"},
		{"no pattern", func(c *Config) { c.StreamPattern = "" }, "stream_pattern", `lets the name "" through`},
		{"any name", func(c *Config) { c.StreamPattern = ".+" }, "stream_pattern", "lets the name"},
		{"dots", func(c *Config) { c.StreamPattern = "[a-z.]+" }, "stream_pattern", `name "." through`},
		{"any letter", func(c *Config) { c.AccountPattern = `[\pL]+` }, "account_pattern", "lets the name"},
		{"lines", func(c *Config) { c.AccountPattern = `(?m)^[a-z\n]+$` }, "account_pattern", "lets the name"},
		{"without anchors", func(c *Config) { c.StreamPattern = `st-[0-9a-f]+` }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := DefaultConfig()
			c.change(&cfg)
			faults := cfg.Validate()
			_, err := NewDecoder(cfg)
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
