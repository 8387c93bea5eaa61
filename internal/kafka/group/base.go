package group

import (
	"math/rand/v2"
	"time"
)

// base is what the parts of a member share: the settings, who the member is, which
// calls are open, and what there is to do.
type base struct {
	cfg   Config
	rand  *rand.Rand
	id    identity
	epoch int // counts coordinators

	lanes [kinds]int    // the open call of each kind that is waited for; 0 for none
	calls map[int]*call // all open ones, by number
	last  int           // number of a call

	out    []Call
	events []Event
	wake   time.Time
}

// identity is what the coordinator knows a member by.
type identity struct {
	member     string
	generation int32 // -1 outside of a generation
}

// Call is a request to be sent.
type Call struct {
	ID      int
	To      string // address of the broker
	Request request
	Timeout time.Duration
}

// call is a Call that was sent.
type call struct {
	kind   kind
	to     string
	sent   time.Time
	by     identity
	epoch  int
	ask    ask      // of the owner; for commits and fetches
	leaves []string // member ids, for LeaveGroup
}

type kind int

const (
	kindFind kind = iota
	kindProbe
	kindJoin
	kindSync
	kindProof
	kindBeat
	kindLeave
	kindLook
	kindDescribe
	kindCommit
	kindFetch
	kinds
)

// send puts a call out.
func (b *base) send(now time.Time, k kind, to string, req request, timeout time.Duration) *call {
	b.last++
	c := &call{kind: k, to: to, sent: now, by: b.id, epoch: b.epoch}
	b.calls[b.last], b.lanes[k] = c, b.last
	b.out = append(b.out, Call{b.last, to, req, timeout})
	return c
}

// take ends a call. late says that it is not waited for any more; a call that is not
// open is nil.
func (b *base) take(id int) (c *call, late bool) {
	c = b.calls[id]
	if c == nil {
		return nil, true
	}
	delete(b.calls, id)
	if b.lanes[c.kind] != id {
		return c, true
	}
	b.lanes[c.kind] = 0
	return c, false
}

// waiting returns the open call of a kind, nil for none.
func (b *base) waiting(k kind) *call { return b.calls[b.lanes[k]] }

// idle reports whether no call of the kind is waited for.
func (b *base) idle(k kind) bool { return b.lanes[k] == 0 }

// free lets go of calls: their answers will be late ones.
func (b *base) free(list ...kind) {
	for _, k := range list {
		b.lanes[k] = 0
	}
}

// due reports whether t has come. Where it has not, Poll is to be called then.
func (b *base) due(now, t time.Time) bool {
	if !now.Before(t) {
		return true
	}
	if b.wake.IsZero() || t.Before(b.wake) {
		b.wake = t
	}
	return false
}

func (b *base) emit(e Event)      { b.events = append(b.events, e) }
func (b *base) trouble(err error) { b.emit(Trouble{err}) }

// Waiting times between tries.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2 * time.Second
	// What only an operator can mend is tried less often.
	firstFatal = time.Second
	lastFatal  = 30 * time.Second
)

// backoff returns how long to wait after the given number of failures in a row,
// about last at most.
func (b *base) backoff(failures int, first, last time.Duration) time.Duration {
	if failures <= 0 {
		return 0
	}
	d := last
	if failures < 20 {
		d = min(first<<(failures-1), last)
	}
	return time.Duration(float64(d) * (0.8 + 0.4*b.rand.Float64()))
}
