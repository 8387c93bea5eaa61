package kafka

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

const (
	transactional = 0x10
	control       = 0x20
)

func values(n int) (all []kmsg.Record) {
	for i := range n {
		all = append(all, kmsg.Record{OffsetDelta: int32(i), Value: []byte("a")})
	}
	return all
}

// marker is a control record: 0 aborts, 1 commits.
func marker(kind byte) kmsg.Record {
	return kmsg.Record{Key: []byte{0, 0, 0, kind}, Value: make([]byte, 6)}
}

// walk reads an answer to a fetch from offset 20.
func walk(t *testing.T, aborted []abortedTransaction, batches ...[]byte) (*Fetched, []int64, error) {
	t.Helper()
	f := newFetched(FetchRequest{Partition: contactsync.TopicPartition{Topic: "t"}, Offset: 20},
		fetchAnswer{aborted: aborted, records: slices.Concat(batches...)}, newDecoding(1<<20))
	var got []int64
	err := f.Each(t.Context(), func(r contactsync.Record) { got = append(got, r.Offset) })
	return f, got, err
}

// An answer may begin with the marker of a transaction whose records lie before it.
// What its producer commits then is not part of that transaction.
func TestFetched_AnswerThatBeginsWithAMarker(t *testing.T) {
	t.Parallel()
	f, got, err := walk(t, []abortedTransaction{{producer: 7, first: 10}},
		kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20, ProducerID: 7, Attributes: control | transactional}, marker(0)),
		kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 21, ProducerID: 7, Attributes: transactional}, values(2)...))
	if err != nil || !slices.Equal(got, []int64{21, 22}) || f.Aborted != 0 || f.Next != 23 {
		t.Errorf("delivered %v, %d taken for aborted, next %d: %v", got, f.Aborted, f.Next, err)
	}
}

// What an answer leaves out moves the position too: else it would be asked for again.
func TestFetched_TheNextOffsetLiesBehindWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	full := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20}, values(3)...)
	for _, c := range []struct {
		name      string
		batches   [][]byte
		delivered []int64
		aborted   int
		next      int64
	}{
		{"no batch", nil, nil, 0, 20},
		{"a batch below the offset", [][]byte{kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 10}, values(3)...)}, nil, 0, 20},
		{"a batch that the offset lies in", [][]byte{kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 18}, values(4)...)}, []int64{20, 21}, 0, 22},
		{"a batch whose last records were compacted away", [][]byte{kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 18, LastOffsetDelta: 99}, values(3)...)}, []int64{20}, 0, 118},
		{"a batch of which nothing is left", [][]byte{kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20, LastOffsetDelta: 9})}, nil, 0, 30},
		{"a marker at the end", [][]byte{
			kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20}, values(1)...),
			kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 21, ProducerID: 7, Attributes: control}, marker(1)),
		}, []int64{20}, 0, 22},
		{"records of an aborted transaction", [][]byte{
			kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20, ProducerID: 7, Attributes: transactional}, values(2)...),
		}, nil, 2, 22},
		{"records of another producer meanwhile", [][]byte{
			kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20, ProducerID: 7, Attributes: transactional}, values(2)...),
			kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 22, ProducerID: 8, Attributes: transactional}, values(1)...),
			kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 23, ProducerID: 7}, values(1)...),
		}, []int64{22, 23}, 2, 24},
		{"an answer that is cut to its size", [][]byte{full, full[:len(full)-1]}, []int64{20, 21, 22}, 0, 23},
		{"an answer that is cut within a header", [][]byte{full, full[:9]}, []int64{20, 21, 22}, 0, 23},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, got, err := walk(t, []abortedTransaction{{producer: 7, first: 10}}, c.batches...)
			if err != nil || !slices.Equal(got, c.delivered) || f.Aborted != c.aborted || f.Next != c.next {
				t.Errorf("%v delivered, %d aborted, next %d, %v: want %v, %d, %d", got, f.Aborted, f.Next, err, c.delivered, c.aborted, c.next)
			}
		})
	}
}

// TestFetched_ManyAbortedTransactionsCostLittle: a producer can put thousands into one answer. The broker may list them
// in any order. It is not parallel: it counts what the process allocates.
func TestFetched_ManyAbortedTransactionsCostLittle(t *testing.T) { //nolint:paralleltest // see above
	const transactions = 4000
	var aborted []abortedTransaction
	var batches [][]byte
	for i := range int64(transactions) {
		first := 20 + 2*i
		aborted = append(aborted, abortedTransaction{producer: i % 7, first: first})
		batches = append(batches,
			kafkatest.Batch(kmsg.RecordBatch{FirstOffset: first, ProducerID: i % 7, Attributes: transactional}, values(1)...),
			kafkatest.Batch(kmsg.RecordBatch{FirstOffset: first + 1, ProducerID: i % 7, Attributes: control | transactional}, marker(0)))
	}
	batches = append(batches, kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20 + 2*transactions, ProducerID: 3, Attributes: transactional}, values(1)...))
	slices.Reverse(aborted)
	defer bounded.Within(t, 16<<20)()
	f, got, err := walk(t, aborted, batches...)
	if err != nil || !slices.Equal(got, []int64{20 + 2*transactions}) || f.Aborted != transactions {
		t.Errorf("delivered %v, %d aborted, %v", got, f.Aborted, err)
	}
}

