package deadletter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/kafka/batch"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// newCodec returns a writer that only encodes: it never connects.
func newCodec(cfg Config) *Writer {
	return &Writer{cfg: cfg, version: "v1.2.3"}
}

// drawDeadLetter draws a dead letter as the service makes them: positions in order.
func drawDeadLetter(t *rapid.T) contactsync.DeadLetter {
	text := rapid.StringN(0, 20, 40)
	maybe := func(name string) []byte {
		return rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 30)).Draw(t, name)
	}
	moment := func(name string) time.Time {
		if rapid.Bool().Draw(t, name+" is known") {
			return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, name), rapid.Int64Range(0, 999_999_999).Draw(t, name+" nanoseconds")).UTC()
		}
		return time.Time{}
	}
	place := contactsync.Position{
		TopicPartition: contactsync.TopicPartition{Topic: "events", Partition: rapid.Int32Range(0, 100).Draw(t, "partition")},
		Offset:         rapid.Int64Range(0, 1<<62).Draw(t, "offset"),
	}
	var headers []contactsync.Header
	for range rapid.IntRange(0, 4).Draw(t, "headers") {
		key := rapid.SampledFrom([]string{"", "trace", "Contactsync-x", event.HeaderReplays}).Draw(t, "header")
		headers = append(headers, contactsync.Header{Key: key, Value: maybe("header value")})
	}
	positions := []contactsync.Position{place}
	for range rapid.IntRange(0, 5).Draw(t, "positions") {
		place.Offset += rapid.Int64Range(1, 3).Draw(t, "step")
		positions = append(positions, place)
	}
	return contactsync.DeadLetter{
		Record: contactsync.Record{
			Position: positions[0], Time: moment("time"), Key: maybe("key"), Value: maybe("value"), Headers: headers,
		},
		Positions: positions,
		Stream:    text.Draw(t, "stream"),
		Contact:   text.Draw(t, "contact"),
		Reason:    rapid.SampledFrom(contactsync.Reasons()).Draw(t, "reason"),
		Detail:    text.Draw(t, "detail"),
		Answer:    contactsync.NewText(text.Draw(t, "answer")),
		Status:    rapid.IntRange(0, 599).Draw(t, "status"),
		Attempts:  rapid.IntRange(0, 10).Draw(t, "attempts"),
		First:     moment("first"),
		Last:      moment("last"),
	}
}

func TestDecode_IsTheInverse(t *testing.T) {
	t.Parallel()
	w := newCodec(DefaultConfig())
	rapid.Check(t, func(t *rapid.T) {
		want := drawDeadLetter(t)
		rec := w.whole(want)
		rec.Position, rec.Time = contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "dead", Partition: 2}, Offset: 5}, time.Unix(1_800_000_000, 0)
		got, err := Decode(rec)
		if err != nil || got.Envelope != nil {
			t.Fatalf("%+v, error %v", got, err)
		}
		compare(t, got, want)
		if got.At != rec.Position || got.Written != rec.Time || got.PositionsLeft != 0 {
			t.Fatalf("at %v, written %v, %d positions left", got.At, got.Written, got.PositionsLeft)
		}
		if !bytes.Equal(got.Record.Value, want.Record.Value) || (got.Record.Value == nil) != (want.Record.Value == nil) {
			t.Fatalf("value %q, want %q", got.Record.Value, want.Record.Value)
		}

		if rec, err = w.envelope(want); err != nil {
			t.Fatal(err)
		}
		got, err = Decode(rec)
		if err != nil || got.Envelope == nil {
			t.Fatalf("%+v, error %v", got, err)
		}
		compare(t, got, want)
		envelope := got.Envelope
		hash := sha256.Sum256(want.Record.Value)
		if got.Record.Value != nil || envelope.SHA256 != hex.EncodeToString(hash[:]) ||
			envelope.Size != len(want.Record.Value) || envelope.Position != want.Record.String() ||
			!bytes.Equal(envelope.Head, want.Record.Value) {
			t.Fatalf("value %q, envelope %+v", got.Record.Value, envelope)
		}
	})
}

