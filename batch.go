package contactsync

import "time"

// Row is one contact of a request.
type Row struct {
	ID   string // the contact's id, as answers name it
	Body []byte // the contact object, sent byte for byte
}

// Batch holds the rows of one request. All belong to one stream, and no id occurs twice.
type Batch struct {
	Stream  string
	Account string
	Purpose Purpose
	Rows    []Row
}

// Purpose is what a request is for: how the calls of an account are shared out.
type Purpose uint8

// The purposes. Of several that fit the last one counts.
const (
	Delivery  Purpose = iota // rows that were not sent before
	Retry                    // some that were
	Isolation                // rows that are sent apart from the others of their stream, such as the halves of a refused request
	Probe                    // a stream or an account that is on hold
	purposeCount
)

// String returns the name that metrics use.
func (p Purpose) String() string {
	return [purposeCount]string{"delivery", "retry", "isolation", "probe"}[p]
}

// Purposes returns every purpose.
func Purposes() []Purpose { return []Purpose{Delivery, Retry, Isolation, Probe} }

// Kind classifies how a request ended. The zero value is the safe one: keep the
// rows and send them again.
type Kind uint8

// The kinds. Only Answered can deliver a row.
const (
	Unknown      Kind = iota // not foreseen: handled like Unavailable, and reported
	Answered                 // the body reports on each row: see Result.Rows
	Unavailable              // 5xx, no connection, reset, time-out, unreadable answer
	Throttled                // 429, 503 with Retry-After, the vendor's rate-limit text; rows may have been applied: see Result.Rows
	Unauthorized             // 401; 403, where it is the API's and not a gateway's
	TooLarge                 // 413
	BadRequest               // 400, 412, 422: a row is bad, or the stream is not what the API takes
	StreamGone               // 404, 410
	Canceled                 // stopped by the caller
	kindCount
)

var kindNames = [kindCount]string{
	"unknown", "answered", "unavailable", "throttled", "unauthorized",
	"too_large", "bad_request", "stream_gone", "canceled",
}

// String returns the name that metrics and logs use.
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return "unknown"
}

// Kinds returns every kind, so that metrics can export all label values from the start.
func Kinds() []Kind {
	all := make([]Kind, kindCount)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Verdict is what an answer states about one row. The zero value is the safe
// one: the row stays open.
type Verdict uint8

// The verdicts.
const (
	Unresolved   Verdict = iota // the answer does not account for the row
	Delivered                   // listed as successful, or the counters account for all rows
	Failed                      // listed as failed
	Contradicted                // the answer says of the row what cannot both be true
)

// Outcome is the result of one row.
type Outcome struct {
	Verdict   Verdict
	Transient bool // Failed only: the reason is transient, so a retry may succeed
	// Reason is why a row failed, or what of the answer leaves it unsettled, in words of our
	// own: bounded, and nothing in it is copied from the answer. Empty where no reason was given.
	Reason string
	Text   Text // the reason as the API wrote it
}

// Result is the result of one request.
type Result struct {
	Kind Kind
	// Rows has one per row of the batch, in its order, where Kind is Answered. Where it is Throttled those that
	// the answer lists as applied are Delivered and nothing is said of the others; nil where there are none.
	Rows       []Outcome
	Status     int           // HTTP status; 0 if no answer came
	RetryAfter time.Duration // as the answer asks, at most a day; 0 if it does not
	Ambiguous  bool          // the API may still apply the request
	MayBeRows  bool          // what a row holds may be the cause, which is evidence against one that fails alone
	Detail     string        // for the operator: bounded, and nothing in it is copied from the answer
	Text       Text          // the answer in the API's words, where its Kind is not Answered
}
