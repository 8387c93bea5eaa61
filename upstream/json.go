package upstream

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep nested values are searched.
const maxDepth = 16

// newDecoder returns a decoder that is strict about structure, but takes invalid
// UTF-8 and repeated names: contacts in an answer are not ours to refuse.
func newDecoder(body []byte) *jsontext.Decoder {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	return jsontext.NewDecoder(bytes.NewBuffer(body),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// expectEnd checks that nothing follows.
func expectEnd(d *jsontext.Decoder) error {
	_, err := d.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("answer goes on after its end")
	}
	return err
}

// eachElement reads the next object or array and calls visit before each value,
// which visit must read: with the member's name, or nil in an array. The name is
// valid until the value is read.
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
			name = unquote(value)
		}
		if err := visit(name); err != nil {
			return err
		}
	}
}

// unquote returns the content of a JSON string, never nil. It copies only if
// something in it is escaped.
func unquote(value jsontext.Value) []byte {
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	text, _ := jsontext.AppendUnquote([]byte{}, value) // only lone surrogates fail, and become U+FFFD
	return text
}
