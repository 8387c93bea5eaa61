package event

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

// typical is an event of the size that the budget of a microsecond is for.
const (
	typicalBody = `{"id":"6964af60450340957c61a2b3","firstName":"john","lastName":"doee","fullName":"john doee","salutation":"mr",` +
		`"cellPhone":{"extension":"+","phoneNumber":"2445612345","countryCode":"+91"}}`
	typical = `{"streamId":"st-7dc994f0-4436-5134-9fa8-a942625a1b2c","contact":` + typicalBody +
		`,"accountId":"65f7d49a5dd0","version":17,"occurredAt":"2026-01-12T09:55:04.840Z"}`
)

func newTestDecoder(t testing.TB, change func(*Config)) *Decoder {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	d, err := NewDecoder(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func lenient(c *Config) { c.Validation = Lenient }

func TestDecode_Good(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 12, 9, 55, 4, 840e6, time.UTC)
	for _, c := range []struct {
		name    string
		change  func(*Config)
		value   string
		kind    Kind
		contact Contact
	}{
		{
			name: "typical", value: typical, kind: Update,
			contact: Contact{Stream: "st-7dc994f0-4436-5134-9fa8-a942625a1b2c", ID: "6964af60450340957c61a2b3", Account: "65f7d49a5dd0", Body: []byte(typicalBody), Version: 17, HasVersion: true, OccurredAt: at},
		},
		{
			name: "least", value: `{"streamId":"s","contact":` + typicalBody + `}`, kind: Update,
			contact: Contact{Stream: "s", ID: "6964af60450340957c61a2b3", Body: []byte(typicalBody)},
		},
		{
			name: "members in another order", value: `{"op":"update","contact":` + typicalBody + `,"version":-1,"streamId":"s"}`, kind: Update,
			contact: Contact{Stream: "s", ID: "6964af60450340957c61a2b3", Body: []byte(typicalBody), Version: -1, HasVersion: true},
		},
		{
			name: "white space is kept inside the body only", value: " {\n\"streamId\" : \"s\" ,\t\"contact\" : { \"id\" : \"a\" }\r\n}\n", change: lenient, kind: Update,
			contact: Contact{Stream: "s", ID: "a", Body: []byte(`{ "id" : "a" }`)},
		},
		{
			name: "escapes", value: `{"stream\u0049d":"st\u002d1","contact":{"\u0069d":"\u0061"},"op":"\u0075pdate","occurredAt":"2026-01-12T11:55:04.84\u002b02:00"}`, change: lenient, kind: Update,
			contact: Contact{Stream: "st-1", ID: "a", Body: []byte(`{"\u0069d":"\u0061"}`), OccurredAt: at},
		},
		{
			name: "unknown members", value: `{"StreamId":1,"streamId":"s","x":{"y":[{}]},"contact":{"id":"a","email":null,"tags":["b",{"c":[]}],"more":{"id":2}}}`, change: lenient, kind: Update,
			contact: Contact{Stream: "s", ID: "a", Body: []byte(`{"id":"a","email":null,"tags":["b",{"c":[]}],"more":{"id":2}}`)},
		},
		{
			name: "lenient takes any field", value: `{"streamId":"s","contact":{"id":"a","firstName":null,"cellPhone":"+91"}}`, change: lenient, kind: Update,
			contact: Contact{Stream: "s", ID: "a", Body: []byte(`{"id":"a","firstName":null,"cellPhone":"+91"}`)},
		},
		{
			name: "delete with an id only", value: `{"streamId":"s","contact":{"id":"a"},"op":"delete","version":9223372036854775807}`, kind: Delete,
			contact: Contact{Stream: "s", ID: "a", Body: []byte(`{"id":"a"}`), Version: 1<<63 - 1, HasVersion: true},
		},
		{
			name: "delete does not check fields", value: `{"streamId":"s","contact":{"firstName":1,"id":"a","cellPhone":null},"op":"delete"}`, kind: Delete,
			contact: Contact{Stream: "s", ID: "a", Body: []byte(`{"firstName":1,"id":"a","cellPhone":null}`)},
		},
		{
			name: "null in members that may be absent", value: `{"streamId":"s","contact":{"id":"a"},"accountId":null,"version":null,"occurredAt":null,"op":null}`, change: lenient, kind: Update,
			contact: Contact{Stream: "s", ID: "a", Body: []byte(`{"id":"a"}`)},
		},
		{
			name: "a full name that is null is absent", value: `{"streamId":"s","contact":` + strings.Replace(typicalBody, `"john doee"`, ` null`, 1) + `}`, kind: Update,
			contact: Contact{Stream: "s", ID: "6964af60450340957c61a2b3", Body: []byte(strings.Replace(typicalBody, `"fullName":"john doee",`, "", 1)), Copied: true},
		},
		{
			name: "a full name that is null comes first", value: `{"streamId":"s","contact":{ "fullName":null , ` + strings.Replace(typicalBody, `"fullName":"john doee",`, "", 1)[1:] + `}`, kind: Update,
			contact: Contact{Stream: "s", ID: "6964af60450340957c61a2b3", Body: []byte(`{ ` + strings.Replace(typicalBody, `"fullName":"john doee",`, "", 1)[1:]), Copied: true},
		},
		{
			name: "a full name that is null comes last", value: `{"streamId":"s","contact":` + strings.TrimSuffix(strings.Replace(typicalBody, `"fullName":"john doee",`, "", 1), "}") + `,"fullName":null}}`, kind: Update,
			contact: Contact{Stream: "s", ID: "6964af60450340957c61a2b3", Body: []byte(strings.Replace(typicalBody, `"fullName":"john doee",`, "", 1)), Copied: true},
		},
		{
			name: "version zero", value: `{"streamId":"s","contact":{"id":"a"},"version":0}`, change: lenient, kind: Update,
			contact: Contact{Stream: "s", ID: "a", Body: []byte(`{"id":"a"}`), HasVersion: true},
		},
		{
			name: "strict does without a full name", value: `{"streamId":"s","contact":` + strings.Replace(typicalBody, `"fullName":"john doee",`, "", 1) + `}`, kind: Update,
			contact: Contact{Stream: "s", ID: "6964af60450340957c61a2b3", Body: []byte(strings.Replace(typicalBody, `"fullName":"john doee",`, "", 1))},
		},
		{
			name: "strict takes an empty full name and extension", value: `{"streamId":"s","contact":` + strings.NewReplacer("john doee", "", `"extension":"+"`, `"extension":""`).Replace(typicalBody) + `}`, kind: Update,
			contact: Contact{Stream: "s", ID: "6964af60450340957c61a2b3", Body: []byte(strings.NewReplacer("john doee", "", `"extension":"+"`, `"extension":""`).Replace(typicalBody))},
		},
		{
			name: "as large as allowed", value: typical + strings.Repeat(" ", 256<<10-len(typical)), kind: Update,
			contact: Contact{Stream: "st-7dc994f0-4436-5134-9fa8-a942625a1b2c", ID: "6964af60450340957c61a2b3", Account: "65f7d49a5dd0", Body: []byte(typicalBody), Version: 17, HasVersion: true, OccurredAt: at},
		},
		{
			name: "as deep as allowed", value: `{"streamId":"s","contact":{"id":"a","x":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}}`, change: lenient, kind: Update,
			contact: Contact{Stream: "s", ID: "a", Body: []byte(`{"id":"a","x":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newTestDecoder(t, c.change)
			value := []byte(c.value)
			e := d.Decode(contactsync.Record{Value: value})
			if e.Kind != c.kind || e.Err != nil {
				t.Fatalf("%v with error %v: want %v", e.Kind, e.Err, c.kind)
			}
			if e.Contact.Shape == 0 {
				t.Error("no shape")
			}
			e.Contact.Shape = 0
			if !reflect.DeepEqual(e.Contact, c.contact) {
				t.Errorf("contact\n%+v, want\n%+v", e.Contact, c.contact)
			}
			if e.Contact.Copied {
				return
			}
			at := bytes.Index(value, e.Contact.Body)
			if &e.Contact.Body[0] != &value[at] || cap(e.Contact.Body) != len(e.Contact.Body) {
				t.Error("the body is not a closed part of the value")
			}
		})
	}
}

func TestDecode_Faults(t *testing.T) {
	t.Parallel()
	event := func(contact string) string { return `{"streamId":"st-1","contact":` + contact + `}` }
	strict := func(old, with string) string { return event(strings.Replace(typicalBody, old, with, 1)) }
	for _, c := range []struct{ name, value, want string }{
		{"empty", "", "undecodable: the value is empty: a tombstone has none"},
		{"white space", "  ", "undecodable: the value holds white space only (at byte 0)"},
		{"byte order mark", "\xef\xbb\xbf{}", "undecodable: the value starts with a byte order mark (BOM): write plain UTF-8 (at byte 0)"},
		{"not JSON", `{"streamId":"s",}`, "undecodable: not JSON (at byte 15)"},
		{"cut", `{"streamId":"s","contact":{"id":"a"`, "undecodable: the value ends too early, in contact (at byte 35)"},
		{"not UTF-8", "{\"contact\":{\"id\":\"\xff\"}}", "undecodable: not UTF-8, in contact.id (at byte 18)"},
		{"lone surrogate", `{"contact":{"cellPhone":{"extension":"\ud800"}}}`, "undecodable: an escape is wrong or half of a surrogate pair, in contact.cellPhone.extension (at byte 38)"},
		{"control character", "{\"contact\":{\"x\":\"\x01\"}}", "undecodable: a control character, in contact.* (at byte 17)"},
		{"duplicate", `{"streamId":"s","stream\u0049d":"s"}`, "undecodable: an object has the same member twice, in streamId (at byte 16)"},
		{"number as a name", `{"contact":{1:2}}`, "undecodable: a member's name is not a string, in contact (at byte 12)"},
		{"too deep", `{"x":` + strings.Repeat("[", 40), "undecodable: objects and arrays nest deeper than 32 levels (at byte 37)"},
		{"trailing", `{} {}`, "undecodable: data follows the JSON value (at byte 2)"},
		{"too large", typical + strings.Repeat(" ", 256<<10), fmt.Sprintf("undecodable: the value has %d bytes: at most 262144", len(typical)+256<<10)},
		{"an array", `[]`, "invalid: the event is an array: want an object"},
		{"no stream", `{"contact":{"id":"a"}}`, "invalid: streamId is missing"},
		{"no contact", `{"streamId":"s"}`, "invalid: contact is missing"},
		{"stream is a number", `{"streamId":1}`, "invalid: streamId is a number: want a string (before byte 13)"},
		{"stream with a path", `{"streamId":"../x"}`, "invalid: streamId does not match ^[A-Za-z0-9_-]{1,64}$ (before byte 18)"},
		{"account with a path", `{"accountId":"../x"}`, "invalid: accountId does not match ^[A-Za-z0-9_-]{1,64}$ (before byte 19)"},
		{"contact is null", `{"contact":null}`, "invalid: contact is null: want an object (before byte 15)"},
		{"id is missing", event(`{}`), "invalid: contact.id is missing"},
		{"id is a number", event(`{"id":1}`), "invalid: contact.id is a number: want a string (before byte 36)"},
		{"id is not plain", event(`{"id":"a b"}`), "invalid: contact.id does not match ^[A-Za-z0-9_-]{1,64}$ (before byte 40)"},
		{"op", `{"op":"drop"}`, "invalid: op is unknown: want update or delete (before byte 12)"},
		{"a field is missing", strict(`"salutation":"mr",`, ``), "invalid: contact.salutation is missing"},
		{"a field is null", strict(`"john"`, `null`), "invalid: contact.firstName is null: want a string (before byte 78)"},
		{"a field is an object", strict(`"john"`, `{"a":1}`), "invalid: contact.firstName is an object: want a string (before byte 75)"},
		{"a field is empty", strict(`"john"`, `""`), "invalid: contact.firstName is empty (before byte 76)"},
		{"a part of the phone is missing", strict(`"extension":"+",`, ``), "invalid: contact.cellPhone.extension is missing"},
		{"phone is a string", event(`{"id":"a","cellPhone":"+91"}`), "invalid: contact.cellPhone is a string: want an object (before byte 56)"},
		{"phone number", strict("2445612345", "244 561"), "invalid: contact.cellPhone.phoneNumber is not made of digits only (before byte 192)"},
		{"country code", strict("+91", "0091"), "invalid: contact.cellPhone.countryCode is not + and one to three digits (before byte 216)"},
		{"the first error counts", `{"streamId":1,"op":"drop","contact":[]}`, "invalid: streamId is a number: want a string (before byte 13)"},
		{"well-formed comes first", `{"streamId":1,"contact":}`, "undecodable: not JSON, in contact (at byte 24)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newTestDecoder(t, nil).Decode(contactsync.Record{Value: []byte(c.value)})
			if e.Kind != Broken || e.Err == nil || e.Err.Error() != c.want {
				t.Errorf("%v, %v\nwant %s", e.Kind, e.Err, c.want)
			}
		})
	}
}

// What an event says of its order may be unreadable, and its contact is good all the same.
func TestDecode_AnOrderHintThatCannotBeReadCostsTheHint(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 12, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, hints string
		want        Contact
	}{
		{"version as text", `"version":"1"`, Contact{Ignored: VersionUnreadable}},
		{"version with a fraction", `"version":1.5`, Contact{Ignored: VersionUnreadable}},
		{"version beyond 64 bits", `"version":9223372036854775808`, Contact{Ignored: VersionUnreadable}},
		{"version as an object", `"version":{"lsn":[1]}`, Contact{Ignored: VersionUnreadable}},
		{"version as a boolean", `"version":true`, Contact{Ignored: VersionUnreadable}},
		{"occurredAt as words", `"occurredAt":"yesterday"`, Contact{Ignored: OccurredAtUnreadable}},
		{"occurredAt without a zone", `"occurredAt":"2026-01-12T09:00:00"`, Contact{Ignored: OccurredAtUnreadable}},
		{"occurredAt as epoch", `"occurredAt":1768208400000`, Contact{Ignored: OccurredAtUnreadable}},
		{"occurredAt as an array", `"occurredAt":[2026,1]`, Contact{Ignored: OccurredAtUnreadable}},
		{"occurredAt that would read as absent", `"occurredAt":"0001-01-01T00:00:00Z"`, Contact{Ignored: OccurredAtUnreadable}},
		{"the other hint counts", `"version":"1","occurredAt":"2026-01-12T09:00:00Z"`, Contact{OccurredAt: at, Ignored: VersionUnreadable}},
		{"both", `"version":[],"occurredAt":{}`, Contact{Ignored: VersionUnreadable | OccurredAtUnreadable}},
	} {
		for _, op := range []string{"update", "delete"} {
			t.Run(c.name+"/"+op, func(t *testing.T) {
				t.Parallel()
				d := newTestDecoder(t, func(c *Config) { c.Validation = Lenient })
				e := d.Decode(contactsync.Record{Value: []byte(`{"streamId":"s","contact":{"id":"a"},` + c.hints + `,"op":"` + op + `"}`)})
				c.want.Stream, c.want.ID, c.want.Body, c.want.Shape = "s", "a", []byte(`{"id":"a"}`), e.Contact.Shape
				if e.Err != nil || !reflect.DeepEqual(e.Contact, c.want) {
					t.Errorf("%v, %+v\nwant %+v", e.Err, e.Contact, c.want)
				}
			})
		}
	}
}

// One wrong clock must not make all later events stale.
func TestDecode_AnOccurredAtThatIsNotYetIsNoOrder(t *testing.T) {
	t.Parallel()
	now, year := time.Now().UTC(), 365*24*time.Hour
	for _, c := range []struct {
		name             string
		read, occurredAt time.Time
		first            time.Time // of a replay, when it was first read
		ahead            bool
	}{
		{"before the record", now, now.Add(-time.Hour), time.Time{}, false},
		{"as far ahead as clocks differ", now.Add(-time.Hour), now.Add(-time.Hour + maxAhead), time.Time{}, false},
		{"ahead of the record", now.Add(-time.Hour), now.Add(-time.Hour + maxAhead + 1), time.Time{}, true},
		{"years ahead", now, now.Add(36 * year), time.Time{}, true},
		{"the record's clock is wrong too", now.Add(36 * year), now.Add(36 * year), time.Time{}, true},
		{"ahead of now, of a record without a time", time.UnixMilli(-1), now.Add(time.Hour), time.Time{}, true},
		{"of a record without a time", time.UnixMilli(-1), now, time.Time{}, false},
		{"a replay goes by when it was first read", now, now.Add(-time.Hour), now.Add(-2 * time.Hour), true},
		{"a replay of what was no order", now.Add(-year), now.Add(-time.Hour), now.Add(-time.Hour), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec := contactsync.Record{Time: c.read, Value: fmt.Appendf(nil, `{"streamId":"s","contact":{"id":"a"},"occurredAt":%q}`, c.occurredAt.Format(time.RFC3339Nano))}
			if !c.first.IsZero() {
				rec.Headers = Replay{OriginTime: c.first, Of: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t"}}, Origin: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t"}}}.Headers()
			}
			e := newTestDecoder(t, func(c *Config) { c.Validation = Lenient }).Decode(rec)
			if e.Kind != Update || e.Contact.OccurredAt.IsZero() != c.ahead || (e.Contact.Ignored == OccurredAtAhead) != c.ahead {
				t.Errorf("%v, %v, occurredAt %v, ignored %v; ahead: want %v", e.Kind, e.Err, e.Contact.OccurredAt, e.Contact.Ignored.Names(), c.ahead)
			}
		})
	}
}

func TestDecode_InvalidEventsKeepTheirNames(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, nil)
	e := d.Decode(contactsync.Record{Value: []byte(`{"streamId":"s","contact":{"id":"a"}}`)})
	if e.Err == nil || e.Contact.Stream != "s" || e.Contact.ID != "a" {
		t.Errorf("contact %+v with %v: want s and a", e.Contact, e.Err)
	}
	e = d.Decode(contactsync.Record{Value: []byte(`{"streamId":"../s","contact":{"id":"a"}}`)})
	if e.Err == nil || e.Contact.Stream != "" || e.Contact.ID != "a" {
		t.Errorf("contact %+v with %v: want no stream and a", e.Contact, e.Err)
	}
}

func TestDecode_Tombstone(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, func(c *Config) { c.MaxEventBytes = 1 << 10 })
	e := d.Decode(contactsync.Record{Key: []byte("s/a")})
	if e.Kind != Tombstone || e.Err != nil || string(e.Record.Key) != "s/a" || e.Contact.Stream != "s" || e.Contact.ID != "a" {
		t.Errorf("%+v: want a tombstone", e)
	}
	e = d.Decode(contactsync.Record{Key: make([]byte, 1025)})
	if e.Kind != Broken || e.Err.Error() != "undecodable: the key has 1025 bytes: at most 1024" {
		t.Errorf("%v, %v: want an error about the key", e.Kind, e.Err)
	}
}

// The budget of a microsecond leaves room for the id and little else.
func TestDecode_Allocations(t *testing.T) {
	d := newTestDecoder(t, nil)
	rec := contactsync.Record{Value: []byte(typical)}
	if n := testing.AllocsPerRun(100, func() { d.Decode(rec) }); n > 3 {
		t.Errorf("%v allocations an event: at most 3", n)
	}
}

func TestNative_ReadsBack(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		typical,
		`{"streamId":"s","contact":{"id":"a"}}`,
		`{"streamId":"s","contact":{ "id":"a" },"version":0,"occurredAt":"2026-01-12T11:55:04.123456789+02:00"}`,
	} {
		d := newTestDecoder(t, lenient)
		want := d.Decode(contactsync.Record{Value: []byte(value)})
		written := Native(want.Contact)
		got := d.Decode(contactsync.Record{Value: written})
		if !reflect.DeepEqual(got.Contact, want.Contact) || got.Kind != Update {
			t.Errorf("%s\nreads as %+v (%v)\nwant     %+v", written, got.Contact, got.Err, want.Contact)
		}
	}
}

func TestNames_AreBounded(t *testing.T) {
	t.Parallel()
	n := names{}
	for i := range maxKnown + 10 {
		if _, ok := n.get(fmt.Appendf(nil, "st-%d", i)); !ok {
			t.Fatalf("st-%d refused", i)
		}
		n.get([]byte("../x"))
	}
	if len(n) > maxKnown || n["../x"] != "" {
		t.Errorf("%d names: at most %d, and none that is refused", len(n), maxKnown)
	}
}

func TestDecode_TombstoneKeys(t *testing.T) {
	t.Parallel()
	const mongo = "6964af60450340957c61a2b3"
	d := newTestDecoder(t, nil)
	for _, c := range []struct{ key, stream, id string }{
		{"st-1/a_B", "st-1", "a_B"},
		{"st-1:a", "st-1", "a"},
		{mongo, "", mongo},
		{"", "", ""},
		{"/", "", ""},
		{"st-1/", "", ""},
		{"/a", "", ""},
		{"st-1/a/b", "", ""},
		{"st-1:a/b", "", ""},
		{"../a", "", ""},
		{"a b", "", ""},
		{strings.Repeat("a", 65), "", ""},
		{"st-1/" + strings.Repeat("a", 65), "", ""},

		// As connectors write them.
		{`"` + mongo + `"`, "", mongo},
		{`"st-1/a"`, "st-1", "a"},
		{`"st-1:\u0061" `, "st-1", "a"},
		{`{"id":"` + mongo + `"}`, "", mongo},
		{` { "id" : "a" } `, "", "a"},
		{`{"streamId":"st-1","id":"a"}`, "st-1", "a"},
		{`{"id":"a","tenant":[{"x":null}],"streamId":"st-1"}`, "st-1", "a"},
		{`{"streamId":null,"id":"a"}`, "", "a"},
		{`{"schema":{"type":"string","optional":false},"payload":"a"}`, "", "a"},
		{`{"schema":{"type":"struct","fields":[{"type":"string","field":"id"}]},"payload":{"id":"a"}}`, "", "a"},
		{`{"payload":{"id":"a","streamId":"st-1"},"schema":null}`, "st-1", "a"},
		{`"{\"schema\":null,\"payload\":{\"id\":\"a\",\"streamId\":\"st-1\"}}"`, "st-1", "a"},
		{`{"schema":null,"payload":{"id":"{\"$oid\": \"` + mongo + `\"}"}}`, "", mongo},
		{`{"_id":{"$oid":"` + mongo + `"}}`, "", mongo},
		{`{"_id":{"$oid":"` + mongo + `"},"id":"a"}`, "", "a"},
		{`{"id":"a","_id":"b"}`, "", "a"},
		{`{"id":"st-1/a"}`, "st-1", "a"},

		// What names nobody.
		{`{}`, "", ""},
		{`{"ID":"a"}`, "", ""},
		{`{"id":1}`, "", ""},
		{`{"id":null}`, "", ""},
		{`{"id":["a"]}`, "", ""},
		{`{"id":"a","id":"b"}`, "", ""},
		{`{"id":"a"`, "", ""},
		{`{"id":"a"} x`, "", ""},
		{`{"id":"../a"}`, "", ""},
		{`{"id":"st-1/a","streamId":"st-2"}`, "", ""},
		{`{"id":"a","streamId":""}`, "", ""},
		{`{"id":"a","streamId":1}`, "", ""},
		{`{"id":"a","streamId":"st-1/b"}`, "", ""},
		{`{"payload":null}`, "", ""},
		{`"a`, "", ""},
		{`"a"b`, "", ""},
		{`["a"]`, "", ""},
		{strings.Repeat(`{"payload":`, 100_000), "", ""},
		{strings.Repeat(`{"payload":`, 9) + `"a"` + strings.Repeat(`}`, 9), "", ""},
		{"\x00\x00\x00\x00\x07\x0ast-1", "", ""},
	} {
		e := d.Decode(contactsync.Record{Key: []byte(c.key)[:min(len(c.key), 256<<10)]})
		if e.Kind != Tombstone || e.Contact.Stream != c.stream || e.Contact.ID != c.id {
			t.Errorf("%.100q is a %v that names %q, %q: want %q, %q", c.key, e.Kind, e.Contact.Stream, e.Contact.ID, c.stream, c.id)
		}
	}
}

func TestKind_String(t *testing.T) {
	t.Parallel()
	for kind, want := range map[Kind]string{Broken: "broken", Update: "update", Delete: "delete", Tombstone: "tombstone", 99: "broken"} {
		if kind.String() != want {
			t.Errorf("%d is %q: want %q", kind, kind, want)
		}
	}
}

func TestDecode_RoutesUpdates(t *testing.T) {
	t.Parallel()
	d, err := NewDecoder(DefaultConfig(), func(stream, account string) (string, bool) {
		return stream + "'s", account == "" || account == "alias"
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Decoder{d, d.Clone()} {
		update := func(account string) Event {
			c := Contact{Stream: "st-1", Account: account, Body: []byte(typicalBody)}
			return d.Decode(contactsync.Record{Value: Native(c)})
		}
		if e := update(""); e.Kind != Update || e.Contact.Account != "st-1's" {
			t.Errorf("%v, account %q, %v", e.Kind, e.Contact.Account, e.Err)
		}
		if e := update("alias"); e.Kind != Update || e.Contact.Account != "st-1's" {
			t.Errorf("%v, account %q, %v: want the route's account, not the event's", e.Kind, e.Contact.Account, e.Err)
		}
		e := update("other")
		if e.Kind != Broken || e.Err.Error() != `unmapped: no account in upstream.accounts takes stream "st-1" of account "other"` || e.Contact.Stream != "st-1" || e.Contact.ID == "" {
			t.Errorf("an update that no account takes: %v, %+v, %v", e.Kind, e.Contact, e.Err)
		}
		checkDetail(t, e.Err)
		if e := d.Decode(contactsync.Record{Value: []byte(`{"streamId":"st-1","accountId":"other","op":"delete","contact":{"id":"a"}}`)}); e.Kind != Delete || e.Contact.Account != "other" {
			t.Errorf("a delete is sent to no account: %v, %v", e.Kind, e.Err)
		}
		if e := d.Decode(contactsync.Record{Value: []byte(`{"streamId":"st-1","op":"delete","contact":{"id":"a"}}`)}); e.Kind != Delete || e.Contact.Account != "st-1's" {
			t.Errorf("a delete is of account %q, want that of updates", e.Contact.Account)
		}
		if e := d.Decode(contactsync.Record{Value: []byte("{")}); e.Kind != Broken || e.Err.Reason != contactsync.ReasonUndecodable {
			t.Errorf("an undecodable record: %v, %v", e.Kind, e.Err)
		}
	}
}

// A clone works in another goroutine: it has the settings, and shares no memory.
func TestDecoder_CloneIsIndependent(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, func(c *Config) { c.MaxDepth = 4 })
	d.Decode(contactsync.Record{Value: []byte(`{"stream\u0049d":"st\u002d1","accountId":"a"}`)})
	clone := d.Clone()
	if clone.in.scratch != nil || len(clone.streams) != 0 || len(clone.accounts) != 0 {
		t.Errorf("a clone begins with %d bytes, %v and %v of its original", len(clone.in.scratch), clone.streams, clone.accounts)
	}
	clone.Decode(contactsync.Record{Value: []byte(`{"streamId":"st-2","accountId":"b"}`)})
	if len(d.streams) != 1 || len(d.accounts) != 1 {
		t.Errorf("the original knows %v and %v of its clone", d.streams, d.accounts)
	}
	for value, want := range map[string]string{
		`{"streamId":"s","contact":{"id":"a"}}`: "invalid: contact.firstName is missing",
		`{"x":[[[[]]]]}`:                        "undecodable: objects and arrays nest deeper than 4 levels (at byte 9)",
	} {
		if e := clone.Decode(contactsync.Record{Value: []byte(value)}); e.Err == nil || e.Err.Error() != want {
			t.Errorf("%s: %v, want %s", value, e.Err, want)
		}
	}
}

func TestNewDecodeError_DetailIsBounded(t *testing.T) {
	t.Parallel()
	checkDetail(t, newDecodeError(contactsync.ReasonInvalid, "%s", strings.Repeat("a", 1000)))
}

// A bug in the reading of an event harms that event alone, and is told without its words.
func TestDecode_SurvivesABug(t *testing.T) {
	t.Parallel()
	d, err := NewDecoder(DefaultConfig(), nil)
	if err != nil {
		t.Fatal(err)
	}
	read := d.read
	rec := contactsync.Record{Value: []byte(typical)}
	rec.Value = bytes.Replace(rec.Value, []byte("john"), []byte("Zebulon"), 1)
	for _, test := range []struct {
		value any
		want  string
	}{
		{errors.New("Zebulon"), "a value of type *errors.errorString, which is not printed"},
		{"Zebulon", "a value of type string, which is not printed"},
		{"BUG: a constant", "BUG: a constant (decoder_test.go:"},
	} {
		d.read = func(*Decoder, contactsync.Record) (Kind, Contact, *DecodeError) { panic(test.value) }
		got := d.Decode(rec)
		if got.Err == nil || got.Kind != Broken || got.Err.Reason != contactsync.ReasonUndecodable || string(got.Record.Value) != string(rec.Value) ||
			!strings.Contains(got.Err.Detail, test.want) || strings.Contains(got.Err.Detail, "Zebulon") {
			t.Errorf("%v: %v: %+v", test.value, got.Kind, got.Err)
		}
	}
	d.read = read
	if got := d.Decode(rec); got.Kind != Update {
		t.Errorf("the next event: %v: %+v", got.Kind, got.Err)
	}
}
