package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/contactsync/contactsync/internal/kafka/group"
)

// exchangeTTL is how old kafka-go's view of one broker may be. It asks for it only
// to find the connection usable, so it is small, and asked for seldom.
const exchangeTTL = 10 * time.Second

// exchanger carries the frames of the membership on kafka-go's connections: dialed,
// secured and logged in as all others. Each broker's address is a pool of its own in
// the transport, so that a broker is asked because it is that one, whatever kafka-go
// knows of the cluster, and a frozen one holds up nobody else.
type exchanger struct {
	client    *Client
	transport *kafkago.Transport
	cancel    context.CancelFunc
}

func newExchanger(c *Client) *exchanger {
	ctx, cancel := context.WithCancel(c.life)
	t := c.newTransport(ctx, []string{}) // the layout of no topic
	t.MetadataTTL = exchangeTTL
	c.renewal.add(t)
	return &exchanger{c, t, cancel}
}

// Exchange implements group.Exchanger.
func (e *exchanger) Exchange(ctx context.Context, address string, request []byte) ([]byte, error) {
	res, err := wordless{e.transport}.RoundTrip(ctx, kafkago.TCP(address), &rawMessage{frame: request})
	if err != nil {
		return nil, err
	}
	return res.(*rawMessage).frame, nil
}

// close ends the connections that nothing uses. Those in use end with their answer,
// at the latest with the time-out of their request, or with Client.Close.
func (e *exchanger) close() {
	e.client.renewal.remove(e.transport)
	e.cancel()
	e.transport.CloseIdleConnections()
}

// rawMessage is a frame on its way to a broker, or back, without the length in front.
type rawMessage struct{ frame []byte }

// ApiKey implements protocol.Message. kafka-go looks at it only where it encodes by
// itself.
func (*rawMessage) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

// Required implements protocol.RawExchanger.
func (*rawMessage) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements protocol.RawExchanger. The connection carries nothing else
// until it returns, and is closed where it returns an error.
func (m *rawMessage) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	answer, err := exchangeFrames(rw, m.frame, atMost(group.MaxAnswer), 0)
	if err != nil {
		return nil, err
	}
	return &rawMessage{answer}, nil
}

var errAnswerTooLarge = errors.New("the answer is too large")

// atMost refuses answers of more than so many bytes.
func atMost(most int) func(n int64) error {
	return func(n int64) error {
		if n > int64(most) {
			return fmt.Errorf("%w: %d bytes, more than %d", errAnswerTooLarge, n, most)
		}
		return nil
	}
}

// exchangeFrames writes a frame behind its length, and reads the answer if it is admitted by its
// number of bytes. Memory for expected bytes is taken at once, for more only as they come: a
// length that is announced costs nothing.
func exchangeFrames(rw io.ReadWriter, request []byte, admit func(n int64) error, expected int) ([]byte, error) {
	n, err := ask(rw, request)
	if err == nil {
		err = admit(n)
	}
	if err != nil {
		return nil, err
	}
	answer := make([]byte, min(n, int64(expected)))
	if _, err := io.ReadFull(rw, answer); err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(io.LimitReader(rw, n-int64(len(answer))))
	answer = append(answer, rest...)
	if err == nil && int64(len(answer)) < n {
		err = io.ErrUnexpectedEOF
	}
	return answer, err
}

// ask writes a frame behind its length, and reads the length of the answer.
func ask(rw io.ReadWriter, request []byte) (int64, error) {
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(request)), uint32(len(request)))
	if _, err := rw.Write(append(frame, request...)); err != nil {
		return 0, err
	}
	var length [4]byte
	if _, err := io.ReadFull(rw, length[:]); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint32(length[:])), nil
}
