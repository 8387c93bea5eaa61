package app

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/admin"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/crash"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/metrics"
	"github.com/contactsync/contactsync/upstream"
)

// Options are what does not come from the settings.
type Options struct {
	Version  string
	Log      *slog.Logger
	Registry *prometheus.Registry
	Settings []config.Value       // as the status page shows them; may be empty
	Commands contactsync.Commands // that the log and the status name
	// The wraps intercept calls between two parts. Only tests and the lab set them, to
	// plant bugs.
	WrapSender    func(batcher.Sender) batcher.Sender
	WrapPublisher func(batcher.Publisher) batcher.Publisher
	WrapAcker     func(batcher.Acker) batcher.Acker
}

// App is the service. New wires it, Run is its life.
type App struct {
	cfg         config.Config
	version     string
	log         *slog.Logger
	started     time.Time
	settings    []config.Value
	metrics     *metrics.Set
	kafka       *kafka.Client
	upstream    *upstream.Client
	deadLetters *deadletter.Writer
	batcher     *batcher.Batcher
	consumer    *consumer.Consumer
	admin       *admin.Server

	stopping atomic.Bool
}

// ErrForced reports a stop that was cut short because it took longer than shutdown.timeout.
var ErrForced = errors.New("the stop took too long and was cut short: requests in flight are sent again by the next owner")

// New wires the service in the order of its dependencies. It opens the admin port
// and reads the credentials, so that an error of either prevents the start.
func New(ctx context.Context, cfg config.Config, o Options) (*App, error) {
	a := &App{cfg: cfg, version: o.Version, log: o.Log, started: time.Now(), settings: o.Settings, metrics: metrics.New(o.Registry)}
	if err := a.wire(ctx, o); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *App) wire(ctx context.Context, o Options) (err error) {
	cfg, m := a.cfg, a.metrics
	if a.kafka, err = kafka.New(cfg.Kafka, o.Log, append(cfg.Consumer.TopicNames(), cfg.DeadLetter.Topic)...); err != nil {
		return err
	}
	a.kafka.LimitBatches(cfg.Consumer.MaxBatchBytes)
	for _, setting := range cfg.Kafka.Files() {
		m.Consumer.FilesRefused.WithLabelValues(setting) // starts at zero, so that increase() sees the first
	}
	a.kafka.OnUnusableFiles(func(setting string) { m.Consumer.FilesRefused.WithLabelValues(setting).Inc() })
	if a.upstream, err = upstream.New(cfg.Upstream, upstream.Deps{
		Log: o.Log, Metrics: &m.Upstream, Version: o.Version, Renewed: func(account, app string) { a.batcher.CredentialRenewed(account, app) },
	}); err != nil {
		return err
	}
	decoder, err := event.NewDecoder(cfg.Event, a.upstream.Route)
	if err != nil {
		return err
	}
	a.deadLetters = deadletter.New(cfg.DeadLetter, deadletter.Deps{
		Kafka: a.kafka, Log: o.Log, Metrics: &m.DeadLetter, Version: o.Version, Commands: o.Commands,
	})
	a.consumer = consumer.New(cfg.Consumer, consumer.Deps{
		Kafka: a.kafka, Group: a.kafka.NewGroup(cfg.Consumer.Membership()), Decoder: decoder,
		OnAssign: func(owned, all int) { a.upstream.SetShare(time.Now(), owned, all) },
		Log:      o.Log, Metrics: &m.Consumer, Commands: o.Commands,
	})
	deps := batcher.Deps{
		Sender: a.upstream, Publisher: a.deadLetters, Acker: a.consumer,
		Credential:     a.upstream.Credential,
		Gates:          func(account string) (batcher.Gate, bool) { return a.upstream.Gate(account) },
		MayStart:       func(now time.Time) bool { return !now.Add(cfg.Upstream.Timeout).After(a.consumer.LeaseUntil()) },
		NotBefore:      a.consumer.NotBefore,
		RequestTimeout: cfg.Upstream.Timeout,
		Commands:       o.Commands,
		Log:            o.Log, Metrics: &m.Batcher, DeadLetters: &m.DeadLetter, Seed: rand.Uint64(),
	}
	if o.WrapSender != nil {
		deps.Sender = o.WrapSender(deps.Sender)
	}
	if o.WrapPublisher != nil {
		deps.Publisher = o.WrapPublisher(deps.Publisher)
	}
	if o.WrapAcker != nil {
		deps.Acker = o.WrapAcker(deps.Acker)
	}
	a.batcher = batcher.New(cfg.Batcher, deps)
	a.admin, err = admin.Listen(ctx, cfg.Admin, admin.Deps{
		Gatherer: o.Registry, Stuck: a.Stuck, NotReady: a.NotReady, Status: a.status, Answers: a.answers, Answer: a.answer, Explain: a.explain,
		SetAside: a.consumer.SetAside, ResumeFeed: a.consumer.ResumeFeed,
		ReleaseHold: a.batcher.ReleaseHold, SetHoldAside: a.batcher.SetHoldAside, Log: o.Log,
	})
	return err
}

