package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/setting"
)

// readCommitted has brokers hold back records of open transactions.
const readCommitted = 1

// FetchRequest asks a partition's leader for records.
type FetchRequest struct {
	Partition          contactsync.TopicPartition
	Offset             int64
	MinBytes, MaxBytes setting.Size
	MaxWait            time.Duration // how long the broker may wait for MinBytes
}

var errFetchTimeout = errors.New("the broker did not answer the fetch in time")

// Fetch makes one attempt; Cause names why it failed. The answer may take MaxWait
// and the request time-out; and where it is larger than was asked for, until others that are so too have
// been gone through. What is returned holds its part of the room for those until Each or Release.
func (c *Client) Fetch(ctx context.Context, r FetchRequest) (*Fetched, error) {
	return fetchWith(ctx, c, r, &permit{room: c.decoding.answers, free: int64(r.MaxBytes) + usualOverhead})
}

func fetchWith(ctx context.Context, c *Client, r FetchRequest, held *permit) (*Fetched, error) {
	for {
		answer, err := fetchOnce(ctx, c, r, held)
		if err == nil {
			f := newFetched(r, answer, c.decoding)
			f.held = held
			return f, nil
		}
		if size, full := errors.AsType[noRoom](err); full {
			err = held.wait(ctx, int64(size))
		}
		if err != nil {
			held.release()
			return nil, fmt.Errorf("fetch %v from offset %d: %w", r.Partition, r.Offset, c.renewal.note(topicError(err, "READ")))
		}
	}
}

func fetchOnce(ctx context.Context, c *Client, r FetchRequest, held *permit) (fetchAnswer, error) {
	m := &fetchMessage{FetchRequest: r, clientID: c.cfg.ClientID, most: max(c.decoding.most, int(r.MaxBytes)) + fetchOverhead, held: held}
	// A fetch may wait at the broker for data; only past that it is late.
	ctx, cancel := context.WithTimeoutCause(ctx, r.MaxWait+c.cfg.RequestTimeout, errFetchTimeout)
	defer cancel()
	_, err := c.client.Transport.RoundTrip(ctx, c.addr, m)
	if err != nil {
		return fetchAnswer{}, err
	}
	return m.answer, nil
}

// The causes of a failed fetch, as metrics name them.
const (
	CauseLeader  = "leader"  // the partition's leader has moved or is not known yet
	CauseOffset  = "offset"  // the offset does not exist
	CauseNetwork = "network" // a broker is away
	CauseDecode  = "decode"  // corrupt, or larger than allowed: it will not read better soon
	CauseOther   = "other"
)

// Cause names why a fetch failed.
func Cause(err error) string {
	var network net.Error
	switch {
	case errors.Is(err, ErrUnreadable), errors.Is(err, kafkago.InvalidMessage): // the broker cannot read it either
		return CauseDecode
	case errors.Is(err, kafkago.NotLeaderForPartition), errors.Is(err, kafkago.LeaderNotAvailable),
		errors.Is(err, kafkago.UnknownTopicOrPartition), errors.Is(err, kafkago.FencedLeaderEpoch), errors.Is(err, protocol.ErrNoLeader):
		return CauseLeader
	case errors.Is(err, kafkago.OffsetOutOfRange):
		return CauseOffset
	case isKafkaError(err): // each of them has the methods of a net.Error
		return CauseOther
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return CauseNetwork
	}
	return CauseOther
}

func isKafkaError(err error) bool {
	_, ok := errors.AsType[kafkago.Error](err)
	return ok
}
