package upstream

import (
	"fmt"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/crash"
)

// attempt collects what one request yields; the table classifies it.
type attempt struct {
	start       time.Time
	sendError   sendError
	status      int           // HTTP status; 0 if no answer came
	body        bodyState     // of a 200 or 207, or usable where a refusal tells rows apart
	rateLimited bool          // the body is the vendor's rate-limit text
	vendorsForm bool          // the body of a refusal has the form of the vendor's errors
	retryAfter  time.Duration // 0 if absent or unusable
	called      bool          // the round trip was started
	sent        bool          // part of the body was handed to a connection
	// maybeApplied: the request was made before on a connection that ended without an answer.
	maybeApplied bool

	answer  answer
	detail  string // in words of our own
	text    contactsync.Text
	secrets ours // to be stripped of the text
}

// survive has a bug in the reading of an answer harm that answer alone, which then counts as
// one that cannot be read. It is to be deferred.
func (a *attempt) survive() {
	if v := recover(); v != nil {
		a.answer, a.body, a.rateLimited, a.vendorsForm, a.text = answer{}, bodyUnreadable, false, false, contactsync.Text{}
		a.detail = fmt.Sprintf("%d: BUG: reading the answer panicked: %s", a.status, crash.Said(v))
	}
}

// sendError says why there is no complete answer.
type sendError uint8

const (
	sendOK             sendError = iota
	sendStopped                  // the caller's context ended, or no call was left to make the request again
	sendUnknownAccount           // the account is not configured; nothing was sent
	sendBadStream                // the stream's name is not valid; nothing was sent
	sendNoToken                  // no token could be signed; nothing was sent
	sendNoConnection             // transport error before anything was sent
	sendTimeout                  // no complete answer in time
	sendCut                      // transport error after something was sent
)

// bodyState is what a body can be used for.
type bodyState uint8

const (
	bodyUnreadable bodyState = iota // not complete JSON
	bodyForeign                     // JSON, but not an answer to a bulk update
	bodyUsable
)
