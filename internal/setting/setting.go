// Package setting holds what every section of the settings shares: errors, and
// sizes in bytes. Plain values, standard library only.
package setting

import (
	"fmt"
	"strconv"
	"strings"
	"time"
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

// IsKafkaName reports whether Kafka takes a text as the name of a topic or the id of an instance.
func IsKafkaName(text string) bool {
	return text != "" && len(text) <= 249 && text != "." && text != ".." && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	})
}

// NoTopic is what is wrong with the name of a topic that is no IsKafkaName.
const NoTopic = "%q is not the name of a topic: 1 to 249 letters, digits, dots, dashes or underscores"

// MaxSize and MaxDuration bound every setting, so that sums and products of a few of them are right, and so is what
// is told of them.
const (
	MaxSize     Size = 1 << 40
	MaxDuration      = 365 * 24 * time.Hour
)

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
	if Size(n)*unit > MaxSize {
		return fmt.Errorf("%q is more than %v", text, MaxSize)
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
