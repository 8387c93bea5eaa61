package batch

import "encoding/binary"

// reader takes values from the front of one record's bytes. After a failure it returns
// zeros.
type reader struct {
	data   []byte
	failed bool
}

// varint takes a zigzag number from the front of data; -1 where there is none, which no
// length may be.
func varint(data *[]byte) int64 {
	v, n := binary.Varint(*data)
	if n <= 0 {
		return -1
	}
	*data = (*data)[n:]
	return v
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

func (r *reader) byte() {
	if r.failed || len(r.data) == 0 {
		r.failed = true
		return
	}
	r.data = r.data[1:]
}

// bytes takes a length and so many bytes; nil for a length of -1.
func (r *reader) bytes() []byte {
	n := r.varint()
	if r.failed || n < -1 || n > int64(len(r.data)) {
		r.failed = true
		return nil
	}
	if n < 0 {
		return nil
	}
	taken := r.data[:n:n]
	r.data = r.data[n:]
	return taken
}

// body reads key, value and headers, and copies them: key and value into one allocation.
func (r *reader) body(rec *Record) error {
	key, value := r.bytes(), r.bytes()
	count := r.varint()
	switch {
	case r.failed || count < 0 || count > int64(len(r.data)):
		return corrupt("its lengths are wrong")
	case count > MaxHeaders:
		return corrupt("it has %d headers, more than %d", count, MaxHeaders)
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
