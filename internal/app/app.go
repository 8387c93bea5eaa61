package app

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/admin"
	"github.com/contactsync/contactsync/internal/config"
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
	// The wraps put something between two parts. Only tests and the lab set them,
	// to plant the faults that the checker must find.
	WrapSender    func(batcher.Sender) batcher.Sender
	WrapPublisher func(batcher.Publisher) batcher.Publisher
	WrapAcker     func(batcher.Acker) batcher.Acker
}

// App is the service.
type App struct {
	cfg      config.Config
	version  string
	log      *slog.Logger
	kafka    *kafka.Conn
	upstream *upstream.Client
	letters  *deadletter.Writer
	batcher  *batcher.Batcher
	consumer *consumer.Consumer
	admin    *admin.Server

	stopping atomic.Bool
}

// ErrForced says that the stop took longer than shutdown.timeout and was cut short.
var ErrForced = errors.New("the stop took too long and was cut short: what was on its way is sent again by the next owner")

// New wires the service, in the order of what needs what. It opens the admin
// port and reads the credentials, so that a fault of either stops the start.
func New(ctx context.Context, cfg config.Config, o Options) (*App, error) {
	a := &App{cfg: cfg, version: o.Version, log: o.Log}
	m := metrics.New(o.Registry)
	var err error
	kafka.LimitDecompression(int64(cfg.Consumer.MaxBatchBytes))
	if a.kafka, err = kafka.New(cfg.Kafka, o.Log, append(slices.Clone(cfg.Consumer.Topics), cfg.DeadLetter.Topic)...); err != nil {
		return nil, err
	}
	a.upstream, err = upstream.New(cfg.Upstream, upstream.Deps{Log: o.Log, Metrics: &m.Upstream, Version: o.Version})
	if err != nil {
		a.close()
		return nil, err
	}
	a.letters = deadletter.New(cfg.DeadLetter, deadletter.Deps{
		Transport: a.kafka.Transport(), Brokers: cfg.Kafka.Brokers, Log: o.Log, Metrics: &m.DeadLetter, Version: o.Version,
	})
	ledgers := consumer.NewLedgers()
	deps := batcher.Deps{
		Sender: a.upstream, Publisher: a.letters, Acker: ledgers,
		Gates: func(account string) (batcher.Gate, bool) { return a.upstream.Gate(account) },
		Log:   o.Log, Metrics: &m.Batcher, DeadLetters: &m.DeadLetter, Seed: rand.Uint64(),
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
	decoder, err := event.NewDecoder(cfg.Event, a.upstream.Route)
	if err != nil {
		a.close()
		return nil, err
	}
	a.consumer = consumer.New(cfg.Consumer, consumer.Deps{
		Dialer: a.kafka.Dialer(), Transport: a.kafka.Transport(), Brokers: cfg.Kafka.Brokers,
		Ledgers: ledgers, Sink: a.batcher, Decoder: decoder,
		OnAssign:       func(owned, all int) { a.upstream.SetShare(time.Now(), owned, all) },
		RequestTimeout: cfg.Kafka.RequestTimeout, Log: o.Log, Metrics: &m.Consumer,
	})
	a.admin, err = admin.Listen(ctx, cfg.Admin.Listen, admin.Deps{Gatherer: o.Registry, Live: a.Live, Ready: a.Ready, Status: a.status, Log: o.Log})
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// Addr is the address of the admin pages.
func (a *App) Addr() string { return a.admin.Addr() }

// Live returns why a restart would help, and the empty string while all is well.
func (a *App) Live() string {
	now, after := time.Now(), a.cfg.Consumer.StallAfter
	if why := a.batcher.Stuck(now, after); why != "" {
		return why
	}
	return a.consumer.Stuck(now, after)
}

// Ready returns why the service does not do its work, and the empty string while it does.
func (a *App) Ready() string {
	switch {
	case a.stopping.Load():
		return "stopping"
	case !a.consumer.Ready():
		return "no partitions assigned yet, or one waits for an operator: see the log"
	}
	return ""
}

// Run serves until ctx ends or a part cannot go on, and stops in this order:
//
//  1. /readyz turns to not ready
//  2. fetching ends; what may be sent at once is sent, what is on its way
//     finishes within the drain time-out, offsets are committed, the group is left
//  3. the batcher ends, and with it the senders and the writer of dead letters
//  4. connections close
//  5. the admin pages go last, so that a final scrape sees the counters
//
// When that takes longer than shutdown.timeout, ErrForced is returned and the
// rest is left to the process's end; nothing is lost by it.
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
	serving.Go(func() { failed(a.admin.Serve(pages)) })
	working.Go(func() { failed(a.batcher.Run(work)) })
	working.Go(func() { failed(a.upstream.Run(work)) })
	consuming.Go(func() { failed(a.consumer.Run(poll)) })
	working.Go(func() { a.checkLetters(work) })
	a.log.Info("started", "admin", a.Addr(), "group", a.cfg.Consumer.Group, "topics", a.cfg.Consumer.Topics)

	<-poll.Done()
	a.log.Info("stopping", "cause", context.Cause(poll), "timeout", a.cfg.Shutdown.Timeout)
	stopped := make(chan struct{})
	go func() {
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

// checkLetters tells at the start that there is no topic for dead letters. The
// service goes on: only what would be set aside, and the offsets behind it, wait.
func (a *App) checkLetters(ctx context.Context) {
	why := ""
	for answers := 0; answers < 4; { // a topic that was made a moment ago may not be known everywhere
		now, err := lettersTopic(ctx, a.kafka, a.cfg.DeadLetter.Topic)
		switch {
		case err != nil: // the consumer tells of brokers that do not answer
		case now == "":
			return
		default:
			why = now
			answers++
		}
		if !kafka.Sleep(ctx, time.Second) {
			return
		}
	}
	a.log.Error("deadletter.topic cannot be used: events that have to be set aside wait for it, and so do the offsets behind them",
		"topic", a.cfg.DeadLetter.Topic, "why", why)
}

// close closes the connections that are open.
func (a *App) close() {
	if a.letters != nil {
		if err := a.letters.Close(); err != nil {
			a.log.Warn("the writer of dead letters was not closed cleanly", "err", err)
		}
	}
	if a.upstream != nil {
		if err := a.upstream.Close(); err != nil {
			a.log.Warn("connections to the API were not closed cleanly", "err", err)
		}
	}
	if a.kafka != nil {
		a.kafka.Close()
	}
}
