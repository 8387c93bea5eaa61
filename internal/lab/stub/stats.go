package stub

import (
	"maps"
	"sync"
)

// Stats are the counters since the start or the last reset.
type Stats struct {
	Seconds     float64          `json:"seconds"` // since the start
	Calls       int64            `json:"calls"`
	Rows        int64            `json:"rows"`
	AppliedRows int64            `json:"applied_rows"`
	Contacts    int64            `json:"contacts"` // distinct ones that were applied
	Statuses    map[int]int64    `json:"statuses"` // calls by status; 0 = no answer
	Rules       map[string]int64 `json:"rules"`    // calls answered by a rule of the scenario
	InFlight    int64            `json:"in_flight"`
	MaxInFlight int64            `json:"max_in_flight"`
	LateRows    int64            `json:"late_rows"`       // applied after the client had gone or had been answered
	LateBack    int64            `json:"late_backwards"`  // of those: an older state over a newer one
	Unlogged    int64            `json:"unlogged_calls"`  // beyond Config.KeepRows
	LogBroken   bool             `json:"log_broken"`      // writing to Config.Log failed
	RateRefused int64            `json:"rate_refused"`    // calls above the rate limit
	CrossTalk   int64            `json:"cross_talk"`      // calls for a stream of another account
	Overlaps    int64            `json:"overlaps"`        // rows whose contact was in flight already
	OutOfOrder  int64            `json:"out_of_order"`    // rows applied with a lower seq than before
	Duplicates  int64            `json:"duplicates"`      // rows applied with the same seq again
	NamedTwice  int64            `json:"named_twice"`     // rows whose contact the same array had named
	Unreadable  int64            `json:"unreadable"`      // calls whose body was not an array of contacts
	Invalid     int64            `json:"invalid_rows"`    // rows that lack a member or have it in a wrong form
	TooLarge    int64            `json:"too_large_calls"` // above MaxRows or MaxBytes
}

// Add adds the counters of another stub, for a run with several.
func (s *Stats) Add(o Stats) {
	s.Calls += o.Calls
	s.Rows += o.Rows
	s.AppliedRows += o.AppliedRows
	s.Contacts += o.Contacts
	s.MaxInFlight = max(s.MaxInFlight, o.MaxInFlight)
	s.InFlight += o.InFlight
	s.LateRows += o.LateRows
	s.LateBack += o.LateBack
	s.Unlogged += o.Unlogged
	s.LogBroken = s.LogBroken || o.LogBroken
	s.RateRefused += o.RateRefused
	s.CrossTalk += o.CrossTalk
	s.Overlaps += o.Overlaps
	s.OutOfOrder += o.OutOfOrder
	s.Duplicates += o.Duplicates
	s.NamedTwice += o.NamedTwice
	s.Unreadable += o.Unreadable
	s.Invalid += o.Invalid
	s.TooLarge += o.TooLarge
	if s.Statuses == nil {
		s.Statuses, s.Rules = map[int]int64{}, map[string]int64{}
	}
	for status, n := range o.Statuses {
		s.Statuses[status] += n
	}
	for rule, n := range o.Rules {
		s.Rules[rule] += n
	}
}

type counters struct {
	mu sync.Mutex

	n Stats
}

func newCounters() *counters {
	c := new(counters)
	c.reset()
	return c
}

// reset keeps the calls in flight: their end is still to be counted.
func (c *counters) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n = Stats{Statuses: map[int]int64{}, Rules: map[string]int64{}, InFlight: c.n.InFlight, MaxInFlight: c.n.InFlight}
}

func (c *counters) update(f func(n *Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.n)
}

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.n
	s.Statuses, s.Rules = maps.Clone(s.Statuses), maps.Clone(s.Rules)
	return s
}

// tally adds what applying a call did.
func (c *counters) tally(t tally, late bool) {
	c.update(func(n *Stats) {
		n.AppliedRows += t.rows
		n.Contacts += t.fresh
		n.Duplicates += t.duplicates
		if late {
			n.LateRows += t.rows
			n.LateBack += t.backwards
		} else {
			n.OutOfOrder += t.backwards
		}
	})
}
