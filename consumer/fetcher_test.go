package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/segmentio/kafka-go"
)

type tooLarge struct{}

func (tooLarge) Error() string       { return "record batch is too large" }
func (tooLarge) BatchTooLarge() bool { return true }

// TestFetchReason keeps apart what heals by itself and what halts a partition: a
// broker that is away must never be taken for a batch that cannot be read.
func TestFetchReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{kafka.NotLeaderForPartition, "leader"},
		{kafka.LeaderNotAvailable, "leader"},
		{kafka.UnknownTopicOrPartition, "leader"},
		{kafka.OffsetOutOfRange, "offset"},
		{io.ErrUnexpectedEOF, "network"},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, "network"},
		{context.DeadlineExceeded, "network"},
		{tooLarge{}, "decode"},
		{errUnreadable, "decode"},
		{errors.New("crc32 checksum mismatch (computed=1 found=2)"), "decode"},
		{errors.New("unsupported compression codec (5)"), "decode"},
		{kafka.RequestTimedOut, "other"},
		{errors.New("dial tcp :0"), "other"},
	} {
		if got := fetchReason(fmt.Errorf("fetch contacts/1 from offset 7: %w", c.err)); got != c.want {
			t.Errorf("%v is taken for %q, want %q", c.err, got, c.want)
		}
	}
}
