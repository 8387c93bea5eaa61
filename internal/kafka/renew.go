package kafka

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync/internal/kafka/group"
)

const (
	// filesInterval is how often the files of certificates, keys and the password are
	// read again. Reading them is cheap, and sees every way of replacing a file.
	filesInterval = 5 * time.Second
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
	cfg     Config
	log     *slog.Logger
	try     func(context.Context) error // makes a connection and closes it
	refused atomic.Bool                 // Kafka has refused something since the last time

	// Owned by the goroutine of run.
	files [sha256.Size]byte // of the connections
	at    time.Time         // when they were renewed last
	tried time.Time
	fault string // why the files could not be read when they were looked at last

	mu         sync.Mutex
	transports map[*kafkago.Transport]struct{} // guarded by mu
}

func newRenewal(cfg Config, log *slog.Logger, try func(context.Context) error) *renewal {
	return &renewal{cfg: cfg, log: log, try: try, at: time.Now(), transports: map[*kafkago.Transport]struct{}{}}
}

// run renews the connections until ctx ends.
func (r *renewal) run(ctx context.Context) {
	for Sleep(ctx, filesInterval) {
		r.check(ctx, time.Now())
	}
}

// check renews the connections where the files have changed, Kafka has refused something,
// or they are too old. It tries a new connection before: those that work are not given up
// for others that would not come up.
func (r *renewal) check(ctx context.Context, now time.Time) {
	files, err := r.cfg.credentials()
	if err != nil { // perhaps in the middle of being replaced
		if fault := err.Error(); fault != r.fault {
			r.fault = fault
			r.log.Warn("the files to connect to kafka with cannot be used: open connections are kept", "err", err)
		}
		return
	}
	r.fault = ""
	var cause string
	switch {
	case files != r.files:
		cause = "files"
	case r.refused.Load() && now.Sub(r.at) >= refusalPause:
		cause = "authorization"
	case now.Sub(r.at) >= r.cfg.ConnectionMaxAge:
		cause = "age"
	default:
		return
	}
	if now.Sub(r.tried) < renewalPause {
		return
	}
	r.tried = now
	if err := r.try(ctx); err != nil {
		if ctx.Err() == nil {
			r.log.Warn("connections to kafka are to be renewed, but a new one does not come up: open ones are kept", "cause", cause, "err", err)
		}
		return
	}
	r.files, r.at = files, now
	r.refused.Store(false)
	r.renew()
	r.log.Info("connections to kafka renewed", "cause", cause)
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
	if errors.Is(err, ErrDenied) || errors.Is(err, ErrNoTopic) || code.Forbidden() {
		r.refused.Store(true)
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

// credentials returns a digest of the files that connections are made with. It returns
// an error where one cannot be used as it is.
func (c Config) credentials() (digest [sha256.Size]byte, err error) {
	if _, err := c.TLS.load(); err != nil {
		return digest, err
	}
	var names []string
	if c.TLS.Enabled {
		names = append(names, c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile)
	}
	if m := c.SASL.mechanism(); m != nil {
		if _, _, err := m.Start(context.Background()); err != nil {
			return digest, err
		}
		names = append(names, c.SASL.PasswordFile)
	}
	h := sha256.New()
	for _, name := range names {
		if name == "" {
			continue
		}
		content, err := readFile(name)
		if err != nil {
			return digest, err
		}
		_, _ = fmt.Fprintf(h, "%d ", len(content)) // a hash takes everything
		_, _ = h.Write(content)
	}
	h.Sum(digest[:0])
	return digest, nil
}
