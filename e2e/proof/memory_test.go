//go:build proof

package proof

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// memory is a network within the process, whose connections a proof breaks.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu      sync.Mutex
	open    map[net.Conn]bool // the client's ends
	dials   int
	refuses bool
	resets  bool             // what a server closes is reset
	forgets bool             // the server closes a connection when a second request comes over it
	cert    *tls.Certificate // of the server; nil: it speaks no TLS
}

// Accept implements net.Listener.
func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.forgets {
			c = &forgetful{Conn: c}
		}
		if m.cert != nil {
			c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*m.cert}, MinVersion: tls.VersionTLS12})
		}
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (m *memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

// Addr implements net.Listener.
func (m *memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "memory"} }

func (m *memory) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	m.mu.Lock()
	refuses := m.refuses
	m.mu.Unlock()
	if refuses {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	ours, theirs := net.Pipe()
	select {
	case m.conns <- theirs:
		c := &memoryConn{ours, m}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.open[c] = true
		m.dials++
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.done:
		return nil, net.ErrClosed
	}
}

// change alters the network, and cuts what is connected.
func (m *memory) change(how func()) {
	m.mu.Lock()
	how()
	open := slices.Collect(maps.Keys(m.open))
	m.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// memoryConn is the client's end of a connection.
type memoryConn struct {
	net.Conn
	m *memory
}

func (c *memoryConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if errors.Is(err, io.EOF) && c.m.resets {
		err = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	return n, err
}

func (c *memoryConn) Close() error {
	c.m.mu.Lock()
	delete(c.m.open, c)
	c.m.mu.Unlock()
	return c.Conn.Close()
}

// forgetful is the server's end of a connection of which it takes one request.
type forgetful struct {
	net.Conn
	answered atomic.Bool
}

func (c *forgetful) Write(p []byte) (int, error) {
	c.answered.Store(true)
	return c.Conn.Write(p)
}

func (c *forgetful) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.answered.Load() {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}
