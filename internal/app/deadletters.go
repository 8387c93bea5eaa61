package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/replay"
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
	client, err := kafka.New(cfg.Kafka, log, append(slices.Clone(cfg.Consumer.Topics), cfg.DeadLetter.Topic)...)
	if err != nil {
		return nil, err
	}
	client.LimitBatches(cfg.Consumer.MaxBatchBytes)
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

// Read returns the selected dead letters; see deadletter.Read.
func (d *DeadLetters) Read(ctx context.Context, sel deadletter.Selection, withValues bool) (deadletter.Contents, error) {
	return deadletter.Read(ctx, d.kafka, d.cfg.DeadLetter.Topic, sel, withValues)
}

// Replayer returns a run that replays dead letters; onOutcome may be nil.
func (d *DeadLetters) Replayer(o replay.Options, onOutcome func(replay.Outcome)) (*replay.Replayer, error) {
	decoder, err := event.NewDecoder(d.cfg.Event, nil)
	if err != nil {
		return nil, err
	}
	return replay.New(replay.Deps{
		Log: d.kafka, Topics: d.cfg.Consumer.Topics, Decoder: decoder,
		Route: upstream.NewRouter(d.cfg.Upstream.Accounts).Route, Logger: d.log, OnOutcome: onOutcome,
	}, o), nil
}

// Close closes the connections to Kafka.
func (d *DeadLetters) Close() { d.kafka.Close() }
