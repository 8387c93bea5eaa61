package event

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

func aReplay() Replay {
	at := func(offset int64) contactsync.Position {
		return contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 3}, Offset: offset}
	}
	return Replay{Count: 2, Of: at(70), Origin: at(7), OriginTime: time.Unix(1_700_000_000, 5).UTC(), Checked: 1234}
}

func TestReplay_HeadersAreReadBack(t *testing.T) {
	t.Parallel()
	want := aReplay()
	got, err := ReadReplay(append([]contactsync.Header{{Key: "trace"}}, want.Headers()...))
	if err != nil || got == nil || *got != want {
		t.Fatalf("read %+v, %v: want %+v", got, err, want)
	}
	if got, err := ReadReplay([]contactsync.Header{{Key: "trace"}, {Key: HeaderReplays, Value: []byte("2")}}); got != nil || err != nil {
		t.Errorf("a record that was only set aside before is read as replay %+v, %v", got, err)
	}
}

// A replay that does not say where it stood could beat a newer event.
func TestDecode_RefusesAReplayWithoutItsPlace(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, nil)
	whole := aReplay()
	if e := d.Decode(contactsync.Record{Value: []byte(typical), Headers: whole.Headers()}); e.Kind != Update || e.Replay == nil || e.Replay.Origin.Offset != 7 {
		t.Fatalf("a whole replay: %v, %v, %+v", e.Kind, e.Err, e.Replay)
	}
	for _, name := range []string{HeaderReplays, HeaderReplayOf, HeaderOrigin, HeaderOriginTime, HeaderChecked} {
		for _, value := range []string{"private words", "a/b@c", "t/1@-4", "-1", ""} {
			headers := aReplay().Headers()
			for i := range headers {
				if headers[i].Key == name {
					headers[i].Value = []byte(value)
				}
			}
			e := d.Decode(contactsync.Record{Value: []byte(typical), Headers: headers})
			if e.Kind != Broken || e.Err == nil || e.Err.Reason != contactsync.ReasonInvalid || e.Contact.Body != nil || e.Contact.ID == "" {
				t.Errorf("%s %q: %v, %v", name, value, e.Kind, e.Err)
				continue
			}
			checkDetail(t, e.Err)
			if strings.Contains(e.Err.Detail, "private") {
				t.Errorf("the error repeats the header: %v", e.Err)
			}
		}
	}
}

func TestReadOrigin(t *testing.T) {
	t.Parallel()
	rec := contactsync.Record{Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: 3}, Offset: 99}, Time: time.Unix(1_800_000_000, 0)}
	if got, err := ReadOrigin(rec); err != nil || got.Origin != rec.Position || !got.OriginTime.Equal(rec.Time) || got.Count != 0 {
		t.Errorf("never replayed: %+v, %v", got, err)
	}
	for _, h := range aReplay().Headers() {
		if KeepsWithRecord(h.Key) {
			rec.Headers = append(rec.Headers, h)
		}
	}
	want := aReplay()
	if got, err := ReadOrigin(rec); err != nil || got.Origin != want.Origin || !got.OriginTime.Equal(want.OriginTime) || got.Count != 2 {
		t.Errorf("replayed twice: %+v, %v", got, err)
	}
	rec.Headers = rec.Headers[:1]
	if _, err := ReadOrigin(rec); err == nil {
		t.Error("a count without a place is taken")
	}
}

// A tombstone that was set aside and put back is as old as it was.
func TestDecode_ReadsReplaysOfTombstones(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, nil)
	headers := aReplay().Headers()
	if e := d.Decode(contactsync.Record{Key: []byte("s/a"), Headers: headers}); e.Kind != Tombstone || e.Replay == nil || *e.Replay != aReplay() {
		t.Errorf("%v, %v, %+v", e.Kind, e.Err, e.Replay)
	}
	if e := d.Decode(contactsync.Record{Key: []byte("s/a"), Headers: headers[:2]}); e.Kind != Broken || e.Err == nil {
		t.Errorf("a replay of a tombstone without its place: %v, %v", e.Kind, e.Err)
	}
}

func TestReplay_LastHeaderOfANameCounts(t *testing.T) {
	t.Parallel()
	second := aReplay()
	second.Count, second.Of.Offset = 3, 80
	got, err := ReadReplay(append(aReplay().Headers(), second.Headers()...))
	if err != nil || *got != second {
		t.Errorf("read %+v, %v: want %+v", got, err, second)
	}
}

// What stays says where the event was first read; what goes says which dead letter
// this replay is of.
func TestKeepsWithRecord(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		HeaderReplays: true, HeaderOrigin: true, HeaderOriginTime: true, HeaderReplayOf: false, HeaderChecked: false, "trace": false,
	} {
		if got := KeepsWithRecord(header); got != want {
			t.Errorf("%s: %v, want %v", header, got, want)
		}
	}
}

// The text of a header is not read, however long it is.
func TestReadReplay_RefusesALongHeader(t *testing.T) {
	t.Parallel()
	headers := aReplay().Headers()
	for i := range headers {
		long := slices.Clone(headers)
		long[i].Value = append(bytes.Repeat([]byte("0"), maxHeaderText), long[i].Value...)
		if _, err := ReadReplay(long); !errors.Is(err, errHeaderTooLong) {
			t.Errorf("%s: %v", long[i].Key, err)
		}
	}
}
