package batch

import (
	"encoding/binary"
	"fmt"
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

// body reads key, value and headers, and copies them: key and value into one allocation.
func (r *reader) body(rec *Record) error {
	key, value := r.bytes(), r.bytes()
	count := r.varint()
	switch {
	case r.failed || count < 0 || count > int64(len(r.data)):
		return corrupt("its lengths are wrong")
	case count > MaxHeaders:
		return fmt.Errorf("%w: %d, more than %d", ErrHeaders, count, MaxHeaders)
	}
	kept := make([]byte, 0, len(key)+len(value))
	if kept = append(kept, key...); key != nil {
		rec.Key = kept[:len(key):len(key)]
	}
	if kept = append(kept, value...); value != nil {
		rec.Value = kept[len(key):]
	}
	if count > 0 {
		rec.Headers = make([]Header, 0, count)
	}
	for range count {
		name, value := r.bytes(), r.bytes()
		if r.failed || name == nil {
			return corrupt("its headers are wrong")
		}
		h := Header{Key: string(name)}
		if value != nil {
			h.Value = append([]byte{}, value...)
		}
		rec.Headers = append(rec.Headers, h)
	}
	if len(r.data) > 0 {
		return corrupt("%d bytes behind its headers", len(r.data))
	}
	return nil
}
