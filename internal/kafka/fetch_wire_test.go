package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

func newFetchMessage() *fetchMessage {
	return &fetchMessage{clientID: "service", most: 4096, FetchRequest: FetchRequest{
		Partition: contactsync.TopicPartition{Topic: "contacts", Partition: 3}, Offset: 77, MinBytes: 5, MaxBytes: 1000, MaxWait: 250e6,
	}}
}

func TestFetchMessage_AsksAndReadsTheAnswer(t *testing.T) {
	t.Parallel()
	m := newFetchMessage()
	_, err := kafkatest.Fetch[protocol.Message](m, func(req *kmsg.FetchRequest) *kmsg.FetchResponse {
		p := req.Topics[0].Partitions[0]
		if req.Topics[0].Topic != "contacts" || p.Partition != 3 || p.FetchOffset != 77 || p.PartitionMaxBytes != 1000 ||
			req.MinBytes != 5 || req.MaxBytes != 1000 || req.MaxWaitMillis != 250 || req.IsolationLevel != readCommitted || req.SessionEpoch != -1 || req.ReplicaID != -1 {
			t.Errorf("asked %+v", req)
		}
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark, part.LastStableOffset, part.RecordBatches = 100, 90, []byte("batches")
		part.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7, FirstOffset: 80}}
		return kafkatest.Answer(req, part)
	})
	a := m.answer
	if err != nil || a.highWatermark != 100 || a.lastStable != 90 || string(a.records) != "batches" || len(a.aborted) != 1 || a.aborted[0] != (abortedTransaction{7, 80}) {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestFetchMessage_RefusesWhatIsNoAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*kmsg.FetchResponse)
		want   error
	}{
		"an error of the broker":    {func(r *kmsg.FetchResponse) { r.ErrorCode = 70 }, kafkago.FetchSessionIDNotFound},
		"an error of the partition": {func(r *kmsg.FetchResponse) { r.Topics[0].Partitions[0].ErrorCode = 1 }, kafkago.OffsetOutOfRange},
		"no topic":                  {func(r *kmsg.FetchResponse) { r.Topics = nil }, errFetchAnswer},
		"no partition":              {func(r *kmsg.FetchResponse) { r.Topics[0].Partitions = nil }, errFetchAnswer},
		"another topic":             {func(r *kmsg.FetchResponse) { r.Topics[0].Topic = "others" }, errFetchAnswer},
		"another partition":         {func(r *kmsg.FetchResponse) { r.Topics[0].Partitions[0].Partition = 4 }, errFetchAnswer},
		"more than is taken":        {func(r *kmsg.FetchResponse) { r.Topics[0].Partitions[0].RecordBatches = make([]byte, 5000) }, ErrUnreadable},
	} {
		_, err := kafkatest.Fetch[protocol.Message](newFetchMessage(), func(req *kmsg.FetchRequest) *kmsg.FetchResponse {
			res := kafkatest.Answer(req, kmsg.NewFetchResponseTopicPartition())
			c.change(res)
			return res
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// wire is a connection whose broker answers such bytes.
type wire struct{ io.Reader }

func (wire) Write(p []byte) (int, error) { return len(p), nil }

func TestFetchMessage_EveryCutIsAnError(t *testing.T) {
	t.Parallel()
	whole := answerBytes(t)
	for n := range whole {
		frame := binary.BigEndian.AppendUint32(nil, uint32(n))
		if _, err := newFetchMessage().RawExchange(wire{bytes.NewReader(append(frame, whole[:n]...))}); err == nil || !strings.HasSuffix(err.Error(), "it ends too early") {
			t.Errorf("%d of %d bytes are taken for an answer: %v", n, len(whole), err)
		}
		if _, err := newFetchMessage().RawExchange(wire{bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(whole))), whole[:n]...))}); err == nil {
			t.Errorf("a connection that ends after %d of %d bytes gives an answer", n, len(whole))
		}
	}
}

// answerBytes is an answer without its length.
func answerBytes(t testing.TB) []byte {
	t.Helper()
	part := kmsg.NewFetchResponseTopicPartition()
	part.Partition, part.RecordBatches = 3, []byte("batches")
	part.AbortedTransactions = make([]kmsg.FetchResponseTopicPartitionAbortedTransaction, 2)
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic, topic.Partitions = "contacts", append(topic.Partitions, part)
	res := kmsg.NewPtrFetchResponse()
	res.Version, res.Topics = fetchVersion, append(res.Topics, topic)
	return res.AppendTo(make([]byte, 4))
}

func FuzzFetchMessage(f *testing.F) {
	f.Add(answerBytes(f))
	f.Fuzz(func(t *testing.T, frame []byte) {
		defer bounded.Within(t, 1<<20+100*len(frame))()
		m := newFetchMessage()
		if err := m.decode(frame); err == nil && len(m.answer.records)+16*len(m.answer.aborted) > len(frame) {
			t.Fatalf("%d bytes hold %d of records and %d transactions", len(frame), len(m.answer.records), len(m.answer.aborted))
		}
	})
}
