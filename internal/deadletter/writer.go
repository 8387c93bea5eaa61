package deadletter

import (
	"context"
	"errors"
	"log/slog"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
)

// maxRequestBytes is as large as a message may be that is offered to the topic: a
// broker cuts the connection at socket.request.max.bytes, 100 MiB by default,
// without saying why.
const maxRequestBytes = 90 << 20

// Deps are what the writer works with.
type Deps struct {
	Transport kafkago.RoundTripper
	Brokers   []string // host:port
	Log       *slog.Logger
	Metrics   *metrics.DeadLetter
	Version   string // of the service, for the header; may be empty
}

// Writer writes letters to the dead-letter topic. It is safe for concurrent use.
type Writer struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics.DeadLetter
	version string

	shared *kafkago.Writer // many messages to a request
	single *kafkago.Writer // one message to a request, so that none fails for its neighbours
}

// New returns a writer to the topic of cfg. It connects when it first writes.
func New(cfg Config, deps Deps) *Writer {
	return &Writer{
		cfg: cfg, log: deps.Log, metrics: deps.Metrics, version: deps.Version,
		shared: newKafkaWriter(cfg, deps, 500, int64(cfg.BatchBytes)),
		single: newKafkaWriter(cfg, deps, 1, maxRequestBytes),
	}
}

// newKafkaWriter sets what kafka-go leaves unsafe: a Writer literal asks for no
// acknowledgement at all.
func newKafkaWriter(cfg Config, deps Deps, batchSize int, batchBytes int64) *kafkago.Writer {
	return &kafkago.Writer{
		Addr:         kafkago.TCP(deps.Brokers...),
		Topic:        cfg.Topic,
		Transport:    deps.Transport,
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

// Publish writes letters and waits until every in-sync replica has them. It
// returns the letters that are not known to be written, in their order, with the
// reasons; neither is set when all are. Call it again with those: it makes one
// attempt, but for letters that are refused for what they are, which are tried
// alone and, where they are too large, as an envelope.
//
// It takes about Linger and one answer of Kafka; each batch of a partition may
// take up to Timeout. When ctx ends it returns at once. What is on its way then
// may still be written although it is returned.
func (w *Writer) Publish(ctx context.Context, letters []contactsync.DeadLetter) (unsent []contactsync.DeadLetter, err error) {
	failed := make([]error, len(letters)) // by letter; nil once it is written
	var together, alone, large []int
	records := make([]contactsync.Record, len(letters))
	for i, l := range letters {
		records[i] = w.whole(l)
		switch size := kafka.RecordSize(records[i]); {
		case size <= int(w.cfg.BatchBytes):
			together = append(together, i)
		case size <= maxRequestBytes:
			alone = append(alone, i)
		default:
			large = append(large, i)
		}
	}
	w.write(ctx, w.shared, records, together, failed)

	// A broker refuses a batch as a whole: alone, the good ones pass.
	alone = append(alone, pick(together, failed, kafka.Refused)...)
	w.write(ctx, w.single, records, alone, failed)

	large = append(large, pick(alone, failed, kafka.TooLarge)...)
	w.writeEnvelopes(ctx, letters, large, records, failed)

	var reasons []error
	for i, l := range letters {
		if failed[i] != nil {
			unsent = append(unsent, l)
			reasons = append(reasons, failed[i])
		}
	}
	return unsent, w.explain(reasons)
}

// writeEnvelopes writes the letters at these indexes without their records.
func (w *Writer) writeEnvelopes(ctx context.Context, letters []contactsync.DeadLetter, at []int, records []contactsync.Record, failed []error) {
	var ready []int
	for _, i := range at {
		if records[i], failed[i] = w.envelope(letters[i]); failed[i] == nil {
			ready = append(ready, i)
		}
	}
	w.write(ctx, w.single, records, ready, failed)
	for _, i := range ready {
		if failed[i] == nil {
			w.metrics.Truncated.Inc()
			w.log.Warn("dead letter is too large for its topic: an envelope stands for it",
				"position", letters[i].Record.String(), "bytes", len(letters[i].Record.Value))
		}
	}
}

// write sends the records at these indexes and sets what became of each.
func (w *Writer) write(ctx context.Context, to *kafkago.Writer, records []contactsync.Record, at []int, failed []error) {
	if len(at) == 0 {
		return
	}
	if ctx.Err() != nil { // kafka-go would send first and look then
		for _, i := range at {
			failed[i] = ctx.Err()
		}
		return
	}
	batch := make([]kafkago.Message, len(at))
	for n, i := range at {
		batch[n] = messageOf(records[i])
	}
	err := to.WriteMessages(ctx, batch...)
	each, partial := errors.AsType[kafkago.WriteErrors](err)
	for n, i := range at {
		failed[i] = err // nothing is known of any: the topic is missing, or ctx ended
		if partial {
			failed[i] = each[n]
		}
	}
}

func messageOf(rec contactsync.Record) kafkago.Message {
	m := kafkago.Message{Key: rec.Key, Value: rec.Value, Headers: make([]kafkago.Header, len(rec.Headers))}
	for i, h := range rec.Headers {
		m.Headers[i] = kafkago.Header(h)
	}
	return m
}

// pick returns the indexes whose error is of a kind.
func pick(at []int, failed []error, of func(error) bool) []int {
	var picked []int
	for _, i := range at {
		if failed[i] != nil && of(failed[i]) {
			picked = append(picked, i)
		}
	}
	return picked
}

// Close waits for what is on its way, at most about Timeout, and ends the
// writer's goroutines. Publish fails afterwards. The transport stays open: it
// belongs to the caller.
func (w *Writer) Close() error {
	return errors.Join(w.shared.Close(), w.single.Close())
}
