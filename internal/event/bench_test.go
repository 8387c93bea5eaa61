package event

import (
	"testing"

	"github.com/contactsync/contactsync"
)

func BenchmarkDecode(b *testing.B) {
	for _, validation := range []string{Strict, Lenient} {
		b.Run(validation, func(b *testing.B) {
			d := newTestDecoder(b, func(c *Config) { c.Validation = validation })
			rec := contactsync.Record{Key: []byte("st-1/a"), Value: []byte(typical)}
			b.SetBytes(int64(len(rec.Value)))
			b.ReportAllocs()
			for b.Loop() {
				if e := d.Decode(rec); e.Kind != Update {
					b.Fatal(e.Err)
				}
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	older := []byte(typicalBody)
	newer := []byte(`{"id":"6964af60450340957c61a2b3","lastName":"doe","cellPhone":{"phoneNumber":"2445612346"},"note":null}`)
	b.SetBytes(int64(len(older) + len(newer)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Merge(older, newer); err != nil {
			b.Fatal(err)
		}
	}
}
