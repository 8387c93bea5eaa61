package deadletter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"contactsync"
)

// ErrNotLetter says that a record of the topic is not a dead letter of this service.
var ErrNotLetter = errors.New("not a dead letter: it has no header " + headerForm)

// Decode makes a message of the dead-letter topic a letter again, with the
// record's own topic, partition, offset, time and headers. The letter's
// generations are 0, and its detail and positions are as they were written:
// bounded, the positions in order.
//
// The envelope is not nil where the record was too large for the topic. The
// letter has no value then: what Envelope holds is not the record and must not be
// sent in its place.
func Decode(m kafka.Message) (contactsync.Letter, *Envelope, error) {
	d := decoder{headers: map[string]string{}}
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Key, prefix) {
			d.headers[h.Key] = string(h.Value)
		}
	}
	switch found, ok := d.headers[headerForm]; {
	case !ok:
		return contactsync.Letter{}, nil, ErrNotLetter
	case found != form:
		return contactsync.Letter{}, nil, fmt.Errorf("read dead letter: it has form %q and this release reads form %s: use a newer one", found, form)
	}
	l := contactsync.Letter{
		Record: contactsync.Record{
			Position: contactsync.Position{
				Claim:  contactsync.Claim{Topic: d.headers[headerTopic], Partition: int32(d.number(headerPartition, 31))},
				Offset: d.number(headerOffset, 63),
			},
			Time:    d.time(headerTime),
			Key:     m.Key,
			Value:   m.Value,
			Headers: recordHeaders(m.Headers),
		},
		Stream:   d.headers[headerStream],
		Contact:  d.headers[headerContact],
		Reason:   contactsync.Reason(d.headers[headerReason]),
		Detail:   d.headers[headerDetail],
		Status:   int(d.number(headerStatus, 31)),
		Attempts: int(d.number(headerAttempts, 31)),
		First:    d.time(headerFirst),
		Last:     d.time(headerLast),
	}
	var err error
	if l.Positions, err = ParsePositions(d.headers[headerPositions]); err != nil {
		d.fail(headerPositions, err)
	}
	var envelope *Envelope
	if d.headers[headerTruncated] == "true" {
		l.Record.Value, envelope = nil, &Envelope{}
		if json.Unmarshal(m.Value, envelope) != nil || !envelope.Truncated {
			d.fail(headerTruncated, errors.New("the value is not an envelope"))
		}
	}
	if d.err != nil {
		return contactsync.Letter{}, nil, d.err
	}
	return l, envelope, nil
}

// PositionsLeft returns how many positions of a letter its message leaves out.
func PositionsLeft(m kafka.Message) int {
	for _, h := range m.Headers {
		if h.Key == headerPositionsLeft {
			n, _ := strconv.Atoi(string(h.Value))
			return max(n, 0)
		}
	}
	return 0
}

func recordHeaders(headers []kafka.Header) []contactsync.Header {
	var all []contactsync.Header
	for _, h := range headers {
		all = append(all, contactsync.Header{Key: h.Key, Value: h.Value})
	}
	kept := own(all)
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// decoder reads headers and keeps the first fault. It names the header but not
// what it holds, which may be a contact's.
type decoder struct {
	headers map[string]string
	err     error
}

func (d *decoder) fail(header string, err error) {
	if d.err == nil {
		d.err = fmt.Errorf("read dead letter: header %s: %w", header, err)
	}
}

// number reads a number of so many bits that is not negative; 0 where it is missing.
func (d *decoder) number(header string, bits int) int64 {
	text, ok := d.headers[header]
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		d.fail(header, errors.New("it is not a number in range"))
	}
	return int64(n)
}

// time reads a time; the zero time where it is missing.
func (d *decoder) time(header string) time.Time {
	text, ok := d.headers[header]
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		d.fail(header, errors.New("it is not a time as RFC 3339 writes it"))
	}
	return t
}
