package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/batch"
)

// The headers of a dead letter; the package's documentation says what each holds.
const (
	prefix = "contactsync-"

	headerForm          = prefix + "form"
	headerVersion       = prefix + "version"
	headerReason        = prefix + "reason"
	headerTopic         = prefix + "topic"
	headerPartition     = prefix + "partition"
	headerOffset        = prefix + "offset"
	headerTime          = prefix + "time"
	headerPositions     = prefix + "positions"
	headerPositionsLeft = prefix + "positions-left"
	headerStream        = prefix + "stream"
	headerContact       = prefix + "contact"
	headerStatus        = prefix + "status"
	headerAttempts      = prefix + "attempts"
	headerFirst         = prefix + "first-failure"
	headerLast          = prefix + "last-failure"
	headerDetail        = prefix + "detail"
	headerAnswer        = prefix + "answer"
	headerTruncated     = prefix + "truncated"
	headerHeadersLeft   = prefix + "headers-left"

	form = "1"
)

// Positions get the room that the record leaves in a request, between these
// bounds: enough for ten thousand single ones, and at least some.
const (
	mostPositionsBytes  = 256 << 10
	leastPositionsBytes = 8 << 10
)

// mostDetailBytes bounds the detail. Details are cut to less where they are made; it
// is a second line of defence.
const mostDetailBytes = 1 << 10

// mostAnswerBytes bounds what the API wrote, in the same way.
const mostAnswerBytes = 4 << 10

// MostHeaders are those of the record that stay with it. As a dead letter and as a replay it gets
// further ones, and has to remain a record that is read.
const MostHeaders = batch.MaxHeaders - 40

// What an envelope keeps of the record must be little, since it has to fit where
// the record did not.
const (
	envelopeKeyBytes     = 8 << 10
	envelopeHeadersBytes = 8 << 10
)

// Envelope is the value of a dead letter whose record was too large for the topic.
type Envelope struct {
	Truncated   bool   `json:"truncated"`             // true
	SHA256      string `json:"sha256"`                // of the record's value, in hex
	Size        int    `json:"size"`                  // of the record's value in bytes
	Position    string `json:"position"`              // where the record is, as topic/partition@offset
	Head        []byte `json:"head"`                  // the first bytes of the value, in base64
	KeySize     int    `json:"key_size,omitzero"`     // of the key in bytes, where it is left out for want of room
	HeadersLeft int    `json:"headers_left,omitzero"` // headers of the record that are left out likewise
}

// whole makes a record of the dead-letter topic that has all of the dead letter's own
// record.
func (w *Writer) whole(l contactsync.DeadLetter) contactsync.Record {
	kept, left := own(l.Record.Headers)
	rec := contactsync.Record{Key: l.Record.Key, Value: l.Record.Value, Headers: w.headers(l, kept)}
	if left > 0 {
		rec.Headers = append(rec.Headers, contactsync.Header{Key: headerHeadersLeft, Value: []byte(strconv.Itoa(left))})
	}
	room := int(w.cfg.BatchBytes) - kafka.RecordSize(rec) - 128 // the positions' headers have names too
	return withPositions(rec, l, min(max(room, leastPositionsBytes), mostPositionsBytes))
}

// envelope makes one without the value. The key stays, since it decides the
// partition, unless it is itself too large.
func (w *Writer) envelope(l contactsync.DeadLetter) (contactsync.Record, error) {
	hash := sha256.Sum256(l.Record.Value)
	e := Envelope{
		Truncated: true,
		SHA256:    hex.EncodeToString(hash[:]),
		Size:      len(l.Record.Value),
		Position:  l.Record.String(),
		Head:      l.Record.Value[:min(len(l.Record.Value), int(w.cfg.EnvelopeBytes))],
	}
	key := l.Record.Key
	if len(key) > envelopeKeyBytes {
		e.KeySize, key = len(key), nil
	}
	kept, left := own(l.Record.Headers)
	size := 0
	for _, h := range kept {
		size += len(h.Key) + len(h.Value)
	}
	if size > envelopeHeadersBytes {
		all := len(kept)
		kept = replayOnly(kept)
		left += all - len(kept)
	}
	e.HeadersLeft = left
	value, err := json.Marshal(e)
	if err != nil {
		return contactsync.Record{}, fmt.Errorf("write the envelope of %v: %w", l.Record.Position, err)
	}
	headers := append(w.headers(l, kept), contactsync.Header{Key: headerTruncated, Value: []byte("true")})
	return withPositions(contactsync.Record{Key: key, Value: value, Headers: headers}, l, leastPositionsBytes), nil
}

// own returns the record's own headers: those of an earlier life as a dead letter
// are left out, but for the count of replays and the first position. Of very many the last
// ones stay, where a replay has its own; left counts the others.
func own(headers []contactsync.Header) (kept []contactsync.Header, left int) {
	for _, h := range headers {
		if !strings.HasPrefix(h.Key, prefix) || event.KeepsWithRecord(h.Key) {
			kept = append(kept, h)
		}
	}
	left = max(0, len(kept)-MostHeaders)
	return kept[left:], left
}

// replayOnly returns what a replay has left with the record, where it has a sane length.
func replayOnly(headers []contactsync.Header) []contactsync.Header {
	var kept []contactsync.Header
	for _, h := range headers {
		if event.KeepsWithRecord(h.Key) && len(h.Value) <= 300 {
			kept = append(kept, h)
		}
	}
	return kept
}

// headers returns the kept headers and those of the dead letter, but for its positions.
func (w *Writer) headers(l contactsync.DeadLetter, kept []contactsync.Header) []contactsync.Header {
	headers := append(make([]contactsync.Header, 0, len(kept)+18), kept...)
	text := func(key, value string) {
		if value != "" {
			headers = append(headers, contactsync.Header{Key: key, Value: []byte(value)})
		}
	}
	number := func(key string, value int) {
		if value != 0 {
			text(key, strconv.Itoa(value))
		}
	}
	text(headerForm, form)
	text(headerVersion, w.version)
	text(headerReason, string(l.Reason))
	text(headerTopic, l.Record.Topic)
	text(headerPartition, strconv.Itoa(int(l.Record.Partition)))
	text(headerOffset, strconv.FormatInt(l.Record.Offset, 10))
	text(headerTime, formatTime(l.Record.Time))
	text(headerStream, l.Stream)
	text(headerContact, l.Contact)
	number(headerStatus, l.Status)
	number(headerAttempts, l.Attempts)
	text(headerFirst, formatTime(l.First))
	text(headerLast, formatTime(l.Last))
	text(headerDetail, excerpt(l.Detail, mostDetailBytes))
	text(headerAnswer, excerpt(l.Answer.Reveal(), mostAnswerBytes))
	return headers
}

// withPositions adds the positions in at most limit bytes.
func withPositions(rec contactsync.Record, l contactsync.DeadLetter, limit int) contactsync.Record {
	text, left := FormatPositions(l.Positions, limit)
	if text != "" {
		rec.Headers = append(rec.Headers, contactsync.Header{Key: headerPositions, Value: []byte(text)})
	}
	if left > 0 {
		rec.Headers = append(rec.Headers, contactsync.Header{Key: headerPositionsLeft, Value: []byte(strconv.Itoa(left))})
	}
	return rec
}

// formatTime leaves out what RFC 3339 cannot say: a producer may set any time.
func formatTime(t time.Time) string {
	t = t.UTC()
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// excerpt cuts text to at most limit bytes, between characters.
func excerpt(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
