package batcher

import (
	"math"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// A limit of an account's meets whichever request comes too soon. Rows that it seems to meet each time, while other
// requests are answered, are throttled for themselves: for something in one of them, or by a limit of the part of the API that
// their stream lies in. The account need not wait then, and they are handled as if the API had failed for them.

// ownThrottling is how small the chance must be that a limit of the account's met the same row so often.
const ownThrottling = 1e-5

// goFirst is how many requests of others are to go before a row that was throttled in a row, each time, however long they take.
const goFirst = 4

// met counts requests of an account: those that were answered, and those that were throttled, but for those that were
// so for themselves.
type met struct{ answered, throttled int }

// throttlings are the requests in a row with a contact that were throttled.
type throttlings struct {
	n      int
	before met // what requests of the account had met before the first of them
}

// noteThrottling notes what a request met, and reports whether it was throttled for itself.
func (req *Request) noteThrottling(r contactsync.Result) (own bool) {
	all := &req.stream.account.met
	switch {
	case r.Kind == contactsync.Answered, slices.ContainsFunc(r.Rows, delivered):
		all.answered++
		for _, c := range req.rows {
			c.throttlings.n = 0
		}
		return false
	case r.Kind != contactsync.Throttled:
		return false
	}
	for _, c := range req.rows {
		if c.throttlings.n == 0 {
			c.throttlings.before = *all
		}
		c.throttlings.n++
		own = own || c.throttlings.own(*all)
	}
	if !own {
		all.throttled++
	}
	return own
}

// since returns what other requests have met since the first of these.
func (t *throttlings) since(all met) met {
	return met{all.answered - t.before.answered, max(0, all.throttled-t.before.throttled-(t.n-1))}
}

// own reports whether a limit that meets each request of the account alike is no explanation.
func (t *throttlings) own(all met) bool {
	others := t.since(all)
	chance := float64(others.throttled+1) / float64(others.throttled+others.answered+2)
	return others.answered >= t.n && math.Pow(chance, float64(t.n)) < ownThrottling
}

// wentFirst reports whether others had enough requests since the first of these to tell.
func (t *throttlings) wentFirst(all met) bool {
	others := t.since(all)
	return others.answered+others.throttled >= goFirst*t.n
}

// throttle notes until when the account is throttled, if it is.
func (a *account) throttle(now, until time.Time) {
	if from := later(now, a.throttledUntil); until.After(from) {
		a.throttledFor += until.Sub(from)
		a.throttledUntil = until
	}
}

// goesBehind is how long others are to go before the rows of a throttled request when the account, which waits for so long, goes on: not at all
// the first time that they were throttled in a row, and then longer each time. Whether others pass shows what is throttled.
func (req *Request) goesBehind(wait time.Duration) time.Duration {
	n := 0
	for _, c := range req.rows {
		n = max(n, c.throttlings.n)
	}
	if n < 2 || wait <= 0 {
		return 0
	}
	return min(wait, wait/4<<min(n-2, 2))
}
