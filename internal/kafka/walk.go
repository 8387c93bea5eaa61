package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"github.com/contactsync/contactsync"
)

// Fetched is the answer to one fetch: where the partition ends, and record batches
// to go through once. It leaves out records below the asked offset, records of
// aborted transactions and control records.
type Fetched struct {
	HighWatermark int64
	LastStable    int64 // the last stable offset; no record beyond it is in the answer

	Next           int64 // the offset to ask for next; before Each, the one that was asked for
	Aborted        int   // records of aborted transactions that were left out
	ControlBatches int
	Bytes          int // of the keys and values that were delivered

	partition contactsync.TopicPartition
	records   protocol.RecordReader
	aborted   []fetch.ResponseTransaction // not yet begun, by first offset
	aborting  map[int64]bool              // producers whose present transaction was aborted
}

func newFetched(r FetchRequest, p *fetch.ResponsePartition) *Fetched {
	f := &Fetched{
		HighWatermark: p.HighWatermark, LastStable: p.LastStableOffset, Next: r.Offset,
		partition: r.Partition, records: p.RecordSet.Records,
		aborted: p.AbortedTransactions, aborting: map[int64]bool{},
	}
	if f.LastStable < 0 { // the broker does not say
		f.LastStable = f.HighWatermark
	}
	return f
}

// Each calls deliver for each wanted record, in the order of offsets. The records
// are deliver's to keep. It returns an error where the answer cannot be read any
// further; what was delivered before stands, and Next says from where to go on.
func (f *Fetched) Each(deliver func(contactsync.Record)) error {
	stream, ok := f.records.(*protocol.RecordStream)
	if !ok {
		if f.records != nil {
			return fmt.Errorf("read %v: %w: a record set of kind %T", f.partition, ErrUnreadable, f.records)
		}
		return nil // nothing to read: it must not move the position
	}
	asked := f.Next
	for _, batch := range stream.Records {
		if err := f.batch(batch, deliver); err != nil {
			return fmt.Errorf("read %v at offset %d: %w: %w", f.partition, f.Next, ErrUnreadable, err)
		}
	}
	if f.Next == asked && len(stream.Records) > 0 {
		// The answer held a batch for the asked offset, and nothing of it was
		// wanted: compaction has removed the record. kafka-go does not say where
		// the batch ends, so the position moves by one, which skips nothing.
		f.Next++
	}
	return nil
}

func (f *Fetched) batch(r protocol.RecordReader, deliver func(contactsync.Record)) error {
	skip, transactional, producer, base := false, false, int64(-1), int64(-1)
	switch b := r.(type) {
	case *protocol.ControlBatch:
		f.ControlBatches++
		return f.marker(b)
	case *protocol.RecordBatch:
		transactional, producer, base = b.Attributes.Transactional(), b.ProducerID, b.BaseOffset
	}
	if transactional {
		f.begin(base)
		skip = f.aborting[producer]
	}
	for {
		rec, err := r.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f.record(rec, skip, deliver); err != nil {
			return err
		}
	}
}

// begin notes the aborted transactions that start at or before a batch.
func (f *Fetched) begin(base int64) {
	kept := f.aborted[:0:0]
	for _, t := range f.aborted {
		if t.FirstOffset <= base {
			f.aborting[t.ProducerID] = true
		} else {
			kept = append(kept, t)
		}
	}
	f.aborted = kept
}

func (f *Fetched) record(rec *protocol.Record, skip bool, deliver func(contactsync.Record)) error {
	if rec.Offset < f.Next || skip {
		if skip && rec.Offset >= f.Next {
			f.Aborted++
			f.Next = rec.Offset + 1
		}
		return closeBytes(rec)
	}
	key, value, err := readBoth(rec.Key, rec.Value)
	if err != nil {
		return err
	}
	out := contactsync.Record{
		Position: contactsync.Position{TopicPartition: f.partition, Offset: rec.Offset},
		Time:     rec.Time, Key: key, Value: value,
	}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, contactsync.Header(h))
	}
	f.Bytes += len(key) + len(value)
	f.Next = rec.Offset + 1
	deliver(out)
	return closeBytes(rec)
}

// marker steps over a control batch. An abort marker ends its producer's
// transaction; the next one of the same producer may be good. An answer that
// begins with the marker still lists the transaction that it ends.
func (f *Fetched) marker(b *protocol.ControlBatch) error {
	f.begin(b.BaseOffset)
	for {
		rec, err := b.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		key, err := readAll(rec.Key)
		if err != nil {
			return err
		}
		const abort = 0
		if len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == abort {
			delete(f.aborting, b.ProducerID)
		}
		f.Next = max(f.Next, rec.Offset+1)
		if err := closeBytes(rec); err != nil {
			return err
		}
	}
	f.Next = max(f.Next, b.BaseOffset)
	return nil
}

// readBoth copies key and value out of kafka-go's shared pages into one
// allocation of their own, so that they may be kept.
func readBoth(key, value protocol.Bytes) (k, v []byte, err error) {
	n := 0
	if key != nil {
		n = key.Len()
	}
	size := n
	if value != nil {
		size += value.Len()
	}
	buf := make([]byte, size)
	if key != nil {
		k = buf[:n:n]
		if _, err := io.ReadFull(key, k); err != nil {
			return nil, nil, err
		}
	}
	if value != nil {
		v = buf[n:]
		if _, err := io.ReadFull(value, v); err != nil {
			return nil, nil, err
		}
	}
	return k, v, nil
}

func readAll(b protocol.Bytes) ([]byte, error) {
	k, _, err := readBoth(b, nil)
	return k, err
}

// closeBytes gives the record's pages back.
func closeBytes(rec *protocol.Record) error {
	var errs []error
	if rec.Key != nil {
		errs = append(errs, rec.Key.Close())
	}
	if rec.Value != nil {
		errs = append(errs, rec.Value.Close())
	}
	return errors.Join(errs...)
}
