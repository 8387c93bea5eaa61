package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync/internal/kafka/group"
	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/setting"
)

const (
	// renewalPause is the least time between two attempts to renew connections.
	renewalPause = 10 * time.Second
	// refusalPause is the least time between two renewals for an authorization error,
	// which most often is a missing right that no new connection brings.
	refusalPause = time.Minute
)

// renewal renews the connections of a client when they are due. A broker decides when a
// connection is made who is behind it, so an open one keeps the identity of a file that
// has been replaced.
type renewal struct {
	cfg      Config
	log      *slog.Logger
	current  *atomic.Pointer[identity]              // that connections are made with
	try      func(context.Context, *identity) error // makes a connection and closes it
	refused  atomic.Pointer[string]                 // what Kafka has refused last for since the last time: why to renew
	unusable atomic.Pointer[func(string)]           // told of each reading of a file that cannot be used
	files    *keyfile.Refused

	// Owned by the goroutine of run.
	at    time.Time // when the connections were renewed last
	tried time.Time

	mu         sync.Mutex
	transports map[*kafkago.Transport]struct{} // guarded by mu
}

func newRenewal(c *Client) *renewal {
	return &renewal{
		cfg: c.cfg, log: c.log, current: &c.identity, files: &keyfile.Refused{}, at: time.Now(), transports: map[*kafkago.Transport]struct{}{},
		try: func(ctx context.Context, as *identity) error { return checkBootstrap(ctx, c, as) },
	}
}

// run renews the connections until ctx ends.
func (r *renewal) run(ctx context.Context) {
	for Sleep(ctx, keyfile.Interval) {
		if now := time.Now(); r.cfg.files().Settled(now) {
			r.check(ctx, now)
		}
	}
}

// check renews the connections where the files have changed, Kafka has refused something,
// or they are too old. It tries a new connection before: those that work are not given up
// for others that would not come up.
func (r *renewal) check(ctx context.Context, now time.Time) {
	id := r.read(now)
	var cause string
	switch {
	case id.digest != r.current.Load().digest:
		cause = "files"
	case r.refused.Load() != nil && now.Sub(r.at) >= refusalPause:
		cause = *r.refused.Load()
	case now.Sub(r.at) >= r.cfg.ConnectionMaxAge:
		cause = "age"
	default:
		return
	}
	if now.Sub(r.tried) < renewalPause {
		return
	}
	r.tried = now
	if err := r.try(ctx, id); err != nil {
		if ctx.Err() == nil {
			r.log.Warn("connections to kafka are to be renewed, but a new one does not come up: open ones are kept", "cause", cause, "err", err)
		}
		return
	}
	r.current.Store(id)
	r.at = now
	r.refused.Store(nil)
	r.renew()
	r.log.Info("connections to kafka renewed", "cause", cause)
}

// read reads the files again. The identity stays as it is where one cannot be used.
func (r *renewal) read(now time.Time) *identity {
	id, problems := r.cfg.identity(now)
	news := r.files.Note(now, "kafka", problems)
	switch err := joined(problems); {
	case err != nil:
		if count := r.unusable.Load(); count != nil {
			for _, p := range problems {
				(*count)("kafka." + p.Key)
			}
		}
		if news {
			r.log.Error("the files to connect to kafka with cannot be used, previous ones stay in use", "err", err)
		}
		return r.current.Load()
	case news:
		r.log.Info("the files to connect to kafka with can be used again")
	}
	return id
}

// joined returns all problems of files as one error.
func joined(problems []setting.Error) error {
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("kafka.%s: %s", p.Key, p.Problem))
	}
	return errors.Join(errs...)
}

// renew has every request from now on use a new connection. Those in use are closed when
// their request is answered, so that none fails.
func (r *renewal) renew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t := range r.transports {
		t.CloseIdleConnections()
	}
}

// note passes an error on, and has the connections renewed where it may come from who is
// behind them. A topic that may not be described seems to be missing.
func (r *renewal) note(err error) error {
	code, _ := errors.AsType[group.Code](err)
	switch {
	case errors.Is(err, ErrDenied) || code.Forbidden():
		r.refused.Store(new("authorization"))
	case errors.Is(err, ErrNoTopic):
		r.refused.Store(new("missing topic"))
	}
	return err
}

// add has a transport's connections renewed with the others until it is removed.
func (r *renewal) add(t *kafkago.Transport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.transports[t] = struct{}{}
}

func (r *renewal) remove(t *kafkago.Transport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.transports, t)
}
