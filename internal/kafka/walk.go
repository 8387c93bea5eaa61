package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka/batch"
)

// Fetched is the answer to one fetch: where the partition ends, and record batches
// to go through once. It leaves out records below the asked offset, records of
// aborted transactions and control records.
type Fetched struct {
	HighWatermark int64
	LastStable    int64 // the last stable offset; no record beyond it is in the answer

	Next           int64 // the offset to ask for next; before Each, the one that was asked for
	First          int32 // the epoch of the leader that wrote the first batch; -1 where that is not known
	Epoch          int32 // of the leader that wrote the batch that is delivered; -1 where that is not known
	Latest         int32 // of the leaders that wrote what lies between the asked offset and Next; -1 where that is not known
	Aborted        int   // records of aborted transactions that were left out
	ControlBatches int
	Bytes          int // of the keys and values that were delivered

	partition contactsync.TopicPartition
	records   []byte
	decoding  *decoding
	aborted   []abortedTransaction // not yet begun, by first offset
	aborting  map[int64]bool       // producers whose present transaction was aborted
	held      *permit              // nil where it was not fetched
}

func newFetched(r FetchRequest, a fetchAnswer, d *decoding) *Fetched {
	f := &Fetched{
		HighWatermark: a.highWatermark, LastStable: a.lastStable, Next: r.Offset,
		partition: r.Partition, records: a.records, decoding: d,
		First: batch.EpochOf(a.records), Latest: -1, aborted: a.aborted, aborting: map[int64]bool{},
	}
	slices.SortFunc(f.aborted, func(a, b abortedTransaction) int { return cmp.Compare(a.first, b.first) })
	if f.LastStable < 0 { // the broker does not say
		f.LastStable = f.HighWatermark
	}
	return f
}

// Release gives the room back that the answer takes, where Each is not called. It may be called again.
func (f *Fetched) Release() { f.held.release() }

// Each calls deliver for each wanted record, in the order of offsets. The records
// are deliver's to keep. It returns an error where the answer cannot be read any
// further; what was delivered before stands, and Next says from where to go on. It waits
// for its part of the memory that decompression may take in the process.
func (f *Fetched) Each(ctx context.Context, deliver func(contactsync.Record)) error {
	defer f.Release()
	begun := false
	for data := f.records; ; begun = true {
		b, rest, err := batch.Next(data)
		if err == nil && b == nil {
			if !begun && len(data) > 0 {
				err = fmt.Errorf("%w: its first batch is cut off after %d bytes", batch.ErrCorrupt, len(data))
			} else {
				return nil
			}
		}
		if err == nil {
			f.Latest = max(f.Latest, b.Epoch)
			err = f.batch(ctx, b, deliver)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("read %v at offset %d: %w: %w", f.partition, f.Next, ErrUnreadable, err)
		}
		data = rest
	}
}

func (f *Fetched) batch(ctx context.Context, b *batch.Batch, deliver func(contactsync.Record)) error {
	switch {
	case b.Control:
		return f.marker(b)
	case b.Last < f.Next:
		return nil
	}
	if b.Transactional {
		f.begin(b.Base)
	}
	if b.Transactional && f.aborting[b.Producer] {
		f.Aborted += b.Count
		f.Next = b.Last + 1
		return nil
	}
	f.Epoch = b.Epoch
	err := f.decoding.records(ctx, b, f.Next, func(rec batch.Record) {
		out := contactsync.Record{
			Position: contactsync.Position{TopicPartition: f.partition, Offset: rec.Offset},
			Time:     rec.Time, Key: rec.Key, Value: rec.Value,
		}
		if len(rec.Headers) > 0 {
			out.Headers = make([]contactsync.Header, len(rec.Headers))
		}
		for i, h := range rec.Headers {
			out.Headers[i] = contactsync.Header(h)
		}
		f.Bytes += len(rec.Key) + len(rec.Value)
		f.Next = rec.Offset + 1
		deliver(out)
	})
	if err == nil {
		f.Next = b.Last + 1 // compaction may have removed the last records
	}
	return err
}

// begin notes the aborted transactions that start at or before a batch. There may be as many
// as batches: each is looked at once.
func (f *Fetched) begin(base int64) {
	for ; len(f.aborted) > 0 && f.aborted[0].first <= base; f.aborted = f.aborted[1:] {
		f.aborting[f.aborted[0].producer] = true
	}
}

// marker steps over a control batch. An abort marker ends its producer's
// transaction; the next one of the same producer may be good. An answer that
// begins with the marker still lists the transaction that it ends.
func (f *Fetched) marker(b *batch.Batch) error {
	f.ControlBatches++
	f.begin(b.Base)
	aborts, err := b.Aborts()
	if err != nil {
		return err
	}
	if aborts {
		delete(f.aborting, b.Producer)
	}
	f.Next = max(f.Next, b.Last+1)
	return nil
}
