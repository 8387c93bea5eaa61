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
