package stub

import (
	"bytes"
	"strings"
)

// glob is a pattern in which "*" matches any text, split at each "*". It is split
// once, because it is matched against every row of every call.
type glob []string

type globs []glob

func globsOf(patterns []string) globs {
	all := make(globs, len(patterns))
	for i, p := range patterns {
		all[i] = strings.Split(p, "*")
	}
	return all
}

func (all globs) match(text []byte) bool {
	for _, g := range all {
		if g.match(text) {
			return true
		}
	}
	return false
}

func (g glob) match(text []byte) bool {
	if len(g) == 1 {
		return string(text) == g[0]
	}
	first, last := g[0], g[len(g)-1]
	if len(text) < len(first)+len(last) || string(text[:len(first)]) != first || string(text[len(text)-len(last):]) != last {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range g[1 : len(g)-1] {
		_, after, ok := bytes.Cut(text, []byte(part))
		if !ok {
			return false
		}
		text = after
	}
	return true
}
