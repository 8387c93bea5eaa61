package admin

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections bounds how many connections a server has open, and with them its goroutines
// and descriptors. When there are too many, the one that has gone longest without a request
// is closed for the new one, and while all are being answered the one whose answer takes
// longest: answers take milliseconds, unless the client sends no body or takes no answer. A
// limit that has new ones wait instead lets idle ones keep everybody out.
type connections struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]*connection
}

type connection struct {
	answering bool      // a page is being made for it
	since     time.Time // it was accepted, or its last answer began or ended
}

func newConnections(most int) *connections {
	return &connections{most: most, open: map[net.Conn]*connection{}}
}

// connKey is the context key of a request's connection.
type connKey struct{}

// bound has server keep to the limit. Its handler must be in place.
func (c *connections) bound(server *http.Server) {
	server.ConnState = c.changed
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	pages := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(net.Conn)
		c.answers(conn, true)
		defer c.answers(conn, false)
		pages.ServeHTTP(w, r)
	})
}

func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = &connection{since: time.Now()}
		if len(c.open) > c.most {
			cut(c.oldest(conn))
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	case http.StateActive, http.StateIdle: // a first byte is no request yet
	}
}

// oldest returns the connection to close, and forgets it: the server reports the end later,
// and meanwhile the next one must not be closed in its place.
func (c *connections) oldest(added net.Conn) net.Conn {
	var first net.Conn
	for conn, is := range c.open {
		if conn == added {
			continue
		}
		if first == nil || is.before(c.open[first]) {
			first = conn
		}
	}
	delete(c.open, first)
	return first
}

func (c *connection) before(o *connection) bool {
	if c.answering != o.answering {
		return o.answering
	}
	return c.since.Before(o.since)
}

// answers notes that the answer to a connection's request begins or has ended.
func (c *connections) answers(conn net.Conn, begins bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is := c.open[conn]; is != nil {
		is.answering, is.since = begins, time.Now()
	}
}

// cut closes a connection without a farewell, which could block on a peer that does not read.
func cut(conn net.Conn) {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	_ = conn.Close() // an error means that it is closed already
}
