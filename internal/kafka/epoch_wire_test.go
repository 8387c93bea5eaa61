package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
)

func newEpochMessage() *epochMessage {
	return &epochMessage{partition: contactsync.TopicPartition{Topic: "contacts", Partition: 3}, epoch: 7, clientID: "service", end: -1}
}

func TestEpochMessage_AsksAndReadsTheAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*kmsg.OffsetForLeaderEpochResponse)
		end    int64
		want   error
	}{
		"the end":                     {func(*kmsg.OffsetForLeaderEpochResponse) {}, 77, nil},
		"an epoch that is not known":  {func(r *kmsg.OffsetForLeaderEpochResponse) { r.Topics[0].Partitions[0].EndOffset = -1 }, -1, nil},
		"a broker that cannot":        {func(r *kmsg.OffsetForLeaderEpochResponse) { r.Topics[0].Partitions[0].ErrorCode = 35 }, -1, nil},
		"no leader":                   {func(r *kmsg.OffsetForLeaderEpochResponse) { r.Topics[0].Partitions[0].ErrorCode = 6 }, -1, kafkago.NotLeaderForPartition},
		"another topic":               {func(r *kmsg.OffsetForLeaderEpochResponse) { r.Topics[0].Topic = "others" }, -1, errEpochAnswer},
		"another partition":           {func(r *kmsg.OffsetForLeaderEpochResponse) { r.Topics[0].Partitions[0].Partition = 4 }, -1, errEpochAnswer},
		"no partition":                {func(r *kmsg.OffsetForLeaderEpochResponse) { r.Topics[0].Partitions = nil }, -1, errEpochAnswer},
		"more than was asked for":     {func(r *kmsg.OffsetForLeaderEpochResponse) { r.Topics = append(r.Topics, r.Topics[0]) }, -1, errEpochAnswer},
		"an answer that has no topic": {func(r *kmsg.OffsetForLeaderEpochResponse) { r.Topics = nil }, -1, errEpochAnswer},
	} {
		m := newEpochMessage()
		_, err := kafkatest.EpochEnd[protocol.Message](m, func(req *kmsg.OffsetForLeaderEpochRequest) *kmsg.OffsetForLeaderEpochResponse {
			p := req.Topics[0].Partitions[0]
			if req.Topics[0].Topic != "contacts" || p.Partition != 3 || p.LeaderEpoch != 7 || p.CurrentLeaderEpoch != -1 || req.ReplicaID != -1 {
				t.Errorf("asked %+v", req)
			}
			res := kafkatest.EndOf(req, 77)
			c.change(res)
			return res
		})
		if m.end != c.end || !errors.Is(err, c.want) {
			t.Errorf("%s: %d, %v, want %d, %v", name, m.end, err, c.end, c.want)
		}
	}
}

// TestEpochMessage_IsNotSentToABrokerThatDoesNotKnowIt, which would close the connection.
func TestEpochMessage_IsNotSentToABrokerThatDoesNotKnowIt(t *testing.T) {
	t.Parallel()
	m := newEpochMessage()
	m.Required(map[protocol.ApiKey]int16{protocol.Fetch: 11})
	if _, err := m.RawExchange(nil); err != nil || m.end != -1 {
		t.Errorf("%d, %v", m.end, err)
	}
}

func TestEpochMessage_EveryCutIsAnError(t *testing.T) {
	t.Parallel()
	req := kmsg.NewOffsetForLeaderEpochRequest()
	req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "contacts", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: 3}}}}
	res := kafkatest.EndOf(&req, 77)
	res.Version = epochVersion
	whole := res.AppendTo(make([]byte, 4))
	for n := range whole {
		frame := binary.BigEndian.AppendUint32(nil, uint32(n))
		if _, err := newEpochMessage().RawExchange(wire{bytes.NewReader(append(frame, whole[:n]...))}); err == nil {
			t.Errorf("%d of %d bytes are taken for an answer", n, len(whole))
		}
	}
}
