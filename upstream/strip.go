package upstream

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	stripped = "***"
	// secretPrefix is the length from which the beginning of a secret counts as the
	// secret: an answer may quote a token cut short.
	secretPrefix = 12
)

// ours are the secrets that a request was made with.
type ours struct {
	secrets []string
	forms   []string // of them; see formsOf
}

// strip takes them out of a text that an answer has, in each form in which a server
// may quote what it was sent, also where it was cut short or wrapped over lines.
func (o *ours) strip(text string) string {
	if o.forms == nil {
		o.forms = formsOf(o.secrets)
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	squeezed := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	hidden := make([]bool, len(squeezed)) // bytes of secrets
	any := false
	for _, form := range o.forms {
		any = hide(squeezed, form, hidden) || any
	}
	if !any {
		return text
	}
	var out strings.Builder
	at, inside := 0, false // in squeezed
	for _, r := range text {
		if unicode.IsSpace(r) {
			if !inside || at < len(hidden) && !hidden[at] {
				out.WriteRune(r)
			}
			continue
		}
		if !hidden[at] {
			out.WriteRune(r)
		} else if !inside {
			out.WriteString(stripped)
		}
		inside = hidden[at]
		at += utf8.RuneLen(r)
	}
	return out.String()
}

// hide marks each occurrence of a form of a secret, and of its beginning, and reports
// whether there are any.
func hide(text, form string, hidden []bool) (any bool) {
	start := form[:min(len(form), secretPrefix)]
	for from := 0; ; {
		at := strings.Index(text[from:], start)
		if at < 0 {
			return any
		}
		any = true
		end := from + at
		for i := 0; i < len(form) && end < len(text) && text[end] == form[i]; i++ {
			hidden[end] = true
			end++
		}
		from = end
	}
}

// formsOf returns the secrets as they are, and as JSON, URLs, Basic authentication and
// hexadecimal dumps have them. The parts of a web token are secrets of their own.
func formsOf(secrets []string) []string {
	var forms []string
	add := func(form string) {
		if len(form) >= minSecretBytes && !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	for _, secret := range secrets {
		if len(secret) < minSecretBytes {
			continue
		}
		add(secret)
		if parts := strings.Split(secret, "."); len(parts) == 3 {
			for _, part := range parts {
				add(part)
			}
		}
		add(url.QueryEscape(secret))
		add(url.PathEscape(secret))
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `/`, `\/`).Replace(secret)
		add(quoted)
		plain := strings.ReplaceAll(quoted, `\/`, `/`)
		add(plain)
		add(strings.NewReplacer("&", `\u0026`, "<", `\u003c`, ">", `\u003e`).Replace(plain))
		add(hex.EncodeToString([]byte(secret)))
		add(strings.ToUpper(hex.EncodeToString([]byte(secret))))
		for lead := range 3 { // base64 of a longer text that holds it
			in := append(make([]byte, lead), secret...)
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				encoded := encoding.EncodeToString(in)
				first := (lead*8 + 5) / 6 // the characters that depend on what is in front
				add(encoded[first : len(encoded)-1])
			}
		}
	}
	return forms
}
