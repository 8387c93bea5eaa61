package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/contactsync/contactsync"
)

const (
	pathPrefix = "/agentassist/api/v1/public/"
	pathSuffix = "/contacts/bulk-update"
	// maxPooledBytes bounds a buffer that is kept for the next request: one large
	// batch or answer must not hold its memory for ever (I8).
	maxPooledBytes = 1 << 20
)

// target returns the URL of a stream on a host. Stream ids come from events, so one
// that could lead to another path is refused, and escaping must not change it (I12).
func target(base *url.URL, stream string) (*url.URL, bool) {
	if !contactsync.IsName(stream) {
		return nil, false
	}
	u := *base
	u.Path = base.Path + pathPrefix + stream + pathSuffix
	return &u, u.EscapedPath() == base.Path+pathPrefix+url.PathEscape(stream)+pathSuffix
}

// request builds the request. Header names are spelled as in the vendor's documentation.
func (c *Client) request(ctx context.Context, u *url.URL, accountID, token string, body *body) *http.Request {
	req := &http.Request{
		Method: http.MethodPut,
		URL:    u,
		Host:   u.Host,
		Header: http.Header{
			"auth":         {token},
			"accountId":    {accountID},
			"Content-Type": {"application/json"},
			"Accept":       {"application/json"},
			// readBody decompresses within bounds.
			"Accept-Encoding": {"gzip"},
			"User-Agent":      {c.agent},
		},
		Body:          body,
		ContentLength: int64(body.size()),
	}
	return req.WithContext(ctx)
}

// bodyPool makes request bodies over reused buffers.
type bodyPool struct{ buffers sync.Pool }

// encode writes the rows as one JSON array, byte for byte. The body cannot be read after
// the deadline.
func (p *bodyPool) encode(rows []contactsync.Row, deadline time.Time) *body {
	b := &body{pool: p, deadline: deadline}
	if buf, ok := p.buffers.Get().(*[]byte); ok {
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

// body is a request body that can be read once: net/http cannot rewind the type,
// so it never resends a request that has begun. The transport may still read after
// the round trip has ended, from a goroutine of its own, so the buffer is reused
// only after the transport has closed the body.
type body struct {
	pool     *bodyPool
	deadline time.Time

	mu      sync.Mutex // guards what follows
	data    []byte
	offset  int
	started bool
	closed  bool
}

var (
	errBodyClosed = errors.New("request body is closed")
	// A process that was frozen must not finish what it began: its partitions may have
	// another owner by now. Its context may not have noticed yet.
	errBodyLate = errors.New("request was not written in its time")
)

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return 0, errBodyClosed
	case !b.deadline.IsZero() && time.Now().After(b.deadline):
		return 0, errBodyLate
	case b.offset == len(b.data):
		return 0, io.EOF
	}
	b.started = true
	n := copy(p, b.data[b.offset:])
	b.offset += n
	return n, nil
}

// Close returns the buffer to the pool. It may be called more than once.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		if cap(b.data) <= maxPooledBytes {
			data := b.data
			b.pool.buffers.Put(&data)
		}
		b.data = nil
	}
	return nil
}

// sent reports whether any byte was read, after which the API may have received
// the request.
func (b *body) sent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.started
}

// size returns the length of the body in bytes.
func (b *body) size() int { return len(b.data) }
