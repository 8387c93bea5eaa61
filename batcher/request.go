package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// BatchReason says what made a request ready.
type BatchReason uint8

// The reasons for which a request is made.
const (
	BatchRows   BatchReason = iota // it has the most rows that one may carry
	BatchBytes                     // the most bytes
	BatchLinger                    // its oldest event has waited long enough
	BatchRetry                     // a set of rows that is tried again
	batchReasons
)

// String names the reason as metrics do.
func (r BatchReason) String() string {
	return [...]string{"rows", "bytes", "linger", "retry"}[r]
}

// Request is one request in flight. Its batch may be read by others; the rest belongs
// to the window.
type Request struct {
	Batch  contactsync.Batch
	Reason BatchReason

	number  uint32    // see history
	cancel  func()    // set by the loop; gives the request up
	started time.Time // set by the loop once more when it is sent
	stream  *stream
	rows    []*contact
	bytes   int64  // of the rows
	group   *group // where the rows were a set of their own
	warned  bool   // made after a refusal of the stream's credentials
	apart   bool   // it is no regular work; see turn.go
	spare   bool   // it took what others had left over
	trial   bool   // it is larger than any that passed
	accepts int    // rows of the stream that were accepted before it was made
	report  func(now time.Time, r contactsync.Result) (until time.Time)
}

// purpose is what the request is for.
func (r *Request) purpose() contactsync.Purpose {
	switch st := r.stream; {
	case st.onHold():
		return contactsync.Probe
	case r.group != nil && r.group.isolates():
		return contactsync.Isolation
	case slices.ContainsFunc(r.rows, func(c *contact) bool { return c.sends > 1 }):
		return contactsync.Retry
	}
	return contactsync.Delivery
}
