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

// Walk goes through the record batches of one fetch answer. It leaves out
// records below the asked offset, records of aborted transactions and control
// records, and knows the offset to ask for next.
type Walk struct {
	Partition contactsync.TopicPartition
	Next      int64 // the offset to ask for next; before the walk, the one that was asked for

	Aborted        int // records of aborted transactions that were left out
	ControlBatches int
	Bytes          int // of the keys and values that were delivered

	aborted  []fetch.ResponseTransaction // not yet begun, by first offset
	aborting map[int64]bool              // producers whose present transaction was aborted
}

// ErrUnreadable says that Kafka's answer holds something that is no record.
var ErrUnreadable = errors.New("the record batch cannot be read")

// Each calls deliver for each wanted record, in the order of offsets. It returns
// an error where the answer cannot be read any further; what was delivered
// before stands, and Next says from where to go on. A Walk is for one answer.
func (w *Walk) Each(p *fetch.ResponsePartition, deliver func(contactsync.Record)) error {
	stream, ok := p.RecordSet.Records.(*protocol.RecordStream)
	if !ok {
		if p.RecordSet.Records != nil {
			return fmt.Errorf("read %v: %w: a record set of kind %T", w.Partition, ErrUnreadable, p.RecordSet.Records)
		}
		return nil // nothing to read: it must not move the position
	}
	asked := w.Next
	w.aborted = p.AbortedTransactions
	w.aborting = map[int64]bool{}
	for _, batch := range stream.Records {
		if err := w.batch(batch, deliver); err != nil {
			return fmt.Errorf("read %v at offset %d: %w: %w", w.Partition, w.Next, ErrUnreadable, err)
		}
	}
	if w.Next == asked && len(stream.Records) > 0 {
		// The answer held a batch for the asked offset, and nothing of it was
		// wanted: compaction has removed the record. kafka-go does not tell where
		// the batch ends, so the position moves by one, which skips nothing.
		w.Next++
	}
	return nil
}

func (w *Walk) batch(r protocol.RecordReader, deliver func(contactsync.Record)) error {
	skip, transactional, producer, base := false, false, int64(-1), int64(-1)
	switch b := r.(type) {
	case *protocol.ControlBatch:
		w.ControlBatches++
		return w.marker(b)
	case *protocol.RecordBatch:
		transactional, producer, base = b.Attributes.Transactional(), b.ProducerID, b.BaseOffset
	}
	if transactional {
		w.begin(base)
		skip = w.aborting[producer]
	}
	for {
		rec, err := r.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.record(rec, skip, deliver); err != nil {
			return err
		}
	}
}

// begin notes the aborted transactions that start at or before a batch.
func (w *Walk) begin(base int64) {
	kept := w.aborted[:0:0]
	for _, t := range w.aborted {
		if t.FirstOffset <= base {
			w.aborting[t.ProducerID] = true
		} else {
			kept = append(kept, t)
		}
	}
	w.aborted = kept
}

func (w *Walk) record(rec *protocol.Record, skip bool, deliver func(contactsync.Record)) error {
	if rec.Offset < w.Next || skip {
		if skip && rec.Offset >= w.Next {
			w.Aborted++
			w.Next = rec.Offset + 1
		}
		return closeBytes(rec)
	}
	key, value, err := readBoth(rec.Key, rec.Value)
	if err != nil {
		return err
	}
	out := contactsync.Record{
		Position: contactsync.Position{TopicPartition: w.Partition, Offset: rec.Offset},
		Time:     rec.Time, Key: key, Value: value,
	}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, contactsync.Header(h))
	}
	w.Bytes += len(key) + len(value)
	w.Next = rec.Offset + 1
	deliver(out)
	return closeBytes(rec)
}

// marker steps over a control batch. An abort marker ends its producer's
// transaction; the next one of the same producer may be good. An answer that
// begins with the marker still lists the transaction that it ends.
func (w *Walk) marker(b *protocol.ControlBatch) error {
	w.begin(b.BaseOffset)
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
			delete(w.aborting, b.ProducerID)
		}
		w.Next = max(w.Next, rec.Offset+1)
		if err := closeBytes(rec); err != nil {
			return err
		}
	}
	w.Next = max(w.Next, b.BaseOffset)
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
