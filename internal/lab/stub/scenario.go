package stub

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
)

// Scenario is a list of faults. The first rule that fires answers the call; where
// none fires, the stub behaves.
//
//	rules:
//	  - name: outage          # everything fails from the 10th to the 20th second
//	    from: 10s
//	    to: 20s
//	    answer: {status: 503, body: html, headers: {Retry-After: "2"}}
//	  - name: flaky           # a twentieth of the calls of one stream is reset
//	    match: {streams: ["st-0001"]}
//	    share: 0.05
//	    answer: {fault: reset}
//	  - name: late            # the 3rd to 5th call time out and are applied nevertheless
//	    first: 3
//	    last: 5
//	    answer: {status: 504, apply_after: 20s}
//	  - name: poison          # the API refuses any call with this contact
//	    match: {ids: ["6964af60*"]}
//	    answer: {status: 412}
//	  - name: rejected        # some rows fail, the others are applied
//	    rows: {fail: ["69*7"], reason: "Duplicate phone number", id_as: contactId}
type Scenario struct {
	Rules []Rule `yaml:"rules"`
}

// Rule is when to misbehave, and how. All given conditions must hold.
type Rule struct {
	// Name identifies the rule in the log, in the counters and to /fault.
	Name string `yaml:"name"`
	// Off keeps the rule out until it is switched on.
	Off bool `yaml:"off"`
	// From and To bound the time since the stub started, or since the rule was
	// posted or switched on at run time. To 0: no end.
	From time.Duration `yaml:"from"`
	To   time.Duration `yaml:"to"`
	// Match selects the calls that the rule is about. The next four count only these.
	Match Match `yaml:"match"`
	// First and Last bound the number of the call, from 1. Last 0: no end.
	First int `yaml:"first"`
	Last  int `yaml:"last"`
	// Every n-th call; 0 and 1: each.
	Every int `yaml:"every"`
	// Share of the calls, from 0 to 1, by the stub's seed; 0: all.
	Share float64 `yaml:"share"`

	// Answer replaces the answer. A rule has an Answer, Rows, or both.
	Answer *Answer `yaml:"answer"`
	// Rows changes what happens to single rows.
	Rows *Rows `yaml:"rows"`
}

// Match selects calls. Lists hold patterns with "*"; an empty list matches all.
type Match struct {
	Streams  []string `yaml:"streams"`
	Accounts []string `yaml:"accounts"`
	IDs      []string `yaml:"ids"`       // at least one row's id matches
	RowsOver int      `yaml:"rows_over"` // the call has more rows than this
}

// The faults of a connection.
const (
	Reset        = "reset"          // the connection is reset instead of an answer
	NotHTTP      = "not_http"       // a line that is not HTTP instead of an answer
	CloseMidBody = "close_mid_body" // half of the answer, then the connection ends
	NoAnswer     = "no_answer"      // silence until the client gives up
	SlowBody     = "slow_body"      // 16 bytes of the answer every Pace
)

// The bodies an answer may have instead of the one that fits its status.
const (
	HTML             = "html"
	Truncated        = "truncated"          // half of the usual answer, as if it were complete
	GzipBomb         = "gzip_bomb"          // 1 GiB of spaces, compressed
	Endless          = "endless"            // never ends
	Empty            = "empty"              // nothing
	WrongContentType = "wrong_content_type" // the usual answer as text/plain
	RateLimitText    = "rate_limit_text"    // the vendor's text, with any status
)

// Answer replaces the usual answer of a call.
type Answer struct {
	Status  int               `yaml:"status"`  // 0 = 200
	Body    string            `yaml:"body"`    // one of the names above; "" fits the status
	Text    string            `yaml:"text"`    // a literal body; wins over Body
	Headers map[string]string `yaml:"headers"` // win over the usual ones
	// Latency is added to the stub's own.
	Latency time.Duration `yaml:"latency"`
	// Fault is one of the names above.
	Fault string        `yaml:"fault"`
	Pace  time.Duration `yaml:"pace"` // of slow_body; 0 = 100 ms
	// Apply is whether the rows are applied before the answer. Left out: yes with a
	// 2xx status, except with reset, not_http and no_answer.
	Apply *bool `yaml:"apply"`
	// ApplyAfter applies the rows this long after the answer, as an API does whose
	// gateway has given up. 0 = not.
	ApplyAfter time.Duration `yaml:"apply_after"`
}

// Rows changes what happens to single rows, by their ids.
type Rows struct {
	Fail      []string `yaml:"fail"`       // not applied, in failedRecords
	Omit      []string `yaml:"omit"`       // applied, but in no list and no counter
	Drop      []string `yaml:"drop"`       // not applied, in no list and no counter
	Duplicate []string `yaml:"duplicate"`  // applied, in successfulRecords twice
	Both      []string `yaml:"both"`       // applied, in both lists
	Unknown   int      `yaml:"unknown"`    // as many rows in successfulRecords that were never sent
	Reason    string   `yaml:"reason"`     // of the failed rows; "" = a text of the stub's own
	ReasonAs  string   `yaml:"reason_as"`  // reason, error, message, msg: a text; object: error{message,code}; errors: a list; none
	IDAs      string   `yaml:"id_as"`      // id, _id, contactId, contact.id, contact._id, string (the bare id), none
	Reversed  bool     `yaml:"reversed"`   // successfulRecords in the reverse order
	NoRecords bool     `yaml:"no_records"` // counters only, both lists empty
}

