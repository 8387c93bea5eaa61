package upstream

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	mostText  = 2 << 10 // bytes kept of what an answer says, before it is masked and cut
	mostParts = 8       // texts, and codes, kept
	mostDepth = 16      // levels of nesting that are looked into
)

// saying is what some part of an answer says in words and codes.
type saying struct {
	parts []string
	codes []string
	size  int
}

func (s *saying) addText(text string) {
	text = strings.TrimSpace(text)
	if text == "" || len(s.parts) == mostParts || slices.Contains(s.parts, text) {
		return
	}
	if text = text[:min(len(text), mostText-s.size)]; text == "" {
		return
	}
	s.parts = append(s.parts, strings.Clone(text))
	s.size += len(text)
}

func (s *saying) addCode(code string) {
	if len(code) <= 8 && len(s.codes) < mostParts && !slices.Contains(s.codes, code) {
		s.codes = append(s.codes, strings.Clone(code))
	}
}

// empty tells whether nothing was said.
func (s *saying) empty() bool { return len(s.parts)+len(s.codes) == 0 }

// String joins what was said. It is neither masked nor bounded as a detail has to be.
func (s *saying) String() string {
	text := strings.Join(s.parts, "; ")
	if len(s.codes) > 0 {
		text = strings.TrimSpace(text + " (code " + strings.Join(s.codes, ", ") + ")")
	}
	return text
}

// describe returns what the body of a refusal says: the messages of the shapes
// that the vendor's APIs answer with, or else its text.
func describe(body []byte) string {
	var s saying
	d := newDecoder(body)
	if d.PeekKind() == '{' || d.PeekKind() == '[' {
		if err := s.listen(d, 0); err == nil && len(s.parts) > 0 {
			return s.String()
		}
	}
	return strings.Join(strings.Fields(string(body[:min(len(body), mostText)])), " ")
}

// isMessage tells whether a member holds words for a person.
func isMessage(name string) bool {
	switch name {
	case "errors", "error", "message", "msg", "reason", "detail", "details", "description":
		return true
	}
	return false
}

// isCode tells whether a member holds a status.
func isCode(name string) bool {
	switch name {
	case "code", "statusCode", "status", "customCode":
		return true
	}
	return false
}

// listen reads one value from d and keeps its texts and codes: of a string or
// number itself, of an array every element, of an object the members named so.
func (s *saying) listen(d *jsontext.Decoder, depth int) error {
	kind := d.PeekKind()
	if depth > mostDepth || (kind != '{' && kind != '[') {
		value, err := d.ReadValue()
		if err == nil && kind == '"' {
			s.addText(unquote(value))
		}
		if err == nil && kind == '0' {
			s.addCode(string(value))
		}
		return err
	}
	return eachElement(d, func(name []byte) error {
		switch {
		case name == nil, isMessage(string(name)):
			return s.listen(d, depth+1)
		case isCode(string(name)):
			return s.readCode(d)
		}
		_, err := d.ReadValue()
		return err
	})
}

// readCode reads one value and keeps it where it is a number, bare or quoted.
func (s *saying) readCode(d *jsontext.Decoder) error {
	value, err := d.ReadValue()
	if err != nil {
		return err
	}
	if code := string(bytes.Trim(value, `"`)); code != "" && strings.Trim(code, "0123456789") == "" {
		s.addCode(code)
	}
	return nil
}

// newDecoder reads JSON as answers come: whole, but with whatever bytes and
// repeated names a contact has, because the contacts in it are not ours to refuse.
func newDecoder(body []byte) *jsontext.Decoder {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	return jsontext.NewDecoder(bytes.NewBuffer(body),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// eachElement reads the object or array that comes next and calls visit before
// each value, which visit must read: with the member's name, or nil in an array.
// The name is valid until the value is read.
func eachElement(d *jsontext.Decoder, visit func(name []byte) error) error {
	open, err := d.ReadToken()
	if err != nil {
		return err
	}
	object := open.Kind() == '{'
	for {
		switch d.PeekKind() {
		case '}', ']':
			_, err := d.ReadToken()
			return err
		}
		var name []byte
		if object {
			value, err := d.ReadValue()
			if err != nil {
				return err
			}
			name = unquoted(value)
		}
		if err := visit(name); err != nil {
			return err
		}
	}
}

// unquoted returns the content of a JSON string, without a copy where nothing in
// it is escaped.
func unquoted(value jsontext.Value) []byte {
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, value) // only lone surrogates fail, and become U+FFFD
	if text == nil {
		text = []byte{} // nil would stand for an array's element
	}
	return text
}

func unquote(value jsontext.Value) string { return string(unquoted(value)) }
