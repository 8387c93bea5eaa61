package batch

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// reader takes values from the front of a batch's records, or of one of them. After a failure it returns
// zeros.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	if r.failed || n <= 0 {
		r.failed = true
		return 0
	}
	r.data = r.data[n:]
	return v
}

// take takes so many bytes.
func (r *reader) take(n int64) []byte {
	if r.failed || n < 0 || n > int64(len(r.data)) {
		r.failed = true
		return nil
	}
	taken := r.data[:n:n]
	r.data = r.data[n:]
	return taken
}

// bytes takes a length and so many bytes; nil for a length of -1.
func (r *reader) bytes() []byte {
	if n := r.varint(); n != -1 {
		return r.take(n)
	}
	return nil
}

// body reads key, value and headers, and copies them: all names into one allocation and all the rest into
// another, so that what a record takes is what its bytes take, and forty more for each header.
func (r *reader) body(rec *Record) error {
	key, value := r.bytes(), r.bytes()
	count := r.varint()
	switch {
	case r.failed || count < 0 || count > int64(len(r.data)):
		return corrupt("its lengths are wrong")
	case count > MaxHeaders:
		return fmt.Errorf("%w: %d, more than %d", ErrHeaders, count, MaxHeaders)
	}
	names, rest := 0, len(key)+len(value)
	ahead := *r
	for range count {
		name, value := ahead.bytes(), ahead.bytes()
		if ahead.failed || name == nil {
			return corrupt("its headers are wrong")
		}
		names, rest = names+len(name), rest+len(value)
	}
	if len(ahead.data) > 0 {
		return corrupt("%d bytes behind its headers", len(ahead.data))
	}
	kept := make([]byte, 0, rest)
	keep := func(part []byte) []byte {
		if part == nil {
			return nil
		}
		kept = append(kept, part...)
		return kept[len(kept)-len(part) : len(kept) : len(kept)]
	}
	rec.Key, rec.Value = keep(key), keep(value)
	if count == 0 {
		return nil
	}
	rec.Headers = make([]Header, count)
	var text strings.Builder
	text.Grow(names)
	for i := range rec.Headers {
		at := text.Len()
		text.Write(r.bytes())
		rec.Headers[i] = Header{Key: text.String()[at:], Value: keep(r.bytes())}
	}
	return nil
}
