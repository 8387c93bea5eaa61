//go:build alerts

package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sign is a line of the runbook's table: how a fault shows.
type sign struct {
	fault                       string
	alerts, panels, status, log []string
}

var quoted = regexp.MustCompile("`([^`]+)`")

// signs reads the table of docs/runbook.md.
func signs(t *testing.T) (all []sign) {
	t.Helper()
	text, err := os.ReadFile("../../docs/runbook.md")
	must(t, err)
	link := regexp.MustCompile(`\[Contactsync(\w+)\]\(#contactsync(\w+)\)`)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 5 || strings.HasPrefix(line, "| ---") || !strings.Contains(line, "](#") {
			continue
		}
		s := sign{fault: strings.TrimPrefix(cells[0], "| ")}
		for _, m := range link.FindAllStringSubmatch(cells[1], -1) {
			s.alerts = append(s.alerts, m[1])
			if strings.ToLower(m[1]) != m[2] {
				t.Errorf("the link of %s leads to %s", m[1], m[2])
			}
		}
		for _, cell := range []struct {
			text string
			into *[]string
		}{{cells[2], &s.panels}, {cells[3], &s.status}, {cells[4], &s.log}} {
			for _, m := range quoted.FindAllStringSubmatch(cell.text, -1) {
				*cell.into = append(*cell.into, m[1])
			}
		}
		all = append(all, s)
	}
	return all
}

// TestSigns_NameWhatThereIs: the table has each fault, with the alerts that it fires, none that
// do not belong to it, and panels that there are.
func TestSigns_NameWhatThereIs(t *testing.T) {
	t.Parallel()
	panels, found := map[string]bool{}, map[string]sign{}
	for _, panel := range readBoard(t, "../../helm/contactsync/files/dashboard.json").Panels {
		panels[panel.Title] = true
	}
	for _, s := range signs(t) {
		found[s.fault] = s
		for _, title := range s.panels {
			if !panels[title] {
				t.Errorf("%s: the dashboard has no panel %q", s.fault, title)
			}
		}
		if len(s.panels) == 0 {
			t.Errorf("%s: no panel", s.fault)
		}
		if len(s.status)+len(s.log) == 0 && s.fault != "no replica runs" {
			t.Errorf("%s: neither a line of the status nor of the log", s.fault)
		}
	}
	for _, f := range slices.Concat(faults, []fault{{name: "no replica runs", fires: []string{"Absent"}}}) {
		s, ok := found[f.name]
		delete(found, f.name)
		if ok == (len(f.fires) == 0) {
			t.Errorf("%s: in the table: %v", f.name, ok)
			continue
		}
		for _, name := range f.fires {
			if !slices.Contains(s.alerts, name) {
				t.Errorf("%s: the table lacks the alert %s", f.name, name)
			}
		}
		for _, name := range s.alerts {
			if !slices.Contains(f.fires, name) && !slices.Contains(f.also, name) {
				t.Errorf("%s: the table has the alert %s, which does not belong to it", f.name, name)
			}
		}
	}
	for name := range found {
		t.Errorf("%s: no such fault is planted", name)
	}
}

// What has ended is not told as if it went on.
func TestSigns_OfAlertsThatHaveEnded(t *testing.T) {
	t.Parallel()
	began := time.Unix(1_700_000_000, 0)
	at := func(steps ...int) (s series) {
		for _, n := range steps {
			s.Values = append(s.Values, [2]any{float64(began.Unix() + int64(n*step)), "1"})
		}
		return s
	}
	clock := func(n int) string { return began.Add(time.Duration(n*step) * time.Second).Format(time.TimeOnly) }
	now := began.Add(9 * step * time.Second)
	if got, want := at(1, 2, 4, 8, 9).times(now), "from "+clock(1)+" until "+clock(2)+", from "+clock(4)+" until "+clock(4)+", from "+clock(8)+" on"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// A drill has each fault once, and of those that are none a number that nobody knows.
func TestSigns_OfADrillAreDrawn(t *testing.T) {
	t.Parallel()
	numbers := map[int]bool{}
	for range 200 {
		found, alike := map[string]bool{}, 0
		for _, f := range draw() {
			if len(f.fires) == 0 {
				alike++
			}
			found[f.name] = true
		}
		numbers[alike] = true
		for _, f := range faults {
			if len(f.fires) > 0 && !found[f.name] {
				t.Fatalf("%s is missing", f.name)
			}
		}
	}
	if len(numbers) < 3 {
		t.Errorf("of those that are none there are always %v", slices.Sorted(maps.Keys(numbers)))
	}
}

// statusCommand asks a replica for its status, as the command does in a form.
type statusCommand func(addr, form string) []byte

// statusOf builds the command.
func statusOf(t *testing.T) statusCommand {
	t.Helper()
	command := filepath.Join(t.TempDir(), "contactsync")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", command, "../../cmd/contactsync").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return func(addr, form string) []byte {
		cmd := exec.CommandContext(t.Context(), command, "status", "--admin", addr, "--output", form)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		text, err := cmd.Output()
		if err != nil {
			return fmt.Appendf(nil, "%v: %s", err, errs.Bytes())
		}
		return text
	}
}

// checkSigns looks at the replicas as somebody does who is called: what the table says of a
// fault must stand in the status and in the log, and where there is none the headline says so.
func checkSigns(t *testing.T, status statusCommand, worlds map[string]*world, addrs map[string]string) {
	t.Helper()
	ctx := t.Context()
	lacks := func(text string, parts []string) (missing []string) {
		for _, part := range parts {
			if !strings.Contains(text, part) {
				missing = append(missing, part)
			}
		}
		return missing
	}
	var running sync.WaitGroup
	for _, s := range signs(t) {
		w, ok := worlds[s.fault]
		if !ok {
			continue
		}
		running.Go(func() {
			var text, log string
			if !within(ctx, func() bool {
				text, log = string(status(addrs[s.fault], "text")), w.log.String()
				return lacks(text, s.status) == nil && lacks(log, s.log) == nil
			}) {
				t.Errorf("%s: not in the status: %q, not in the log: %q\n%s\n%s", s.fault, lacks(text, s.status), lacks(log, s.log), text, log)
			}
		})
	}
	for _, f := range faults {
		if len(f.fires) > 0 {
			continue
		}
		running.Go(func() {
			var now struct{ Headline struct{ Level, Text string } }
			if !within(ctx, func() bool {
				return json.Unmarshal(status(addrs[f.name], "json"), &now) == nil && now.Headline.Level == "good"
			}) {
				t.Errorf("%s: the headline says %q", f.name, now.Headline.Text)
			}
		})
	}
	running.Wait()
}

// within reports whether something is true within ten seconds.
func within(ctx context.Context, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if ok() {
			return true
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return false
}
