package event

import (
	"testing"

	"contactsync"
)

// typical is an event of the size that the budget of a microsecond is for.
const typical = `{"streamId":"st-7dc994f0-4436-5134-9fa8-a942625a1b2c","contact":{"id":"6964af60450340957c61a2b3",` +
	`"firstName":"john","lastName":"doee","fullName":"john doee","salutation":"mr","cellPhone":{"extension":"+",` +
	`"phoneNumber":"2445612345","countryCode":"+91"}},"accountId":"65f7d49a5dd06e2cefa45012",` +
	`"version":17,"occurredAt":"2026-01-12T09:55:04.840Z"}`

func BenchmarkDecode(b *testing.B) {
	for _, validation := range []string{Strict, Lenient} {
		b.Run(validation, func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.Validation = validation
			d, err := NewDecoder(cfg)
			if err != nil {
				b.Fatal(err)
			}
			rec := contactsync.Record{Key: []byte("k"), Value: []byte(typical)}
			b.SetBytes(int64(len(rec.Value)))
			b.ReportAllocs()
			for b.Loop() {
				if e := d.Decode(rec); e.Kind != Update {
					b.Fatal(e.Fault)
				}
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	d, err := NewDecoder(DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	older := d.Decode(contactsync.Record{Value: []byte(typical)}).Contact.Body
	newer := []byte(`{"id":"6964af60450340957c61a2b3","lastName":"doe","cellPhone":{"phoneNumber":"2445612346"},"note":null}`)
	b.SetBytes(int64(len(older) + len(newer)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Merge(older, newer); err != nil {
			b.Fatal(err)
		}
	}
}
