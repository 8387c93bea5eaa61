package event

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/contactsync/contactsync/internal/lab/bounded"
)

func TestLooksLike(t *testing.T) {
	t.Parallel()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(typical))
	_ = w.Close()
	for _, c := range []struct{ name, value, want string }{
		{"Confluent, Avro", "\x00\x00\x01\x86\xa7\x02\x0cjohn d", "Confluent's wire format (Avro or Protobuf), schema 100007"},
		{"Confluent, JSON Schema", "\x00\x00\x00\x00\x07{\"streamId\":\"st-1\"}", "Confluent's wire format (JSON Schema), schema 7"},
		{"zeros", strings.Repeat("\x00", 20), "binary data"},
		{"Glue", "\x03\x00" + strings.Repeat("\x9a", 16) + "\x02\x0c", "the wire format of AWS Glue Schema Registry"},
		{"Avro file", "Obj\x01\x04\x14avro.codec", "an Avro container file"},
		{"Avro object", "\xc3\x01\x9a\x9a\x9a\x9a\x9a\x9a\x9a\x9a\x02", "a single Avro object"},
		{"gzip", zipped.String(), "data compressed with gzip"},
		{"zstd", "\x28\xb5\x2f\xfd\x04\x00", "data compressed with zstd"},
		{"Java", "\xac\xed\x00\x05sr\x00", "a serialized Java object"},
		{"BOM", "\xef\xbb\xbf{}", "text with a byte order mark"},
		{"UTF-16", "\xff\xfe{\x00}\x00", "text in UTF-16"},
		{"Protobuf", "\x0a\x04st-1\x12\x06\x0a\x04a\x01bc\x18\x11", "Protobuf"},
		{"MessagePack", "\x82\xa8streamId\xa4st-1\xa7contact\x80", "binary data"},
		{"Debezium", `{"before":null,"after":{"id":1},"source":{"lsn":1},"op":"c","ts_ms":1}`, "a Debezium envelope (before, after, op)"},
		{"Debezium with a schema", `{"schema":{"type":"struct"},"payload":{"before":null,"after":{"id":1},"op":"c"}}`, "a Debezium envelope (before, after, op)"},
		{"Connect", `{"schema":{"type":"struct"},"payload":{"id":1}}`, "Kafka Connect's JSON with a schema"},
		{"CloudEvent", `{"specversion":"1.0","type":"contact.updated","source":"/crm","id":"1","data":{}}`, "a CloudEvent"},
		{"own event", `{"streamId":"s","contact":{"id":"a"}}`, "an event of contactsync"},
		{"other JSON", ` {"stream_id":"s","contact_id":"a"}`, "a JSON object of another form"},
		{"cut off", `{"streamId":"s","con`, "JSON that is damaged or cut off"},
		{"array", `[{"streamId":"s"}]`, "a JSON array"},
		{"XML", `<?xml version="1.0"?><contact/>`, "XML"},
		{"twice", `"{\"streamId\":\"s\"}"`, "JSON inside a JSON string"},
		{"CSV", "st-1;6964af;john\r\n", "plain text"},
		{"text with umlauts", "Grüße", "plain text"},
		{"a long text", strings.Repeat("ü ", mostLooked), "plain text"},
		{"white space", " \n", "an empty value"},
		{"empty", "", "an empty value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := LooksLike([]byte(c.value)); got.Like != c.want {
				t.Errorf("looks like %q, want %q", got.Like, c.want)
			}
		})
	}
}

// FuzzLooksLike: whatever comes, it is a phrase of ours, and nobody panics.
func FuzzLooksLike(f *testing.F) {
	for _, seed := range []string{typical, "\x00\x00\x00\x00\x07ab", "\x0a\x04st-1", `{"payload":{"op":1,"after":2}}`, "Grüße", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		defer bounded.Within(t, 1<<20+100*len(value))()
		if got := LooksLike(value); got.Like == "" || len(got.Like) > 100 {
			t.Errorf("looks like %q", got.Like)
		}
	})
}
