// Package kafkatest plays a broker to tests, without a connection. It owns no goroutine.
package kafkatest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch answers a fetch that a transport was given, as a broker would. M is what the
// transport calls a message. No answer closes the connection.
func Fetch[M any](req any, answer func(*kmsg.FetchRequest) *kmsg.FetchResponse) (M, error) {
	return exchange[M](req, kmsg.NewPtrFetchRequest(), func(req *kmsg.FetchRequest) kmsg.Response {
		if res := answer(req); res != nil {
			return res
		}
		return nil
	})
}

// Metadata answers a question for topics likewise.
func Metadata[M any](req any, answer func(*kmsg.MetadataRequest) *kmsg.MetadataResponse) (M, error) {
	return exchange[M](req, kmsg.NewPtrMetadataRequest(), func(req *kmsg.MetadataRequest) kmsg.Response { return answer(req) })
}

// EpochEnd answers a question for the end of a leader's epoch likewise.
func EpochEnd[M any](req any, answer func(*kmsg.OffsetForLeaderEpochRequest) *kmsg.OffsetForLeaderEpochResponse) (M, error) {
	return exchange[M](req, kmsg.NewPtrOffsetForLeaderEpochRequest(), func(req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response { return answer(req) })
}

// EndOf is a response with one partition.
func EndOf(req *kmsg.OffsetForLeaderEpochRequest, end int64) *kmsg.OffsetForLeaderEpochResponse {
	part := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
	part.Partition, part.EndOffset = req.Topics[0].Partitions[0].Partition, end
	topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
	topic.Topic, topic.Partitions = req.Topics[0].Topic, append(topic.Partitions, part)
	res := kmsg.NewPtrOffsetForLeaderEpochResponse()
	res.Topics = append(res.Topics, topic)
	return res
}

// exchange answers one request on a connection, which is read into asked.
func exchange[M any, R kmsg.Request](req any, asked R, answer func(R) kmsg.Response) (res M, err error) {
	raw, ok := req.(interface {
		RawExchange(rw io.ReadWriter) (M, error)
	})
	if !ok {
		return res, fmt.Errorf("a request of type %T cannot be answered", req)
	}
	return raw.RawExchange(&connection{req: asked, answer: func() kmsg.Response { return answer(asked) }})
}

// connection takes one request and has its answer.
type connection struct {
	req    kmsg.Request
	answer func() kmsg.Response
	asked  bytes.Buffer
	ready  *bytes.Reader
}

func (c *connection) Write(p []byte) (int, error) { return c.asked.Write(p) }

func (c *connection) Read(p []byte) (int, error) {
	if c.ready == nil {
		frame := c.asked.Bytes()
		if len(frame) < 14 || int(binary.BigEndian.Uint32(frame)) != len(frame)-4 {
			return 0, fmt.Errorf("the request has a wrong length: %x", frame)
		}
		name := int(binary.BigEndian.Uint16(frame[12:]))
		if key := int16(binary.BigEndian.Uint16(frame[4:])); key != c.req.Key() {
			return 0, fmt.Errorf("the request has the key %d, not %d", key, c.req.Key())
		}
		c.req.SetVersion(int16(binary.BigEndian.Uint16(frame[6:])))
		if err := c.req.ReadFrom(frame[14+name:]); err != nil {
			return 0, fmt.Errorf("the request cannot be read: %w", err)
		}
		res := c.answer()
		if res == nil {
			return 0, io.EOF
		}
		res.SetVersion(c.req.GetVersion())
		body := res.AppendTo(make([]byte, 8))
		binary.BigEndian.PutUint32(body, uint32(len(body)-4))
		c.ready = bytes.NewReader(body)
	}
	return c.ready.Read(p)
}

// Batch writes a record batch. Offsets are those of the records, in rising order. Of the
// codecs it knows gzip.
func Batch(b kmsg.RecordBatch, records ...kmsg.Record) []byte {
	b.Magic, b.NumRecords = 2, int32(len(records))
	for _, r := range records {
		body := r.AppendTo(nil)[1:] // behind its length, which is 0
		b.Records = binary.AppendVarint(b.Records, int64(len(body)))
		b.Records = append(b.Records, body...)
		b.LastOffsetDelta = max(b.LastOffsetDelta, r.OffsetDelta)
	}
	if codec := b.Attributes & 7; codec == 1 {
		b.Records = gzipped(b.Records)
	}
	return Seal(b)
}

func gzipped(p []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(p) // a buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

// Seal sets the length and the checksum of a batch, whatever its records say.
func Seal(b kmsg.RecordBatch) []byte {
	b.Length = int32(49 + len(b.Records))
	out := b.AppendTo(nil)
	b.CRC = int32(crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

// Answer is a response with one partition.
func Answer(req *kmsg.FetchRequest, p kmsg.FetchResponseTopicPartition) *kmsg.FetchResponse {
	p.Partition = req.Topics[0].Partitions[0].Partition
	res := kmsg.NewPtrFetchResponse()
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic = req.Topics[0].Topic
	topic.Partitions = append(topic.Partitions, p)
	res.Topics = append(res.Topics, topic)
	return res
}
