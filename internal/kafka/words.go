package kafka

import (
	"context"
	"errors"
	"net"

	kafkago "github.com/segmentio/kafka-go"
)

// wordless makes requests, and leaves out what a broker writes beside the code of an error: whoever answers
// in its place writes what he likes, at any length, and it would be in the log with each attempt.
type wordless struct{ kafkago.RoundTripper }

// RoundTrip makes a request.
func (w wordless) RoundTrip(ctx context.Context, addr net.Addr, req kafkago.Request) (kafkago.Response, error) {
	res, err := w.RoundTripper.RoundTrip(ctx, addr, req)
	if code, ok := errors.AsType[kafkago.Error](err); ok {
		err = code
	}
	return res, err
}
