package kafka

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka/batch"
)

// Unreadable is a record batch that cannot be read.
type Unreadable struct {
	Reason string `json:"reason"` // see UnreadableReason
	First  int64  `json:"first"`  // the first offset that was not read
	Last   int64  `json:"last"`   // the last offset of the batch; -1 where it is not known
	Bytes  int64  `json:"bytes"`  // of the batch as Kafka sent it; 0 where Kafka does not send it
	SHA256 string `json:"sha256"` // of those bytes, in hex
	Epoch  int32  `json:"-"`      // of the leader that wrote it; -1 where that is not known
}

// Hint says what an operator may do about the batch.
func (u Unreadable) Hint() string {
	const aside = "set the batch aside: contactsync set-aside"
	if u.Reason == batchTooLarge {
		return "raise consumer.max_batch_bytes and restart, or " + aside
	}
	return aside
}

// The reasons for which a batch cannot be read, as metrics name them.
const (
	batchCorrupt     = "corrupt"     // not what was written
	batchTooLarge    = "too_large"   // larger than the limit
	batchHeaders     = "headers"     // with a record that has too many headers
	batchUnsupported = "unsupported" // of an old format, or with an unknown codec
)

// UnreadableReason names why a batch cannot be read, where Cause is CauseDecode.
func UnreadableReason(err error) string {
	switch {
	case errors.Is(err, batch.ErrTooLarge), errors.Is(err, errAnswerTooLarge):
		return batchTooLarge
	case errors.Is(err, batch.ErrHeaders):
		return batchHeaders
	case errors.Is(err, batch.ErrFormat):
		return batchUnsupported
	}
	return batchCorrupt
}

// Examine makes one attempt to find out what a batch covers from offset on that Fetch could
// not read for the given reason. It takes little memory, however large the batch is. What
// is known is returned also with an error.
func (c *Client) Examine(ctx context.Context, partition contactsync.TopicPartition, offset int64, why error) (Unreadable, error) {
	u := Unreadable{Reason: UnreadableReason(why), First: offset, Last: -1, Epoch: -1}
	m := &examineMessage{fetchMessage: fetchMessage{
		FetchRequest: FetchRequest{Partition: partition, Offset: offset, MinBytes: 1, MaxBytes: readBytes, MaxWait: readWait},
		clientID:     c.cfg.ClientID,
	}}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	if _, err := c.client.Transport.RoundTrip(ctx, c.addr, m); err != nil {
		return u, fmt.Errorf("examine the batch at offset %d of %v: %w", offset, partition, topicError(err, "READ"))
	}
	u.Epoch = m.extent.Epoch
	u.Last, u.Bytes, u.SHA256 = m.extent.Last, m.extent.Bytes, hex.EncodeToString(m.extent.SHA256[:])
	return u, nil
}

// examineMessage is a fetch whose answer is not kept.
type examineMessage struct {
	fetchMessage
	extent batch.Extent
}

// RawExchange implements protocol.RawExchanger.
func (m *examineMessage) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	n, err := ask(rw, m.encode())
	if err != nil {
		return nil, err
	}
	answer := io.LimitReader(rw, n)
	head := make([]byte, min(n, fetchOverhead))
	if _, err := io.ReadFull(answer, head); err != nil {
		return nil, err
	}
	r := frameReader{data: head}
	size, err := m.decodeHead(&r)
	if err != nil {
		return nil, err
	}
	records := io.LimitReader(io.MultiReader(bytes.NewReader(r.data), answer), int64(size))
	if m.extent, err = batch.Examine(records, m.Offset, m.answer.highWatermark); err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, answer)
	return m, err
}
