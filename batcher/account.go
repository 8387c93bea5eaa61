package batcher

import (
	"cmp"
	"time"
)

// account is the streams that share one gate.
type account struct {
	id     string
	gate   Gate
	health accountHealth
	// contradicted are the contacts for which, each sent alone, answers contradicted themselves since rows were
	// answered for, the first three: see contract.go.
	contradicted alike[contactKey]

	strangers   strangers
	credentials map[string]*credential // by the app; empty for the account's own

	ready      map[class]*streamHeap // those that may be sent
	waiting    streamHeap            // those that time changes, soonest first
	again      time.Time             // the gate refused until then
	spareAgain time.Time             // and until then what can wait
	latency    latency               // of its requests
	busy       counter               // seconds for which all slots were busy while something was ready
	busySince  time.Time             // zero while they are not
	delivered  time.Time             // the last contact
	misfitAt   time.Time             // the last answer that did not fit its request; zero where all did

	met            met
	throttledUntil time.Time     // by its gate; not later than now if it is not
	throttledFor   time.Duration // until then, in all

	inFlight  int // requests
	apart     int // those of them that are no regular work
	others    int // requests of regular work since one that was none
	ahead     int // requests of regular work for which those that could wait have had their part already
	newcomers int // requests of streams that were never accepted since one that was tried apart
}

// onHold returns the credential of the account that has been on hold for longest, or nil.
func (a *account) onHold() *credential {
	var first *credential
	for _, c := range a.credentials {
		if c.held && (first == nil || cmp.Or(c.heldSince.Compare(first.heldSince), cmp.Compare(c.app, first.app)) < 0) {
			first = c
		}
	}
	return first
}

// countBusy counts the time since all slots were busy, and notes whether they are now.
func (a *account) countBusy(now time.Time, busy bool) {
	if !a.busySince.IsZero() {
		a.busy.Add(now.Sub(a.busySince).Seconds())
	}
	a.busySince = time.Time{}
	if busy {
		a.busySince = now
	}
}

// refused notes that an account's gate lets nothing through before again, or nothing that
// can wait.
func (a *account) refused(now, again time.Time, spare bool) {
	if again = later(again, now.Add(time.Millisecond)); spare {
		a.spareAgain = again
		return
	}
	a.again = again
}