// compare compares all but the value.
func compare(t *rapid.T, got *Entry, want contactsync.DeadLetter) {
	t.Helper()
	if !got.First.Equal(want.First) || !got.Last.Equal(want.Last) || !got.Record.Time.Equal(want.Record.Time) {
		t.Fatalf("times %v %v %v, want %v %v %v", got.First, got.Last, got.Record.Time, want.First, want.Last, want.Record.Time)
	}
	if got.Record.Position != want.Record.Position || !slices.Equal(got.Positions, want.Positions) {
		t.Fatalf("position %v of %v, want %v of %v", got.Record.Position, got.Positions, want.Record.Position, want.Positions)
	}
	if got.Stream != want.Stream || got.Contact != want.Contact || got.Reason != want.Reason ||
		got.Detail != want.Detail || got.Answer.Reveal() != want.Answer.Reveal() || got.Status != want.Status || got.Attempts != want.Attempts {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	if !bytes.Equal(got.Record.Key, want.Record.Key) || (got.Record.Key == nil) != (want.Record.Key == nil) {
		t.Fatalf("key %q, want %q", got.Record.Key, want.Record.Key)
	}
	if !slices.EqualFunc(got.Record.Headers, want.Record.Headers, func(a, b contactsync.Header) bool {
		return a.Key == b.Key && bytes.Equal(a.Value, b.Value)
	}) {
		t.Fatalf("headers %q, want %q", got.Record.Headers, want.Record.Headers)
	}
}

// A record that comes back from a replay has the headers of its earlier life.
func TestMessage_ReplacesHeadersOfAnEarlierLife(t *testing.T) {
	t.Parallel()
	w := newCodec(DefaultConfig())
	first := contactsync.DeadLetter{Reason: contactsync.ReasonRejected, Status: 422, Detail: "old"}
	record := contactsync.Record{Headers: []contactsync.Header{{Key: "trace", Value: []byte("1")}, {Key: event.HeaderReplays, Value: []byte("2")}}}
	for _, h := range w.whole(contactsync.DeadLetter{Record: record, Reason: first.Reason, Status: first.Status, Detail: first.Detail}).Headers {
		if h.Key != "trace" && h.Key != event.HeaderReplays {
			record.Headers = append(record.Headers, h)
		}
	}
	seen := map[string]string{}
	for _, h := range w.whole(contactsync.DeadLetter{Record: record, Reason: contactsync.ReasonInvalid}).Headers {
		if old, twice := seen[h.Key]; twice {
			t.Errorf("header %s is there as %q and %q", h.Key, old, h.Value)
		}
		seen[h.Key] = string(h.Value)
	}
	want := map[string]string{
		"trace": "1", event.HeaderReplays: "2", headerReason: "invalid", headerForm: "1", headerVersion: "v1.2.3",
		headerPartition: "0", headerOffset: "0",
	}
	for key, value := range want {
		if seen[key] != value {
			t.Errorf("header %s is %q, want %q", key, seen[key], value)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("headers %q, want %q", seen, want)
	}
}

// TestMessage_OfARecordWithAllHeadersCanBeRead has a record with as many headers as are read. A
// partition with a dead letter of more could not be read by anybody, and neither could the
// source partition behind a replay of it.
func TestMessage_OfARecordWithAllHeadersCanBeRead(t *testing.T) {
	t.Parallel()
	l := contactsync.DeadLetter{Record: contactsync.Record{Value: []byte("v")}, Reason: contactsync.ReasonInvalid, Status: 1, Attempts: 1, Detail: "d", Answer: contactsync.NewText("a")}
	for i := range batch.MaxHeaders - 1 {
		l.Record.Headers = append(l.Record.Headers, contactsync.Header{Key: strconv.Itoa(i)})
	}
	l.Record.Headers = append(l.Record.Headers, contactsync.Header{Key: event.HeaderReplays, Value: []byte("3")})
	w := newCodec(DefaultConfig())
	envelope, err := w.envelope(l)
	if err != nil {
		t.Fatal(err)
	}
	for name, rec := range map[string]contactsync.Record{"whole": w.whole(l), "envelope": envelope} {
		if len(rec.Headers) > batch.MaxHeaders {
			t.Errorf("%s: it has %d headers, and at most %d are read", name, len(rec.Headers), batch.MaxHeaders)
		}
		got, err := Decode(rec)
		if err != nil {
			t.Fatal(err)
		}
		kept, left := got.Record.Headers, got.HeadersLeft
		if got.Envelope != nil {
			left = got.Envelope.HeadersLeft
		}
		if len(kept)+left != batch.MaxHeaders || kept[len(kept)-1].Key != event.HeaderReplays {
			t.Errorf("%s: %d headers are kept, and %d are left out", name, len(kept), left)
		}
		if n := len(kept) + len(event.Replay{}.Headers()); n > batch.MaxHeaders {
			t.Errorf("%s: its replay has %d headers", name, n)
		}
	}
}

func TestMessage_Bounds(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	w := newCodec(cfg)
	l := contactsync.DeadLetter{
		Record: contactsync.Record{
			Key: make([]byte, 1<<20), Value: make([]byte, 4<<20), Time: time.UnixMilli(1 << 60),
			Headers: []contactsync.Header{{Key: "large", Value: make([]byte, 1<<20)}, {Key: event.HeaderReplays, Value: []byte("3")}},
		},
		Detail: strings.Repeat("é", 4<<10),
		Answer: contactsync.NewText(strings.Repeat("é", 4<<10)),
	}
	for i := range int64(100_000) { // each alone: nothing to draw together
		l.Positions = append(l.Positions, contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "events"}, Offset: 2 * i})
	}
	small := l
	small.Record.Key, small.Record.Value, small.Record.Headers = []byte("k"), []byte("v"), nil

	rec := w.whole(small)
	if size := kafka.RecordSize(rec); size > int(cfg.BatchBytes) {
		t.Errorf("the positions alone make the record %d bytes large", size)
	}
	deadLetter, err := Decode(rec)
	if err != nil {
		t.Fatal(err)
	}
	if left := deadLetter.PositionsLeft; left == 0 || left+len(deadLetter.Positions) != len(l.Positions) {
		t.Errorf("%d positions and %d left of %d", len(deadLetter.Positions), left, len(l.Positions))
	}
	if len(deadLetter.Answer.Reveal()) != mostAnswerBytes {
		t.Errorf("answer of %d bytes, want %d", len(deadLetter.Answer.Reveal()), mostAnswerBytes)
	}
	if len(deadLetter.Detail) > mostDetailBytes || strings.Trim(deadLetter.Detail, "é") != "" || deadLetter.Detail == "" {
		t.Errorf("detail of %d bytes, limit %d, cut within a character: %v", len(deadLetter.Detail), mostDetailBytes, strings.Trim(deadLetter.Detail, "é") != "")
	}
	if !deadLetter.Record.Time.IsZero() {
		t.Errorf("a time that has no RFC 3339 form is read as %v", deadLetter.Record.Time)
	}

	if rec, err = w.envelope(l); err != nil {
		t.Fatal(err)
	}
	if size := kafka.RecordSize(rec); size > 32<<10 {
		t.Errorf("the envelope has %d bytes", size)
	}
	deadLetter, err = Decode(rec)
	if err != nil || deadLetter.Envelope == nil {
		t.Fatalf("%+v, error %v", deadLetter, err)
	}
	if envelope := deadLetter.Envelope; envelope.KeySize != 1<<20 || envelope.HeadersLeft != 1 || len(envelope.Head) != int(cfg.EnvelopeBytes) {
		t.Errorf("key %d, headers left %d, head %d", envelope.KeySize, envelope.HeadersLeft, len(envelope.Head))
	}
	if len(deadLetter.Record.Headers) != 1 || deadLetter.Record.Headers[0].Key != event.HeaderReplays {
		t.Errorf("headers %v, want the count of replays", deadLetter.Record.Headers)
	}
}

