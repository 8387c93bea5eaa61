package batcher_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
)

// simRequest is one request in flight.
type simRequest struct {
	req    *batcher.Request
	stream *simStream
	cells  []*simCell
	set    *simSet
	size   int      // of its body
	warned simMaybe // it was cut after a refusal of the credentials
	taken  int      // rows of the stream before it

	apart    simMaybe // it is no regular work
	trial    bool     // it has more rows or bytes than requests have as a rule
	unproven bool     // or than any that was answered for before it

	deletes []int // of each row's contact, before it started
	overlap bool  // it may carry what is older than what a former generation has sent
}

// started checks a request that starts.
func (s *simRun) started(r *batcher.Request) {
	m, b := s.model, r.Batch
	s.logf("request of %s (%v): %v", b.Stream, r.Reason, simRows(b.Rows))
	s.still = false
	a := s.apis[b.Account]
	if s.account[b.Stream] != b.Account {
		s.fail("I12", "a request of %s for account %s", b.Stream, b.Account)
	}
	st := m.byName[b.Stream]
	reviewed := st.hold != nil && st.hold.passed(s.cfg) && s.held(st.name) == "" // when its turn was decided
	if reviewed {
		st.hold = nil
		st.calm()
	}
	s.reconcile()
	if started := a.admitted - a.reports - st.account.requests; started != 1 {
		s.fail("I7", "a request of %s took %d permits", b.Account, started)
	}
	if !reviewed {
		s.checkTurn(st)
	}
	q := &simRequest{req: r, stream: st, warned: st.refused, taken: st.taken, overlap: s.overlap}
	size := 0
	for i, row := range b.Rows {
		c := m.cells[simKey{b.Stream, row.ID}]
		size += len(row.Body) + 1
		s.checkRow(c, row, simKey{b.Stream, row.ID})
		if i == 0 {
			q.set = c.set
		}
		if !s.plan.doubt && c.set != q.set && (!loose(c.set) || !loose(q.set)) {
			s.fail("I5", "rows that are tried apart are mixed with others: %v", b.Rows)
		}
		q.cells, q.deletes = append(q.cells, c), append(q.deletes, s.deletes[row.ID])
	}
	q.size = size
	acc := st.account

	if q.apart = st.fails(); st.hold != nil || q.set != nil && !q.set.loose && (q.set.halves || q.set.again) {
		q.apart = simYes
	} else if q.apart == simNo && q.set != nil && (q.set.halves || q.set.again) && q.req.Reason == batcher.BatchRetry {
		q.apart = simUnsure // the hold is over, and has taken the set apart or not
	}
	q.trial = q.req.Reason != batcher.BatchRetry && len(q.cells) > 1 && (acc.rows < s.cfg.MaxRows && len(q.cells) > acc.rows || acc.bytes < int(s.cfg.MaxBytes) && size > acc.bytes)
	if first, sure := m.first(st, len(q.cells)); sure && q.set == nil && !s.plan.doubt && !slices.Equal(first, q.cells) {
		s.fail("turn", "rows of %s are sent out of turn: %v, want %v", st.name, q.cells, first)
	}
	s.checkSize(q, size)
	s.checkTime(q)
	s.checkPurpose(q)
	for _, c := range q.cells {
		c.request, c.notBefore, c.yields, c.next = q, time.Time{}, 0, false
		c.sends++
	}
	st.requests++
	st.account.requests++
	st.account.others++
	switch st.account.countApart(q, 1); q.apart {
	case simYes:
		st.account.others, st.account.newcomers, st.account.unsureTurns = 0, 0, false
	case simUnsure:
		st.account.others, st.account.unsureTurns = simOthersFirst, true
	case simNo:
		if st.yields() == simYes {
			st.account.others = 0
		}
		if !st.account.strangers.accepted[st.name] {
			st.account.newcomers++
		}
	}
	s.requests = append(s.requests, q)
	m.count["batches "+r.Reason.String()]++
	m.count["rows"] += float64(len(b.Rows))
	if st.requests > 1 && (st.hold != nil || st.fails() == simYes && !s.plan.doubt) {
		s.fail("hold", "%d requests of %s at once, which is on hold or fails", st.requests, st.name)
	}
	if !s.plan.doubt && q.apart == simYes && st.account.apart > max(1, s.mostInFlight()/4) {
		s.fail("share", "%d requests of %s at once that are no regular work", st.account.apart, st.account.name)
	}
	for _, other := range s.requests {
		if !s.plan.doubt && q.trial && other != q && other.trial && other.stream.account == st.account {
			s.fail("size", "two requests of %s at once that are larger than any that passed", st.account.name)
		}
	}
	if st.account.held && st.account.requests > 1 || st.account.requests > s.mostInFlight() {
		s.fail("hold", "%d requests of %s at once", st.account.requests, st.account.name)
	}
}

