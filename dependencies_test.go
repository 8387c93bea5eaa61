package contactsync_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDependencies_AreListed keeps docs/dependencies.md to what the service's binary links,
// and each licence to what the module's own file says.
func TestDependencies_AreListed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\S+) \\| \\S").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = m[2]
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Dir}}{{end}}", "./cmd/contactsync")
	cmd.Env, cmd.Stderr = append(os.Environ(), "GOOS=linux"), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, dir, ok := strings.Cut(strings.TrimSpace(line), " "); ok && path != module {
			linked[path] = dir
		}
	}
	if have, want := slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(linked)); !slices.Equal(have, want) {
		t.Errorf("docs/dependencies.md lists\n%v\nand the binary has\n%v", have, want)
	}
	for path, dir := range linked {
		if got := licence(t, dir); got != listed[path] {
			t.Errorf("docs/dependencies.md says %s of %s, whose file says %s", listed[path], path, got)
		}
	}
}

// licence names the licence of a module by its words.
func licence(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "LICENSE*"))
	if err != nil || len(files) == 0 {
		return "none"
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(string(text)), " ")
	for _, known := range [][2]string{
		{"Mozilla Public License", "MPL-2.0"},
		{"Redistribution and use in source and binary forms", "BSD-3-Clause"},
		{"Apache License", "Apache-2.0"},
		{"Permission is hereby granted, free of charge", "MIT"},
	} {
		if strings.Contains(words, known[0]) {
			return known[1]
		}
	}
	return "unknown"
}
