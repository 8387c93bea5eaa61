package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"github.com/contactsync/contactsync"
)

// fetchVersion is the one version of the fetch that is sent: Kafka 2.3 and later have it,
// and it is the last that needs no topic ids.
const fetchVersion = 11

// fetchOverhead is what an answer may take besides its record batches: names, and the
// aborted transactions of an answer.
const fetchOverhead = 1 << 20

// fetchMessage is one fetch of one partition, and then its answer. It goes to the
// partition's leader on a connection of kafka-go's, which does not read the answer: that
// has its own bounds, and the record batches stay as Kafka sent them.
type fetchMessage struct {
	FetchRequest
	clientID string
	most     int // bytes of the answer
	held     *permit

	answer fetchAnswer
}

// fetchAnswer is what the leader says of the partition.
type fetchAnswer struct {
	highWatermark, lastStable int64
	aborted                   []abortedTransaction
	records                   []byte
}

type abortedTransaction struct{ producer, first int64 }

// ApiKey implements protocol.Message.
func (*fetchMessage) ApiKey() protocol.ApiKey { return protocol.Fetch }

// Broker implements protocol.BrokerMessage: the leader.
func (m *fetchMessage) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	return leader(cluster, m.Partition)
}

// leader returns the broker that leads a partition.
func leader(cluster protocol.Cluster, p contactsync.TopicPartition) (protocol.Broker, error) {
	return (&fetch.Request{Topics: []fetch.RequestTopic{{
		Topic: p.Topic, Partitions: []fetch.RequestPartition{{Partition: p.Partition}},
	}}}).Broker(cluster)
}

// Required implements protocol.RawExchanger.
func (*fetchMessage) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements protocol.RawExchanger. The connection carries nothing else until
// it returns, and is closed where it returns an error.
func (m *fetchMessage) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	frame, err := exchangeFrames(rw, m.encode(), m.admit, int(m.MaxBytes)+usualOverhead)
	switch {
	case errors.Is(err, errAnswerTooLarge):
		return nil, fmt.Errorf("%w: %w: raise consumer.max_batch_bytes", ErrUnreadable, err)
	case err != nil:
		return nil, err
	}
	return m, m.decode(frame)
}

// admit returns why an answer of n bytes is not read.
func (m *fetchMessage) admit(n int64) error {
	if err := atMost(m.most)(n); err != nil {
		return err
	}
	return m.held.take(n)
}

// encode writes the request with its header.
func (m *fetchMessage) encode() []byte {
	be := binary.BigEndian
	out := make([]byte, 0, 128+len(m.Partition.Topic)+len(m.clientID))
	text := func(s string) {
		out = be.AppendUint16(out, uint16(len(s)))
		out = append(out, s...)
	}
	int32s := func(values ...int32) {
		for _, v := range values {
			out = be.AppendUint32(out, uint32(v))
		}
	}
	int64s := func(values ...int64) {
		for _, v := range values {
			out = be.AppendUint64(out, uint64(v))
		}
	}
	const none = -1
	out = be.AppendUint16(out, uint16(protocol.Fetch))
	out = be.AppendUint16(out, fetchVersion)
	int32s(0) // correlation: there is one request at a time
	text(m.clientID)
	int32s(none, int32(m.MaxWait.Milliseconds()), int32(m.MinBytes), int32(m.MaxBytes)) // replica first
	out = append(out, readCommitted)
	int32s(0, none) // no fetch session
	int32s(1)
	text(m.Partition.Topic)
	int32s(1, m.Partition.Partition, none) // no leader epoch
	int64s(m.Offset, none)                 // no log start: this is no follower
	int32s(int32(m.MaxBytes))
	int32s(0) // nothing to forget
	text("")  // rack
	return out
}

var errFetchAnswer = errors.New("the broker's answer to a fetch cannot be read")

// decode reads the answer. Errors of the broker are kafka-go's.
func (m *fetchMessage) decode(frame []byte) error {
	r := frameReader{data: frame}
	size, err := m.decodeHead(&r)
	if err != nil {
		return err
	}
	m.answer.records = r.take(int(size))
	if r.failed {
		return fmt.Errorf("%w: it ends too early", errFetchAnswer)
	}
	return nil
}

// decodeHead reads the answer up to the record batches, and returns how many bytes those
// have.
func (m *fetchMessage) decodeHead(r *frameReader) (size int32, err error) {
	r.take(4 + 4) // correlation, throttling
	if code := r.int16(); code != 0 {
		return 0, kafkago.Error(code)
	}
	r.take(4) // session
	if topics := r.int32(); topics != 1 && !r.failed {
		return 0, fmt.Errorf("%w: it has %d topics", errFetchAnswer, topics)
	}
	topic := string(r.take(int(r.int16())))
	if partitions := r.int32(); partitions != 1 && !r.failed {
		return 0, fmt.Errorf("%w: it has %d partitions", errFetchAnswer, partitions)
	}
	partition, code := r.int32(), r.int16()
	a := &m.answer
	a.highWatermark, a.lastStable = r.int64(), r.int64()
	r.int64() // log start
	aborted := r.int32()
	if int64(aborted)*16 > int64(len(r.data)) {
		r.failed = true
	}
	for range max(aborted, 0) {
		if r.failed {
			break
		}
		a.aborted = append(a.aborted, abortedTransaction{producer: r.int64(), first: r.int64()})
	}
	r.take(4) // preferred replica
	size = max(r.int32(), 0)
	switch {
	case r.failed:
		return 0, fmt.Errorf("%w: it ends too early", errFetchAnswer)
	case topic != m.Partition.Topic || partition != m.Partition.Partition:
		return 0, fmt.Errorf("%w: it is of another partition", errFetchAnswer)
	case code != 0:
		return 0, kafkago.Error(code)
	}
	return size, nil
}

// frameReader takes values from the front of data. After a failure it returns zeros.
type frameReader struct {
	data   []byte
	failed bool
}

func (r *frameReader) take(n int) []byte {
	if r.failed || n < 0 || n > len(r.data) {
		r.failed = true
		return nil
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}

func (r *frameReader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *frameReader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *frameReader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}
