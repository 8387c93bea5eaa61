package event

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Looks is what the value of a record that is no event is likely to be. Nothing in it is
// copied from the value but the number of a schema.
type Looks struct {
	Like   string // a form of data; empty where none is recognized
	Advice string // what to do about it; empty where that follows from the error
}

// mostLooked bounds what is looked at of a value.
const mostLooked = 1 << 20

// signatures are the first bytes of formats that have some.
var signatures = []struct {
	bytes string
	looks Looks
}{
	{"Obj\x01", Looks{"an Avro container file", "write each event as a record of its own, in JSON"}},
	{"\xc3\x01", Looks{"a single Avro object", decodeFirst}},
	{"\x1f\x8b", compressed("gzip")},
	{"\x28\xb5\x2f\xfd", compressed("zstd")},
	{"\x04\x22\x4d\x18", compressed("lz4")},
	{"\x82SNAPPY\x00", compressed("snappy")},
	{"PK\x03\x04", compressed("zip")},
	{"\xac\xed\x00\x05", Looks{"a serialized Java object", "give the producer a JSON serializer"}},
	{"\xef\xbb\xbf", Looks{"text with a byte order mark", "write UTF-8 without one"}},
	{"\xff\xfe", Looks{"text in UTF-16", "write UTF-8"}},
	{"\xfe\xff", Looks{"text in UTF-16", "write UTF-8"}},
}

const decodeFirst = "have it written as JSON: by a JSON serializer in the producer, or decoded into a topic of its own that contactsync reads"

func compressed(by string) Looks {
	return Looks{"data compressed with " + by, "leave compression to the Kafka producer (compression.type), which contactsync reads"}
}

// LooksLike says what a value is likely to be.
func LooksLike(value []byte) Looks {
	value = value[:min(len(value), mostLooked)]
	for _, s := range signatures {
		if bytes.HasPrefix(value, []byte(s.bytes)) {
			return s.looks
		}
	}
	// The magic byte 0 and the number of a schema, as serializers with a Schema Registry write them.
	if len(value) > 5 && value[0] == 0 {
		if id := binary.BigEndian.Uint32(value[1:]); id > 0 && id < 10_000_000 {
			what := "Avro or Protobuf"
			if value[5] == '{' {
				what = "JSON Schema"
			}
			return Looks{fmt.Sprintf("Confluent's wire format (%s), schema %d", what, id), decodeFirst}
		}
	}
	if len(value) > 18 && value[0] == 3 && (value[1] == 0 || value[1] == 5) {
		return Looks{"the wire format of AWS Glue Schema Registry", decodeFirst}
	}
	if isText(value) {
		return textLooksLike(bytes.TrimSpace(value))
	}
	if isProtobuf(value) {
		return Looks{"Protobuf", decodeFirst}
	}
	return Looks{"binary data", decodeFirst}
}

func textLooksLike(text []byte) Looks {
	if len(text) == 0 {
		return Looks{Like: "an empty value", Advice: "a delete has op: delete, or no value at all (null)"}
	}
	switch text[0] {
	case '{':
		return objectLooksLike(text)
	case '[':
		return Looks{"a JSON array", "write each event as a record of its own"}
	case '<':
		return Looks{"XML", "have it written as JSON"}
	case '"':
		return Looks{"JSON inside a JSON string", "have the producer serialize the event once: it is a string already"}
	}
	return Looks{"plain text", "have it written as JSON"}
}

// objectLooksLike tells envelopes by the names of their members.
func objectLooksLike(text []byte) Looks {
	var outer map[string]jsontext.Value
	if json.Unmarshal(text, &outer) != nil {
		return Looks{"JSON that is damaged or cut off", ""}
	}
	has := func(in map[string]jsontext.Value, names ...string) bool {
		for _, name := range names {
			if _, ok := in[name]; !ok {
				return false
			}
		}
		return true
	}
	inner := outer
	if p := outer["payload"]; p.Kind() == '{' {
		if json.Unmarshal(p, &inner) != nil {
			inner = nil
		}
	}
	switch {
	case has(inner, "op") && (has(inner, "before") || has(inner, "after")):
		return Looks{"a Debezium envelope (before, after, op)", "unwrap it in the connector (ExtractNewRecordState) and map it to streamId and contact"}
	case has(outer, "schema", "payload"):
		return Looks{"Kafka Connect's JSON with a schema", "set schemas.enable=false in the connector's converter, and map it to streamId and contact"}
	case has(outer, "specversion", "type", "source"):
		return Looks{"a CloudEvent", "write its data as the value"}
	case has(outer, "streamId", "contact"):
		return Looks{"an event of contactsync", "the error says what is wrong in it; event.validation: lenient leaves a contact's fields to the API"}
	}
	return Looks{"a JSON object of another form", "map it to streamId and contact"}
}

// isText reports whether data is UTF-8 without control characters; what was cut off at
// its end does not count.
func isText(data []byte) bool {
	for range utf8.UTFMax - 1 {
		if len(data) < mostLooked-utf8.UTFMax || utf8.Valid(data) {
			break
		}
		data = data[:len(data)-1]
	}
	return utf8.Valid(data) && !strings.ContainsFunc(string(data), func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
	})
}

// isProtobuf reports whether data is fields of Protobuf from its first byte to its last.
func isProtobuf(data []byte) bool {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 || tag>>3 == 0 || tag>>3 >= 1<<29 {
			return false
		}
		data = data[n:]
		size := 0
		switch tag & 7 {
		case 0:
			_, size = binary.Uvarint(data)
			if size <= 0 {
				return false
			}
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(data)
			if n <= 0 || length > uint64(len(data)-n) {
				return false
			}
			size = n + int(length)
		case 5:
			size = 4
		default:
			return false
		}
		if size > len(data) {
			return false
		}
		data = data[size:]
	}
	return true
}
