package upstream

import (
	"slices"
	"strings"
	"unicode"
)

// transientReasons recognises reasons for which a row is worth another attempt.
type transientReasons struct {
	words    []string // in lower case
	statuses []string // numbers, which match only as a whole: 500 does, 45001 does not
}

func newTransientReasons(configured []string) transientReasons {
	var t transientReasons
	for _, word := range configured {
		if word = strings.ToLower(word); strings.Trim(word, "0123456789") == "" {
			t.statuses = append(t.statuses, word)
		} else {
			t.words = append(t.words, word)
		}
	}
	return t
}

func (t transientReasons) match(reason string) bool {
	reason = strings.ToLower(reason)
	for _, word := range t.words {
		if strings.Contains(reason, word) {
			return true
		}
	}
	for word := range strings.FieldsFuncSeq(reason, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if slices.Contains(t.statuses, word) {
			return true
		}
	}
	return false
}
