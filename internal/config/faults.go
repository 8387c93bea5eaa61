package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/contactsync/contactsync/internal/setting"
)

// Faults is everything wrong with the settings, in the order of the file, then
// of the environment.
type Faults struct {
	List []Located // never empty
}

// Located is one fault and where to mend it.
type Located struct {
	File    string // as given to Load; empty without a file
	Line    int    // from 1; of the nearest section above where the file does not hold the key; 0 where there is none
	Key     string // dotted path; empty for the whole file or an unknown variable
	Problem string // what is wrong and what would be right
	From    string // FromFile, FromDefault, or "environment " and the variable
}

// Where a value came from.
const (
	FromFile    = "file"
	FromDefault = "default"
	fromEnv     = "environment "
)

// Error prints one fault a line.
func (f *Faults) Error() string {
	lines := make([]string, len(f.List))
	for i, l := range f.List {
		lines[i] = l.String()
	}
	return strings.Join(lines, "\n")
}

// String prints the fault the way compilers do: place, key, problem.
func (l Located) String() string {
	key := l.Key
	place := l.File
	switch {
	case strings.HasPrefix(l.From, fromEnv):
		place = l.From
	case l.Line > 0:
		place = fmt.Sprintf("%s:%d", l.File, l.Line)
	case l.File == "" && settable(l.Key):
		// There is no line to look at, so the variable that would mend it is named.
		key = fmt.Sprintf("%s (%s)", l.Key, variable(l.Key))
	}
	var parts []string
	for _, part := range []string{place, key, l.Problem} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

func settable(key string) bool {
	return slices.ContainsFunc(Keys(), func(k Key) bool { return k.Path == key && k.Env != "" })
}

// report gathers faults and remembers where each value came from.
type report struct {
	file    string
	origins map[string]origin // by key
	broken  map[string]bool   // keys whose value could not be read
	list    []Located
}

type origin struct {
	line int
	from string
}

func newReport(file string) *report {
	return &report{file: file, origins: map[string]origin{}, broken: map[string]bool{}}
}

// atLine adds a fault of the file. What Validate says of the same key would only
// be its echo and is left out later.
func (r *report) atLine(line int, key, format string, args ...any) {
	r.broken[key] = true
	r.list = append(r.list, Located{File: r.file, Line: line, Key: key, Problem: fmt.Sprintf(format, args...), From: FromFile})
}

// inVariable adds a fault of the environment; key is empty for an unknown variable.
func (r *report) inVariable(name, key, format string, args ...any) {
	if key != "" {
		r.broken[key] = true
	}
	r.list = append(r.list, Located{File: r.file, Key: key, Problem: fmt.Sprintf(format, args...), From: fromEnv + name})
}

// invalid adds what Validate found, at the place that the value came from. What
// could not be read has been reported, alone or with all that it holds.
func (r *report) invalid(f setting.Error) {
	at := Located{File: r.file, Key: f.Key, Problem: f.Problem, From: FromDefault}
	if r.hidden(f.Key) {
		return
	}
	for key := f.Key; key != ""; key = parent(key) {
		o, known := r.origins[key]
		if !known {
			continue
		}
		at.Line = o.line
		// An item of a list that a variable gave came from that variable.
		if key == f.Key || o.from != FromFile {
			at.From = o.from
		}
		break
	}
	r.list = append(r.list, at)
}

// hidden reports whether the key, or anything that it lies in, could not be read.
func (r *report) hidden(key string) bool {
	for ; key != ""; key = parent(key) {
		if r.broken[key] {
			return true
		}
	}
	return r.broken[""]
}

// parent cuts the last step off a key: a.b[0] to a.b to a.
func parent(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}

// err returns the faults found so far, or nil.
func (r *report) err() error {
	if len(r.list) == 0 {
		return nil
	}
	place := func(l Located) (group, line int) {
		switch {
		case strings.HasPrefix(l.From, fromEnv):
			return 2, 0
		case l.Line == 0:
			return 1, 0
		}
		return 0, l.Line
	}
	slices.SortStableFunc(r.list, func(a, b Located) int {
		groupA, lineA := place(a)
		groupB, lineB := place(b)
		return cmp.Or(cmp.Compare(groupA, groupB), cmp.Compare(lineA, lineB))
	})
	return &Faults{List: r.list}
}
