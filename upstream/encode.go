package upstream

import (
	"errors"
	"io"
	"net/url"
	"sync"

	"github.com/contactsync/contactsync"
)

const (
	pathBefore = "/agentassist/api/v1/public/"
	pathAfter  = "/contacts/bulk-update"
	// keptBuffer bounds a buffer that is kept for the next request; one large
	// batch or answer must not hold its memory for ever (I8).
	keptBuffer = 1 << 20
)

// target returns the URL of a stream on a host. Stream ids come from events: one
// that could lead to another path is refused, and the escaping after that
// must not change it (I12).
func target(base *url.URL, stream string) (*url.URL, bool) {
	if !contactsync.IsName(stream) {
		return nil, false
	}
	u := *base
	u.Path = pathBefore + stream + pathAfter
	return &u, u.EscapedPath() == pathBefore+url.PathEscape(stream)+pathAfter
}

// bodies hands out request bodies over buffers that are used again.
type bodies struct{ pool sync.Pool }

// encode writes the rows as one array, each byte as it is.
func (p *bodies) encode(rows []contactsync.Row) *body {
	b := &body{owner: p}
	if buf, ok := p.pool.Get().(*[]byte); ok {
		b.data = (*buf)[:0]
	}
	b.data = append(b.data, '[')
	for i := range rows {
		if i > 0 {
			b.data = append(b.data, ',')
		}
		b.data = append(b.data, rows[i].Body...)
	}
	b.data = append(b.data, ']')
	return b
}

// body is a request's body that can be read once. It is no type that net/http
// knows how to rewind, so a request that has begun is never sent again beneath us.
// The transport may still read after the round trip has ended, from a goroutine
// of its own, so the buffer goes back only when the transport closes the body.
type body struct {
	owner *bodies

	mu      sync.Mutex // guards what follows
	data    []byte
	read    int
	started bool
	closed  bool
}

var errBodyClosed = errors.New("request body is closed")

// Read hands out the next bytes.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return 0, errBodyClosed
	case b.read == len(b.data):
		return 0, io.EOF
	}
	b.started = true
	n := copy(p, b.data[b.read:])
	b.read += n
	return n, nil
}

// Close gives the buffer back. It may be called more than once.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		if cap(b.data) <= keptBuffer {
			data := b.data
			b.owner.pool.Put(&data)
		}
		b.data = nil
	}
	return nil
}

// sent tells whether any byte was handed to a connection: from then on the API
// may have got the request.
func (b *body) sent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.started
}

// size is how many bytes there are to send.
func (b *body) size() int { return len(b.data) }
