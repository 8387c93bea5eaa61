package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/config"
)

func TestProveOutage(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := proveOutage(t.Context(), smallProof(""), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if text := out.String(); !strings.Contains(text, "\n0 violations; ") || !strings.Contains(text, " 0 lost") {
		t.Errorf("the output:\n%s", text)
	}
}

func TestProveOutage_CanFail(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, bug string
		change    func(*config.Config)
		want      []string
	}{
		{"events dropped on an error", "drop-on-error", nil, []string{"VIOLATION  I1"}},
		{"a breaker that never opens", "", func(c *config.Config) {
			c.Upstream.Breaker.Consecutive, c.Upstream.Breaker.MinRequests = 1_000_000, 1_000_000
			c.Batcher.BackoffMax = c.Batcher.BackoffMin
		}, []string{"VIOLATION  15 min of "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := smallProof(tt.bug)
			o.change = tt.change
			var out strings.Builder
			err := proveOutage(t.Context(), o, &out)
			if !errors.Is(err, errProof) {
				t.Fatalf("%v\n%s", err, &out)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the output lacks %q:\n%s", want, &out)
				}
			}
		})
	}
}
