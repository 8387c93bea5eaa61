package kafka

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/contactsync/contactsync/internal/crash"
	"github.com/contactsync/contactsync/internal/keyfile"
	"github.com/contactsync/contactsync/internal/setting"
)

// idleTimeout closes connections that nothing uses. It is below the ten minutes
// after which brokers do so by default, and below what most firewalls keep.
const idleTimeout = time.Minute

// Client works on one Kafka cluster. It is safe for concurrent use.
type Client struct {
	cfg      Config
	log      *slog.Logger
	addr     net.Addr
	decoding *decoding
	client   *kafkago.Client // on the shared transport; each request is bounded by the request time-out

	identity  atomic.Pointer[identity]
	transport *kafkago.Transport // nil where the caller brought a transport of its own
	renewal   *renewal

	life    context.Context // until Close
	end     context.CancelFunc
	running sync.WaitGroup // what lasts as long, and Close waits for

	mu sync.Mutex
	// guarded by mu
	sockets map[*socket]struct{}
	closed  bool
}

// New returns a client of the cluster that cfg names; nothing is dialed yet.
// It reads each file at once, so that a missing or broken one is found at the start
// and not by a connection that keeps failing. Connections are renewed when a file
// changes, after an authorization error, and at cfg.ConnectionMaxAge.
//
// The client keeps the layout of the given topics only; of all topics of the
// cluster where none is given, which a cluster of thousands answers with
// megabytes each second. A topic that is not among them can be asked for, but neither
// read nor written.
func New(cfg Config, log *slog.Logger, topics ...string) (*Client, error) {
	id, problems := cfg.identity(time.Now())
	if err := joined(problems); err != nil {
		return nil, err
	}
	for _, w := range cfg.Weaknesses() {
		log.Warn("credentials are less secret than they should be", "setting", "kafka."+w.Key, "what", w.Problem)
	}
	c := newClient(cfg, log)
	c.identity.Store(id)
	c.transport = c.newTransport(c.life, topics)
	c.client.Transport = wordless{c.transport}
	c.renewal.add(c.transport)
	c.running.Go(func() { defer crash.Exit(); c.renewal.run(c.life) })
	return c, nil
}

// NewOn returns a client on a transport of the caller's, which Close leaves open.
// It is for tests that put a cluster in memory behind it. A Group of it dials the
// brokers by itself.
func NewOn(transport kafkago.RoundTripper, brokers []string, requestTimeout time.Duration, log *slog.Logger) *Client {
	cfg := DefaultConfig()
	cfg.Brokers, cfg.RequestTimeout = brokers, requestTimeout
	c := newClient(cfg, log)
	c.client.Transport = transport
	return c
}

func newClient(cfg Config, log *slog.Logger) *Client {
	addr := kafkago.TCP(cfg.Brokers...)
	if len(cfg.Brokers) > 1 {
		addr = kafkago.TCP(anyBroker)
	}
	c := &Client{
		cfg: cfg, log: log, addr: addr, decoding: newDecoding(defaultMaxBatch),
		sockets: map[*socket]struct{}{},
		client:  &kafkago.Client{Addr: addr, Timeout: cfg.RequestTimeout},
	}
	c.identity.Store(&identity{})
	c.life, c.end = context.WithCancel(context.Background())
	c.renewal = newRenewal(c)
	return c
}

// newTransport returns a transport whose goroutines end with ctx.
func (c *Client) newTransport(ctx context.Context, topics []string) *kafkago.Transport {
	t := &kafkago.Transport{
		Dial:           c.connect,
		DialTimeout:    c.cfg.DialTimeout,
		IdleTimeout:    idleTimeout,
		MetadataTTL:    c.cfg.MetadataTTL,
		MetadataTopics: topics,
		ClientID:       c.cfg.ClientID,
		Context:        ctx,
	}
	if m := c.cfg.SASL.mechanism(func() string { return c.identity.Load().password }); m != nil {
		t.SASL = m
	}
	return t
}

// dialer connects to one broker, for CheckVersions. TLS is part of its dial
// function; its TLS field stays nil.
func dialer(c *Client, as *identity) *kafkago.Dialer {
	d := &kafkago.Dialer{
		ClientID: c.cfg.ClientID,
		DialFunc: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.dial(ctx, as, network, address)
		},
		Timeout: c.cfg.DialTimeout,
	}
	if m := c.cfg.SASL.mechanism(func() string { return as.password }); m != nil {
		d.SASLMechanism = m
	}
	return d
}

// defaultMaxBatch bounds a record batch where LimitBatches was not called.
const defaultMaxBatch = 64 << 20

// LimitBatches bounds one record batch after decompression, and with it the memory that
// decompression takes in all fetches of the client together. It must be called before the
// first fetch.
func (c *Client) LimitBatches(most setting.Size) { c.decoding = newDecoding(int(most)) }

// Files returns what is known of the files that connections are made with: of certificates, those in use.
func Files(c *Client) []keyfile.Report {
	var ends map[string]time.Time
	if id := c.identity.Load(); id != nil {
		ends = id.ends
	}
	return c.renewal.files.Reports("kafka", ends)
}

// OnUnusableFiles has a function called with the setting of each file that cannot be used, at
// each reading.
func (c *Client) OnUnusableFiles(f func(setting string)) { c.renewal.unusable.Store(&f) }

// RequestTimeout bounds one request and its answer.
func (c *Client) RequestTimeout() time.Duration { return c.cfg.RequestTimeout }

// Close closes every connection that was made through c, those in use included:
// their requests fail. So it comes last, after the readers, the producers and the
// group, and ends what these have left behind. No new connection is made afterwards. It
// may be called again.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	open := c.sockets
	c.sockets = map[*socket]struct{}{}
	c.mu.Unlock()

	c.end()
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	// A connection in use would otherwise stay until its request is answered.
	for s := range open {
		_ = s.Conn.Close()
	}
	c.running.Wait()
}
