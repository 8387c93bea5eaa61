package batcher

import (
	"time"

	"github.com/contactsync/contactsync"
)

// Gate admits the requests of one account: its budget and the breaker of its
// host, which tells streams that fail from a host that does. Admit takes what one request costs and returns the function to call once
// with its result, which returns until when the account is throttled, if it is; or nil and the time to ask again, and then it took
// nothing. A spare request takes only what would be lost otherwise. PerSecond is how many requests the budget allows in the long run; 0 is no limit.
type Gate interface {
	Admit(now time.Time, stream string, spare bool) (report func(now time.Time, r contactsync.Result) (until time.Time), again time.Time)
	PerSecond() float64
}

// noGate is the gate of an account that is not configured. Its requests cost no call:
// the sender refuses them.
type noGate struct{}

// Admit implements Gate.
func (noGate) Admit(time.Time, string, bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	return func(time.Time, contactsync.Result) time.Time { return time.Time{} }, time.Time{}
}

// PerSecond implements Gate.
func (noGate) PerSecond() float64 { return 0 }
