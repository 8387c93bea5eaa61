package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Exchanger carries frames to brokers and back. It is safe for concurrent use: one
// exchange may take minutes while others go to the same broker.
type Exchanger interface {
	// Exchange sends a request to the broker at an address, host:port, and returns its
	// answer, both without the length in front. It dials where it must, and ends with
	// ctx, which always has a deadline. An answer larger than MaxAnswer is an error.
	Exchange(ctx context.Context, address string, request []byte) ([]byte, error)
}

// MaxAnswer is the size in bytes up to which an answer is taken. The largest ones
// are a leader's, with what every member says about itself.
const MaxAnswer = 8 << 20

// ErrVersion says that a broker does not take a request in a version that this
// package speaks.
var ErrVersion = errors.New("the broker does not take it in a version that this service speaks")

// client sends requests in the highest version that a broker and this package share.
type client struct {
	exchanger   Exchanger
	id          string
	correlation atomic.Int32

	mu sync.Mutex
	// guarded by mu
	offered map[string]map[int16]versionRange // by address and API key
}

func newClient(x Exchanger, id string) *client {
	return &client{exchanger: x, id: id, offered: map[string]map[int16]versionRange{}}
}

// do sends a request and returns the decoded answer.
func (c *client) do(ctx context.Context, to string, req request) (response, error) {
	offered, err := c.versions(ctx, to)
	if err != nil {
		return nil, err
	}
	a := req.api()
	r, ok := offered[a.key]
	version := min(a.max, r.max)
	if !ok || version < max(a.min, r.min) {
		return nil, fmt.Errorf("%s at broker %s: %w: it takes %d to %d, and this service %d to %d", a.name, to, ErrVersion, r.min, r.max, a.min, a.max)
	}
	return c.exchange(ctx, to, req, version)
}

func (c *client) exchange(ctx context.Context, to string, req request, version int16) (response, error) {
	correlation := c.correlation.Add(1)
	frame, err := encodeRequest(req, version, correlation, c.id)
	if err != nil {
		return nil, err
	}
	answer, err := c.exchanger.Exchange(ctx, to, frame)
	if err != nil {
		c.forget(to) // it may come back as another version of Kafka
		return nil, fmt.Errorf("%s at broker %s: %w", req.api().name, to, err)
	}
	return decodeResponse(req, version, correlation, answer)
}

// versions returns what a broker takes; it is asked once in each of its lives.
func (c *client) versions(ctx context.Context, to string) (map[int16]versionRange, error) {
	c.mu.Lock()
	offered := c.offered[to]
	c.mu.Unlock()
	if offered != nil {
		return offered, nil
	}
	res, err := c.exchange(ctx, to, &versionsRequest{}, 0)
	if err != nil {
		return nil, err
	}
	v := res.(*versionsResponse)
	if v.code != codeOK {
		return nil, fmt.Errorf("ask broker %s for its versions: %w", to, v.code)
	}
	offered = map[int16]versionRange{}
	for _, r := range v.ranges {
		offered[r.key] = r
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offered[to] = offered
	return offered, nil
}

func (c *client) forget(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.offered, address)
}
