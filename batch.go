package contactsync

import "time"

// Row is one contact in a request.
type Row struct {
	ID   string // the contact's id, as the answer names it
	Body []byte // the contact object, sent as it is
}

// Batch is the rows of one stream that one request carries. No id occurs twice.
type Batch struct {
	Stream  string
	Account string
	Rows    []Row
}

// Kind says what an answer means for the request as a whole. The zero value is
// the safe one: keep the rows and send them again.
type Kind uint8

// The kinds of answers. Only Answered ever ends a row as delivered.
const (
	Unknown      Kind = iota // nothing known: handled as Unavailable, and reported
	Answered                 // the body says what became of each row: Result.Rows
	Unavailable              // 5xx, connect, reset, time-out, an unreadable answer
	Throttled                // 429, 503 with Retry-After, the vendor's rate-limit text
	Unauthorized             // 401, 403
	TooLarge                 // 413
	BadRequest               // 400, 412, 422: some row of the batch is bad, or all
	StreamGone               // 404, 410
	Canceled                 // our own stop
	kindCount
)

var kindNames = [kindCount]string{
	"unknown", "answered", "unavailable", "throttled", "unauthorized",
	"too_large", "bad_request", "stream_gone", "canceled",
}

// String names the kind as metrics and logs do.
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return "unknown"
}

// Kinds lists every kind, so that each label value can be set to zero at start.
func Kinds() []Kind {
	all := make([]Kind, kindCount)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Verdict says what the answer tells about one row.
type Verdict uint8

// The verdicts. The zero value is the safe one: the row is not settled.
const (
	Unresolved Verdict = iota // the answer does not account for the row
	Delivered                 // the answer names the row as done, or its counters account for all
	Failed                    // the answer names the row as failed
)

// Outcome is what one answer says of one row.
type Outcome struct {
	Verdict   Verdict
	Transient bool   // of a failed row: the reason reads like one that passes
	Reason    string // of a failed row: bounded, and free of contact fields
}

// Result is what became of one request.
type Result struct {
	Kind       Kind
	Rows       []Outcome     // one per row of the batch, in its order; only with Answered
	Status     int           // the HTTP status; 0 where no answer came
	RetryAfter time.Duration // what the answer asks to wait; 0 where it does not say
	Ambiguous  bool          // the API may still apply the request: time-out or cut connection after it was sent
	Detail     string        // for a person: what the answer said, bounded, no secret
}
