package contactsync_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/metrics"
)

// TestStates_HaveTheirLines: docs/operations.md says of every state that a person can meet what
// it means, what to do, and what not to do.
func TestStates_HaveTheirLines(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	lines := map[string]bool{}
	for line := range strings.Lines(read("docs/operations.md")) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 4 || slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) == "" }) {
			continue
		}
		for name := range strings.SplitSeq(cells[0], ",") {
			lines[strings.Trim(name, " `")] = true
		}
	}
	for what, known := range map[string]struct {
		names []string
		least int
	}{
		"partition, as series name it": {metrics.States, 9},
		"partition":                    {found(read("consumer/state.go"), `(?m)^\t[A-Z]\w+ +(?:State )?= "(\w+)"`), 9},
		"hold":                         {metrics.HoldKinds, 3},
		"account":                      {found(read("upstream/gate.go"), `(?m)^\tState\w+ += "(\w+)"`), 5},
		"stream":                       {streamWaits(read("batcher/waiting.go"), read("batcher/explain.go")), 12},
	} {
		if len(known.names) < known.least {
			t.Errorf("states of a %s: %v", what, known.names)
		}
		for _, name := range known.names {
			if !lines[name] {
				t.Errorf("docs/operations.md has no whole line for %s, a state of a %s", name, what)
			}
		}
	}
}

// streamWaits are the names of what the code says that a stream waits for.
func streamWaits(code, names string) (all []string) {
	for _, name := range found(code, `(?:return |WaitsFor: )([wW]aitsFor\w+)`) {
		all = append(all, found(names, name+` += "(\w+)"`)...)
	}
	return append(all, found(code, `WaitsFor = "(\w+)"`)...)
}

// found are the first groups of all matches in the text.
func found(text string, patterns ...string) (all []string) {
	for _, p := range patterns {
		for _, m := range regexp.MustCompile(p).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
	}
	return all
}
