package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"

	"github.com/contactsync/contactsync/internal/crash"
)

// socket is a connection that Close knows of until it is closed.
type socket struct {
	net.Conn
	owner *Client
	heard atomic.Bool // the broker has said something
	late  atomic.Bool // it has not in time, so the connection was given up
}

// Read notes that the broker has said something.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
		s.heard.Store(true)
	}
	if err != nil && s.late.Load() {
		err = fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded) // nobody else has closed it
	}
	return n, err
}

// giveUp closes a connection whose broker is late.
func (s *socket) giveUp() {
	s.late.Store(true)
	_ = s.Close()
}

// Close closes the connection.
func (s *socket) Close() error {
	s.owner.mu.Lock()
	delete(s.owner.sockets, s)
	s.owner.mu.Unlock()
	return s.Conn.Close()
}

var errHandshake = errors.New("TLS")

// dial connects to one address and makes the connection a TLS one where that is
// on. kafka-go ends ctx when the connection is ready, SASL included, or by its
// deadline when it is not.
func (c *Client) dial(ctx context.Context, as *identity, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: c.cfg.DialTimeout / 3, KeepAlive: 15 * time.Second}
	raw, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: raw, owner: c}
	// A frozen machine accepts connections: it has as long for its first word.
	time.AfterFunc(c.cfg.DialTimeout/3, func() {
		if !s.heard.Load() {
			s.giveUp()
		}
	})
	c.mu.Lock()
	if !c.closed {
		c.sockets[s] = struct{}{}
	}
	closed := c.closed
	c.mu.Unlock()
	if closed {
		_ = raw.Close()
		return nil, fmt.Errorf("dial %s: %w", address, net.ErrClosed)
	}
	// kafka-go sets no deadline while it asks for versions and logs in, and a
	// broker that accepts and stays silent would hold the caller for ever. Only a
	// passed deadline closes the socket: success ends ctx too, by cancellation.
	context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.giveUp()
		}
	})
	if as.tls == nil {
		return s, nil
	}
	settings := as.tls.Clone()
	if settings.ServerName == "" {
		settings.ServerName, _, err = net.SplitHostPort(address)
		if err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
	}
	secure := tls.Client(s, settings)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("%w with %s as %q: %w", errHandshake, address, settings.ServerName, err)
	}
	return secure, nil
}

// anyBroker is the address by which kafka-go is told to connect to whichever broker of the
// settings answers first. Given their list, it would take one that accepts connections
// and answers nothing for as good as any, and wait for it until the dial time-out.
const anyBroker = "any-broker:0"

// hedgeAfter is how long a broker is waited for before the next one is asked as well.
const hedgeAfter = 300 * time.Millisecond

// connect is dial for kafka-go.
func (c *Client) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if address != anyBroker {
		return c.dial(ctx, c.identity.Load(), network, address)
	}
	brokers := slices.Clone(c.cfg.Brokers)
	rand.Shuffle(len(brokers), func(i, j int) { brokers[i], brokers[j] = brokers[j], brokers[i] })
	address, err := firstAnswer(ctx, brokers, func(ctx context.Context, address string) (string, error) {
		return address, ping(ctx, c, network, address)
	})
	if err != nil {
		return nil, err
	}
	return c.dial(ctx, c.identity.Load(), network, address)
}

// ping reports whether a broker answers. The connection is not kept: kafka-go asks for the
// versions by itself, and a broker with logins takes that question once.
func ping(ctx context.Context, c *Client, network, address string) error {
	conn, err := c.dial(ctx, c.identity.Load(), network, address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the answer is in, or the error is
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := protocol.NewConn(conn, c.cfg.ClientID).RoundTrip(&apiversions.Request{}); err != nil {
		return fmt.Errorf("ask broker %s for its protocol versions: %w", address, cmp.Or(context.Cause(ctx), err))
	}
	return nil
}

// firstAnswer asks brokers in turn, each when the one before has failed or has not answered
// for a moment, and returns what the first one says that answers. Its error says of
// each why it does not. Nothing that it has started goes on when it returns.
func firstAnswer[T any](ctx context.Context, brokers []string, ask func(ctx context.Context, address string) (T, error)) (T, error) {
	type answer struct {
		of  int
		is  T
		err error
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(brokers))
	failed := make([]error, len(brokers))
	hedge := time.NewTimer(0)
	defer hedge.Stop()
	for asked, left := 0, len(brokers); left > 0; {
		select {
		case <-hedge.C:
			if asked < len(brokers) {
				i := asked
				asked++
				asking.Go(func() {
					defer crash.Exit()
					is, err := ask(ctx, brokers[i])
					answers <- answer{i, is, err}
				})
				hedge.Reset(hedgeAfter)
			}
		case a := <-answers:
			if a.err == nil {
				return a.is, nil
			}
			failed[a.of] = a.err
			left--
			hedge.Reset(0)
		}
	}
	var none T
	return none, errors.Join(failed...)
}