// loosen notes which parts of requests that were too large may be more than requests of an account have by now, because of
// what others have taught or newer states have added: these are cut anew. How many of the rows a part has the model does not know.
func (m *simModel) loosen(a *simAccount) {
	rows, size := map[*simSet]int{}, map[*simSet]int{}
	for _, st := range m.streams {
		if st.account != a {
			continue
		}
		for _, c := range m.of(st) {
			if c.set == nil || c.set.tooLarge == nil {
				continue
			}
			text, _ := json.Marshal(c.body)
			rows[c.set], size[c.set] = rows[c.set]+1, size[c.set]+len(text)+1
			c.set.loose = c.set.loose || rows[c.set] > a.rows || size[c.set] > a.bytes
		}
	}
}

func loose(set *simSet) bool { return set == nil || set.loose }

// checkRow checks one row of a request.
func (s *simRun) checkRow(c *simCell, row contactsync.Row, k simKey) {
	switch {
	case c == nil:
		s.fail("I10", "%v is sent, and nothing of it is pending", k)
	case c.request != nil:
		s.fail("I3", "%v is in two requests", k)
	case c.deferred != nil:
		s.fail("catch-up", "%v is sent before %v has caught up", k, c.deferred)
	case s.now.Before(c.notBefore):
		s.fail("I3", "%v is sent %v before the delay after an ambiguous answer is over", k, c.notBefore.Sub(s.now))
	case s.plan.doubt:
	case c.set != nil && c.set.halves && c.set.busy(s.requests):
		s.fail("I5", "%v is sent although its half of a request waits for the other", k)
	case c.set != nil && s.now.Before(c.set.from):
		s.fail("back-off", "%v is tried again %v too early", k, c.set.from.Sub(s.now))
	}
	if body := members(s, row); !reflect.DeepEqual(body, c.body) {
		s.fail("I3", "%v is sent as %s, want %v", k, row.Body, c.body)
	}
}

// busy reports whether rows of a set are in a request.
func (set *simSet) busy(requests []*simRequest) bool {
	return !set.loose && slices.ContainsFunc(requests, func(q *simRequest) bool { return q.set == set })
}

// checkSize checks how many rows and bytes a request has.
func (s *simRun) checkSize(q *simRequest, size int) {
	a, n, most := q.stream.account, len(q.cells), q.stream.account.rows
	held := q.stream.hold != nil
	if held {
		most = 1
	}
	switch {
	case n == 0:
		s.fail("size", "a request without rows")
	case held && n > 1:
		s.fail("I5", "%d rows of %s, which is on hold", n, q.stream.name)
	case s.plan.doubt && n <= s.cfg.MaxRows:
	case q.set == nil && (n > s.cfg.MaxRows || n > 1 && size > int(s.cfg.MaxBytes)):
		s.fail("size", "a request of %d rows, %d bytes; at most %d, %d", n, size, s.cfg.MaxRows, s.cfg.MaxBytes)
	case q.set != nil && !q.set.loose && n > q.set.limit:
		s.fail("I5", "%d rows are tried apart, want at most %d", n, q.set.limit)
	case q.set != nil && !q.set.loose && q.req.Reason != batcher.BatchRetry || q.set == nil && q.req.Reason == batcher.BatchRetry,
		q.req.Reason == batcher.BatchRows && n != most && a.rows == s.cfg.MaxRows,
		q.req.Reason == batcher.BatchLinger && n == most && a.rows == s.cfg.MaxRows:
		s.fail("size", "a request of %d rows was cut because of %v; %d of %d rows, %d of %d bytes as a rule", n, q.req.Reason, a.rows, s.cfg.MaxRows, a.bytes, s.cfg.MaxBytes)
	}
}

