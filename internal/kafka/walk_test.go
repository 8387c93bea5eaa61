package kafka

import (
	"testing"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"github.com/contactsync/contactsync"
)

// An answer may begin with the marker of a transaction whose records lie before it.
// What its producer commits then is not part of that transaction.
func TestFetched_AnswerThatBeginsWithAMarker(t *testing.T) {
	t.Parallel()
	abort := protocol.NewRecordReader(protocol.Record{
		Offset: 20, Key: protocol.NewBytes([]byte{0, 0, 0, 0}), Value: protocol.NewBytes([]byte{0, 0, 0, 0, 0, 0}),
	})
	committed := protocol.NewRecordReader(
		protocol.Record{Offset: 21, Value: protocol.NewBytes([]byte("a"))},
		protocol.Record{Offset: 22, Value: protocol.NewBytes([]byte("b"))},
	)
	answer := &fetch.ResponsePartition{
		AbortedTransactions: []fetch.ResponseTransaction{{ProducerID: 7, FirstOffset: 10}},
		RecordSet: protocol.RecordSet{Records: &protocol.RecordStream{Records: []protocol.RecordReader{
			&protocol.ControlBatch{Attributes: protocol.Control | protocol.Transactional, BaseOffset: 20, ProducerID: 7, Records: abort},
			&protocol.RecordBatch{Attributes: protocol.Transactional, BaseOffset: 21, ProducerID: 7, Records: committed},
		}}},
	}
	f := newFetched(FetchRequest{Partition: contactsync.TopicPartition{Topic: "t"}, Offset: 20}, answer)
	n := 0
	if err := f.Each(func(contactsync.Record) { n++ }); err != nil {
		t.Fatal(err)
	}
	if n != 2 || f.Aborted != 0 || f.Next != 23 {
		t.Errorf("%d committed records delivered, want 2; %d taken for aborted; next %d", n, f.Aborted, f.Next)
	}
}

// What an answer leaves out moves the position too: else it would be asked for again.
func TestFetched_TheNextOffsetLiesBehindWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	record := func(offset int64) protocol.Record {
		return protocol.Record{Offset: offset, Value: protocol.NewBytes([]byte("a"))}
	}
	commit := protocol.Record{Offset: 21, Key: protocol.NewBytes([]byte{0, 0, 0, 1}), Value: protocol.NewBytes(make([]byte, 6))}
	for _, c := range []struct {
		name      string
		batches   []protocol.RecordReader
		delivered int
		aborted   int
		next      int64
	}{
		{"no batch", nil, 0, 0, 20},
		{"a batch whose records were compacted away", []protocol.RecordReader{
			&protocol.RecordBatch{BaseOffset: 18, Records: protocol.NewRecordReader(record(18), record(19))},
		}, 0, 0, 21},
		{"a marker at the end", []protocol.RecordReader{
			&protocol.RecordBatch{BaseOffset: 20, Records: protocol.NewRecordReader(record(20))},
			&protocol.ControlBatch{BaseOffset: 21, ProducerID: 7, Records: protocol.NewRecordReader(commit)},
		}, 1, 0, 22},
		{"records of an aborted transaction", []protocol.RecordReader{
			&protocol.RecordBatch{Attributes: protocol.Transactional, BaseOffset: 20, ProducerID: 7, Records: protocol.NewRecordReader(record(20), record(21))},
		}, 0, 2, 22},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer := &fetch.ResponsePartition{AbortedTransactions: []fetch.ResponseTransaction{{ProducerID: 7, FirstOffset: 10}}}
			if c.batches != nil {
				answer.RecordSet.Records = &protocol.RecordStream{Records: c.batches}
			}
			f := newFetched(FetchRequest{Offset: 20}, answer)
			n := 0
			if err := f.Each(func(contactsync.Record) { n++ }); err != nil {
				t.Fatal(err)
			}
			if n != c.delivered || f.Aborted != c.aborted || f.Next != c.next {
				t.Errorf("%d delivered, %d aborted, next %d: want %d, %d, %d", n, f.Aborted, f.Next, c.delivered, c.aborted, c.next)
			}
		})
	}
}
