package deadletter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
)

// ErrNotDeadLetter says that a record of the topic is not a dead letter of this service.
var ErrNotDeadLetter = errors.New("not a dead letter: it has no header " + headerForm)

// Decode reads a record of the dead-letter topic. The dead letter's own record has
// the topic, partition, offset, time and headers that it was read with, and
// generation 0; its detail and positions are as they were written: bounded, the
// positions in order. Copies is counted by Read.
func Decode(rec contactsync.Record) (*Entry, error) {
	d := decoder{headers: map[string]string{}}
	for _, h := range rec.Headers {
		if strings.HasPrefix(h.Key, prefix) {
			d.headers[h.Key] = string(h.Value)
		}
	}
	switch version, ok := d.headers[headerForm]; {
	case !ok:
		return nil, ErrNotDeadLetter
	case version != form:
		return nil, fmt.Errorf("read dead letter: it has form %q and this release reads form %s: use a newer one", version, form)
	}
	e := &Entry{
		At: rec.Position, Written: rec.Time,
		PositionsLeft: int(d.number(headerPositionsLeft, 31)), HeadersLeft: int(d.number(headerHeadersLeft, 31)),
	}
	kept, _ := own(rec.Headers)
	e.DeadLetter = contactsync.DeadLetter{
		Record: contactsync.Record{
			Position: contactsync.Position{
				TopicPartition: contactsync.TopicPartition{Topic: d.headers[headerTopic], Partition: int32(d.number(headerPartition, 31))},
				Offset:         d.number(headerOffset, 63),
			},
			Time:    d.time(headerTime),
			Key:     rec.Key,
			Value:   rec.Value,
			Headers: kept,
		},
		Stream:   d.headers[headerStream],
		Contact:  d.headers[headerContact],
		Reason:   contactsync.Reason(d.headers[headerReason]),
		Detail:   d.headers[headerDetail],
		Answer:   contactsync.NewText(d.headers[headerAnswer]),
		Status:   int(d.number(headerStatus, 31)),
		Attempts: int(d.number(headerAttempts, 31)),
		First:    d.time(headerFirst),
		Last:     d.time(headerLast),
	}
	var err error
	if e.Positions, err = ParsePositions(d.headers[headerPositions]); err != nil {
		d.fail(headerPositions, err)
	}
	if d.headers[headerTruncated] == "true" {
		e.Record.Value, e.Envelope = nil, &Envelope{}
		if json.Unmarshal(rec.Value, e.Envelope) != nil || !e.Envelope.Truncated {
			d.fail(headerTruncated, errors.New("the value is not an envelope"))
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	return e, nil
}

// decoder reads headers and keeps the first error, which names the header but not
// its value: that may be a contact's.
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