// checkPurpose checks what a request says that it is for.
func (s *simRun) checkPurpose(q *simRequest) {
	want := contactsync.Delivery
	switch sent := func(c *simCell) bool { return c.sends > 0 }; {
	case q.stream.hold != nil || q.stream.account.held:
		want = contactsync.Probe
	case q.set != nil && q.set.loose || s.plan.doubt: // it may have been taken apart, or be suspect
		return
	case q.set != nil && q.set.halves:
		want = contactsync.Isolation
	case slices.ContainsFunc(q.cells, sent):
		want = contactsync.Retry
	}
	if got := q.req.Batch.Purpose; got != want {
		s.fail("purpose", "a request of %s is for %v, want %v", q.stream.name, got, want)
	}
}

// checkTime checks that a request may start now.
func (s *simRun) checkTime(q *simRequest) {
	st, a := q.stream, q.stream.account
	if s.now.Before(st.wait.from) && !s.plan.doubt {
		s.fail("back-off", "a request of %s %v too early", st.name, st.wait.from.Sub(s.now))
	}
	if a.held && s.now.Before(a.probe.from) {
		s.fail("hold", "a request of account %s, which is on hold, %v too early", a.name, a.probe.from.Sub(s.now))
	}
	if s.model.drain {
		s.fail("drain", "a request of %s starts", st.name)
	}
	if q.set != nil || s.plan.doubt && (q.req.Reason == batcher.BatchRetry || st.hold != nil) {
		return
	}
	rows, size, first := 0, 0, q.cells[0].since
	for _, c := range s.model.of(st) {
		if c.request == nil && c.deferred == nil && (c.set == nil || c.set.loose) {
			if rows++; st.hold != nil && c.since.Before(first) { // one that came later may go first
				first = c.since
			}
			text, _ := json.Marshal(c.body)
			size += len(text) + 1
		}
	}
	if rows >= a.leastRows || size >= a.leastBytes {
		return
	}
	if s.now.Before(first.Add(s.cfg.Linger)) {
		s.fail("linger", "a request of %d rows of %s %v before its first has lingered", len(q.cells), st.name, first.Add(s.cfg.Linger).Sub(s.now))
	}
	if s.model.catching() {
		s.fail("catch-up", "a request of %s that is not full while partitions catch up", st.name)
	}
}

// checkTurn checks that no other stream of the account should have gone first.
func (s *simRun) checkTurn(st *simStream) {
	if s.plan.doubt || s.plan.theme == "parking" { // streams leave the window and come back, and what is known of them does not
		return
	}
	a, oldest := st.account, never
	if a.strangers.mayDoubt(s.now, s.cfg.BackoffMax) {
		return
	}
	for _, c := range s.model.of(st) {
		if c.request == nil && c.deferred == nil && c.rank.Before(oldest) {
			oldest = c.rank
		}
	}
	for _, other := range s.model.streams {
		if searching := func(st *simStream) bool { return st.hold == nil && (st.fails() != simNo || s.model.hasSets(st)) }; other == st || other.account != a ||
			!a.held && (searching(other) || searching(st)) {
			continue
		}
		at, newest := s.ready(other)
		switch {
		case at.After(s.now):
		case a.held && !a.unsureTurns && st.mustWait(other):
			s.fail("hold", "%s probes for its account, and %s is ready, which says more", st.name, other.name)
		case a.held:
		case st.yields() == simYes && other.yields() == simNo && a.others < simOthersFirst:
			s.fail("hold", "%s goes first after %d requests of others, and %s is ready, which need not yield", st.name, a.others, other.name)
		case !a.unsureTurns && (other.hold == nil || a.maybe == 0) && st.yields() == simYes && other.yields() == simYes && (st.hold != nil) != (other.hold != nil) && (st.hold != nil) == (a.newcomers < simOthersFirst):
			s.fail("hold", "%s goes although it is the turn of %s, on hold %v and %v, after %d new ones", st.name, other.name, st.hold, other.hold, a.newcomers)
		case st.yields() != simUnsure && st.yields() == other.yields() && st.hold == nil && other.hold == nil && newest.Before(oldest):
			s.fail("turn", "%s goes first, whose oldest contact has the rank of %v; %s has that of %v", st.name, oldest, other.name, newest)
		}
	}
}

