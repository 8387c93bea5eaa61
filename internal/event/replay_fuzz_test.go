package event

import (
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

// What a replay says of itself must survive the way into a topic and back, and
// what is not understood must never pass for a replay: its place in the order
// would be made up.
func FuzzReadReplay(f *testing.F) {
	whole := aReplay()
	text := map[string]string{}
	for _, h := range whole.Headers() {
		text[h.Key] = string(h.Value)
	}
	f.Add(text[HeaderReplays], text[HeaderReplayOf], text[HeaderOrigin], text[HeaderOriginTime], text[HeaderChecked], true)
	f.Add(text[HeaderReplays], text[HeaderReplayOf], text[HeaderOrigin], text[HeaderOriginTime], text[HeaderChecked], false)
	f.Add("", "", "", "", "", true)
	f.Add("-1", "a/b@c", "t/1@-4", "2026-01-09T09:35:30+02:00", "99999999999999999999", true)
	f.Add("2147483648", "t/2147483648@0", "a/b/0@0", "0001-01-01T00:00:00Z", "9223372036854775807", true)
	f.Fuzz(func(t *testing.T, replays, of, origin, at, checked string, isOne bool) {
		defer bounded.Within(t, 1<<20+100*(len(replays)+len(of)+len(origin)+len(at)+len(checked)))()
		headers := []contactsync.Header{
			{Key: "trace", Value: []byte(of)},
			{Key: HeaderReplays, Value: []byte(replays)},
			{Key: HeaderOrigin, Value: []byte(origin)},
			{Key: HeaderOriginTime, Value: []byte(at)},
			{Key: HeaderChecked, Value: []byte(checked)},
		}
		if isOne {
			headers = append(headers, contactsync.Header{Key: HeaderReplayOf, Value: []byte(of)})
		}
		got, err := ReadReplay(headers)
		switch {
		case !isOne:
			if got != nil || err != nil {
				t.Fatalf("a record that is no replay is read as %+v, %v", got, err)
			}
			return
		case err != nil:
			if got != nil {
				t.Fatalf("a replay beside the error %v: %+v", err, got)
			}
			return
		case got == nil:
			t.Fatal("a replay was not seen")
		}
		if got.Count < 0 || got.Checked < 0 || got.Of.Offset < 0 || got.Origin.Offset < 0 || got.OriginTime.Location() != time.UTC {
			t.Fatalf("read %+v: a number is negative, or the time is not in UTC", got)
		}
		again, err := ReadReplay(got.Headers())
		if err != nil || again == nil {
			t.Fatalf("%+v is written as %v, which cannot be read: %v", got, got.Headers(), err)
		}
		if !again.OriginTime.Equal(got.OriginTime) {
			t.Fatalf("the time %v comes back as %v", got.OriginTime, again.OriginTime)
		}
		again.OriginTime = got.OriginTime
		if *again != *got {
			t.Fatalf("%+v comes back as %+v", got, again)
		}
	})
}
