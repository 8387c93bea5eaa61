package kafka

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync/internal/kafka/batch"
	"github.com/contactsync/contactsync/internal/kafka/kafkatest"
)

// A batch that is larger than any fetch takes is examined all the same.
func TestExamineMessage_ReadsABatchOfAnySize(t *testing.T) {
	t.Parallel()
	large := kafkatest.Batch(kmsg.RecordBatch{FirstOffset: 70}, kmsg.Record{Value: make([]byte, 5<<20)}, kmsg.Record{OffsetDelta: 9})
	answer := func(code int16) func(*kmsg.FetchRequest) *kmsg.FetchResponse {
		return func(req *kmsg.FetchRequest) *kmsg.FetchResponse {
			part := kmsg.NewFetchResponseTopicPartition()
			part.HighWatermark, part.LastStableOffset, part.RecordBatches, part.ErrorCode = 100, 100, large, code
			part.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7, FirstOffset: 80}}
			return kafkatest.Answer(req, part)
		}
	}
	m := newFetchMessage()
	if _, err := kafkatest.Fetch[protocol.Message](m, answer(0)); UnreadableReason(err) != batchTooLarge {
		t.Fatalf("a fetch of it: %v", err)
	}
	x := &examineMessage{fetchMessage: *newFetchMessage()}
	if _, err := kafkatest.Fetch[protocol.Message](x, answer(0)); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(large)
	if x.extent.Last != 79 || x.extent.Bytes != int64(len(large)) || x.extent.SHA256 != sum {
		t.Errorf("%+v, want last 79, %d bytes, hash %s", x.extent, len(large), hex.EncodeToString(sum[:]))
	}
	if _, err := kafkatest.Fetch[protocol.Message](x, answer(2)); !errors.Is(err, kafkago.InvalidMessage) {
		t.Errorf("a broker that cannot read it: %v", err)
	}
}

func TestUnreadableReason(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		batch.ErrCorrupt: "corrupt", batch.ErrTooLarge: "too_large", batch.ErrFormat: "unsupported",
		errAnswerTooLarge: "too_large", batch.ErrHeaders: "headers", kafkago.InvalidMessage: "corrupt",
	} {
		if got := UnreadableReason(fmt.Errorf("%w: %w", ErrUnreadable, err)); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

// A setting helps only where the batch is larger than it.
func TestUnreadable_Hint(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]bool{batchTooLarge: true, batchCorrupt: false, batchHeaders: false, batchUnsupported: false} {
		if got := (Unreadable{Reason: reason}).Hint(); strings.Contains(got, "consumer.max_batch_bytes") != want || !strings.Contains(got, "contactsync set-aside") {
			t.Errorf("%s: %s", reason, got)
		}
	}
}
