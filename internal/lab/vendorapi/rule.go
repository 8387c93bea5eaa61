package vendorapi

import (
	"bytes"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"
)

// Rule breaks the requests that it matches. Conditions that are zero match everything.
type Rule struct {
	Name string

	Stream   string // a pattern of path.Match
	Contact  string // a pattern that the id of a row must match, in lower case
	Text     string // what the body has somewhere, in any case
	MinRows  int
	Fraction float64       // of the requests that match, by their number
	From     time.Duration // since the API began
	Until    time.Duration // 0: for ever
	Times    int           // so many requests at most; 0: any number
	Off      bool          // it matches nothing until it is turned on

	Do      Deed
	Applied bool              // the rows are applied all the same, except where a client is refused at the door
	Delay   time.Duration     // work that is added
	Status  int               // for Answer
	Kind    string            // for Answer: Content-Type; empty: JSON
	Headers map[string]string // for Answer, beside the usual ones or instead of them
	Body    string            // for Answer
	Reason  string            // for RefuseRow; it may be empty
}

// Deed is what a rule does.
type Deed string

// The deeds.
const (
	Answer    Deed = ""       // Status, Kind and Body
	Forbid    Deed = "forbid" // 403 with HTML, as a firewall that looks at bodies
	Reset     Deed = "reset"  // the connection is reset
	Shut      Deed = "shut"   // the connection is closed without a word
	Hang      Deed = "hang"   // nothing is answered until the client goes
	Cut       Deed = "cut"    // half of the answer comes
	RefuseRow Deed = "refuse" // the rows whose contacts match fail
	Lose      Deed = "lose"   // the rows whose contacts match are in neither list, and not applied
	Both      Deed = "both"   // the rows whose contacts match are applied, and in both lists
	Slow      Deed = "slow"   // Delay and nothing else
)

// Turn turns the rules of a name on or off, and reports whether there is one.
func (a *API) Turn(name string, on bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := false
	for i := range a.cfg.Rules {
		if a.cfg.Rules[i].Name == name {
			a.cfg.Rules[i].Off, found = !on, true
		}
	}
	return found
}

// rule finds the rule that breaks a whole request.
func (a *API) rule(q *request) *Rule {
	a.mu.Lock()
	defer a.mu.Unlock()
	rule := a.broken(q.call, q.body, q.rows, false)
	if rule != nil {
		q.call.Rule = rule.Name
	}
	return rule
}

// atDoor tells whether a rule breaks a request before anything is checked or applied.
func (r *Rule) atDoor() bool {
	return r.Do == Forbid || !r.Applied && (r.Do == Answer || r.Do == Reset || r.Do == Shut || r.Do == Hang)
}

// broken finds the rule for a request. The caller holds the lock.
func (a *API) broken(c *Call, body []byte, rows []row, rowwise bool) *Rule {
	since := c.At.Sub(a.start)
	for i := range a.cfg.Rules {
		r := &a.cfg.Rules[i]
		switch {
		case r.Off, r.rowwise() != rowwise,
			r.Stream != "" && !matches(r.Stream, c.Stream),
			len(rows) < r.MinRows,
			since < r.From, r.Until > 0 && since >= r.Until,
			r.Times > 0 && a.used[i] >= r.Times,
			r.Text != "" && !bytes.Contains(bytes.ToLower(body), []byte(strings.ToLower(r.Text))),
			r.Contact != "" && !slices.ContainsFunc(rows, r.matchesRow),
			r.Fraction > 0 && rand.New(rand.NewPCG(uint64(c.N), uint64(i))).Float64() >= r.Fraction:
			continue
		}
		a.used[i]++
		return r
	}
	return nil
}

func (r *Rule) rowwise() bool { return r.Do == RefuseRow || r.Do == Lose || r.Do == Both }

func (r *Rule) matchesRow(row row) bool {
	return r.Contact == "" && r.Text == "" ||
		r.Contact != "" && matches(r.Contact, strings.ToLower(row.id)) ||
		r.Contact == "" && bytes.Contains(bytes.ToLower(row.raw), []byte(strings.ToLower(r.Text)))
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}
