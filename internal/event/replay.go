package event

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/contactsync/contactsync"
)

// The headers of a replay: a dead letter's record that was written back to its topic.
const (
	// HeaderReplays is how often the record was replayed. It stays with the record
	// when that becomes a dead letter again.
	HeaderReplays = "contactsync-replays"
	// HeaderReplayOf is the position of the record that the dead letter held. By it a
	// replay that was killed finds what it has written already.
	HeaderReplayOf = "contactsync-replay-of"
	// HeaderOrigin is the position at which the event was first read, which orders it
	// among its contact's events. It stays with the record as well.
	HeaderOrigin = "contactsync-origin"
	// HeaderOriginTime is the time of the record at HeaderOrigin, RFC 3339.
	HeaderOriginTime = "contactsync-origin-time"
	// HeaderChecked is an offset of the replay's partition: below it there was no
	// newer event of the contact when the replay was written.
	HeaderChecked = "contactsync-checked"
)

// Replay is the headers of a replay.
type Replay struct {
	Count      int                  // replays so far, this one included
	Of         contactsync.Position // see HeaderReplayOf
	Origin     contactsync.Position // see HeaderOrigin
	OriginTime time.Time            // in UTC
	Checked    int64                // see HeaderChecked
}

// Headers returns the headers to write.
func (r Replay) Headers() []contactsync.Header {
	return []contactsync.Header{
		{Key: HeaderReplays, Value: strconv.AppendInt(nil, int64(r.Count), 10)},
		{Key: HeaderReplayOf, Value: []byte(r.Of.String())},
		{Key: HeaderOrigin, Value: []byte(r.Origin.String())},
		{Key: HeaderOriginTime, Value: []byte(r.OriginTime.UTC().Format(time.RFC3339Nano))},
		{Key: HeaderChecked, Value: strconv.AppendInt(nil, r.Checked, 10)},
	}
}

var (
	errHeaderMissing = errors.New("it is missing")
	errHeaderTooLong = errors.New("it is too long")
)

// maxHeaderText is longer than the name of any topic, a partition and an offset.
const maxHeaderText = 300

// ReadReplay reads the headers of a replay. It returns nil where the record is not one,
// and an error where a header is missing or malformed. The error names the header and
// not its value.
func ReadReplay(headers []contactsync.Header) (*Replay, error) {
	if !IsReplay(headers) {
		return nil, nil
	}
	in := replayReader{headers: headers}
	in.read(HeaderReplayOf, func(text string) (err error) { in.Of, err = contactsync.ParsePosition(text); return err })
	in.kept()
	in.read(HeaderChecked, func(text string) error {
		n, err := strconv.ParseUint(text, 10, 63)
		in.Checked = int64(n)
		return number(err)
	})
	if in.err != nil {
		return nil, in.err
	}
	return &in.Replay, nil
}

// ReadOrigin returns what the record of a dead letter keeps of its replays: their count,
// and where and when the event was first read. If it was never replayed, that is the
// record's own position and time. Of and Checked are not set.
func ReadOrigin(rec contactsync.Record) (Replay, error) {
	in := replayReader{headers: rec.Headers}
	for _, h := range rec.Headers {
		if KeepsWithRecord(h.Key) {
			in.kept()
			return in.Replay, in.err
		}
	}
	return Replay{Origin: rec.Position, OriginTime: rec.Time}, nil
}

// replayReader reads headers and keeps the first error.
type replayReader struct {
	Replay

	headers []contactsync.Header
	err     error
}

func (in *replayReader) read(name string, parse func(string) error) {
	err := errHeaderMissing
	for _, h := range in.headers {
		if h.Key != name {
			continue
		}
		if err = errHeaderTooLong; len(h.Value) <= maxHeaderText {
			err = parse(string(h.Value))
		}
	}
	if err != nil && in.err == nil {
		in.err = fmt.Errorf("header %s: %w", name, err)
	}
}

// kept reads the headers that stay with a record.
func (in *replayReader) kept() {
	in.read(HeaderOrigin, func(text string) (err error) { in.Origin, err = contactsync.ParsePosition(text); return err })
	in.read(HeaderOriginTime, func(text string) error {
		if err := in.OriginTime.UnmarshalText([]byte(text)); err != nil {
			return errors.New("it is not a time as in RFC 3339")
		}
		in.OriginTime = in.OriginTime.UTC()
		return nil
	})
	in.read(HeaderReplays, func(text string) error {
		n, err := strconv.ParseUint(text, 10, 31)
		in.Count = int(n)
		return number(err)
	})
}

func number(err error) error {
	if err != nil {
		return errors.New("it is not a number in range")
	}
	return nil
}

// IsReplay reports whether a record is a replay: it has a header that does not stay with a record.
func IsReplay(headers []contactsync.Header) bool {
	for i := range headers {
		if headers[i].Key == HeaderReplayOf {
			return true
		}
	}
	return false
}

// KeepsWithRecord reports whether a header of a replay stays with the record when that
// becomes a dead letter again.
func KeepsWithRecord(header string) bool {
	return header == HeaderReplays || header == HeaderOrigin || header == HeaderOriginTime
}
