package stub

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// The members of a row that are required, as bits, and what is echoed of them.
const (
	hasID = 1 << iota
	hasFirst
	hasLast
	hasSalutation
	hasPhone
	hasCountry
	hasExtension
	hasAll = 1<<iota - 1
)

// row is one contact of a call. Its slices point into the body of the call.
type row struct {
	id      []byte // without quotes
	seq     int64  // -1 where the row has none
	has     int
	bad     bool // a member has the wrong form
	first   jsontext.Value
	last    jsontext.Value
	full    jsontext.Value
	title   jsontext.Value
	phone   jsontext.Value
	country jsontext.Value
	ext     jsontext.Value

	contact *contact // nil for a row without id
	again   bool     // the array names the contact a second time
	skip    bool     // not to be applied
	applied bool
}

var errNotArray = errors.New("the body is not an array of objects")

// parser reads the rows of bodies, one at a time, without a copy of them.
type parser struct {
	buf  bytes.Buffer
	dec  *jsontext.Decoder
	body []byte
	rows []row
}

func newParser() *parser {
	p := new(parser)
	p.dec = jsontext.NewDecoder(&p.buf)
	return p
}

// parse reads p.body into p.rows. It fails where the body is not JSON or not an
// array of objects; rows read before that are kept, for the log.
func (p *parser) parse() error {
	p.rows = p.rows[:0]
	p.buf = *bytes.NewBuffer(p.body)
	p.dec.Reset(&p.buf)
	if p.dec.PeekKind() != '[' {
		return errNotArray
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	for p.dec.PeekKind() != ']' {
		if p.dec.PeekKind() != '{' {
			return errNotArray
		}
		p.rows = append(p.rows, row{seq: -1})
		if err := p.object(&p.rows[len(p.rows)-1]); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errNotArray
	}
	return nil
}

func (p *parser) object(r *row) error {
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		switch string(name) {
		case `"id"`:
			err = p.id(r)
		case `"firstName"`:
			err = p.text(r, &r.first, hasFirst)
		case `"lastName"`:
			err = p.text(r, &r.last, hasLast)
		case `"fullName"`:
			err = p.text(r, &r.full, 0)
		case `"salutation"`:
			err = p.text(r, &r.title, hasSalutation)
		case `"cellPhone"`:
			err = p.cellPhone(r)
		case `"seq"`:
			err = p.seq(r)
		default:
			err = p.dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	return nil
}

func (p *parser) cellPhone(r *row) error {
	if p.dec.PeekKind() != '{' {
		r.bad = true
		return p.dec.SkipValue()
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	for p.dec.PeekKind() != '}' {
		name, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		switch string(name) {
		case `"phoneNumber"`:
			err = p.text(r, &r.phone, hasPhone)
			r.bad = r.bad || !isDigits(r.phone)
		case `"countryCode"`:
			err = p.text(r, &r.country, hasCountry)
		case `"extension"`:
			err = p.text(r, &r.ext, hasExtension)
		default:
			err = p.dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

// value reads a value and returns it as a part of the body: what the decoder
// returns lives until its next call only.
func (p *parser) value() (jsontext.Value, error) {
	v, err := p.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	end := p.dec.InputOffset()
	return p.body[end-int64(len(v)) : end], nil
}

func (p *parser) text(r *row, into *jsontext.Value, bit int) error {
	v, err := p.value()
	if err != nil {
		return err
	}
	*into = v
	r.has |= bit
	r.bad = r.bad || v.Kind() != '"' || len(v) == 2
	return nil
}

func (p *parser) id(r *row) error {
	var v jsontext.Value
	if err := p.text(r, &v, hasID); err != nil || r.bad {
		return err
	}
	r.id = v[1 : len(v)-1]
	if bytes.IndexByte(r.id, '\\') >= 0 {
		r.id, _ = jsontext.AppendUnquote(nil, v)
	}
	return nil
}

func (p *parser) seq(r *row) error {
	v, err := p.value()
	if err != nil {
		return err
	}
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' || n > 1<<58 {
			return nil // not one of the feed's numbers: unordered
		}
		n = 10*n + int64(c-'0')
	}
	r.seq = n
	return nil
}

// isDigits reports whether v is a quoted text of digits.
func isDigits(v []byte) bool {
	for _, c := range trimQuotes(v) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
