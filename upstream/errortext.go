package upstream

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxText  = 2 << 10 // bytes kept of an answer's messages, before masking
	maxParts = 8       // messages kept, and codes
)

// errorText holds the messages and codes of a part of an answer.
type errorText struct {
	messages []string
	codes    []string
	size     int // bytes of messages
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

func (t *errorText) addCode(code string) {
	if len(code) <= 8 && len(t.codes) < maxParts && !slices.Contains(t.codes, code) {
		t.codes = append(t.codes, strings.Clone(code))
	}
}

func (t *errorText) empty() bool { return len(t.messages)+len(t.codes) == 0 }

// String joins messages and codes, neither masked nor cut to the length of a
// detail. The text of nil is empty.
func (t *errorText) String() string {
	if t == nil {
		return ""
	}
	text := strings.Join(t.messages, "; ")
	if len(t.codes) > 0 {
		text = strings.TrimSpace(text + " (code " + strings.Join(t.codes, ", ") + ")")
	}
	return text
}

// bodyText returns what the body of a refusal says: the messages in it if it has
// the form of the vendor's errors, or else the body itself.
func bodyText(body []byte) string {
	var t errorText
	d := newDecoder(body)
	if d.PeekKind() == '{' || d.PeekKind() == '[' {
		if err := t.collect(d, 0); err == nil && len(t.messages) > 0 {
			return t.String()
		}
	}
	return strings.Join(strings.Fields(string(body[:min(len(body), maxText)])), " ")
}

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
	if err != nil {
		return err
	}
	if code := string(bytes.Trim(value, `"`)); code != "" && strings.Trim(code, "0123456789") == "" {
		t.addCode(code)
	}
	return nil
}
