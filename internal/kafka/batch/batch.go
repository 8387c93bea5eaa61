package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// headerBytes is the length of a batch without its records.
const headerBytes = 61

// lengthEnd is where the length of a batch ends, which counts what follows.
const lengthEnd = 12

// magicAt is where the version of the format is, in this one and in older ones.
const magicAt = 16

// farthest is an offset that no partition reaches, with a million records a second in two thousand years.
const farthest = 1 << 56

// Attributes of a batch.
const (
	codecMask     = 0x07
	logAppendTime = 0x08
	transactional = 0x10
	control       = 0x20
)

var checksum = crc32.MakeTable(crc32.Castagnoli)

// Batch is one record batch whose header and checksum are right. Its records are still
// to be read.
type Batch struct {
	Base, Last    int64 // offsets; of the last one that it was written with
	Epoch         int32 // of the leader that wrote it; -1 where that is not known
	Producer      int64 // id; of a transaction
	Transactional bool
	Control       bool // it holds a marker and no records
	Count         int  // records, as the header says

	codec    int8
	baseTime int64
	maxTime  int64
	byBroker bool // the brokers' time counts, not the producer's
	payload  []byte
}

var (
	// ErrCorrupt says that bytes are no batch, or not the one that was written.
	ErrCorrupt = errors.New("the batch is corrupt")
	// ErrTooLarge says that a batch is larger, once decompressed, than the limit.
	ErrTooLarge = errors.New("the batch is too large")
	// ErrHeaders says that a record has more headers than are read.
	ErrHeaders = errors.New("a record has too many headers")
	// ErrFormat says that a batch is in a form that is not read here.
	ErrFormat = errors.New("the batch has a form that is not supported")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// EpochOf returns the epoch of the leader that wrote the batch at the front of data; -1 where
// there is none.
func EpochOf(data []byte) int32 {
	if len(data) <= magicAt || data[magicAt] != 2 {
		return -1
	}
	return int32(binary.BigEndian.Uint32(data[lengthEnd:]))
}

// Next reads the batch at the front of data, and returns what follows it. It returns
// nil where data ends before the batch does, as an answer may that is cut to its size.
func Next(data []byte) (b *Batch, rest []byte, err error) {
	if len(data) <= magicAt {
		return nil, nil, nil
	}
	length := int(int32(binary.BigEndian.Uint32(data[8:])))
	base := int64(binary.BigEndian.Uint64(data))
	if magic := data[magicAt]; magic != 2 {
		if base < 0 || base > farthest || length < 0 {
			return nil, nil, corrupt("format %d at offset %d, %d bytes: what stands there is no batch", magic, base, length)
		}
		return nil, nil, fmt.Errorf("%w: format %d at offset %d, written before Kafka 0.11 or with log.message.format.version set: only format 2 is read", ErrFormat, magic, base)
	}
	switch {
	case length < headerBytes-lengthEnd, base < 0:
		return nil, nil, corrupt("offset %d, %d bytes", base, length)
	case length > len(data)-lengthEnd:
		return nil, nil, nil
	}
	data, rest = data[:lengthEnd+length], data[lengthEnd+length:]
	attributes := binary.BigEndian.Uint16(data[21:])
	delta := int32(binary.BigEndian.Uint32(data[23:]))
	b = &Batch{
		Base: base, Last: base + int64(delta),
		Epoch:         int32(binary.BigEndian.Uint32(data[12:])),
		Producer:      int64(binary.BigEndian.Uint64(data[43:])),
		Transactional: attributes&transactional != 0,
		Control:       attributes&control != 0,
		Count:         int(int32(binary.BigEndian.Uint32(data[57:]))),
		codec:         int8(attributes & codecMask),
		baseTime:      int64(binary.BigEndian.Uint64(data[27:])),
		maxTime:       int64(binary.BigEndian.Uint64(data[35:])),
		byBroker:      attributes&logAppendTime != 0,
		payload:       data[headerBytes:],
	}
	switch sum := binary.BigEndian.Uint32(data[17:]); {
	case sum != crc32.Checksum(data[21:], checksum):
		return nil, nil, corrupt("offset %d: its checksum is wrong", base)
	case delta < 0, b.Count < 0, b.Last < b.Base:
		return nil, nil, corrupt("offset %d: %d records up to offset %d", base, b.Count, b.Last)
	}
	return b, rest, nil
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte // nil for none
}

// Record is one record of a batch. It keeps nothing of the batch's bytes.
type Record struct {
	Offset  int64
	Time    time.Time
	Key     []byte // nil for none
	Value   []byte // nil for none
	Headers []Header
}

// MaxHeaders bounds the headers of a record: each takes two bytes in a batch, and twenty
// times that in memory.
const MaxHeaders = 1000

// Records calls deliver for each record from an offset on. The batch must not take more
// than most bytes when it is decompressed. Where it returns an error, it may have
// delivered records in front of what cannot be read.
func (b *Batch) Records(from int64, most int, deliver func(Record)) error {
	data, err := decompress(b.codec, b.payload, most)
	if err != nil {
		return fmt.Errorf("offsets %d to %d: %w", b.Base, b.Last, err)
	}
	last, all := b.Base-1, reader{data: data}
	for n := range b.Count {
		r := reader{data: all.take(all.varint())}
		if all.failed {
			return corrupt("record %d of offsets %d to %d: its length is wrong", n, b.Base, b.Last)
		}
		r.take(1) // attributes: none are in use
		age := r.varint()
		offset := b.Base + r.varint()
		if r.failed || offset <= last || offset > b.Last {
			return corrupt("record %d of offsets %d to %d: its offset is wrong", n, b.Base, b.Last)
		}
		if last = offset; offset < from {
			continue
		}
		rec := Record{Offset: offset, Time: time.UnixMilli(b.baseTime + age)}
		if b.byBroker {
			rec.Time = time.UnixMilli(b.maxTime)
		}
		if err := r.body(&rec); err != nil {
			return fmt.Errorf("offset %d: %w", offset, err)
		}
		deliver(rec)
	}
	if left := len(all.data); left > 0 {
		return corrupt("offsets %d to %d: %d bytes behind the last record", b.Base, b.Last, left)
	}
	return nil
}

// Aborts reports whether a control batch ends its producer's transaction by aborting it.
func (b *Batch) Aborts() (aborts bool, err error) {
	const abort = 0 // of the types of control records
	err = b.Records(b.Base, headerBytes, func(r Record) {
		aborts = aborts || len(r.Key) >= 4 && binary.BigEndian.Uint16(r.Key[2:]) == abort
	})
	return aborts, err
}
