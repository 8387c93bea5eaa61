package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
)

// TestCause keeps apart what heals by itself and what halts a partition: a
// broker that is away must never be taken for a batch that cannot be read.
func TestCause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{kafkago.NotLeaderForPartition, CauseLeader},
		{kafkago.LeaderNotAvailable, CauseLeader},
		{kafkago.UnknownTopicOrPartition, CauseLeader},
		{kafkago.OffsetOutOfRange, CauseOffset},
		{io.ErrUnexpectedEOF, CauseNetwork},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, CauseNetwork},
		{context.DeadlineExceeded, CauseNetwork},
		{ErrUnreadable, CauseDecode},
		{kafkago.InvalidMessage, CauseDecode},
		{kafkago.RequestTimedOut, CauseOther},
		{errors.New("dial tcp :0"), CauseOther},
	} {
		if got := Cause(fmt.Errorf("fetch contacts/1 from offset 7: %w", c.err)); got != c.want {
			t.Errorf("%v is taken for %q, want %q", c.err, got, c.want)
		}
	}
}
