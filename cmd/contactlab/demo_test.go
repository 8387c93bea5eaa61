package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestDemo_PrintsTheReportAndExitsByIt(t *testing.T) {
	t.Parallel()
	args := []string{"demo", "--events", "2000", "--contacts", "1000", "--streams", "3", "--outage", "0s"}
	for _, tt := range []struct {
		name   string
		more   []string
		code   int
		stdout []string
		stderr string
	}{
		{"every check holds", nil, 0, []string{"backlog of 2000 events", "every check holds", "\n0 lost, 0 order violations, calls / floor "}, ""},
		{"every check holds with the vendor's API", []string{"--api", "vendor", "--variant", "string-counters"}, 0, []string{"every check holds"}, ""},
		{"an unknown variant", []string{"--api", "vendor", "--variant", "none"}, 1, nil, "no variant \"none\""},
		{"a planted bug", []string{"--plant", "trust-status"}, 1, []string{"planted: ", "VIOLATION  I1"}, "the checker found violations"},
		{"an unknown bug", []string{"--plant", "none"}, 1, nil, "commit-max, drop-dead-letters"},
		{"a scenario that is none", []string{"--scenario", "../../docs/scenarios.md"}, 2, nil, "wrong usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append(slices.Clip(args), tt.more...), &stdout, &stderr)
			if code != tt.code || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("exit code %d and %q, want %d with %q", code, stderr.String(), tt.code, tt.stderr)
			}
			for _, want := range tt.stdout {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("the output lacks %q:\n%s", want, &stdout)
				}
			}
		})
	}
}
