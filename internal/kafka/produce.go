package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/setting"
)

// maxRequestBytes is as large as a record may be that is offered to a topic: a
// broker cuts the connection at socket.request.max.bytes, 100 MiB by default,
// without saying why.
const maxRequestBytes = 90 << 20

// ProducerConfig says where and how a Producer writes.
type ProducerConfig struct {
	Topic      string
	Linger     time.Duration // how long a record waits for others of its partition to share a request with
	BatchBytes setting.Size  // of the records that share one; a larger record goes alone
	Timeout    time.Duration // of one write, the replicas' acknowledgement included
}

// Producer writes records to one topic, each to the partition that Java's producers
// would choose. It is safe for concurrent use.
type Producer struct {
	client     *Client
	batchBytes int
	shared     *kafkago.Writer // many records to a request
	single     *kafkago.Writer // one record to a request, so that none fails for its neighbours
}

// NewProducer returns a producer. It connects when it first writes.
func (c *Client) NewProducer(cfg ProducerConfig) *Producer {
	return &Producer{
		client:     c,
		batchBytes: int(cfg.BatchBytes),
		shared:     c.newWriter(cfg, 500, int64(cfg.BatchBytes)),
		single:     c.newWriter(cfg, 1, maxRequestBytes),
	}
}

// newWriter sets what kafka-go leaves unsafe: a Writer literal asks for no
// acknowledgement at all.
func (c *Client) newWriter(cfg ProducerConfig, batchSize int, batchBytes int64) *kafkago.Writer {
	return &kafkago.Writer{
		Addr:         c.addr,
		Topic:        cfg.Topic,
		Transport:    c.client.Transport,
		RequiredAcks: kafkago.RequireAll,
		Balancer:     kafkago.BalancerFunc(balance),
		BatchSize:    batchSize,
		BatchBytes:   batchBytes,
		BatchTimeout: cfg.Linger,
		ReadTimeout:  cfg.Timeout,
		WriteTimeout: cfg.Timeout,
		// The caller tries again, with the wait and the stop that it has.
		MaxAttempts: 1,
	}
}

// balance is the choice of Java's producers. A topic that has no partition yet
// would make kafka-go's divide by zero.
func balance(m kafkago.Message, partitions ...int) int {
	if len(partitions) == 0 {
		return 0
	}
	return kafkago.Murmur2Balancer{}.Balance(m, partitions...)
}

// Produce writes keys, values and headers, and waits until every in-sync replica
// has them. It returns for each record why it is not known to be written, and nil
// for one that is. It makes one attempt, except that records which are refused as
// a batch are tried again alone.
//
// It takes about Linger and one answer of Kafka; each batch of a partition may
// take up to Timeout. It returns as soon as ctx ends; what is in flight then may
// still be written although an error is returned for it.
func (p *Producer) Produce(ctx context.Context, records []contactsync.Record) []error {
	failed := make([]error, len(records))
	var together, alone []int
	for i, r := range records {
		switch size := RecordSize(r); {
		case size <= p.batchBytes:
			together = append(together, i)
		case size <= maxRequestBytes:
			alone = append(alone, i)
		default:
			failed[i] = fmt.Errorf("%w: %w: %d bytes do not fit into a request", ErrRefused, ErrTooLarge, size)
		}
	}
	write(ctx, p.shared, records, together, failed)
	// A broker refuses a batch as a whole: alone, the good ones pass.
	for _, i := range together {
		if errors.Is(failed[i], ErrRefused) {
			alone = append(alone, i)
		}
	}
	write(ctx, p.single, records, alone, failed)
	for _, err := range failed {
		_ = p.client.renewal.note(err)
	}
	return failed
}

// write sends the records at these indexes and sets why each has failed.
func write(ctx context.Context, to *kafkago.Writer, records []contactsync.Record, at []int, failed []error) {
	if len(at) == 0 {
		return
	}
	err := ctx.Err() // kafka-go would send first and look then
	if err == nil {
		batch := make([]kafkago.Message, len(at))
		for n, i := range at {
			batch[n] = messageOf(records[i])
		}
		err = to.WriteMessages(ctx, batch...)
	}
	each, partial := errors.AsType[kafkago.WriteErrors](err)
	for n, i := range at {
		failed[i] = writeError(err) // nothing is known of any: the topic is missing, or ctx ended
		if partial {
			failed[i] = writeError(each[n])
		}
	}
}

func messageOf(r contactsync.Record) kafkago.Message {
	m := kafkago.Message{Key: r.Key, Value: r.Value, Headers: make([]kafkago.Header, len(r.Headers))}
	for i, h := range r.Headers {
		m.Headers[i] = kafkago.Header(h)
	}
	return m
}

// Close waits for what is in flight, at most about Timeout, and ends the producer's
// goroutines. Produce fails afterwards. The client stays open.
func (p *Producer) Close() error {
	return errors.Join(p.shared.Close(), p.single.Close())
}
