package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/contactsync/contactsync"
)

// epochVersion is the one version of OffsetForLeaderEpoch that is sent: the first one that
// needs no more than the right to describe the topic. Brokers that answer fetchVersion have it.
const epochVersion = 3

// maxEpochAnswer bounds the answer, which holds one partition.
const maxEpochAnswer = 64 << 10

// EpochEnd asks a partition's leader once for the offset behind the last one that leaders up
// to and with epoch have written; -1 where it does not know. A log that was read further
// than that was cut off since.
func EpochEnd(ctx context.Context, c *Client, partition contactsync.TopicPartition, epoch int32) (int64, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	m := &epochMessage{partition: partition, epoch: epoch, clientID: c.cfg.ClientID, end: -1}
	if _, err := c.client.Transport.RoundTrip(ctx, c.addr, m); err != nil {
		return -1, fmt.Errorf("ask for the end of epoch %d of %v: %w", epoch, partition, c.renewal.note(topicError(err, "DESCRIBE")))
	}
	return m.end, nil
}

// epochMessage is the question for the end of an epoch, and then its answer.
type epochMessage struct {
	partition contactsync.TopicPartition
	epoch     int32
	clientID  string
	unknown   bool // brokers that only speak Kafka's protocol may not have the request

	end int64
}

// ApiKey implements protocol.Message.
func (*epochMessage) ApiKey() protocol.ApiKey { return protocol.OffsetForLeaderEpoch }

// Broker implements protocol.BrokerMessage: the leader.
func (m *epochMessage) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	return leader(cluster, m.partition)
}

// Required implements protocol.RawExchanger.
func (m *epochMessage) Required(versions map[protocol.ApiKey]int16) bool {
	_, known := versions[protocol.OffsetForLeaderEpoch]
	m.unknown = !known
	return true
}

// RawExchange implements protocol.RawExchanger. The connection carries nothing else until
// it returns, and is closed where it returns an error.
func (m *epochMessage) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if m.unknown {
		return m, nil
	}
	frame, err := exchangeFrames(rw, m.encode(), atMost(maxEpochAnswer), 0)
	if err != nil {
		return nil, err
	}
	return m, m.decode(frame)
}

// encode writes the request with its header.
func (m *epochMessage) encode() []byte {
	be := binary.BigEndian
	out := be.AppendUint16(nil, uint16(protocol.OffsetForLeaderEpoch))
	out = be.AppendUint16(out, epochVersion)
	out = be.AppendUint32(out, 0) // correlation: there is one request at a time
	out = be.AppendUint16(out, uint16(len(m.clientID)))
	out = append(out, m.clientID...)
	out = be.AppendUint32(out, ^uint32(0)) // a consumer
	out = be.AppendUint32(out, 1)
	out = be.AppendUint16(out, uint16(len(m.partition.Topic)))
	out = append(out, m.partition.Topic...)
	out = be.AppendUint32(out, 1)
	out = be.AppendUint32(out, uint32(m.partition.Partition))
	out = be.AppendUint32(out, ^uint32(0)) // whoever leads
	return be.AppendUint32(out, uint32(m.epoch))
}

var errEpochAnswer = errors.New("the broker's answer about an epoch cannot be read")

// decode reads the answer. Errors of the broker are kafka-go's.
func (m *epochMessage) decode(frame []byte) error {
	r := frameReader{data: frame}
	r.take(4 + 4) // correlation, throttling
	topics := r.int32()
	topic := string(r.take(int(r.int16())))
	partitions, code, partition := r.int32(), r.int16(), r.int32()
	r.int32() // the epoch that it is the end of
	end := r.int64()
	switch {
	case r.failed:
		return fmt.Errorf("%w: it ends too early", errEpochAnswer)
	case topics != 1 || partitions != 1 || topic != m.partition.Topic || partition != m.partition.Partition:
		return fmt.Errorf("%w: it is of another partition", errEpochAnswer)
	case code == int16(kafkago.UnsupportedVersion):
		return nil
	case code != 0:
		return kafkago.Error(code)
	}
	m.end = max(end, -1)
	return nil
}
