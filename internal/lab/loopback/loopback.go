// Package loopback finds addresses for servers that go down and come back.
//
// It starts no goroutine and keeps nothing open.
package loopback

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// The ports lie below those that systems give to outgoing connections and to
// listeners on port 0 (Linux from 32768, others from 49152), so that none of these
// takes a port while its server is down.
const first, ports, tries = 20_000, 12_000, 1000

// next is the next port to try. Each process starts with a different one.
var next atomic.Int64

func init() { next.Store(rand.Int64N(ports)) }

// Free returns count loopback addresses that were free a moment ago. It does not
// return an address again until it has returned all of them.
func Free(ctx context.Context, count int) ([]string, error) {
	addrs := make([]string, 0, count)
	var config net.ListenConfig
	for range tries {
		if len(addrs) == count {
			break
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.FormatInt(first+next.Add(1)%ports, 10))
		listener, err := config.Listen(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		_ = listener.Close()
		addrs = append(addrs, addr)
	}
	if len(addrs) < count {
		return nil, fmt.Errorf("looking for %d free loopback ports from %d to %d: found %d in %d tries", count, first, first+ports-1, len(addrs), tries)
	}
	return addrs, nil
}
