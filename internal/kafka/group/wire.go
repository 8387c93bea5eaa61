package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrMalformed says that bytes from a broker or from another member are not what
// the protocol says. Every decoding error matches it.
var ErrMalformed = errors.New("malformed")

// writer appends the primitive types of the Kafka protocol. The first fault stays.
type writer struct {
	buf      []byte
	flexible bool // compact lengths and tagged fields
	err      error
}

func (w *writer) int8(v int8)   { w.buf = append(w.buf, byte(v)) }
func (w *writer) int16(v int16) { w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(v)) }
func (w *writer) int32(v int32) { w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(v)) }
func (w *writer) int64(v int64) { w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(v)) }
func (w *writer) id(v TopicID)  { w.buf = append(w.buf, v[:]...) }

func (w *writer) bool(v bool) {
	if v {
		w.int8(1)
		return
	}
	w.int8(0)
}

// string writes a string, which the protocol bounds to 32,767 bytes.
func (w *writer) string(v string) {
	if len(v) > math.MaxInt16 && w.err == nil {
		w.err = fmt.Errorf("a string of %d bytes is longer than the protocol allows", len(v))
	}
	if w.flexible {
		w.length(len(v))
	} else {
		w.int16(int16(len(v)))
	}
	w.buf = append(w.buf, v...)
}

// nullable writes the empty string as null.
func (w *writer) nullable(v string) {
	switch {
	case v != "":
		w.string(v)
	case w.flexible:
		w.buf = append(w.buf, 0)
	default:
		w.int16(-1)
	}
}

func (w *writer) bytes(v []byte) {
	w.array(len(v))
	w.buf = append(w.buf, v...)
}

// array writes the count of an array, or the length of bytes.
func (w *writer) array(n int) {
	if w.flexible {
		w.length(n)
		return
	}
	w.int32(int32(n))
}

func (w *writer) length(n int) { w.buf = binary.AppendUvarint(w.buf, uint64(n)+1) }

// tags ends a structure: this package writes no tagged field.
func (w *writer) tags() {
	if w.flexible {
		w.buf = append(w.buf, 0)
	}
}

// reader reads the primitive types. Every length and count is checked against
// the bytes that are left before anything is allocated, so an answer costs memory
// in proportion to its size. The first fault stays; what is read after it is zero.
type reader struct {
	rest     []byte
	flexible bool
	err      error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	r.rest = nil
}

// take returns the next n bytes, still part of the input.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fail("%d bytes are wanted and %d are left", n, len(r.rest))
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) bool() bool { return r.int8() != 0 }

func (r *reader) id() (id TopicID) {
	copy(id[:], r.take(len(id)))
	return id
}

// length reads a compact length; -1 is null.
func (r *reader) length() int {
	n, size := binary.Uvarint(r.rest)
	switch {
	case size <= 0:
		r.fail("a length ends early")
		return -1
	case n > uint64(len(r.rest))+1:
		r.fail("a length of %d with %d bytes left", n-1, len(r.rest))
		return -1
	}
	r.rest = r.rest[size:]
	return int(n) - 1
}

// string reads a string; null is the empty string.
func (r *reader) string() string {
	n := 0
	if r.flexible {
		n = r.length()
	} else {
		n = int(r.int16())
	}
	if n < -1 {
		r.fail("a string of %d bytes", n)
	}
	return string(r.take(max(n, 0)))
}

// bytes returns a copy; null is nil.
func (r *reader) bytes() []byte {
	n := r.count("bytes", 1)
	if n < 0 {
		return nil
	}
	return append([]byte{}, r.take(n)...)
}

// array reads the count of an array whose elements take at least least bytes
// each; null is empty.
func (r *reader) array(name string, least int) int { return max(r.count(name, least), 0) }

func (r *reader) count(name string, least int) int {
	n := 0
	if r.flexible {
		n = r.length()
	} else {
		n = int(r.int32())
	}
	if n < -1 || n > len(r.rest)/least {
		r.fail("%s: a count of %d with %d bytes left", name, n, len(r.rest))
		return -1
	}
	return n
}

// int32s reads an array of numbers.
func (r *reader) int32s(name string) []int32 {
	list := make([]int32, r.array(name, 4))
	for i := range list {
		list[i] = r.int32()
	}
	return list
}

// tags passes the tagged fields at the end of a structure.
func (r *reader) tags() {
	if !r.flexible {
		return
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		r.uvarint() // the tag
		size := r.uvarint()
		if size > uint64(len(r.rest)) {
			r.fail("a tagged field of %d bytes with %d left", size, len(r.rest))
			return
		}
		r.take(int(size))
	}
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail("a number ends early")
		return 0
	}
	r.rest = r.rest[size:]
	return n
}
