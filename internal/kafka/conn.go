package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// idleTimeout closes connections that nothing uses. It is below the ten minutes
// after which brokers do so by default, and below what most firewalls keep.
const idleTimeout = time.Minute

// Conn connects to one Kafka cluster. It is safe for concurrent use.
type Conn struct {
	cfg       Config
	log       *slog.Logger
	transport *kafkago.Transport
	cancel    context.CancelFunc

	mu sync.Mutex
	// guarded by mu
	sockets map[*socket]struct{}
	closed  bool
}

// New returns a connection to the cluster that cfg names; nothing is dialed yet.
// It reads each file once, so that a missing or broken one is found at the start
// and not by a connection that keeps failing.
//
// The transport keeps the layout of the given topics only; of all topics of the
// cluster where none is given, which a cluster of thousands answers with
// megabytes each second. A topic that is not among them does not exist for it.
func New(cfg Config, log *slog.Logger, topics ...string) (*Conn, error) {
	if _, err := cfg.TLS.load(); err != nil {
		return nil, fmt.Errorf("connect to kafka: %w", err)
	}
	if m := cfg.SASL.mechanism(); m != nil {
		if _, _, err := m.Start(context.Background()); err != nil {
			return nil, fmt.Errorf("connect to kafka: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Conn{cfg: cfg, log: log, cancel: cancel, sockets: map[*socket]struct{}{}}
	c.transport = c.newTransport(ctx, topics)
	return c, nil
}

// newTransport returns a transport whose goroutines end with ctx.
func (c *Conn) newTransport(ctx context.Context, topics []string) *kafkago.Transport {
	t := &kafkago.Transport{
		Dial:           c.dial,
		DialTimeout:    c.cfg.DialTimeout,
		IdleTimeout:    idleTimeout,
		MetadataTTL:    c.cfg.MetadataTTL,
		MetadataTopics: topics,
		ClientID:       c.cfg.ClientID,
		Context:        ctx,
	}
	if m := c.cfg.SASL.mechanism(); m != nil {
		t.SASL = m
	}
	return t
}

// Dialer returns a dialer for kafkago.ConsumerGroup. TLS is part of its dial
// function; its TLS field stays nil.
func (c *Conn) Dialer() *kafkago.Dialer {
	d := &kafkago.Dialer{
		ClientID: c.cfg.ClientID,
		DialFunc: c.dial,
		Timeout:  c.cfg.DialTimeout,
	}
	if m := c.cfg.SASL.mechanism(); m != nil {
		d.SASLMechanism = m
	}
	return d
}

// Transport returns the one transport that every client and writer shares.
func (c *Conn) Transport() *kafkago.Transport { return c.transport }

// Client returns a client on the shared transport. Each of its requests is
// bounded by the request time-out.
func (c *Conn) Client() *kafkago.Client {
	return &kafkago.Client{Addr: c.addr(), Timeout: c.cfg.RequestTimeout, Transport: c.transport}
}

func (c *Conn) addr() net.Addr { return kafkago.TCP(c.cfg.Brokers...) }

// Close closes every connection that was made through c, those in use included:
// their requests fail. So it comes last, after the readers, the writers and the
// group. No new connection is made afterwards. It may be called again.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closed = true
	open := c.sockets
	c.sockets = map[*socket]struct{}{}
	c.mu.Unlock()

	c.cancel()
	c.transport.CloseIdleConnections()
	// A connection in use would otherwise stay until its request is answered.
	for s := range open {
		_ = s.Conn.Close()
	}
}
