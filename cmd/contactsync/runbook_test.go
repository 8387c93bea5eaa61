package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// Who is called at night types what the runbook says.
func TestRunbook_NamesCommandsAndFlagsThatThereAre(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "contactsync" {
			continue
		}
		tried++
		path := words[:1] // the command's name, which ends where arguments, in capitals, or flags begin
		for _, w := range words[1:] {
			if strings.HasPrefix(w, "-") || w != strings.ToLower(w) {
				break
			}
			path = append(path, w)
		}
		var out, errs bytes.Buffer
		code := run(t.Context(), append(words[1:], "--help"), nil, &out, &errs)
		if code != 0 || !strings.Contains(out.String(), "Usage:\n  "+strings.Join(path, " ")+" ") {
			t.Errorf("%s: exit code %d\n%s%s", strings.TrimSpace(line), code, &out, &errs)
		}
	}
	if tried < 20 {
		t.Errorf("only %d commands were found", tried)
	}
}