// Addr returns the address of the admin pages.
func (a *App) Addr() string { return a.admin.Addr() }

// ProbeAddr returns the address of the probes alone, and the empty string without one.
func (a *App) ProbeAddr() string { return a.admin.ProbeAddr() }

// Stuck returns why a restart would help, or the empty string if it would not.
func (a *App) Stuck() string {
	now, after := time.Now(), a.cfg.Consumer.StallAfter
	if reason := a.batcher.Stuck(now, after); reason != "" {
		return reason
	}
	return a.consumer.Stuck(now, after)
}

// NotReady returns why the service does not process events, or the empty string if it does.
func (a *App) NotReady() string {
	if a.stopping.Load() {
		return "stopping"
	}
	return a.consumer.NotReady()
}

// Run serves until ctx ends or a part fails, and stops in this order:
//
//  1. /readyz reports not ready
//  2. fetching ends; nothing more is sent, requests in flight finish
//     within the drain time-out, offsets are committed, the group is left
//  3. the batcher ends, and with it the senders and the writer of dead letters
//  4. connections close
//  5. the admin pages close, so that a final scrape sees the counters
//
// If that takes longer than shutdown.timeout, Run returns ErrForced and leaves the
// rest to the end of the process; nothing is lost by it.
func (a *App) Run(ctx context.Context) error {
	poll, stopPoll := context.WithCancelCause(ctx)
	defer stopPoll(nil)
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	pages, stopPages := context.WithCancel(context.WithoutCancel(ctx))
	var consuming, working, serving sync.WaitGroup
	var first atomic.Pointer[error]
	failed := func(err error) {
		if err != nil {
			first.CompareAndSwap(nil, &err)
			stopPoll(err)
		}
	}
	serving.Go(func() { defer crash.Exit(); failed(a.admin.Serve(pages)) })
	working.Go(func() { defer crash.Exit(); failed(a.batcher.Run(work)) })
	working.Go(func() { defer crash.Exit(); a.upstream.Run(work) })
	consuming.Go(func() { defer crash.Exit(); failed(a.consumer.Run(poll, a.batcher)) })
	working.Go(func() { defer crash.Exit(); a.checkTopics(work) })
	a.log.Info("started", "admin", a.Addr(), "probes", a.ProbeAddr(), "group", a.cfg.Consumer.Group, "topics", a.cfg.Consumer.Topics)

	<-poll.Done()
	a.log.Info("stopping", "cause", context.Cause(poll), "timeout", a.cfg.Shutdown.Timeout)
	stopped := make(chan struct{})
	go func() {
		defer crash.Exit()
		defer close(stopped)
		a.stopping.Store(true)
		consuming.Wait()
		stopWork()
		working.Wait()
		a.close()
		stopPages()
		serving.Wait()
	}()
	t := time.NewTimer(a.cfg.Shutdown.Timeout)
	defer t.Stop()
	select {
	case <-stopped:
	case <-t.C:
		stopWork()
		stopPages()
		failed(ErrForced)
	}
	if err := first.Load(); err != nil {
		return *err
	}
	a.log.Info("stopped")
	return nil
}

// checkTopics logs once that a topic cannot be used that the service writes to. It runs
// without them: only events that have to be set aside, and the offsets behind them, wait
// for the dead-letter topic, and nothing waits for the other one.
func (a *App) checkTopics(ctx context.Context) {
	if why := a.unusable(ctx, a.cfg.DeadLetter.Topic); why != nil {
		a.log.Error("deadletter.topic cannot be used: events that have to be set aside wait for it, and so do the offsets behind them",
			"topic", a.cfg.DeadLetter.Topic, "why", topicProblem(why))
	}
	if topic := a.cfg.Consumer.ProgressTopic; topic != "" {
		if why := a.unusable(ctx, topic); why != nil {
			a.log.Warn("consumer.progress_topic cannot be used: what ended and does not fit a commit is sent again after a restart", "topic", topic, "why", topicProblem(why))
		}
	}
}

// unusable returns why a topic cannot be used, once Kafka says so for certain, and nil
// where it can, or ctx has ended.
func (a *App) unusable(ctx context.Context, topic string) error {
	for ctx.Err() == nil {
		_, err := a.kafka.Partitions(ctx, topic)
		if err == nil || errors.Is(err, kafka.ErrNoTopic) || errors.Is(err, kafka.ErrDenied) {
			return err
		}
	}
	return nil
}

// close closes the connections that are open.
func (a *App) close() {
	if a.deadLetters != nil {
		if err := a.deadLetters.Close(); err != nil {
			a.log.Warn("close the writer of dead letters", "err", err)
		}
	}
	if a.upstream != nil {
		a.upstream.Close()
	}
	if a.kafka != nil {
		a.kafka.Close()
	}
}
