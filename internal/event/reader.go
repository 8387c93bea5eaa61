package event

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/contactsync/contactsync"
)

const maxDetail = 200

var (
	errTooDeep  = errors.New("too deep")
	errTrailing = errors.New("data after the value")
)

// reader walks over one JSON value strictly and without copying it. Slices that
// it returns are parts of the value, or of scratch until the next call.
type reader struct {
	json     jsontext.Decoder
	buf      bytes.Buffer // around value, so that json reads from it in place
	value    []byte
	scratch  []byte // the last string that had to be unescaped
	maxDepth int
}

func (r *reader) reset(value []byte, opts ...jsontext.Options) {
	r.value = value
	r.buf = *bytes.NewBuffer(value)
	r.json.Reset(&r.buf, opts...)
}

// at returns the offset behind what was read last.
func (r *reader) at() int64 { return r.json.InputOffset() }

// open reads a brace or bracket that PeekKind has seen.
func (r *reader) open() error {
	if _, err := r.json.ReadToken(); err != nil {
		return err
	}
	if r.json.StackDepth() > r.maxDepth {
		return errTooDeep
	}
	return nil
}

// quotedName reads the name of the next member as it came. At the end of the
// object it reads the brace and returns nil.
func (r *reader) quotedName() ([]byte, error) {
	switch r.json.PeekKind() {
	case '"':
		return r.json.ReadValue()
	case '}':
		_, err := r.json.ReadToken()
		return nil, err
	}
	// Not ReadValue, which would descend into an array before it refuses it.
	_, err := r.json.ReadToken()
	if err == nil {
		err = jsontext.ErrNonStringName
	}
	return nil, err
}

// scalar reads the next value, of the kind that PeekKind has seen, and returns it
// as it came. Of an object or array it checks all and returns nil.
func (r *reader) scalar(kind jsontext.Kind) ([]byte, error) {
	if kind != '{' && kind != '[' {
		return r.json.ReadValue()
	}
	return nil, r.skip()
}

// skip reads the next value, whatever it is, token by token, because ReadValue
// has its own bound of depth, which is far larger.
func (r *reader) skip() error {
	depth := r.json.StackDepth()
	for {
		var err error
		if k := r.json.PeekKind(); k == '{' || k == '[' {
			err = r.open()
		} else {
			_, err = r.json.ReadToken()
		}
		if err != nil {
			return err
		}
		if r.json.StackDepth() == depth {
			return nil
		}
	}
}

// end checks that nothing but white space is left.
func (r *reader) end() error {
	// Only peeking, so that the offset of an error is the end of the value.
	if r.json.PeekKind() != jsontext.KindInvalid {
		return errTrailing
	}
	if _, err := r.json.ReadToken(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// text returns the content of a quoted string.
func (r *reader) text(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	// The error is nil for a string that json has read.
	r.scratch, _ = jsontext.AppendUnquote(r.scratch[:0], quoted)
	return r.scratch
}

// undecodable turns an error of the reader into a DecodeError. It reads the bytes at
// the offset itself: the error's text quotes them, and they may be a contact's.
func (r *reader) undecodable(err error) *DecodeError {
	at, path := r.at(), ""
	serr, ok := errors.AsType[*jsontext.SyntacticError](err)
	if ok {
		at, path = min(serr.ByteOffset, int64(len(r.value))), knownPath(serr.JSONPointer)
		err = serr.Err
	}
	var what string
	switch rest := r.value[at:]; {
	case bytes.HasPrefix(r.value, []byte("\xef\xbb\xbf")):
		what = "the value starts with a byte order mark (BOM): write plain UTF-8"
	case errors.Is(err, errTooDeep):
		what = fmt.Sprintf("objects and arrays nest deeper than %d levels", r.maxDepth)
	case errors.Is(err, errTrailing):
		what = "data follows the JSON value"
	case errors.Is(err, io.EOF):
		what = "the value holds white space only"
	case errors.Is(err, io.ErrUnexpectedEOF):
		what = "the value ends too early"
	case errors.Is(err, jsontext.ErrDuplicateName):
		what = "an object has the same member twice"
	case errors.Is(err, jsontext.ErrNonStringName):
		what = "a member's name is not a string"
	case badUTF8(rest):
		what = "not UTF-8"
	case len(rest) > 0 && rest[0] == '\\':
		what = "an escape is wrong or half of a surrogate pair"
	case len(rest) > 0 && rest[0] < ' ':
		what = "a control character"
	default:
		what = "not JSON"
	}
	if path != "" {
		what += ", in " + path
	}
	return newDecodeError(contactsync.ReasonUndecodable, "%s (at byte %d)", what, at)
}

func badUTF8(b []byte) bool {
	r, n := utf8.DecodeRune(b)
	return r == utf8.RuneError && n == 1
}

// knownPath prints a path with dots and with a star for every name that the
// format does not define: in a broken value a name may be what was meant as one.
func knownPath(p jsontext.Pointer) string {
	const most = 4
	var path []string
	for name := range p.Tokens() {
		if len(path) == most {
			break
		}
		if !known(name) {
			name = "*"
		}
		path = append(path, name)
	}
	return strings.Join(path, ".")
}

func newDecodeError(reason contactsync.Reason, format string, args ...any) *DecodeError {
	detail := fmt.Sprintf(format, args...)
	return &DecodeError{Reason: reason, Detail: detail[:min(len(detail), maxDetail)]}
}