// ParseScenario reads a scenario from YAML. Its error names the first invalid rule.
func ParseScenario(text []byte) (Scenario, error) {
	var s Scenario
	if err := yaml.UnmarshalWithOptions(text, &s, yaml.Strict()); err != nil {
		return Scenario{}, fmt.Errorf("read the scenario: %w", err)
	}
	names := map[string]bool{}
	for i, r := range s.Rules {
		if err := r.validate(); err != nil {
			return Scenario{}, fmt.Errorf("read the scenario: rule %d: %w", i+1, err)
		}
		switch {
		case names[r.Name]:
			return Scenario{}, fmt.Errorf("read the scenario: rule %d: %s: there is a rule of that name already", i+1, r.Name)
		case r.Rows != nil && reflect.ValueOf(*r.Rows).IsZero():
			return Scenario{}, fmt.Errorf("read the scenario: rule %d: %s: rows changes nothing: give it fail, drop, omit or another of its fields", i+1, r.Name)
		}
		names[r.Name] = true
	}
	return s, nil
}

func (r Rule) validate() error {
	oneOf := func(what, word string, words ...string) error {
		if word == "" || slices.Contains(words, word) {
			return nil
		}
		return fmt.Errorf("%s: %s %q is unknown: one of %s", r.Name, what, word, strings.Join(words, ", "))
	}
	switch {
	case r.Name == "":
		return fmt.Errorf("a rule needs a name")
	case r.Answer == nil && r.Rows == nil:
		return fmt.Errorf("%s: a rule needs an answer or rows", r.Name)
	case r.Share < 0 || r.Share > 1:
		return fmt.Errorf("%s: share %v must lie between 0 and 1", r.Name, r.Share)
	case r.Every < 0 || r.First < 0 || r.Last < 0 || r.Last > 0 && r.Last < r.First:
		return fmt.Errorf("%s: first, last and every must not be negative, and last not before first", r.Name)
	case r.From < 0 || r.To < 0 || r.To > 0 && r.To <= r.From:
		return fmt.Errorf("%s: to (%v) must come after from (%v)", r.Name, r.To, r.From)
	}
	if a := r.Answer; a != nil {
		if a.Status != 0 && (a.Status < 200 || a.Status > 999) {
			return fmt.Errorf("%s: status %d must lie between 200 and 999", r.Name, a.Status)
		}
		if a.Latency < 0 || a.ApplyAfter < 0 || a.Pace < 0 {
			return fmt.Errorf("%s: latency, apply_after and pace must not be negative", r.Name)
		}
		if err := oneOf("fault", a.Fault, Reset, NotHTTP, CloseMidBody, NoAnswer, SlowBody); err != nil {
			return err
		}
		if err := oneOf("body", a.Body, HTML, Truncated, GzipBomb, Endless, Empty, WrongContentType, RateLimitText); err != nil {
			return err
		}
	}
	if w := r.Rows; w != nil {
		if err := oneOf("reason_as", w.ReasonAs, "reason", "error", "message", "msg", "object", "errors", "none"); err != nil {
			return err
		}
		return oneOf("id_as", w.IDAs, "id", "_id", "contactId", "contact.id", "contact._id", "string", "none")
	}
	return nil
}

// rule is a compiled Rule.
type rule struct {
	Rule

	base                   time.Time // From and To count from here
	streams, accounts, ids globs
	fail, omit, twice      globs
	both, drop             globs
	seen, fired            int
	rng                    *rand.Rand
}

func compile(r Rule, base time.Time, seed uint64) *rule {
	c := &rule{
		Rule: r, base: base, rng: rand.New(rand.NewPCG(seed, seed)),
		streams: globsOf(r.Match.Streams), accounts: globsOf(r.Match.Accounts), ids: globsOf(r.Match.IDs),
	}
	if w := r.Rows; w != nil {
		c.fail, c.omit, c.twice = globsOf(w.Fail), globsOf(w.Omit), globsOf(w.Duplicate)
		c.both, c.drop = globsOf(w.Both), globsOf(w.Drop)
	}
	return c
}

func (r *rule) fires(now time.Time, stream, account string, rows []row) bool {
	since := now.Sub(r.base)
	switch {
	case r.Off, since < r.From, r.To > 0 && since >= r.To,
		len(rows) <= r.Match.RowsOver && r.Match.RowsOver > 0,
		len(r.streams) > 0 && !r.streams.match([]byte(stream)),
		len(r.accounts) > 0 && !r.accounts.match([]byte(account)),
		len(r.ids) > 0 && !slices.ContainsFunc(rows, func(w row) bool { return r.ids.match(w.id) }):
		return false
	}
	r.seen++
	switch {
	case r.seen < r.First, r.Last > 0 && r.seen > r.Last,
		r.Every > 1 && r.seen%r.Every != 0,
		r.Share > 0 && r.rng.Float64() >= r.Share:
		return false
	}
	r.fired++
	return true
}

// script holds the rules.
type script struct {
	seed uint64
	mu   sync.Mutex

	rules []*rule
}

func (s *script) choose(now time.Time, stream, account string, rows []row) *rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.fires(now, stream, account, rows) {
			return r
		}
	}
	return nil
}

// put adds a rule after the others, or replaces the one of its name.
func (s *script) put(r Rule, base time.Time) error {
	if err := r.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := compile(r, base, s.seed+uint64(len(s.rules)))
	if i := slices.IndexFunc(s.rules, func(old *rule) bool { return old.Name == r.Name }); i >= 0 {
		s.rules[i] = c
		return nil
	}
	s.rules = append(s.rules, c)
	return nil
}

// turn switches a rule on or off. A rule that is switched on counts from zero. The
// rule is replaced, not changed, because a call may be using it.
func (s *script) turn(name string, off bool, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.rules, func(r *rule) bool { return r.Name == name })
	if i < 0 {
		return false
	}
	r := s.rules[i].Rule
	fired := s.rules[i].fired
	r.Off = off
	s.rules[i] = compile(r, now, s.seed+uint64(i))
	s.rules[i].fired = fired
	return true
}
