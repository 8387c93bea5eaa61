// Package setting holds what every section of the settings shares: errors, and
// sizes in bytes. Plain values, standard library only.
package setting

import (
	"fmt"
	"strconv"
	"strings"
)

// Error is one problem of a setting. A package reports errors with keys relative
// to its own section, in the file's spelling ("budget.requests"); the config
// package adds the section and the line.
type Error struct {
	Key     string // dotted path, list items as name[0]; empty for the section itself
	Problem string // what is wrong and what would be right
}

// Errors collects the errors of a section.
type Errors []Error

// Add adds one error.
func (e *Errors) Add(key, format string, args ...any) {
	*e = append(*e, Error{key, fmt.Sprintf(format, args...)})
}

// Size is a number of bytes. In the file and the environment it is written as a
// plain number or with one of the units B, KiB, MiB, GiB.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads a size. It refuses fractions, negative numbers and
// decimal units, so that it is clear which kilo is meant.
func (s *Size) UnmarshalText(text []byte) error {
	word, unit := strings.TrimSpace(string(text)), Size(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(word, u.name); ok {
			word, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil || n < 0 || n > int64(1<<62/unit) {
		return fmt.Errorf("%q is not a size: write a whole number, alone or with B, KiB, MiB or GiB", text)
	}
	*s = Size(n) * unit
	return nil
}

// MarshalText writes the size with the largest unit that divides it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s >= u.bytes && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
