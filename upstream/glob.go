package upstream

import (
	"path"
	"strings"

	"github.com/contactsync/contactsync"
)

// nameLetters are those that names are made of; see contactsync.NamePattern.
const nameLetters = "abcdefghijklmnopqrstuvwxyz0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ_"

const maxNameBytes = 64

// glob is a pattern as path.Match reads it, restricted to names: a sequence of stars and
// of letters, each one out of a set.
type glob []globStep

// globStep is a star, or the set of letters that one letter may be out of, as bits of
// nameLetters.
type globStep struct {
	star    bool
	letters uint64
}

// parseGlob reads a pattern that path.Match takes.
func parseGlob(text string) glob {
	var g glob
	for len(text) > 0 {
		n := 1
		switch text[0] {
		case '*':
			if len(g) == 0 || !g[len(g)-1].star {
				g = append(g, globStep{star: true})
			}
			text = text[1:]
			continue
		case '\\':
			n = min(2, len(text))
		case '[':
			for n < len(text) && text[n] != ']' {
				if text[n] == '\\' {
					n++
				}
				n++
			}
			n = min(n+1, len(text))
		}
		var set uint64
		for i := range len(nameLetters) {
			if ok, err := path.Match(text[:n], nameLetters[i:i+1]); err == nil && ok {
				set |= 1 << i
			}
		}
		g = append(g, globStep{letters: set})
		text = text[n:]
	}
	return g
}

// start returns the places in the pattern at which a name may begin, and step those
// after one more letter; the place behind the last step is the end.
func (g glob) start() []bool {
	at := make([]bool, len(g)+1)
	at[0] = true
	return g.skipStars(at)
}

func (g glob) step(at []bool, letter int) []bool {
	next := make([]bool, len(g)+1)
	for i, s := range g {
		switch {
		case !at[i]:
		case s.star:
			next[i] = true
		case s.letters&(1<<letter) != 0:
			next[i+1] = true
		}
	}
	return g.skipStars(next)
}

// takes reports whether the pattern takes a name.
func (g glob) takes(name string) bool {
	at := g.start()
	for i := range len(name) {
		at = g.step(at, strings.IndexByte(nameLetters, name[i]))
	}
	return at[len(g)]
}

func (g glob) skipStars(at []bool) []bool {
	for i, s := range g {
		at[i+1] = at[i+1] || at[i] && s.star
	}
	return at
}

// mostGlobStates bounds the search for a name. It is reached only by patterns of many
// stars that were made for it.
const mostGlobStates = 20_000

// exampleName returns a shortest name that all of some patterns take and none of others. It
// returns "" where there is none, and sure is false where the patterns are too
// complicated to tell.
func exampleName(taken, refused []glob) (name string, sure bool) {
	all := append(append([]glob{}, taken...), refused...)
	letters := distinctLetters(all)
	type state struct {
		at   [][]bool
		name string
	}
	var queue []state
	seen := map[string]bool{}
	push := func(s state) {
		var key strings.Builder
		key.WriteByte("01"[btoi(s.name == "")]) // no name is empty, so the beginning is no name
		for i, at := range s.at {
			any := false
			for _, is := range at {
				any = any || is
				key.WriteByte("01"[btoi(is)])
			}
			if i < len(taken) && !any {
				return // it cannot match any more
			}
		}
		if !seen[key.String()] {
			seen[key.String()] = true
			queue = append(queue, s)
		}
	}
	first := state{}
	for _, g := range all {
		first.at = append(first.at, g.start())
	}
	push(first)
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if s.name != "" && accepted(s.at[:len(taken)], true) && accepted(s.at[len(taken):], false) {
			return s.name, true
		}
		if len(s.name) == maxNameBytes {
			continue
		}
		if len(seen) > mostGlobStates {
			return "", false
		}
		for _, letter := range letters {
			next := state{name: s.name + nameLetters[letter:letter+1]}
			for i, g := range all {
				next.at = append(next.at, g.step(s.at[i], letter))
			}
			push(next)
		}
	}
	return "", true
}

// accepted reports whether each pattern is at its end, or none of them.
func accepted(at [][]bool, want bool) bool {
	for _, places := range at {
		if places[len(places)-1] != want {
			return false
		}
	}
	return true
}

func btoi(is bool) int {
	if is {
		return 1
	}
	return 0
}

// distinctLetters returns one letter of each kind that the patterns tell apart.
func distinctLetters(all []glob) []int {
	var letters []int
	seen := map[string]bool{}
	for letter := range len(nameLetters) {
		var kind strings.Builder
		for _, g := range all {
			for _, s := range g {
				kind.WriteByte("01"[s.letters>>letter&1])
			}
		}
		if !seen[kind.String()] {
			seen[kind.String()] = true
			letters = append(letters, letter)
		}
	}
	return letters
}

// literal returns the name that a pattern is, if it has no wildcard.
func literal(pattern string) (name string, ok bool) {
	return pattern, !strings.ContainsAny(pattern, `*?[\`) && contactsync.IsName(pattern)
}

// prefix is what every name that a pattern takes begins with.
func prefix(pattern string) string {
	if at := strings.IndexAny(pattern, `*?[\`); at >= 0 {
		return pattern[:at]
	}
	return pattern
}
