package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/contactsync/contactsync/internal/setting"
)

// Errors is everything wrong with the settings: first what the file lacks, by
// line, then the environment. It is never empty.
type Errors []Error

// Error is one problem of the settings and where it is.
type Error struct {
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

// Error returns one error per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Error returns the error as compilers print theirs: location, key, problem.
func (e Error) Error() string {
	key := e.Key
	location := e.File
	switch {
	case strings.HasPrefix(e.From, fromEnv):
		location = e.From
	case e.Line > 0:
		location = fmt.Sprintf("%s:%d", e.File, e.Line)
	case e.File == "" && settable(e.Key):
		// Without a file there is no line: the variable that sets the key is named.
		key = fmt.Sprintf("%s (%s)", e.Key, variable(e.Key))
	}
	var parts []string
	for _, part := range []string{location, key, e.Problem} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

func settable(key string) bool {
	return slices.ContainsFunc(Keys(), func(k Key) bool { return k.Path == key && k.Env != "" })
}

// report collects errors and remembers where each value came from.
type report struct {
	file    string
	origins map[string]origin // by key
	broken  map[string]bool   // keys whose value could not be read
	list    Errors
}

type origin struct {
	line int
	from string
}

func newReport(file string) *report {
	return &report{file: file, origins: map[string]origin{}, broken: map[string]bool{}}
}

// atLine adds an error in the file. What Validate finds for the same key would
// repeat it and is left out later.
func (r *report) atLine(line int, key, format string, args ...any) {
	r.broken[key] = true
	r.list = append(r.list, Error{File: r.file, Line: line, Key: key, Problem: fmt.Sprintf(format, args...), From: FromFile})
}

// inVariable adds an error in the environment; key is empty for an unknown variable.
func (r *report) inVariable(name, key, format string, args ...any) {
	if key != "" {
		r.broken[key] = true
	}
	r.list = append(r.list, Error{File: r.file, Key: key, Problem: fmt.Sprintf(format, args...), From: fromEnv + name})
}

// invalid adds an error from Validate, at the place where the value was set. What
// could not be read has been reported already.
func (r *report) invalid(invalid setting.Error) {
	if !r.hidden(invalid.Key) {
		r.list = append(r.list, r.place(invalid))
	}
}

// place says where the value was set that an error is about.
func (r *report) place(e setting.Error) Error {
	at := Error{File: r.file, Key: e.Key, Problem: e.Problem, From: FromDefault}
	for key := e.Key; key != ""; key = parent(key) {
		o, known := r.origins[key]
		if !known {
			continue
		}
		at.Line = o.line
		// An item of a list that a variable gave came from that variable.
		if key == e.Key || o.from != FromFile {
			at.From = o.from
		}
		break
	}
	return at
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

// err returns the errors found so far, or nil.
func (r *report) err() error {
	if len(r.list) == 0 {
		return nil
	}
	place := func(e Error) (group, line int) {
		switch {
		case strings.HasPrefix(e.From, fromEnv):
			return 2, 0
		case e.Line == 0:
			return 1, 0
		}
		return 0, e.Line
	}
	slices.SortStableFunc(r.list, func(a, b Error) int {
		groupA, lineA := place(a)
		groupB, lineB := place(b)
		return cmp.Or(cmp.Compare(groupA, groupB), cmp.Compare(lineA, lineB))
	})
	return r.list
}
