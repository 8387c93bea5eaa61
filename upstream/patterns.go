package upstream

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// pattern is one pattern of the settings, and whose it is.
type pattern struct {
	text  string
	key   string // in the settings
	owner string
}

// patterns finds the pattern that takes a stream: of those that match, the one that every
// other one contains.
type patterns struct {
	exact map[string][]pattern // without a wildcard, by name
	globs []pattern            // what is contained in another one stands before it
}

func newPatterns(all []pattern) *patterns {
	p := &patterns{exact: map[string][]pattern{}}
	for _, one := range all {
		if name, ok := literal(one.text); ok {
			p.exact[name] = append(p.exact[name], one)
		} else {
			p.globs = append(p.globs, one)
		}
	}
	containers := make(map[pattern]int, len(p.globs)) // what contains another one has fewer of them
	parsed := parseAll(p.globs)
	for i, one := range p.globs {
		for j, other := range p.globs {
			if i != j && strings.HasPrefix(prefix(one.text), prefix(other.text)) && parsed[j].contains(parsed[i]) {
				containers[one]++
			}
		}
	}
	slices.SortFunc(p.globs, func(a, b pattern) int {
		// The rest only makes the order independent of the order in the file.
		return cmp.Or(cmp.Compare(containers[b], containers[a]), cmp.Compare(a.text, b.text), cmp.Compare(a.owner, b.owner))
	})
	return p
}

// compared is a pattern to be compared with others, and a name that it takes; empty where none is known.
type compared struct {
	glob
	example string
}

func parseAll(all []pattern) []compared {
	parsed := make([]compared, len(all))
	for i, one := range all {
		parsed[i].glob = parseGlob(one.text)
		parsed[i].example, _ = exampleName([]glob{parsed[i].glob}, nil)
	}
	return parsed
}

// contains reports whether a pattern takes every name that another one takes. Most do not even take its
// example, which is found out at a hundredth of the cost.
func (c compared) contains(inner compared) bool {
	if inner.example != "" && !c.takes(inner.example) {
		return false
	}
	name, sure := exampleName([]glob{inner.glob}, []glob{c.glob})
	return sure && name == ""
}

// match returns the patterns that match a stream, the one that takes it first. With an
// owner only its patterns count.
func (p *patterns) match(stream, owner string) []pattern {
	var found []pattern
	for _, list := range [][]pattern{p.exact[stream], p.globs} {
		for _, one := range list {
			if owner != "" && one.owner != owner {
				continue
			}
			if matched, err := path.Match(one.text, stream); err == nil && matched {
				found = append(found, one)
			}
		}
	}
	return found
}

// conflict is two patterns of different owners that take a stream, neither of which is
// the more specific one.
type conflict struct {
	a, b   pattern
	stream string // such a one; empty where they are too complicated to compare
}

// conflicts returns every pair of patterns without a winner. Where both take a stream,
// one has to be contained in the other, or there has to be a third one for
// all such streams, which is contained in both.
func conflicts(all []pattern) []conflict {
	var found []conflict
	var globs []pattern
	exact := map[string]pattern{}
	for _, one := range all {
		name, ok := literal(one.text)
		if !ok {
			globs = append(globs, one)
			continue
		}
		if other, is := exact[name]; is && other.owner != one.owner {
			found = append(found, conflict{other, one, name})
			continue
		}
		exact[name] = one
	}
	parsed := parseAll(globs)
	for i, a := range globs {
		for j := range i {
			b := globs[j]
			pa, pb := prefix(a.text), prefix(b.text)
			if a.owner == b.owner || !strings.HasPrefix(pa, pb) && !strings.HasPrefix(pb, pa) {
				continue
			}
			if stream, ok := undecided(parsed, i, j, slices.Concat(parsed, namesOf(exact, a.text, b.text))); !ok {
				found = append(found, conflict{b, a, stream})
			}
		}
	}
	return found
}

// idle is a pattern that takes no stream.
type idle struct {
	of pattern
	by []pattern // of other owners, which take all that it matches; none where it matches no name
}

// idlePatterns returns the patterns that can never take a stream.
func idlePatterns(all []pattern) []idle {
	var found []idle
	var globs, names []pattern
	for _, one := range all {
		if _, exact := literal(one.text); exact {
			names = append(names, one)
		} else {
			globs = append(globs, one)
		}
	}
	parsed := parseAll(globs)
	for i, one := range globs {
		if name, sure := exampleName([]glob{parsed[i].glob}, nil); name == "" && sure {
			found = append(found, idle{of: one})
			continue
		}
		var by []pattern
		var within []glob
		for j, other := range globs {
			if other.owner != one.owner && strings.HasPrefix(prefix(other.text), prefix(one.text)) && parsed[i].contains(parsed[j]) && !parsed[j].contains(parsed[i]) {
				by, within = append(by, other), append(within, parsed[j].glob)
			}
		}
		for _, other := range names {
			// However many single names there are, they are not all that a star takes.
			if matched, _ := path.Match(one.text, other.text); matched && other.owner != one.owner && !strings.Contains(one.text, "*") {
				by, within = append(by, other), append(within, parseGlob(other.text))
			}
		}
		if len(by) == 0 {
			continue
		}
		if name, sure := exampleName([]glob{parsed[i].glob}, within); name == "" && sure {
			found = append(found, idle{one, by})
		}
	}
	return found
}

// namesOf returns the names that two patterns match.
func namesOf(exact map[string]pattern, a, b string) []compared {
	var names []compared
	for name := range exact {
		inA, _ := path.Match(a, name)
		if inB, _ := path.Match(b, name); inA && inB {
			names = append(names, compared{parseGlob(name), name})
		}
	}
	return names
}

// undecided looks for a stream that two patterns take and for which neither wins. It
// returns ok where there is none.
func undecided(parsed []compared, i, j int, all []compared) (stream string, ok bool) {
	a, b := parsed[i], parsed[j]
	stream, sure := exampleName([]glob{a.glob, b.glob}, nil)
	if stream == "" {
		return "", sure
	}
	inA, inB := b.contains(a), a.contains(b)
	if inA != inB {
		return "", true
	}
	if inA { // both take the same streams
		return stream, false
	}
	var within []glob
	for _, other := range all {
		if a.contains(other) && b.contains(other) {
			within = append(within, other.glob)
		}
	}
	if len(within) == 0 {
		return stream, false
	}
	stream, sure = exampleName([]glob{a.glob, b.glob}, within)
	return stream, sure && stream == ""
}
