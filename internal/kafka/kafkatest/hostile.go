package kafkatest

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync/internal/kafka/batch"
)

// records is a batch with such bytes in place of its records.
func records(base int64, count int32, payload ...byte) []byte {
	return Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, LastOffsetDelta: 1 << 20, NumRecords: count, Records: payload})
}

// record is the bytes of a record behind its length.
func record(parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

func numbers(all ...int64) (out []byte) {
	for _, n := range all {
		out = binary.AppendVarint(out, n)
	}
	return out
}

// Hostile are batches at an offset that anybody can write whose broker checks little. None
// can be read.
func Hostile(base int64) map[string][]byte {
	head := []byte{0, 0, 0}    // attributes, time, offset
	null := numbers(-1, -1)    // key, value
	huge := numbers(1 << 60)   // of anything
	below := numbers(-1 << 40) // likewise
	good := Batch(kmsg.RecordBatch{FirstOffset: base}, kmsg.Record{Value: []byte("v")})
	change := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	millions := record(head, null, numbers(30_000_000), make([]byte, 60_000_000))
	return map[string][]byte{
		"30 million empty headers in gzip": Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, Attributes: 1, NumRecords: 1, Records: gzipped(millions)}),
		"headers without number":           records(base, 1, record(head, null, huge)...),
		"a negative number of headers":     records(base, 1, record(head, null, below)...),
		"30 million empty headers":         records(base, 1, millions...),
		"more headers than are taken":      records(base, 1, record(head, null, numbers(batch.MaxHeaders+1), make([]byte, 2*batch.MaxHeaders+2))...),
		"a header with a negative name":    records(base, 1, record(head, null, numbers(1, -1, -1))...),
		"a header that is too long":        records(base, 1, record(head, null, numbers(1, 1<<40))...),
		"a key without end":                records(base, 1, record(head, huge)...),
		"a negative key":                   records(base, 1, record(head, numbers(-2, -1, 0))...),
		"a value without end":              records(base, 1, record(head, numbers(-1, 1<<33))...),
		"a record without end":             records(base, 1, huge...),
		"a record of a negative length":    records(base, 1, below...),
		"a record of no length":            records(base, 1, 0),
		"a number that never ends":         records(base, 1, bytes.Repeat([]byte{0x80}, 11)...),
		"more in a record than it says":    records(base, 1, record(head, null, numbers(0, 7))...),
		"more records than it says":        records(base, 1, slices.Concat(record(head, null, numbers(0)), record([]byte{0, 0, 2}, null, numbers(0)))...),
		"fewer records than it says":       records(base, 1000, record(head, null, numbers(0))...),
		"an offset twice":                  records(base, 2, slices.Concat(record(head, null, numbers(0)), record(head, null, numbers(0)))...),
		"an offset before the batch":       records(base, 1, record([]byte{0, 0, 1}, null, numbers(0))...),
		"an offset behind the batch":       records(base, 1, record([]byte{0, 0}, numbers(1<<30), null, numbers(0))...),
		"more records than offsets":        Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, NumRecords: 2}),
		"a negative number of records":     Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, NumRecords: -1}),
		"a last offset before the first":   Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, LastOffsetDelta: -1}),
		"a negative offset":                Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: -5}),
		"offsets beyond the largest":       Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: 1<<63 - 1, LastOffsetDelta: 1}),
		"a codec that nobody has":          Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, Attributes: 7}),
		"a wrong checksum":                 change(18, 0xff),
		"a bit that changed":               change(len(good)-1, 'w'),
		"a length that is too small":       change(8, 0, 0, 0, 3),
		"a negative length":                change(8, 0xff, 0xff, 0xff, 0xff),
		"the format of Kafka 0.10":         change(16, 1),
		"gzip that is no gzip":             Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, Attributes: 1, Records: []byte("no gzip")}),
		"a framing that ends":              Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, Attributes: 2, Records: []byte("\x82SNAPPY\x00\x00")}),
		"a block without end":              Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, Attributes: 2, Records: []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff\xff\xff")}),
		"a block that says it is enormous": Seal(kmsg.RecordBatch{Magic: 2, FirstOffset: base, Attributes: 2, Records: []byte("\xff\xff\xff\xff\x0f")}),
	}
}