// simSizeForgotten is for how long a learned size stays at most.
const simSizeForgotten = time.Hour

// hasSets reports whether rows of a stream are sent apart from others.
func (m *simModel) hasSets(st *simStream) bool {
	return slices.ContainsFunc(m.of(st), func(c *simCell) bool { return c.set != nil })
}

// checkLearned checks what is learned of an answer about the size of requests: only where
// both halves of one that was too large have passed, or the remainder of one that was cut
// short, it was its size. Then less is sent. How much, requestsize_test.go says.
func (s *simRun) checkLearned(q *simRequest, r contactsync.Result) {
	a, set := q.stream.account, q.set
	if a.unsureSize = a.unsureSize || s.plan.doubt; s.plan.doubt {
		return
	}
	q.unproven = len(q.cells) > a.passedRows || q.size > a.passedBytes
	rows, bytes := a.rows, a.bytes
	for _, now := range s.window.Status(s.now).Accounts {
		if now.Account == a.name {
			rows, bytes = now.RequestMaxRows, int(now.RequestMaxBytes)
		}
	}
	passed := r.Kind == contactsync.Answered && len(r.Rows) >= len(q.cells) && !slices.ContainsFunc(r.Rows[:len(q.cells)], func(o contactsync.Outcome) bool { return o.Verdict == contactsync.Unresolved }) ||
		r.Kind == contactsync.BadRequest
	if passed {
		a.passedRows, a.passedBytes = max(a.passedRows, len(q.cells)), max(a.passedBytes, q.size)
		a.mayRise = len(q.cells) > a.rows || q.size > a.bytes
	}
	learns := false
	if set != nil && set.tooLarge != nil && (passed || r.Kind == contactsync.TooLarge) {
		set.passed++
		set.failed = set.failed || !passed
		learns = set.passed == set.parts && !set.failed
	}
	switch {
	case !learns && (rows < a.rows || bytes < a.bytes):
		s.fail("size", "the request size of %s falls to %d rows, %d bytes, and nothing says that requests were too large", a.name, rows, bytes)
	case !learns:
		return
	case set.loose: // the halves may have been taken apart, and then nothing is learned of them
		a.unsureSize = true
		return
	}
	n, size := len(set.tooLarge.cells), set.tooLarge.size
	if n <= a.passedRows && size <= a.passedBytes { // the API takes less than it did
		a.passedRows, a.passedBytes = 0, 0
	}
	forgot := !a.lowered.IsZero() && s.now.Sub(a.lowered) >= simSizeForgotten // what is shown may not be in force yet
	if a.lowered = s.now; !a.unsureSize && !forgot && rows >= n && bytes >= size {
		s.fail("size", "the request size of %s is %d rows, %d bytes after %d rows, %d bytes were too large", a.name, rows, bytes, n, size)
	}
}

// simRows prints rows.
type simRows []contactsync.Row

func (r simRows) String() string {
	var text []string
	for _, row := range r {
		text = append(text, string(row.Body))
	}
	return strings.Join(text, " ")
}
