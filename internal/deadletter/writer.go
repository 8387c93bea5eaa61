package deadletter

import (
	"context"
	"errors"
	"log/slog"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
)

// Deps are what the writer works with.
type Deps struct {
	Kafka   *kafka.Client
	Log     *slog.Logger
	Metrics *metrics.DeadLetter
	Version string // of the service, for the header; may be empty

	Commands contactsync.Commands // that the log and the status name
}

// Writer writes to the dead-letter topic. It is safe for concurrent use.
type Writer struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics.DeadLetter
	version  string
	commands contactsync.Commands
	producer *kafka.Producer
	recent   recent
}

// New returns a writer to the topic of cfg. It connects when it first writes.
func New(cfg Config, deps Deps) *Writer {
	return &Writer{
		cfg: cfg, log: deps.Log, metrics: deps.Metrics, version: deps.Version, commands: deps.Commands,
		producer: deps.Kafka.NewProducer(kafka.ProducerConfig{
			Topic: cfg.Topic, Linger: cfg.Linger, BatchBytes: cfg.BatchBytes, Timeout: cfg.Timeout,
		}),
	}
}

// Publish writes dead letters and waits until every in-sync replica has them. It
// returns those that are not known to be written, in their order, with the reasons;
// neither is set when all are. Call it again with those: it makes one attempt,
// except that a dead letter which is refused for what it is gets tried alone, and
// as an envelope where it is too large.
//
// It takes about Linger and one answer of Kafka; each batch of a partition may
// take up to Timeout. It returns as soon as ctx ends; what is in flight then may
// still be written although it is returned.
func (w *Writer) Publish(ctx context.Context, deadLetters []contactsync.DeadLetter) (pending []contactsync.DeadLetter, err error) {
	records := make([]contactsync.Record, len(deadLetters))
	for i, l := range deadLetters {
		records[i] = w.whole(l)
	}
	failed := w.producer.Produce(ctx, records)
	w.writeEnvelopes(ctx, deadLetters, failed)

	var reasons []error
	for i, l := range deadLetters {
		if failed[i] != nil {
			pending = append(pending, l)
			reasons = append(reasons, failed[i])
			continue
		}
		w.recent.add(l, w.commands.ShowDeadLetter(l.Record.Position))
	}
	return pending, w.explain(reasons)
}

// writeEnvelopes writes those that were too large without their records.
func (w *Writer) writeEnvelopes(ctx context.Context, deadLetters []contactsync.DeadLetter, failed []error) {
	var envelopes []contactsync.Record
	var of []int
	for i, l := range deadLetters {
		if !errors.Is(failed[i], kafka.ErrTooLarge) {
			continue
		}
		rec, err := w.envelope(l)
		if err != nil {
			failed[i] = err
			continue
		}
		envelopes, of = append(envelopes, rec), append(of, i)
	}
	if len(envelopes) == 0 {
		return
	}
	for n, err := range w.producer.Produce(ctx, envelopes) {
		i := of[n]
		if failed[i] = err; err == nil {
			w.metrics.Truncated.Inc()
			w.log.Warn("dead letter is too large for its topic: an envelope was written in its place",
				"bytes", len(deadLetters[i].Record.Value), "command", w.commands.ShowDeadLetter(deadLetters[i].Record.Position))
		}
	}
}

// Close waits for what is in flight, at most about Timeout, and ends the writer's
// goroutines. Publish fails afterwards. The Kafka client stays open: it belongs to
// the caller.
func (w *Writer) Close() error { return w.producer.Close() }
