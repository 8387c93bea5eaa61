package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/lab/demo"
	"github.com/contactsync/contactsync/internal/lab/harness"
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
		{"every check holds", nil, 0, []string{"backlog of 2000 events", "every check holds", "\nevery check holds: 0 lost, 0 order violations, calls / floor "}, ""},
		{"every check holds with the vendor's API", []string{"--api", "vendor", "--variant", "string-counters"}, 0, []string{"every check holds"}, ""},
		{"an unknown variant", []string{"--api", "vendor", "--variant", "none"}, 1, nil, "no variant \"none\""},
		{"a planted bug", []string{"--plant", "trust-status"}, 1, []string{"planted: ", "VIOLATION  I1", "\nVIOLATIONS: LOST "}, "the checker found violations"},
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

func TestDemo_AnInterruptIsNoViolation(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	var out lines
	out.until, out.then = "status page: ", stop
	var errs bytes.Buffer
	if code := run(ctx, []string{"demo", "--events", "5000", "--requests", "1"}, &out, &errs); code != 130 {
		t.Errorf("exit code %d, not 130: %s", code, errs.String())
	}
	if text := out.String(); !strings.Contains(text, "interrupted: the run was not judged") || strings.Contains(text, "VIOLATION") {
		t.Errorf("it prints:\n%s", text)
	}
}

// lines calls then when it has been written what it waits for.
type lines struct {
	strings.Builder
	until string
	then  func()
}

func (l *lines) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(l.until)) {
		l.then()
	}
	return l.Builder.Write(p)
}

func TestView_FitsATerminalAndNeverPassesItsEnd(t *testing.T) {
	t.Parallel()
	v := view{start: time.Now(), live: true}
	series := harness.Series{"contactsync_batcher_events_completed_total": 3000, "batcher_events_completed_total": 3000}
	for _, line := range v.block(demo.State{Events: 1000, API: "throttling", Series: series}) {
		if len(line) > 80 || strings.Contains(line, "300%") {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	v.live = false
	if block := v.block(demo.State{Events: 1000, API: "up again", Series: series}); len(block) != 1 || len(block[0]) > 80 {
		t.Errorf("where it is not redrawn: %q", block)
	}
}
