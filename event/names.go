package event

import (
	"fmt"
	"regexp"
)

// plainPattern is what plain matches.
const plainPattern = `^[A-Za-z0-9_-]{1,64}$`

const (
	maxPlain = 64
	// maxName bounds a name under any pattern.
	maxName = 256
	// maxKnown bounds the names that a Decoder remembers of each sort: at most
	// 16384 × 256 B = 4 MiB.
	maxKnown = 16384
)

// plain reports whether text matches plainPattern.
func plain(text []byte) bool {
	if len(text) == 0 || len(text) > maxPlain {
		return false
	}
	for _, c := range text {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// hostile are names that would change a URL's path or split a header. A pattern
// that takes one of them is a mistake.
func hostile() []string {
	return []string{
		"", ".", "..", "a/b", "../a", "/a", `a\b`, "a?b", "a#b", "a;b", "%2e%2e", "a%2fb", "a b",
		"a\r\nb", "a\nb", "a\n", "\na", "a\tb", "a\x00b", "a\x7f", "a\u2024\u2024", "\u2044a", "a\ufeff", "caf\u00e9",
	}
}

// matcher returns the check for a pattern. The pattern has to match the whole
// name, whether or not it is anchored.
func matcher(pattern string) (func([]byte) bool, error) {
	if pattern == plainPattern {
		return plain, nil
	}
	// Compiled alone first, so that it cannot close the group it is put into.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, fmt.Errorf("%q is not a regular expression: %w", pattern, err)
	}
	whole, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("%q is not a regular expression: %w", pattern, err)
	}
	for _, name := range hostile() {
		if whole.MatchString(name) {
			return nil, fmt.Errorf("%q lets the name %q through: allow only letters, digits and separators that mean nothing in a URL", pattern, name)
		}
	}
	return func(text []byte) bool { return len(text) <= maxName && whole.Match(text) }, nil
}

// names checks names and returns the same string for the same name, so that an
// event whose stream was seen before allocates none for it.
type names struct {
	match func([]byte) bool
	known map[string]string // only names that match
}

func (n *names) get(text []byte) (name string, ok bool) {
	if name, ok = n.known[string(text)]; ok {
		return name, true
	}
	if !n.match(text) {
		return "", false
	}
	// Starting over costs one allocation a name, and needs no order of use.
	if len(n.known) >= maxKnown {
		clear(n.known)
	}
	name = string(text)
	n.known[name] = name
	return name, true
}
