package replay_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
)

// fakeKafka is a cluster in memory. It sets the records' times itself.
type fakeKafka struct {
	topics map[string][]*fakePartition
	now    func() time.Time
	wrote  func(contactsync.Record) // called with each record that a request writes to the source topic
}

type fakePartition struct {
	first int64
	log   []*contactsync.Record // by offset; nil where compaction has removed one
	most  int                   // bytes that a value may have
}

func (p *fakePartition) end() int64 { return int64(len(p.log)) }

func (p *fakePartition) has(offset int64) bool {
	return offset >= p.first && offset < p.end() && p.log[offset] != nil
}

func (p *fakePartition) add(rec contactsync.Record) contactsync.Record {
	rec.Offset = p.end()
	p.log = append(p.log, &rec)
	return rec
}

// RoundTrip answers what package kafka and the writer of dead letters ask.
func (k *fakeKafka) RoundTrip(_ context.Context, _ net.Addr, req kafkago.Request) (kafkago.Response, error) {
	switch req := req.(type) {
	case *metadata.Request:
		res := &metadata.Response{Brokers: []metadata.ResponseBroker{{NodeID: 1, Host: "sim", Port: 1}}}
		for _, name := range req.TopicNames {
			t := metadata.ResponseTopic{Name: name}
			for p := range k.topics[name] {
				t.Partitions = append(t.Partitions, metadata.ResponsePartition{PartitionIndex: int32(p), LeaderID: 1})
			}
			res.Topics = append(res.Topics, t)
		}
		return res, nil
	case *listoffsets.Request:
		res := &listoffsets.Response{}
		for _, t := range req.Topics {
			answer := listoffsets.ResponseTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				answer.Partitions = append(answer.Partitions, listoffsets.ResponsePartition{
					Partition: p.Partition, Timestamp: p.Timestamp, Offset: k.topics[t.Topic][p.Partition].offsetAt(p.Timestamp),
				})
			}
			res.Topics = append(res.Topics, answer)
		}
		return res, nil
	case *produce.Request:
		asked := req.Topics[0].Partitions[0]
		answer := produce.ResponsePartition{Partition: asked.Partition}
		records, err := recordsOf(req)
		if err != nil {
			return nil, err
		}
		p := k.topics[req.Topics[0].Topic][asked.Partition]
		if slices.ContainsFunc(records, func(r contactsync.Record) bool { return len(r.Value) > p.most }) {
			answer.ErrorCode = int16(kafkago.MessageSizeTooLarge)
		} else {
			for _, rec := range records {
				rec.Time = k.now()
				if rec = p.add(rec); rec.Topic == "t" {
					k.wrote(rec)
				}
			}
		}
		return &produce.Response{Topics: []produce.ResponseTopic{{Topic: req.Topics[0].Topic, Partitions: []produce.ResponsePartition{answer}}}}, nil
	}
	if req.ApiKey() == protocol.Metadata {
		return kafkatest.Metadata[protocol.Message](req, k.describe)
	}
	return kafkatest.Fetch[protocol.Message](req, func(req *kmsg.FetchRequest) *kmsg.FetchResponse {
		asked := req.Topics[0].Partitions[0]
		return kafkatest.Answer(req, k.topics[req.Topics[0].Topic][asked.Partition].fetch(asked.FetchOffset))
	})
}

func (k *fakeKafka) describe(req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	res := kmsg.NewPtrMetadataResponse()
	for _, asked := range req.Topics {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic = asked.Topic
		for p := range k.topics[*asked.Topic] {
			partition := kmsg.NewMetadataResponseTopicPartition()
			partition.Partition, partition.Leader = int32(p), 1
			t.Partitions = append(t.Partitions, partition)
		}
		res.Topics = append(res.Topics, t)
	}
	return res
}

func (p *fakePartition) offsetAt(timestamp int64) int64 {
	switch timestamp {
	case kafkago.FirstOffset:
		return p.first
	case kafkago.LastOffset:
		return p.end()
	}
	for offset := p.first; offset < p.end(); offset++ {
		if p.has(offset) && p.log[offset].Time.UnixMilli() >= timestamp {
			return offset
		}
	}
	return -1
}

// fetch returns a few records, so that reading takes several answers.
func (p *fakePartition) fetch(from int64) kmsg.FetchResponseTopicPartition {
	answer := kmsg.NewFetchResponseTopicPartition()
	answer.HighWatermark, answer.LastStableOffset, answer.LogStartOffset = p.end(), p.end(), p.first
	if from < p.first || from > p.end() {
		answer.ErrorCode = int16(kafkago.OffsetOutOfRange)
		return answer
	}
	b := kmsg.RecordBatch{FirstOffset: -1}
	var records []kmsg.Record
	for offset := from; offset < p.end() && len(records) < 5; offset++ {
		if !p.has(offset) {
			continue
		}
		rec := p.log[offset]
		if b.FirstOffset < 0 {
			b.FirstOffset, b.FirstTimestamp = offset, rec.Time.UnixMilli()
		}
		r := kmsg.Record{
			OffsetDelta: int32(offset - b.FirstOffset), TimestampDelta64: rec.Time.UnixMilli() - b.FirstTimestamp,
			Key: rec.Key, Value: rec.Value,
		}
		for _, h := range rec.Headers {
			r.Headers = append(r.Headers, kmsg.Header(h))
		}
		records = append(records, r)
	}
	if len(records) > 0 {
		answer.RecordBatches = kafkatest.Batch(b, records...)
	}
	return answer
}

func recordsOf(req *produce.Request) ([]contactsync.Record, error) {
	part := req.Topics[0].Partitions[0]
	partition := contactsync.TopicPartition{Topic: req.Topics[0].Topic, Partition: part.Partition}
	var records []contactsync.Record
	for {
		r, err := part.RecordSet.Records.ReadRecord()
		if err != nil { // io.EOF
			return records, nil
		}
		rec := contactsync.Record{Position: contactsync.Position{TopicPartition: partition}}
		var errs [2]error
		if r.Key != nil {
			rec.Key, errs[0] = protocol.ReadAll(r.Key)
		}
		if r.Value != nil {
			rec.Value, errs[1] = protocol.ReadAll(r.Value)
		}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, contactsync.Header(h))
		}
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
		records = append(records, rec)
	}
}
