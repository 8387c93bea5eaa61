package event

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Native writes an update of the contact in the native format. Decode reads the
// same contact from it. The contact has to come from Decode, or its body from Merge.
func Native(c Contact) []byte {
	// Room for the names and for every member whose length does not vary much.
	const rest = 160
	b := make([]byte, 0, len(c.Body)+len(c.Stream)+len(c.Account)+rest)
	b = appendQuoted(append(b, `{"streamId":`...), c.Stream)
	b = append(append(b, `,"contact":`...), c.Body...)
	if c.Account != "" {
		b = appendQuoted(append(b, `,"accountId":`...), c.Account)
	}
	if c.HasVersion {
		b = strconv.AppendInt(append(b, `,"version":`...), c.Version, 10)
	}
	if !c.OccurredAt.IsZero() {
		b = c.OccurredAt.UTC().AppendFormat(append(b, `,"occurredAt":"`...), time.RFC3339Nano)
		b = append(b, '"')
	}
	return append(b, '}')
}

// appendQuoted quotes a name that an allow-list has let through, so it is UTF-8
// and the error is nil.
func appendQuoted(b []byte, name string) []byte {
	b, _ = jsontext.AppendQuote(b, name)
	return b
}
