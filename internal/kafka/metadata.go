package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// metadataVersion is the one version of the metadata request that is sent for topics: all
// brokers that the membership needs have it.
const metadataVersion = 7

// rightsVersion is the first that tells what may be done with topics.
const rightsVersion = 8

// maxMetadata bounds the answer, and with it the memory that one takes.
const maxMetadata = 64 << 20

// metadataMessage asks a broker for topics. kafka-go answers a metadata request of its own
// from what it has cached, of the topics that its transport was made for: a topic that it
// does not know looks like one that does not exist, and a new one is missing for a while.
type metadataMessage struct {
	topics   []string
	clientID string
	rights   bool // ask also what may be done with the topics

	answer *metadata.Response
}

// ApiKey implements protocol.Message.
func (*metadataMessage) ApiKey() protocol.ApiKey { return protocol.Metadata }

// Required implements protocol.RawExchanger.
func (*metadataMessage) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements protocol.RawExchanger. The connection carries nothing else until
// it returns, and is closed where it returns an error.
func (m *metadataMessage) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	var request bytes.Buffer
	version := int16(metadataVersion)
	if m.rights {
		version = rightsVersion
	}
	question := &metadata.Request{TopicNames: m.topics, IncludeTopicAuthorizedOperations: m.rights}
	if err := protocol.WriteRequest(&request, version, 0, m.clientID, question); err != nil {
		return nil, err
	}
	frame, err := exchangeFrames(rw, request.Bytes()[4:], atMost(maxMetadata), 0) // it writes the length itself
	if err != nil {
		return nil, err
	}
	answer := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame)))
	_, res, err := protocol.ReadResponse(bytes.NewReader(append(answer, frame...)), protocol.Metadata, version)
	if err != nil {
		return nil, err
	}
	m.answer = res.(*metadata.Response)
	return m, nil
}

var errNotTold = errors.New("the broker does not say whether it exists")

// topics asks a broker once for topics by name, whether or not the client was made for
// them, and returns them in that order, each with an error that unusable sorts. It never
// creates one.
func (c *Client) topics(ctx context.Context, names []string) ([]metadata.ResponseTopic, []error, error) {
	m := &metadataMessage{topics: names, clientID: c.cfg.ClientID}
	if _, err := c.client.Transport.RoundTrip(ctx, c.addr, m); err != nil {
		return nil, nil, fmt.Errorf("ask kafka for topics %q: %w", names, err)
	}
	byName := map[string]metadata.ResponseTopic{}
	for _, t := range m.answer.Topics {
		byName[t.Name] = t
	}
	found, errs := make([]metadata.ResponseTopic, len(names)), make([]error, len(names))
	for i, name := range names {
		t, ok := byName[name]
		if !ok {
			t.Name = name
			errs[i] = fmt.Errorf("topic %q: %w", name, errNotTold)
		} else {
			errs[i] = unusable(t)
		}
		found[i] = t
	}
	return found, errs, nil
}

// unusable returns why a topic cannot be used: ErrNoTopic, ErrDenied, or what a
// broker said that may pass.
func unusable(t metadata.ResponseTopic) error {
	switch {
	case t.ErrorCode != 0:
		return fmt.Errorf("topic %q: %w", t.Name, topicError(kafkago.Error(t.ErrorCode), "DESCRIBE"))
	case len(t.Partitions) == 0:
		return fmt.Errorf("topic %q: %w: it has no partition", t.Name, ErrNoTopic)
	}
	return nil
}
