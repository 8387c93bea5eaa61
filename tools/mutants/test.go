package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// simulations are the tests that search by themselves, as a regular expression:
// what they find is shown apart from what the tests of single rules find.
const simulations = "^TestSim"

// simulated are the packages that have one.
var simulated = []string{"batcher", "internal/replay"}

// testTimeout ends a test that a bug has made endless: that counts as found.
const testTimeout = 2 * time.Minute

// worlds begin the tests that play worlds, for as long as they are told.
const worlds = "^TestWorld"

// worldTime is for how long worlds are played that must find a bug by themselves.
const worldTime = 30 * time.Second

// worldsPlayed finds how many worlds were played without a failure.
var worldsPlayed = regexp.MustCompile(`world \d+ after (\d+) others`)

// What a run of tests made of a bug.
const (
	found   = "found"
	missed  = "-"
	unbuilt = "does not build"
)

type result struct {
	units, simulation string // the latter is empty where the package has none
	worlds            string // how many worlds were played before one found it
	equivalent        bool
	detail            string // what go test says of it
}

func (r result) verdict() string {
	switch {
	case r.units == unbuilt:
		return unbuilt
	case r.units == found || r.simulation == found:
		return "found"
	case r.equivalent:
		return "equivalent"
	}
	return "survived"
}

// test runs the tests that should notice the bug.
func (m mutant) test(ctx context.Context) result {
	r := result{equivalent: m.equivalent != ""}
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return result{units: unbuilt, detail: err.Error()}
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left lies in the system's temporary folder
	overlay, err := m.overlay(dir)
	if err != nil {
		return result{units: unbuilt, detail: err.Error()}
	}
	if m.run != "" && !strings.HasPrefix(m.run, worlds) {
		r.units, r.detail = m.goTest(ctx, overlay, "-run", m.run)
		return r
	}
	if m.run != "" {
		if r.simulation, r.detail = m.goTest(ctx, overlay, "-run", m.run, "-args", "-world.time", worldTime.String()); r.simulation == unbuilt {
			r.units = unbuilt
		} else if played := worldsPlayed.FindStringSubmatch(r.detail); played != nil {
			r.worlds = played[1]
		}
		return r
	}
	if r.units, r.detail = m.goTest(ctx, overlay, "-skip", simulations); r.units == unbuilt {
		return r
	}
	if slices.Contains(simulated, m.dir()) {
		r.simulation, _ = m.goTest(ctx, overlay, "-run", simulations, "-args", "-rapid.nofailfile", "-rapid.shrinktime=1s")
	}
	return r
}

// overlay writes the changed file and what go test wants to know of it.
func (m mutant) overlay(dir string) (string, error) {
	changed, err := m.apply(".")
	if err != nil {
		return "", err
	}
	from, err := filepath.Abs(filepath.FromSlash(m.file))
	if err != nil {
		return "", fmt.Errorf("plant %q: %w", m.name, err)
	}
	to := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(to, changed, 0o600); err != nil {
		return "", fmt.Errorf("plant %q: %w", m.name, err)
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {from: to}})
	if err != nil {
		return "", fmt.Errorf("plant %q: %w", m.name, err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", fmt.Errorf("plant %q: %w", m.name, err)
	}
	return overlay, nil
}

// goTest runs tests of the packages: which begins with how they are chosen, and may go
// on with arguments for them. detail is why nothing was built, or how a test has failed.
func (m mutant) goTest(ctx context.Context, overlay string, which ...string) (verdict, detail string) {
	args := []string{"test", "-vet=off", "-failfast", "-timeout", testTimeout.String(), "-overlay", overlay}
	args = slices.Concat(args, which[:2], m.packages, which[2:])
	cmd := exec.CommandContext(ctx, "go", args...)
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return missed, ""
	case bytes.Contains(out, []byte("[build failed]")), bytes.Contains(out, []byte("[setup failed]")):
		return unbuilt, firstError(string(out))
	}
	return found, string(out)
}

func firstError(out string) string {
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "#") {
			return strings.TrimSpace(line)
		}
	}
	return out
}
