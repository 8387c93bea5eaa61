package event

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/contactsync/contactsync"
)

// The headers of a record that was set aside once and put back.
const (
	// HeaderReplays counts the replays of a record. Whoever replays one raises it;
	// it stays with the record through the dead-letter topic and back.
	HeaderReplays = "contactsync-replays"
	// HeaderReplayOf is the position of the record that the dead letter held. It
	// tells one replay from another, so that a replay that was cut off can go on.
	HeaderReplayOf = "contactsync-replay-of"
	// HeaderOrigin is where the event stood when it was first read: its place in
	// the order of its contact's events. It stays with the record as well.
	HeaderOrigin = "contactsync-origin"
	// HeaderOriginTime is the time of the record at that place, RFC 3339.
	HeaderOriginTime = "contactsync-origin-time"
	// HeaderChecked is an offset of the partition that holds the replay: below it
	// there was no newer event of the contact when the replay was written.
	HeaderChecked = "contactsync-checked"
)

// Replay is what a replayed record says of itself.
type Replay struct {
	Count      int                  // replays so far, this one included
	Of         contactsync.Position // see HeaderReplayOf
	Origin     contactsync.Position // see HeaderOrigin
	OriginTime time.Time            // in UTC
	Checked    int64                // see HeaderChecked
}

// Headers returns the headers of a replay, for whoever writes one.
func (r Replay) Headers() []contactsync.Header {
	return []contactsync.Header{
		{Key: HeaderReplays, Value: strconv.AppendInt(nil, int64(r.Count), 10)},
		{Key: HeaderReplayOf, Value: []byte(r.Of.String())},
		{Key: HeaderOrigin, Value: []byte(r.Origin.String())},
		{Key: HeaderOriginTime, Value: []byte(r.OriginTime.UTC().Format(time.RFC3339Nano))},
		{Key: HeaderChecked, Value: strconv.AppendInt(nil, r.Checked, 10)},
	}
}

var errHeaderMissing = errors.New("it is missing")

// ReadReplay reads the headers of a replay. It returns nil where the record is
// none, and an error where it says that it is one but not of what. The error
// names the header and not what it holds.
func ReadReplay(headers []contactsync.Header) (*Replay, error) {
	if !isReplay(headers) {
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

// ReadOrigin returns what a record that was set aside keeps of its replays: their
// count, and where and when the event was first read. Of one that was never
// replayed that is the record's own place. Of and Checked are not set.
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

// replayReader reads headers and keeps the first error. It names the header and
// not what it holds.
type replayReader struct {
	Replay

	headers []contactsync.Header
	err     error
}

func (in *replayReader) read(name string, parse func(string) error) {
	err := errHeaderMissing
	for _, h := range in.headers {
		if h.Key == name {
			err = parse(string(h.Value))
		}
	}
	if err != nil && in.err == nil {
		in.err = fmt.Errorf("header %s: %w", name, err)
	}
}

// kept reads what stays with a record; see KeepsWithRecord.
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

// isReplay looks for the one header that only replays have: the others stay with
// a record that is set aside again.
func isReplay(headers []contactsync.Header) bool {
	for i := range headers {
		if headers[i].Key == HeaderReplayOf {
			return true
		}
	}
	return false
}

// KeepsWithRecord reports whether a header of a replay stays with the record when
// it is set aside again: its count and its place in the order, but not which dead
// letter it came from.
func KeepsWithRecord(header string) bool {
	return header == HeaderReplays || header == HeaderOrigin || header == HeaderOriginTime
}
