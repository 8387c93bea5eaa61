package vendorapi

import (
	"encoding/json"
	"fmt"
	"time"
)

// Call is one request, as the API saw it.
type Call struct {
	N        int       // from 1
	At, End  time.Time // End: before the answer is written
	Gone     time.Time // when the client went away without an answer; zero: it did not
	Method   string
	Path     string
	Stream   string
	Account  string // that it acted for; empty: it was not let in
	IDs      []string
	Sent     []json.RawMessage // the rows, beside IDs
	Status   int               // 0: no answer was begun
	Cut      bool              // the answer was not complete
	Rule     string
	LimitHit bool // it was refused by the rate limit
}

// Change is one row that was applied.
type Change struct {
	N      int // from 1: the order in which they were applied
	Call   int
	Row    int // of the call, from 0
	At     time.Time
	Stream string
	ID     string          // as sent
	Sent   json.RawMessage // the row
	Late   bool            // the client had been answered, or had gone
}

// Fault is what a client did wrong.
type Fault string

// The faults.
const (
	BadRequest Fault = "request"   // something that the page does not allow
	BadAuth    Fault = "auth"      // a token or header that is refused
	Twice      Fault = "twice"     // one contact more than once in a request
	InFlight   Fault = "in flight" // a contact in a request while another one with it is worked on
	Abandoned  Fault = "abandoned" // the same, but the client had given the other one up
	Crosstalk  Fault = "crosstalk" // a stream of another account
	Over       Fault = "over"      // more requests than the budget allows in some window
)

// Complaint is one fault of a client.
type Complaint struct {
	Fault Fault
	Call  int
	Text  string
}

// String shows a complaint in one line.
func (c Complaint) String() string { return fmt.Sprintf("call %d, %s: %s", c.Call, c.Fault, c.Text) }

// Log is everything that happened, in order.
type Log struct {
	Calls      []Call
	Changes    []Change
	Complaints []Complaint
}

// Log returns a copy of the log. Requests that are worked on have no End.
func (a *API) Log() Log {
	a.mu.Lock()
	defer a.mu.Unlock()
	log := Log{Changes: append([]Change(nil), a.changes...), Complaints: append([]Complaint(nil), a.complaints...)}
	for _, c := range a.calls {
		log.Calls = append(log.Calls, *c)
	}
	return log
}

// Contact returns the fields of a contact as they are stored now.
func (a *API) Contact(stream, id string) (map[string]any, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.contacts[nameOf(stream, id)]
	if c == nil {
		return nil, false
	}
	return c.fields, true
}

// Deactivate does what Delete one does: the contact stays, as INACTIVE.
func (a *API) Deactivate(stream, id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.touch(nameOf(stream, id), time.Now()); c != nil {
		c.inactive = true
	}
}

// complain notes a fault. The caller holds the lock.
func (a *API) complain(c *Call, fault Fault, format string, args ...any) {
	a.complaints = append(a.complaints, Complaint{fault, c.N, fmt.Sprintf(format, args...)})
}

// Falls returns the changes that brought an older state after a newer one of the same
// contact, by the version that the caller reads from a row.
func (l Log) Falls(version func(sent json.RawMessage) (int64, bool)) []Change {
	var falls []Change
	highest := make(map[name]int64)
	for _, c := range l.Changes {
		v, ok := version(c.Sent)
		if !ok {
			continue
		}
		n := nameOf(c.Stream, c.ID)
		if v < highest[n] {
			falls = append(falls, c)
		}
		highest[n] = max(highest[n], v)
	}
	return falls
}
