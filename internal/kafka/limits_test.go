package kafka_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/kafka"
)

var codecs = []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd}

// encodeSet writes one batch with one value of size zeros.
func encodeSet(t *testing.T, codec compress.Compression, size int) []byte {
	t.Helper()
	set := protocol.RecordSet{
		Version:    2,
		Attributes: protocol.Attributes(codec),
		Records:    protocol.NewRecordReader(protocol.Record{Value: protocol.NewBytes(make([]byte, size))}),
	}
	var b bytes.Buffer
	if _, err := set.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLimitDecompression_StopsABomb(t *testing.T) {
	t.Parallel()
	const bomb = 16 * testLimit
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			t.Parallel()
			encoded := encodeSet(t, codec, bomb)
			var set protocol.RecordSet
			_, err := set.ReadFrom(bytes.NewReader(encoded))
			if !errors.Is(err, kafka.ErrBatchTooLarge) {
				t.Fatalf("error %v, want %v", err, kafka.ErrBatchTooLarge)
			}
			found, ok := errors.AsType[*kafka.BatchTooLargeError](err)
			if !ok || found.Codec != codec.String() || found.Max != testLimit {
				t.Errorf("error %#v", err)
			}
		})
	}
}

func TestLimitDecompression_LetsTheLimitItselfThrough(t *testing.T) {
	t.Parallel()
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			t.Parallel()
			// One record adds a few bytes of its own to the value.
			for size := testLimit - 16; ; size++ {
				var set protocol.RecordSet
				_, err := set.ReadFrom(bytes.NewReader(encodeSet(t, codec, size)))
				if errors.Is(err, kafka.ErrBatchTooLarge) {
					if size < testLimit-14 {
						t.Errorf("a value of %d bytes is refused under a limit of %d", size, testLimit)
					}
					return
				}
				if err != nil || size >= testLimit {
					t.Fatalf("a value of %d bytes: %v", size, err)
				}
				record, err := set.Records.ReadRecord()
				if err != nil {
					t.Fatal(err)
				}
				if value, err := io.ReadAll(record.Value); err != nil || len(value) != size {
					t.Fatalf("read %d of %d bytes: %v", len(value), size, err)
				}
			}
		})
	}
}

// The records before the bomb must be seen, and the bomb itself at the next
// fetch: so a consumer that follows offsets neither skips nor misses it.
func TestLimitDecompression_ReadsWhatComesBefore(t *testing.T) {
	t.Parallel()
	small, bomb := encodeSet(t, compress.Zstd, 100), encodeSet(t, compress.Zstd, 8*testLimit)
	size := len(small) + len(bomb) - 8
	both := append([]byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, small[4:]...)
	both = append(both, bomb[4:]...)
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(both)); err != nil {
		t.Fatal(err)
	}
	if stream, ok := set.Records.(*protocol.RecordStream); !ok || len(stream.Records) != 1 {
		t.Errorf("records %#v, want the batch before the bomb", set.Records)
	}
}

// The old format reads its batch through another path, which hides the error but
// must not lose the bound.
func TestLimitDecompression_BoundsTheOldFormat(t *testing.T) {
	t.Parallel()
	set := protocol.RecordSet{
		Version:    1,
		Attributes: protocol.Attributes(compress.Gzip),
		Records:    protocol.NewRecordReader(protocol.Record{Value: protocol.NewBytes(make([]byte, 16*testLimit))}),
	}
	var b bytes.Buffer
	if _, err := set.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	var read protocol.RecordSet
	if _, err := read.ReadFrom(&b); err == nil {
		t.Error("a bomb in the old format was read")
	}
}

func TestLimitDecompression_ThroughTheTransport(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "events"))
	producer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("events"),
		kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(16*testLimit),
		kgo.MaxBufferedBytes(64*testLimit))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := producer.ProduceSync(t.Context(), &kgo.Record{Value: make([]byte, 8*testLimit)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, configFor(cluster.ListenAddrs()...))
	request := &fetch.Request{
		ReplicaID: -1, MaxWaitTime: 100, MinBytes: 1, MaxBytes: 1 << 20, SessionID: -1, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{
			Topic:      "events",
			Partitions: []fetch.RequestPartition{{CurrentLeaderEpoch: -1, PartitionMaxBytes: 1 << 20}},
		}},
	}
	_, err = c.Raw().Transport.RoundTrip(t.Context(), c.Raw().Addr, request)
	if _, ok := errors.AsType[*kafka.BatchTooLargeError](err); !ok {
		t.Errorf("round trip: %v, want the error as it is", err)
	}
	answer, err := c.Raw().Fetch(t.Context(), &kafkago.FetchRequest{Topic: "events", MaxBytes: 1 << 20})
	if err == nil {
		err = answer.Error
	}
	if !errors.Is(err, kafka.ErrBatchTooLarge) {
		t.Errorf("fetch: %v, want %v", err, kafka.ErrBatchTooLarge)
	}
}

// Not parallel: it changes the table that the others read.
func TestLimitDecompression_ReplacesTheLimit(t *testing.T) {
	defer kafka.LimitDecompression(testLimit)
	kafka.LimitDecompression(1 << 10)
	kafka.LimitDecompression(4 * testLimit)
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(encodeSet(t, compress.Gzip, 2*testLimit))); err != nil {
		t.Errorf("the first limit is still in force: %v", err)
	}
	for i, codec := range compress.Codecs[1:] {
		if codec.Code() != int8(i+1) || !slices.Contains(strings.Fields("gzip snappy lz4 zstd"), codec.Name()) {
			t.Errorf("codec %d is %s with code %d", i+1, codec.Name(), codec.Code())
		}
	}
	// The memory of a bomb follows the limit, not the bomb.
	kafka.LimitDecompression(testLimit)
	encoded := encodeSet(t, compress.Gzip, 64*testLimit)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := set.ReadFrom(bytes.NewReader(encoded)); !errors.Is(err, kafka.ErrBatchTooLarge) {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16*testLimit {
		t.Errorf("a bomb of %d MiB took %d bytes under a limit of %d", 64, used, testLimit)
	}
}
