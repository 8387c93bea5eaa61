package upstream

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxText  = 2 << 10 // bytes kept of an answer's messages
	maxParts = 8       // messages kept, and codes
)

// errorText holds the messages and codes of a part of an answer.
type errorText struct {
	messages []string
	codes    []string
	others   []string // words under names that no path leads to, used where there are no messages
	size     int      // bytes of messages and others
}

// rateLimit is what the vendor writes if an account calls too often; the second wording is
// the older one. It counts only as a whole message: inside of one it may be the name of a
// contact.
var rateLimit = regexp.MustCompile(`(?i)^(?:you['’]ve exceeded the (?:per-minute|hourly) rate limit|rate limit for this api has been reached)` +
	`(?:[.!]? please (?:wait for some ?time before retrying|try again(?: later| after some ?time)?))?[.!]?$`)

// rateLimitWords are in every wording.
var rateLimitWords = regexp.MustCompile(`(?i)rate limit`)

// isRateLimit reports whether every message is the vendor's rate-limit sentence.
func (t *errorText) isRateLimit() bool {
	if t == nil || len(t.messages) == 0 {
		return false
	}
	for _, message := range t.messages {
		if !rateLimit.MatchString(strings.Join(strings.Fields(message), " ")) {
			return false
		}
	}
	return true
}

func (t *errorText) addMessage(text string) {
	text = strings.TrimSpace(text)
	if text == "" || len(t.messages) == maxParts || slices.Contains(t.messages, text) {
		return
	}
	if text = text[:min(len(text), maxText-t.size)]; text == "" {
		return
	}
	t.messages = append(t.messages, strings.Clone(text))
	t.size += len(text)
}

// addOther keeps the value of a member that no path leads to.
func (t *errorText) addOther(name string, value jsontext.Value) {
	text := string(value)
	switch value.Kind() {
	case 'n':
		return
	case '"':
		if text = strings.TrimSpace(string(unquote(value))); text == "" {
			return
		}
	}
	text = name + ": " + text
	if text = text[:min(len(text), maxText-t.size)]; text != "" && len(t.others) < maxParts {
		t.others = append(t.others, text)
		t.size += len(text)
	}
}

// unnamed reports whether the text has only words under names that no path leads to.
func (t *errorText) unnamed() bool {
	return t != nil && len(t.messages)+len(t.codes) == 0 && len(t.others) > 0
}

func (t *errorText) addCode(code string) {
	if len(code) <= 8 && len(t.codes) < maxParts && !slices.Contains(t.codes, code) {
		t.codes = append(t.codes, strings.Clone(code))
	}
}

func (t *errorText) empty() bool {
	return t == nil || len(t.messages)+len(t.codes)+len(t.others) == 0
}

// String joins messages and codes, as they came. The text of nil is empty.
func (t *errorText) String() string {
	if t == nil {
		return ""
	}
	parts := t.messages
	if len(parts) == 0 {
		parts = t.others
	}
	text := strings.Join(parts, "; ")
	if len(t.codes) > 0 {
		text = strings.TrimSpace(text + " (code " + strings.Join(t.codes, ", ") + ")")
	}
	return text
}

// isVendorsError reports whether the body of a refusal is the vendor's own: an object with
// the list errors, or with status and message. Gateways in front of it answer with a page,
// or with an object of their own.
func isVendorsError(body []byte) bool {
	d := newDecoder(body)
	if d.PeekKind() != '{' {
		return false
	}
	var errors, status, message bool
	err := eachElement(d, func(name []byte) error {
		kind := d.PeekKind()
		switch string(name) {
		case `errors`:
			errors = kind == '['
		case `status`:
			status = kind == '"'
		case `message`:
			message = kind == '"'
		}
		return d.SkipValue()
	})
	return err == nil && (errors || status && message)
}

// bodyErrors returns what the body of a refusal says: the messages in it if it has
// the form of the vendor's errors, or else the body itself.
func bodyErrors(body []byte) *errorText {
	var t errorText
	d := newDecoder(body)
	if d.PeekKind() == '{' || d.PeekKind() == '[' {
		if err := t.collect(d, 0); err == nil && len(t.messages) > 0 {
			return &t
		}
	}
	t = errorText{}
	t.addMessage(strings.Join(strings.Fields(string(body[:min(len(body), maxText)])), " "))
	return &t
}

// bodyText is the same as a text.
func bodyText(body []byte) string { return bodyErrors(body).String() }

// isMessage reports whether a member holds text for people.
func isMessage(name string) bool {
	switch name {
	case "errors", "error", "message", "msg", "reason", "detail", "details", "description":
		return true
	}
	return false
}

// isCode reports whether a member holds a status.
func isCode(name string) bool {
	switch name {
	case "code", "statusCode", "status", "customCode":
		return true
	}
	return false
}

// collect reads one value from d and keeps its messages and codes: a string or
// number itself, every element of an array, and the members of an object that are
// named like messages or codes.
func (t *errorText) collect(d *jsontext.Decoder, depth int) error {
	kind := d.PeekKind()
	if depth > maxDepth || (kind != '{' && kind != '[') {
		value, err := d.ReadValue()
		if err == nil && kind == '"' {
			t.addMessage(string(unquote(value)))
		}
		if err == nil && kind == '0' {
			t.addCode(string(value))
		}
		return err
	}
	return eachElement(d, func(name []byte) error {
		switch {
		case name == nil, isMessage(string(name)):
			return t.collect(d, depth+1)
		case isCode(string(name)):
			return t.collectCode(d)
		}
		_, err := d.ReadValue()
		return err
	})
}

// collectCode reads one value and keeps it if it is a number, bare or quoted.
func (t *errorText) collectCode(d *jsontext.Decoder) error {
	value, err := d.ReadValue()
	if err == nil {
		t.addStatus(value)
	}
	return err
}

// addStatus keeps a value that is a number, bare or quoted, and reports whether it is.
func (t *errorText) addStatus(value jsontext.Value) bool {
	code := string(bytes.Trim(value, `"`))
	if code == "" || strings.Trim(code, "0123456789") != "" {
		return false
	}
	t.addCode(code)
	return true
}
