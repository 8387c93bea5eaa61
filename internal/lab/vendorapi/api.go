package vendorapi

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// API is the model. It is an http.Handler.
type API struct {
	cfg    Config
	start  time.Time
	closed chan struct{}

	mu         sync.Mutex
	contacts   map[name]*contact
	numbers    map[name]name // who has a phone number of a stream
	working    map[name][]*request
	tokens     map[string]bool // jti that were used
	counted    map[string][]time.Time
	used       []int // requests that each rule broke
	calls      []*Call
	changes    []Change
	complaints []Complaint
}

// New returns an API without requests.
func New(cfg Config) *API {
	cfg.Rules = slices.Clone(cfg.Rules) // Turn changes them
	return &API{
		cfg: cfg, start: time.Now(), closed: make(chan struct{}), used: make([]int, len(cfg.Rules)),
		contacts: make(map[name]*contact), numbers: make(map[name]name), working: make(map[name][]*request),
		tokens: make(map[string]bool), counted: make(map[string][]time.Time),
	}
}

// Close ends the waiting of all requests, once.
func (a *API) Close() { close(a.closed) }

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := a.begin(w, r)
	defer a.end(q)
	rule := a.rule(q)
	if rule != nil && rule.atDoor() {
		a.wait(rule.Delay)
		a.do(q, rule, nil)
		return
	}
	if refused := a.admit(q); refused != nil {
		a.reply(q, refused)
		return
	}
	took := a.cfg.Latency + time.Duration(len(q.rows))*a.cfg.PerRow
	if rule != nil {
		took += rule.Delay
	}
	if limit := a.cfg.GatewayTimeout; limit > 0 && took > limit {
		a.wait(limit)
		a.reply(q, html(http.StatusGatewayTimeout, "504 Gateway Time-out"))
		a.wait(took - limit)
		a.work(q)
		return
	}
	a.wait(took)
	answer := a.work(q)
	if rule != nil {
		a.do(q, rule, answer)
		return
	}
	a.reply(q, answer)
}

// wait waits whether or not the client is still there.
func (a *API) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.closed:
	}
}

// work applies the rows of a request that was admitted, in one step, and answers it.
func (a *API) work(q *request) *reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	rows, u := q.rows, a.cfg.Unknowns
	if a.cfg.MaxRows > 0 && len(rows) > a.cfg.MaxRows && u.OverRows == OverRowsTruncate {
		rows = rows[:a.cfg.MaxRows]
	}
	if q.duplicate != "" && u.Duplicates == DuplicatesRefused {
		return u.refused("contact " + q.duplicate + " is there twice")
	}
	rule := a.broken(q.call, q.body, rows, true)
	failures, ways := make([]*failure, len(rows)), make([]BadRow, len(rows))
	for i, row := range rows {
		failures[i], ways[i] = a.verdict(q.call.Stream, row, rule)
		switch {
		case failures[i] == nil:
		case ways[i] == Whole:
			return u.refused(failures[i].why)
		case ways[i] == Crash:
			return errorsReply(http.StatusInternalServerError, "Internal Server Error", http.StatusInternalServerError)
		}
	}
	now := time.Now()
	outcomes := make([]outcome, len(rows))
	for i, row := range rows {
		o := &outcomes[i]
		o.index, o.row = i, row
		switch {
		case failures[i] == nil:
			if o.state, o.changed, o.failed = a.apply(q.call.Stream, row, now); o.failed != nil {
				break
			}
			a.changes = append(a.changes, Change{
				N: len(a.changes) + 1, Call: q.call.N, Row: i, At: now, Stream: q.call.Stream, ID: row.id, Sent: row.raw, Late: q.late(),
			})
			if rule != nil && rule.Do == Both && rule.matchesRow(row) {
				o.failed = &failure{rule.Reason, "rejected", http.StatusBadRequest}
			}
		case ways[i] == Abort:
			return u.refused(failures[i].why)
		case ways[i] == Listed:
			o.failed = failures[i]
		}
	}
	return a.answer(q.call.Stream, q.call.Account, len(rows), outcomes)
}

// verdict tells what is wrong with a row before anything is applied, and what that does
// to its request. The caller holds the lock.
func (a *API) verdict(stream string, r row, rule *Rule) (*failure, BadRow) {
	if failed := a.cfg.check(r); failed != nil {
		return failed, a.cfg.Malformed
	}
	if rule != nil && rule.Do != Both && rule.matchesRow(r) {
		if rule.Do == Lose {
			return &failure{}, Silent
		}
		return &failure{rule.Reason, "rejected", http.StatusBadRequest}, Listed
	}
	if a.touch(nameOf(stream, r.id), time.Now()) == nil {
		return &failure{"Contact not found", "not_found", http.StatusNotFound}, a.cfg.Missing
	}
	return nil, Listed
}