func TestDecode_Refuses(t *testing.T) {
	t.Parallel()
	valid := newCodec(DefaultConfig()).whole(contactsync.DeadLetter{Reason: contactsync.ReasonInvalid, Status: 1, First: time.Unix(1, 0)})
	if _, err := Decode(valid); err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(contactsync.Record{Value: []byte("v"), Headers: []contactsync.Header{{Key: "trace"}}}); !errors.Is(err, ErrNotDeadLetter) {
		t.Errorf("a record of someone else: %v, want %v", err, ErrNotDeadLetter)
	}
	for _, test := range []struct{ header, value string }{
		{headerForm, "2"},
		{headerPartition, "2147483648"},
		{headerOffset, "-1"},
		{headerStatus, "private words"},
		{headerAttempts, "1.5"},
		{headerTime, "yesterday"},
		{headerFirst, "private words"},
		{headerPositions, "events/0"},
		{headerPositionsLeft, "private words"},
		{headerTruncated, "true"},
	} {
		t.Run(test.header, func(t *testing.T) {
			t.Parallel()
			rec := valid
			rec.Value = []byte(`{"sha256":"private words"}`)
			rec.Headers = append(slices.Clone(valid.Headers), contactsync.Header{Key: test.header, Value: []byte(test.value)})
			_, err := Decode(rec)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "private") {
				t.Errorf("the error repeats the dead letter: %v", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	rec := newCodec(DefaultConfig()).whole(contactsync.DeadLetter{Reason: contactsync.ReasonInvalid, Positions: make([]contactsync.Position, 1)})
	for _, h := range rec.Headers {
		f.Add(h.Key, h.Value, []byte("v"))
	}
	f.Add(headerPositions, []byte("a/0@1-9,b/2@3"), []byte(nil))
	f.Add(headerTruncated, []byte("true"), []byte(`{"truncated":true,"head":"AA=="}`))
	f.Fuzz(func(t *testing.T, key string, header, value []byte) {
		defer bounded.Within(t, 1<<20+100*(len(key)+len(header)+len(value)))()
		deadLetter, err := Decode(contactsync.Record{Value: value, Headers: []contactsync.Header{
			{Key: headerForm, Value: []byte(form)}, {Key: key, Value: header},
		}})
		if err != nil {
			return
		}
		if deadLetter.Record.Partition < 0 || deadLetter.Record.Offset < 0 || deadLetter.Status < 0 || deadLetter.Attempts < 0 || deadLetter.PositionsLeft < 0 || len(deadLetter.Positions) > maxPositions {
			t.Errorf("impossible dead letter %+v", deadLetter)
		}
		if deadLetter.Envelope != nil && deadLetter.Record.Value != nil {
			t.Error("an envelope is given as the record")
		}
	})
}
