package event

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

func FuzzDecode(f *testing.F) {
	for _, p := range loadPoison(f) {
		if v := p.bytes(); len(v) < 4<<10 {
			f.Add(v)
		}
	}
	f.Add([]byte(typical))
	f.Add([]byte(`{"streamId":"s","contact":{"id":"a"},"op":"delete"}`))
	strict, lenient := newTestDecoder(f, nil), newTestDecoder(f, lenient)
	f.Fuzz(func(t *testing.T, value []byte) {
		defer bounded.Within(t, 1<<20+100*len(value))()
		rec := contactsync.Record{Value: bytes.Clone(value)}
		s, l := strict.Decode(rec), lenient.Decode(rec)
		if !bytes.Equal(rec.Value, value) {
			t.Fatal("Decode has written to the value")
		}
		for _, e := range []Event{s, l} {
			checkEvent(t, value, e)
		}
		if s.Kind != Broken && !reflect.DeepEqual(s, l) {
			t.Errorf("strict says %+v, lenient %+v", s.Contact, l.Contact)
		}
		if s.Kind == Update {
			checkFields(t, s.Contact.Body)
		}
		// What is not well-formed is so for both.
		if s.Kind == Broken && s.Err.Reason == contactsync.ReasonUndecodable && !reflect.DeepEqual(s.Err, l.Err) {
			t.Errorf("strict says %v, lenient %v", s.Err, l.Err)
		}
		if l.Kind == Update {
			l.Contact.Ignored = 0 // which is not written
			again := lenient.Decode(contactsync.Record{Value: Native(l.Contact)})
			if !reflect.DeepEqual(again.Contact, l.Contact) {
				t.Errorf("%+v is written and read back as %+v (%v)", l.Contact, again.Contact, again.Err)
			}
		}
	})
}

// checkEvent checks what holds of every event.
func checkEvent(t *testing.T, value []byte, e Event) {
	t.Helper()
	if e.Kind == Broken {
		if e.Err == nil {
			t.Fatal("broken without an error")
		}
		checkDetail(t, e.Err)
		if e.Err.Reason == contactsync.ReasonInvalid && !json.Valid(value) {
			t.Errorf("%v, but it is not JSON", e.Err)
		}
		return
	}
	c := e.Contact
	if e.Err != nil || e.Kind == Tombstone || !contactsync.IsName(c.Stream) || !contactsync.IsName(c.ID) || c.Account != "" && !contactsync.IsName(c.Account) {
		t.Errorf("%v with %+v and %v", e.Kind, c, e.Err)
	}
	if !bytes.Contains(value, c.Body) || !json.Valid(value) || !utf8.Valid(value) {
		t.Errorf("body %q of %q", c.Body, value)
	}
	var body map[string]any
	if err := json.Unmarshal(c.Body, &body); err != nil || body["id"] != c.ID {
		t.Errorf("body %q (%v) has another id than %q", c.Body, err, c.ID)
	}
}

// checkFields checks that a strictly validated body has what the API requires.
func checkFields(t *testing.T, body []byte) {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal(body, &c); err != nil {
		t.Fatal(err)
	}
	phone, _ := c["cellPhone"].(map[string]any)
	for name, value := range map[string]any{
		"firstName": c["firstName"], "lastName": c["lastName"], "salutation": c["salutation"],
		"phoneNumber": phone["phoneNumber"], "countryCode": phone["countryCode"],
	} {
		if s, ok := value.(string); !ok || s == "" {
			t.Errorf("%s is %v in %s", name, value, body)
		}
	}
	if _, ok := phone["extension"].(string); !ok {
		t.Errorf("extension is %v in %s", phone["extension"], body)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(typicalBody), []byte(`{"id":"6964af60450340957c61a2b3","lastName":"doe","cellPhone":{"phoneNumber":"1","x":{"y":null}}}`))
	f.Add([]byte(`{"id":"a","p":{"x":1}}`), []byte(`{"\u0069d":"a","p":[{"x":1}]}`))
	f.Add([]byte(`{"id":"a","p":1}`), []byte(`{"p":{"q":{"r":null}},"id":"a"}`))
	d := newTestDecoder(f, func(c *Config) { lenient(c); c.MaxEventBytes = 1 << 20 })
	decode := func(body []byte) Event {
		value := append(append([]byte(`{"streamId":"s","contact":`), body...), '}')
		return d.Decode(contactsync.Record{Value: value})
	}
	f.Fuzz(func(t *testing.T, older, newer []byte) {
		defer bounded.Within(t, 1<<20+100*(len(older)+len(newer)))()
		o, n := decode(older), decode(newer)
		if o.Kind != Update || n.Kind != Update {
			t.Skip()
		}
		body, shape, err := Merge(o.Contact.Body, n.Contact.Body)
		if err != nil {
			t.Fatal(err)
		}
		e := decode(body)
		if e.Kind != Update || e.Contact.ID != n.Contact.ID || e.Contact.Shape != shape {
			t.Fatalf("%s and %s make %s: %v", older, newer, body, e.Err)
		}
		// As raw messages, so that numbers beyond a float64 compare as well.
		var got, want map[string]json.RawMessage
		if json.Unmarshal(body, &got) != nil || json.Unmarshal(n.Contact.Body, &want) != nil {
			t.Fatalf("%s is not an object", body)
		}
		for name, value := range want {
			if value[0] != '{' && !bytes.Equal(got[name], value) {
				t.Errorf("%q is %s after merging %s with %s", name, got[name], older, newer)
			}
		}
	})
}

// FuzzKey reads the key of a tombstone: whatever it is, it names nothing or names of the one form.
func FuzzKey(f *testing.F) {
	for _, key := range []string{
		"", "6964af60450340957c61a2b3", "st-1/a", "st-1:a", "st-1/", "/a", `"st-1/a"`, `"\"a\""`, `{"streamId":"st-1","id":"a"}`,
		`{"_id":{"$oid":"6964af60450340957c61a2b3"}}`, `{"schema":{},"payload":{"id":"a"}}`, `{"payload":{"payload":{"payload":"a"}}}`,
		strings.Repeat(`{"payload":`, 50), strings.Repeat(`"\`, 20), "\x00\x00\x00\x00\x07ab", "st-1/a/b", " \t{",
	} {
		f.Add([]byte(key))
	}
	d := newTestDecoder(f, nil)
	f.Fuzz(func(t *testing.T, key []byte) {
		defer bounded.Within(t, 1<<20+100*len(key))()
		rec := contactsync.Record{Key: bytes.Clone(key)}
		e := d.Decode(rec)
		if !bytes.Equal(rec.Key, key) {
			t.Fatal("Decode has written to the key")
		}
		stream, id := e.Contact.Stream, e.Contact.ID
		if e.Kind != Tombstone && e.Err == nil || stream != "" && !contactsync.IsName(stream) || id != "" && !contactsync.IsName(id) || id == "" && stream != "" {
			t.Errorf("%q is %v of %q %q: %v", key, e.Kind, stream, id, e.Err)
		}
	})
}
