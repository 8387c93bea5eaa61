package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/replay"
	"github.com/contactsync/contactsync/metrics"
	"github.com/contactsync/contactsync/upstream"
)

// DeadLetters are an operator's actions on the dead-letter topic, with the settings of
// the service. The service may be running.
type DeadLetters struct {
	cfg   config.Config
	log   *slog.Logger
	kafka *kafka.Client
}

// OpenDeadLetters checks the settings of Kafka. It connects with the first action.
func OpenDeadLetters(cfg config.Config, log *slog.Logger) (*DeadLetters, error) {
	kafka.LimitDecompression(int64(cfg.Consumer.MaxBatchBytes))
	client, err := kafka.New(cfg.Kafka, log, append(slices.Clone(cfg.Consumer.Topics), cfg.DeadLetter.Topic)...)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{cfg: cfg, log: log, kafka: client}, nil
}

// Reach checks the brokers and the dead-letter topic once, so that a wrong password,
// name or address is reported immediately: the other actions retry for minutes.
func (d *DeadLetters) Reach(ctx context.Context) error {
	if err := d.kafka.CheckVersions(ctx); err != nil {
		return err
	}
	topics, err := d.kafka.DescribeTopics(ctx, d.cfg.DeadLetter.Topic)
	for _, t := range topics {
		if problem := topicProblem(t.Err); problem != "" {
			err = fmt.Errorf("deadletter.topic: topic %q %s", t.Name, problem)
		}
	}
	return err
}

// Read returns the selected letters; see deadletter.Read.
func (d *DeadLetters) Read(ctx context.Context, sel deadletter.Selection, withValues bool) (deadletter.Contents, error) {
	return deadletter.Read(ctx, d.kafka, d.cfg.DeadLetter.Topic, sel, withValues)
}

// Replayer returns a run that replays letters.
func (d *DeadLetters) Replayer(o replay.Options, each func(replay.Outcome)) (*replay.Replayer, error) {
	decoder, err := event.NewDecoder(d.cfg.Event, nil)
	if err != nil {
		return nil, err
	}
	return replay.New(replay.Deps{
		Log: d.kafka, Topics: d.cfg.Consumer.Topics, Decode: decoder.Decode,
		Route: upstream.NewRouter(d.cfg.Upstream.Accounts).Route, Logger: d.log, Each: each,
	}, o), nil
}

// API returns what sends letters to the API with a share of each account's
// budget. The budget does not know of the service, which spends its own: together
// they may spend more than the account has, by that share.
func (d *DeadLetters) API(share float64, progress *replay.Progress) (replay.API, error) {
	cfg := d.cfg.Upstream
	cfg.Accounts = slices.Clone(cfg.Accounts)
	for i := range cfg.Accounts {
		cfg.Accounts[i].Budget.Share = upstream.ShareSplit // full would take no share
	}
	client, err := upstream.New(cfg, upstream.Deps{Log: d.log, Metrics: &metrics.New(prometheus.NewRegistry()).Upstream, Version: "replay"})
	if err != nil {
		return replay.API{}, err
	}
	const whole = 10_000
	client.SetShare(time.Now(), max(1, int(share*whole)), whole)
	return replay.API{
		Client: client, Progress: progress, MaxRows: d.cfg.Batcher.MaxRows, MaxBytes: int(d.cfg.Batcher.MaxBytes),
		Attempts: d.cfg.Batcher.RowAttempts, Hold: d.cfg.Batcher.AmbiguousRetryDelay,
	}, nil
}

// Close closes the connections to Kafka.
func (d *DeadLetters) Close() { d.kafka.Close() }
