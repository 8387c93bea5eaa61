package main

import (
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// The limit is the process's: this test must not run beside others.
func TestLimitMemory_FollowsTheContainer(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	const mib = 1 << 20
	for _, tt := range []struct {
		name      string
		container memlimit.Provider
		env       string
		want      int64
		log       string
	}{
		{"a limit", func() (uint64, error) { return 1000 * mib, nil }, "", 900 * mib, "memory of the process is limited"},
		{"none", func() (uint64, error) { return 0, memlimit.ErrNoLimit }, "", math.MaxInt64, ""},
		{"one that cannot be read", func() (uint64, error) { return 0, errors.New("no cgroup") }, "", 5000 * mib, "set GOMEMLIMIT"},
		{"the operator's own", func() (uint64, error) { return 1000 * mib, nil }, "5000MiB", 5000 * mib, "memory of the process is limited"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.env != "" {
				t.Setenv("GOMEMLIMIT", tt.env)
			}
			debug.SetMemoryLimit(5000 * mib)
			var log strings.Builder
			limitMemory(slog.New(slog.NewTextHandler(&log, nil)), tt.container)
			if got := debug.SetMemoryLimit(-1); got != tt.want {
				t.Errorf("the limit is %d, want %d", got, tt.want)
			}
			if !strings.Contains(log.String(), tt.log) || tt.log == "" && log.String() != "" {
				t.Errorf("the log says %q, want %q", log.String(), tt.log)
			}
		})
	}
}