// What comes before a batch that cannot be read stands, and the error names the batch.
func TestFetched_AnUnreadableBatchLeavesWhatComesBefore(t *testing.T) {
	t.Parallel()
	good := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20}, values(2)...)
	bad := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 22}, values(2)...)
	bad[len(bad)-1] ^= 1
	f, got, err := walk(t, nil, good, bad, good)
	if !errors.Is(err, ErrUnreadable) || Cause(err) != CauseDecode || !strings.Contains(err.Error(), "t/0 at offset 22") {
		t.Errorf("%v", err)
	}
	if !slices.Equal(got, []int64{20, 21}) || f.Next != 22 {
		t.Errorf("delivered %v, next %d", got, f.Next)
	}
	if _, _, err := walk(t, nil, good[:len(good)-1]); !errors.Is(err, ErrUnreadable) {
		t.Errorf("a first batch that is cut off: %v: it would be asked for again for ever", err)
	}
}

// TestFetched_ARecordTakesWhatItsBytesTake, and forty for each header, whatever the headers look like: so it is
// charged. It is not parallel: it counts what the process allocates.
func TestFetched_ARecordTakesWhatItsBytesTake(t *testing.T) { //nolint:paralleltest // see above
	const records = 100
	var all []kmsg.Record
	for i := range records {
		rec := kmsg.Record{OffsetDelta: int32(i), Key: []byte("k"), Value: []byte("v")}
		for range 11 {
			rec.Headers = append(rec.Headers, kmsg.Header{Key: "trace-id-of-some-length", Value: []byte("x")})
		}
		all = append(all, rec)
	}
	data := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20}, all...)
	d := newDecoding(decodingRoom)
	allocations := testing.AllocsPerRun(10, func() {
		f := newFetched(FetchRequest{Offset: 20}, fetchAnswer{records: data}, d)
		err := f.Each(t.Context(), func(rec contactsync.Record) {
			if len(rec.Headers) != 11 || cap(rec.Headers) != 11 || cap(rec.Value) != 1 || rec.Headers[10].Key != "trace-id-of-some-length" || string(rec.Headers[10].Value) != "x" {
				t.Errorf("%+v, room for %d headers", rec, cap(rec.Headers))
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	if each := allocations / records; each > 4.5 { // bytes, names, headers as they are read, and as they go on
		t.Errorf("%.1f allocations for each record", each)
	}
}

// TestDecoding_LargeBatchesOneAfterTheOther: each may take as much memory as one may,
// and not each partition at once.
func TestDecoding_LargeBatchesOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gzip = 1
		large := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20, Attributes: gzip}, kmsg.Record{Value: make([]byte, 2*smallBatch)})
		small := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20, Attributes: gzip}, kmsg.Record{Value: make([]byte, 100)})
		d := newDecoding(decodingRoom)
		var busy, most atomic.Int64
		read := func(records []byte) {
			f := newFetched(FetchRequest{Offset: 20}, fetchAnswer{records: records}, d)
			err := f.Each(t.Context(), func(contactsync.Record) {
				most.Store(max(most.Load(), busy.Add(1)))
				time.Sleep(time.Minute) // the window is full
				busy.Add(-1)
			})
			if err != nil {
				t.Error(err)
			}
		}
		for range 5 {
			go read(large)
		}
		time.Sleep(10 * time.Minute)
		if got := most.Swap(0); got != 1 {
			t.Errorf("%d large batches were decompressed at once", got)
		}
		for range 5 {
			go read(small)
		}
		time.Sleep(10 * time.Minute)
		if got := most.Load(); got != 5 {
			t.Errorf("%d small ones at once", got)
		}
	})
}

// TestFetched_KnowsTheLeadersOfWhatItPasses, of what it does not deliver too.
func TestFetched_KnowsTheLeadersOfWhatItPasses(t *testing.T) {
	t.Parallel()
	f, _, err := walk(t, nil,
		kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 20, PartitionLeaderEpoch: 3}, values(2)...),
		kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 22, ProducerID: 7, Attributes: control, PartitionLeaderEpoch: 5}, marker(1)))
	if err != nil || f.First != 3 || f.Epoch != 3 || f.Latest != 5 {
		t.Errorf("first %d, delivered %d, latest %d, %v", f.First, f.Epoch, f.Latest, err)
	}
	if f, _, _ := walk(t, nil); f.First != -1 || f.Latest != -1 {
		t.Errorf("an answer without batches: first %d, latest %d", f.First, f.Latest)
	}
}
