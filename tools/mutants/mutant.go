package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one planted bug.
type mutant struct {
	name       string
	file       string   // within the module, with slashes
	packages   []string // whose tests should notice; the file's own where none is named
	run        string   // the tests that must notice by themselves; all of the packages' where none is named
	equivalent string   // why nothing can notice, where that is so
	old, new   string
}

func (m mutant) dir() string { return path.Dir(m.file) }

// load reads every list in dir. The old text of each bug must occur exactly once
// in its file, below root: a list that the code has left behind is an error.
func load(dir, root string) ([]mutant, error) {
	lists, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, fmt.Errorf("find the lists: %w", err)
	}
	var all []mutant
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			return nil, fmt.Errorf("read a list: %w", err)
		}
		mutants, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", list, err)
		}
		for _, m := range mutants {
			if _, err := m.apply(root); err != nil {
				return nil, fmt.Errorf("%s: %w", list, err)
			}
		}
		all = append(all, mutants...)
	}
	return all, nil
}

// parse reads a list:
//
//	=== what the bug does
//	file: batcher/window.go
//	packages: ./batcher ./internal/app   (optional)
//	run: ^TestWorld$                     (optional)
//	equivalent: why nothing can notice   (optional)
//	<<<
//	the old text
//	---
//	the new text
//	>>>
//
// Lines between entries that begin with # are comments.
func parse(text string) ([]mutant, error) {
	var all []mutant
	var m *mutant
	var into *[]string
	var before, after []string
	for i, line := range strings.Split(text, "\n") {
		fail := func(problem string) error { return fmt.Errorf("line %d: %s", i+1, problem) }
		switch {
		case into == &before && line == "---":
			into = &after
		case into == &after && line == ">>>":
			m.old, m.new = strings.Join(before, "\n"), strings.Join(after, "\n")
			if m.old == m.new || m.old == "" {
				return nil, fail("the bug changes nothing")
			}
			all, m, into = append(all, *m), nil, nil
		case into != nil:
			*into = append(*into, line)
		case strings.HasPrefix(line, "=== "):
			if m != nil {
				return nil, fail("the entry before has no text")
			}
			m = &mutant{name: strings.TrimPrefix(line, "=== ")}
		case m == nil:
			if line != "" && !strings.HasPrefix(line, "#") {
				return nil, fail("an entry begins with ===")
			}
		case line == "<<<":
			if m.file == "" {
				return nil, fail("the entry names no file")
			}
			if len(m.packages) == 0 {
				m.packages = []string{"./" + m.dir()}
			}
			before, after, into = nil, nil, &before
		case strings.HasPrefix(line, "file: "):
			m.file = strings.TrimPrefix(line, "file: ")
		case strings.HasPrefix(line, "packages: "):
			m.packages = strings.Fields(strings.TrimPrefix(line, "packages: "))
		case strings.HasPrefix(line, "run: "):
			m.run = strings.TrimPrefix(line, "run: ")
		case strings.HasPrefix(line, "equivalent: "):
			m.equivalent = strings.TrimPrefix(line, "equivalent: ")
		default:
			return nil, fail(fmt.Sprintf("unexpected %q", line))
		}
	}
	if m != nil {
		return nil, fmt.Errorf("the entry %q does not end", m.name)
	}
	slices.SortStableFunc(all, func(a, b mutant) int { return strings.Compare(a.file, b.file) })
	return all, nil
}

// apply returns the file with the bug in it.
func (m mutant) apply(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", m.name, err)
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return nil, fmt.Errorf("%q: its old text occurs %d times in %s, not once", m.name, n, m.file)
	}
	return []byte(strings.Replace(string(text), m.old, m.new, 1)), nil
}
