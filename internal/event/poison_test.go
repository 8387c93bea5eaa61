package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/contactsync/contactsync"
)

// poison is one line of testdata/poison.jsonl: a value that is no event under
// the default settings. The bytes are base64 there: either value, or head,
// count times unit, and tail.
type poison struct {
	Name   string
	Reason contactsync.Reason
	Value  []byte
	Head   []byte
	Unit   []byte
	Count  int
	Tail   []byte
}

func (p poison) bytes() []byte {
	if p.Count == 0 {
		return p.Value
	}
	return slices.Concat(p.Head, bytes.Repeat(p.Unit, p.Count), p.Tail)
}

func loadPoison(t testing.TB) []poison {
	t.Helper()
	f, err := os.Open("testdata/poison.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []poison
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var p poison
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatalf("line %d: %v", len(all)+1, err)
		}
		if p.Value == nil {
			p.Value = []byte{}
		}
		all = append(all, p)
	}
	if len(all) < 60 {
		t.Fatalf("read %d values: the corpus has at least 60", len(all))
	}
	return all
}

func TestDecode_Poison(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, nil)
	for _, p := range loadPoison(t) {
		t.Run(p.Name, func(t *testing.T) {
			value := p.bytes()
			e := d.Decode(contactsync.Record{Value: value})
			if e.Kind != Broken || e.Err == nil {
				t.Fatalf("%v with error %v: want broken", e.Kind, e.Err)
			}
			if e.Err.Reason != p.Reason {
				t.Errorf("%v: want %s", e.Err, p.Reason)
			}
			checkDetail(t, e.Err)
			for _, word := range []string{"john", "doee", "2445", "6964", "st-1", "+91", "auth"} {
				if strings.Contains(e.Err.Detail, word) {
					t.Errorf("%v repeats %q", e.Err, word)
				}
			}
			if e.Contact.Body != nil || e.Err.Reason == contactsync.ReasonUndecodable && e.Contact.Stream+e.Contact.ID != "" {
				t.Errorf("contact %+v: want none of an %s value", e.Contact, e.Err.Reason)
			}
			// One bad record leaves nothing behind for the next.
			if e := d.Decode(contactsync.Record{Value: []byte(typical)}); e.Kind != Update || string(e.Contact.Body) != typicalBody {
				t.Errorf("the next event: %v, %v", e.Kind, e.Err)
			}
		})
	}
}

func checkDetail(t testing.TB, f *DecodeError) {
	t.Helper()
	if f.Detail == "" || len(f.Detail) > maxDetail {
		t.Errorf("detail has %d bytes: want 1 to %d", len(f.Detail), maxDetail)
	}
	if strings.ContainsFunc(f.Detail, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("detail %q is not printable ASCII", f.Detail)
	}
}

// Every value in the event starts with a word that no error may repeat, however
// the event is damaged: a damaged value can end up where a name belongs.
func TestDecode_FaultsRepeatNoValue(t *testing.T) {
	t.Parallel()
	const event = `{"streamId":"Zap1","Zap2":"Zap3","contact":{"id":"Zap4","firstName":"Zap5","lastName":"Zap6",` +
		`"salutation":"Zap7","Zap8":["Zap9",{"Zap10":"Zap11"}],"cellPhone":{"extension":"Zap12","phoneNumber":"2445612345","countryCode":"+91"}},` +
		`"accountId":"Zap13","version":"Zap14","occurredAt":"Zap15","op":"Zap16"}`
	d := newTestDecoder(t, nil)
	check := func(value string) {
		e := d.Decode(contactsync.Record{Value: []byte(value)})
		if e.Err == nil {
			return
		}
		checkDetail(t, e.Err)
		if strings.Contains(e.Err.Error(), "Zap") || strings.Contains(e.Err.Error(), "2445") {
			t.Errorf("%v repeats a value of %s", e.Err, value)
		}
	}
	for i := range len(event) {
		check(event[:i])
		check(event[:i] + event[i+1:])
		for _, c := range []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, "\n", "\xff", "0", `\ud800`} {
			check(event[:i] + c + event[i:])
			check(event[:i] + c + event[i+1:])
		}
	}
}
