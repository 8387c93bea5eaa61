package upstream

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/contactsync/contactsync"
)

const (
	mostDetail = 200 // bytes of a detail or reason
	mask       = "***"
	// prefix of a secret that already counts as the secret: an answer may quote
	// a token cut short.
	secretPrefix = 12
)

// redactor makes what an answer says fit to be written (I11).
type redactor struct {
	digits *regexp.Regexp
	tokens *regexp.Regexp
}

func newRedactor() *redactor {
	return &redactor{
		// Five digits in a row, or eight with the usual separators: shorter ones are
		// codes and counts, these may be telephone numbers.
		digits: regexp.MustCompile(`\p{Nd}{5,}|\p{Nd}(?:[ .()/\-]{0,2}\p{Nd}){7,}`),
		// The beginning of every JSON web token: base64 of {" and a letter.
		tokens: regexp.MustCompile(`eyJ[A-Za-z0-9_\-.=+/]*`),
	}
}

// excerpt returns what may be written of text: no secret, no value of the rows'
// contacts, no run of digits like a telephone number, control characters
// escaped, at most 200 bytes.
func (r *redactor) excerpt(text string, secrets []string, rows []contactsync.Row) string {
	if text == "" {
		return ""
	}
	text = text[:min(len(text), 2*mostText)]
	for _, s := range secrets {
		text = hideSecret(text, s)
	}
	text = r.tokens.ReplaceAllString(text, mask)
	text = hideValues(text, rows)
	text = r.digits.ReplaceAllString(text, mask)
	return escape(text, mostDetail)
}

// hideSecret masks every place where the secret, or its beginning, stands,
// together with the characters after it that belong to it.
func hideSecret(text, secret string) string {
	if len(secret) < leastSecret {
		return text
	}
	start := secret[:min(len(secret), secretPrefix)]
	for {
		at := strings.Index(text, start)
		if at < 0 {
			return text
		}
		end := at + len(start)
		for end < len(text) && end-at < len(secret) && text[end] == secret[end-at] {
			end++
		}
		text = text[:at] + mask + text[end:]
	}
}

// hideValues masks the values that the rows' contacts hold, in any case. Short
// values are masked only as whole words, or hardly a word would be left.
func hideValues(text string, rows []contactsync.Row) string {
	shown := []rune(text)
	folded := make([]rune, len(shown))
	for i, r := range shown {
		folded[i] = unicode.ToLower(r)
	}
	low := string(folded)
	hidden := make([]bool, len(shown))
	found := false
	for _, row := range rows {
		eachValue(row.Body, func(value string) {
			found = hide(low, folded, hidden, value) || found
		})
	}
	if !found {
		return text
	}
	var b strings.Builder
	for i, r := range shown {
		switch {
		case !hidden[i]:
			b.WriteRune(r)
		case i == 0 || !hidden[i-1]:
			b.WriteString(mask)
		}
	}
	return b.String()
}

// hide marks the places of value in low, whose runes are folded.
func hide(low string, folded []rune, hidden []bool, value string) (found bool) {
	const wholeWordBelow = 4 // runes
	value = strings.Map(unicode.ToLower, value)
	size := utf8.RuneCountInString(value)
	word := func(i int) bool {
		return i >= 0 && i < len(folded) && (unicode.IsLetter(folded[i]) || unicode.IsDigit(folded[i]))
	}
	for from := 0; ; {
		at := strings.Index(low[from:], value)
		if at < 0 {
			return found
		}
		at += from
		first := utf8.RuneCountInString(low[:at])
		if size >= wholeWordBelow || (!word(first-1) && !word(first+size)) {
			for i := first; i < first+size; i++ {
				hidden[i] = true
			}
			found = true
		}
		_, width := utf8.DecodeRuneInString(low[at:])
		from = at + width
	}
}

// eachValue calls visit with every string of a contact but its ids, which
// operators need, and those without two letters or digits.
func eachValue(contact []byte, visit func(string)) {
	d := newDecoder(contact)
	var walk func(depth int) error
	walk = func(depth int) error {
		if kind := d.PeekKind(); depth > mostDepth || (kind != '{' && kind != '[') {
			value, err := d.ReadValue()
			if err == nil && kind == '"' {
				if text := strings.TrimSpace(unquote(value)); telling(text) {
					visit(text)
				}
			}
			return err
		}
		return eachElement(d, func(name []byte) error {
			if bytes.Equal(name, []byte("id")) || bytes.Equal(name, []byte("_id")) {
				_, err := d.ReadValue()
				return err
			}
			return walk(depth + 1)
		})
	}
	_ = walk(0) // rows are well-formed; of one that is not, the beginning is masked
}

func telling(text string) bool {
	n := 0
	for _, r := range text {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			if n++; n == 2 {
				return true
			}
		}
	}
	return false
}

// escape returns the beginning of text, at most limit bytes with an ellipsis
// where it was cut, and nothing in it that a terminal or log would act on.
func escape(text string, limit int) string {
	const ellipsis = "…"
	var b []byte
	fits := 0 // bytes of b that leave room for the ellipsis
	for _, r := range text {
		if unicode.IsPrint(r) {
			b = utf8.AppendRune(b, r)
		} else {
			quoted := strconv.QuoteRune(r)
			b = append(b, quoted[1:len(quoted)-1]...)
		}
		if len(b) <= limit-len(ellipsis) {
			fits = len(b)
		}
		if len(b) > limit {
			return string(b[:fits]) + ellipsis
		}
	}
	return string(b)
}
