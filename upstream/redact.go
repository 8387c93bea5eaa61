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
	maxDetail = 200 // bytes of a detail or reason
	mask      = "***"
	// secretPrefix is the length from which the beginning of a secret counts as the
	// secret: an answer may quote a token cut short.
	secretPrefix = 12
)

// redactor masks the text of answers so that it may be logged (I11). Safe for
// concurrent use.
type redactor struct {
	digits *regexp.Regexp
	tokens *regexp.Regexp
}

func newRedactor() *redactor {
	return &redactor{
		// Five digits in a row, or eight with the usual separators: these may be
		// telephone numbers, while shorter ones are codes and counts.
		digits: regexp.MustCompile(`\p{Nd}{5,}|\p{Nd}(?:[ .()/\-]{0,2}\p{Nd}){7,}`),
		// The beginning of every JSON web token: base64 of {" and a letter.
		tokens: regexp.MustCompile(`eyJ[A-Za-z0-9_\-.=+/]*`),
	}
}

// excerpt returns at most maxDetail bytes of text, without secrets, values of the
// rows' contacts and runs of digits that may be telephone numbers, and with control
// characters escaped.
func (r *redactor) excerpt(text string, secrets []string, rows []contactsync.Row) string {
	if text == "" {
		return ""
	}
	text = text[:min(len(text), 2*maxText)]
	for _, s := range secrets {
		text = maskSecret(text, s)
	}
	text = r.tokens.ReplaceAllString(text, mask)
	text = maskValues(text, rows)
	text = r.digits.ReplaceAllString(text, mask)
	return escape(text, maxDetail)
}

// maskSecret masks every occurrence of the secret or of its beginning.
func maskSecret(text, secret string) string {
	if len(secret) < minSecretBytes {
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

// maskValues masks the values of the rows' contacts, ignoring case.
func maskValues(text string, rows []contactsync.Row) string {
	m := newValueMask(text)
	for _, row := range rows {
		eachValue(row.Body, m.hide)
	}
	return m.String()
}

// valueMask marks the parts of a text that are to be masked.
type valueMask struct {
	runes  []rune
	folded []rune // runes in lower case
	text   string // folded
	hidden []bool // per rune
}

func newValueMask(text string) *valueMask {
	m := &valueMask{runes: []rune(text)}
	m.folded, m.hidden = make([]rune, len(m.runes)), make([]bool, len(m.runes))
	for i, r := range m.runes {
		m.folded[i] = unicode.ToLower(r)
	}
	m.text = string(m.folded)
	return m
}

// hide marks every occurrence of value. Short values are marked only as whole
// words, or hardly a word would be left.
func (m *valueMask) hide(value string) {
	const wholeWordBelow = 4 // runes
	value = strings.Map(unicode.ToLower, value)
	size := utf8.RuneCountInString(value)
	for from := 0; ; {
		at := strings.Index(m.text[from:], value)
		if at < 0 {
			return
		}
		at += from
		first := utf8.RuneCountInString(m.text[:at])
		if size >= wholeWordBelow || (!m.isWord(first-1) && !m.isWord(first+size)) {
			for i := first; i < first+size; i++ {
				m.hidden[i] = true
			}
		}
		_, width := utf8.DecodeRuneInString(m.text[at:])
		from = at + width
	}
}

// isWord reports whether the rune at i is a letter or digit.
func (m *valueMask) isWord(i int) bool {
	return i >= 0 && i < len(m.folded) && (unicode.IsLetter(m.folded[i]) || unicode.IsDigit(m.folded[i]))
}

// String returns the text with each marked part masked.
func (m *valueMask) String() string {
	var b strings.Builder
	for i, r := range m.runes {
		switch {
		case !m.hidden[i]:
			b.WriteRune(r)
		case i == 0 || !m.hidden[i-1]:
			b.WriteString(mask)
		}
	}
	return b.String()
}

// eachValue calls visit with every string of a contact, except ids, which operators
// need, and strings with fewer than two letters or digits.
func eachValue(contact []byte, visit func(string)) {
	d := newDecoder(contact)
	var walk func(depth int) error
	walk = func(depth int) error {
		if kind := d.PeekKind(); depth > maxDepth || (kind != '{' && kind != '[') {
			value, err := d.ReadValue()
			if err == nil && kind == '"' {
				if text := strings.TrimSpace(string(unquote(value))); identifying(text) {
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

// identifying reports whether text has at least two letters or digits.
func identifying(text string) bool {
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

// escape returns at most limit bytes of text, with an ellipsis if it was cut and
// with everything escaped that a terminal or log would act on.
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
