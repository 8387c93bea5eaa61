package batcher_test

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync/batcher"
)

// What the documentation promises in numbers.
const (
	simStrikes     = 3                // streams of an account that are refused in a row before the account is held
	simOthersFirst = 3                // requests of others before each probe of a stream on hold
	simGrace       = time.Minute      // without a dead letter after a stream began to be rejected
	simTrials      = 10               // rows that are tried before a rejecting hold may end
	simRecovered   = 6                // streams that pass, for others that fail not to wait
	simSlack       = 10 * time.Second // by which a minute may be longer
)

// simMaybe is for what cannot be known from outside.
type simMaybe uint8

const (
	simNo simMaybe = iota
	simYes
	simUnsure
)

// simWait is a wait with jitter: it ends between from and by.
type simWait struct {
	from, by    time.Time
	least, most int // how many waits in a row it is
}

// begin starts the next wait, unless one lasts.
func (b *simWait) begin(now time.Time, c batcher.Config, longest time.Duration) {
	switch {
	case now.Before(b.from):
		return
	case now.Before(b.by): // it may have ended
		b.extend(now, c, longest)
		return
	}
	b.least++
	b.most++
	b.from, b.by = now.Add(backoff(c, b.least, longest)/2), now.Add(backoff(c, b.most, longest))
}

// extend notes that the next wait may have begun.
func (b *simWait) extend(now time.Time, c batcher.Config, longest time.Duration) {
	b.most++
	b.by = later(b.by, now.Add(backoff(c, b.most, longest)))
}

// backoff is the longest that the n-th wait in a row may take; the shortest is half of it.
func backoff(c batcher.Config, n int, longest time.Duration) time.Duration {
	return min(c.BackoffMin<<min(n-1, 20), longest)
}

// simStream is what must hold for one stream.
type simStream struct {
	name     string
	account  *simAccount
	requests int // in flight
	wait     simWait
	failed   int  // requests since one was answered
	doubted  bool // a row may have been the cause of one, ever: then which are tried apart is left open by the model
	hold     *simHold
	refused  simMaybe // the last answer refused the credentials
	strange  simMaybe // it was refused, and never accepted
	answers  []simAnswers
	taken    int       // rows of it, so far
	alone    simStreak // contacts that were refused alone since a row was taken
	share    simShare  // of rows that are bad, before these
	trusted  int       // what was refused alone before so many rows were taken does not count
	alike    bool      // and what is refused now is so for the stream, or its account
	again    *simSet   // the last rows that are sent once more
}

// simSearch is the search for the bad rows of a request that was refused as a whole.
type simSearch struct {
	rows  int // of it
	taken int // rows of the stream before it
}

// simAlike is how many contacts are refused alike before it is the stream, at the least.
const simAlike = 3

// search is the search that a request is part of; nil for none.
func (q *simRequest) search() *simSearch {
	if q.set == nil || q.req.Reason != batcher.BatchRetry { // the set was taken apart
		return nil
	}
	return q.set.of
}

// simHold is a stream on hold.
type simHold struct {
	kind   string
	since  time.Time
	status int    // of the last answer that refused it
	taken  int    // rows of the stream when it began
	tried  []bool // the last rows of a rejecting one: whether they were refused
}

// passed reports whether refusals are rare again.
func (h *simHold) passed(c batcher.Config) bool {
	refused := 0
	for _, r := range h.tried {
		if r {
			refused++
		}
	}
	return h.kind == "rejecting" && len(h.tried) == simTrials && float64(refused) <= c.DeadLetterMaxRatio*simTrials
}

// simAnswers is how many rows were answered at a time.
type simAnswers struct {
	at             time.Time
	taken, refused int
}

// within sums what was answered after a time.
func within(all []simAnswers, since time.Time) (taken, refused int) {
	for _, a := range all {
		if a.at.After(since) {
			taken += a.taken
			refused += a.refused
		}
	}
	return taken, refused
}

// simAccount is what must hold for one account.
type simAccount struct {
	name      string
	used      bool // the Window knows it
	requests  int
	until     time.Time // until when it was throttled
	struck    []string  // streams that were put on hold since an answer about rows
	held      bool
	heldSince time.Time
	probe     simWait
	letters   []simAnswers
	alone     simStreak       // contacts that were refused alone since a row of it was taken
	misfits   map[simKey]bool // that were refused while others were taken, and were not taken since
	takenAt   time.Time       // the last of its rows
	passed    int             // requests of streams that failed that were answered, since one failed for certain, at most
	others    int             // requests since the last one that was no regular work, at most
	apart     int             // requests in flight that are no regular work
	maybe     int             // those that may be none

	strangers simStrangers
	newcomers int // requests of streams that were never accepted since one that is tried apart

	unsureTurns bool // of a request since then it is not known whether it was

	rows, bytes             int // the largest request, as learned
	leastRows, leastBytes   int // that it ever was
	passedRows, passedBytes int // most of a request that was not too large
	lowered                 time.Time
	mayRise                 bool // a larger request than requests have as a rule has passed
	unsureSize              bool // it may have learned something or not
}

// simSet is rows that are sent apart from the others of their stream.
type simSet struct {
	limit    int  // rows that one request of it may have
	halves   bool // of a refused request: one half waits for the answer to the other
	again    bool // rows that are sent once more, or were left open, or are of a size that passed before: these can wait
	refused  bool // some of it was refused since
	from, by time.Time
	loose    bool // the stream was on hold meanwhile, which dissolves sets

	tooLarge *simRequest // whose halves these are, or whose remainder
	parts    int         // how many of them
	of       *simSearch  // nil where they are of none
	tries    int         // requests of a row that was refused alone, and waits for others of its account
	passed   int         // that were answered
	failed   bool        // one of them was too large as well
}

// of returns the cells of a stream.
func (m *simModel) of(st *simStream) []*simCell {
	var cells []*simCell
	for _, id := range m.ids {
		if c := m.cells[simKey{st.name, id}]; c != nil {
			cells = append(cells, c)
		}
	}
	return cells
}

// idle notes that the Window may have forgotten what it knew of streams without work.
func (m *simModel) idle() {
	for _, st := range m.streams {
		if st.requests == 0 && st.hold == nil && !m.now.Before(st.wait.from) && len(m.of(st)) == 0 {
			st.wait.least = 0
			if st.refused == simYes {
				st.refused = simUnsure
			}
			if st.strange == simYes {
				st.strange = simUnsure
			}
		}
	}
}

// fails reports whether the last request of a stream failed, or may have.
func (st *simStream) fails() simMaybe {
	switch {
	case st.wait.least > 0:
		return simYes
	case st.wait.most > 0:
		return simUnsure
	}
	return simNo
}

// withheld reports whether all of a stream counts as on hold: it is, or its last request failed, or may be the next to.
func (m *simModel) withheld(st *simStream) simMaybe {
	switch {
	case st.onHold(), st.wait.least > 0 && !st.doubted:
		return simYes
	case st.failed > 0, st.account.strangers.mayDoubt(m.now, m.cfg.BackoffMax):
		return simUnsure
	}
	return simNo
}

// onHold reports whether a stream is on hold, by itself or with its account.
func (st *simStream) onHold() bool { return st.hold != nil || st.account.held }

// holdKind is why.
func (st *simStream) holdKind() string {
	if st.hold == nil {
		return "credential"
	}
	return st.hold.kind
}

// holdSince is since when.
func (st *simStream) holdSince() time.Time {
	if st.hold == nil {
		return st.account.heldSince
	}
	return st.hold.since
}

// calm ends a stream's wait.
func (st *simStream) calm() { st.wait, st.failed = simWait{}, 0 }

// putOnHold puts a stream on hold, or keeps it there.
func (m *simModel) putOnHold(st *simStream, kind string, status int) {
	h, a := st.hold, st.account
	if h == nil {
		h = &simHold{since: m.now, taken: st.taken}
		st.hold = h
		st.calm()
	}
	if h.kind != kind && (h.kind == "rejecting" || kind == "rejecting") {
		h.since, h.tried, h.taken = m.now, nil, st.taken
	}
	if h.kind != kind && kind != "rejecting" && m.strikes(st) { // whatever it was before
		a.strike(m.now, st.name)
	}
	h.kind, h.status = kind, status
	longest := m.cfg.HoldProbeMax
	if kind == "rejecting" {
		longest = m.cfg.BackoffMax
	}
	st.wait.begin(m.now, m.cfg, longest)
	if a.held {
		a.probe.begin(m.now, m.cfg, m.cfg.BackoffMax)
	}
	for _, c := range m.of(st) {
		if c.set != nil {
			c.set.loose = true
		}
	}
}

// countApart counts a request in flight, where it is no regular work.
func (a *simAccount) countApart(q *simRequest, n int) {
	if q.apart == simYes {
		a.apart += n
	}
	if q.apart != simNo {
		a.maybe += n
	}
}

func (a *simAccount) strike(now time.Time, stream string) {
	if a.held || slices.Contains(a.struck, stream) {
		return
	}
	if a.struck = append(a.struck, stream); len(a.struck) >= simStrikes {
		a.held, a.heldSince, a.probe = true, now, simWait{}
	}
}

// rowsAnswered notes that the API has looked at rows of a stream.
func (m *simModel) rowsAnswered(st *simStream) {
	a := st.account
	a.strangers.answered = m.now
	if st.failed > 0 && !st.onHold() {
		m.passed(a)
	}
	switch {
	case st.hold == nil:
		st.calm()
	case st.hold.kind != "rejecting":
		st.hold = nil
		st.calm()
	}
	if a.struck = nil; a.held {
		m.endHold(a)
	}
}

// passed notes that rows of a stream that failed were answered for: once several were, and nothing failed in between, the
// others of the account need not wait.
func (m *simModel) passed(a *simAccount) {
	if a.passed++; a.passed < simRecovered {
		return
	}
	for _, other := range m.streams {
		if other.account == a && other.hold == nil {
			other.wait.least, other.wait.from = 0, time.Time{}
		}
	}
}

// endHold ends the hold of an account: its streams on hold may probe immediately.
func (m *simModel) endHold(a *simAccount) {
	a.held, a.struck = false, nil
	for _, other := range m.streams {
		if other.account == a && other.hold != nil {
			other.calm()
		}
	}
}

// retains is whether refused rows are kept instead of becoming dead letters: when they
// are more than the account may have in a minute and a larger share of the stream's rows
// than is poison, or when the stream has begun to be rejected just now.
func (m *simModel) retains(st *simStream, refused int) simMaybe {
	decide := func(cut time.Time) bool {
		t, r := within(st.answers, cut)
		_, letters := within(st.account.letters, cut)
		fresh := st.hold != nil && st.hold.kind == "rejecting" && m.now.Sub(st.hold.since) < simGrace
		return float64(r) > m.cfg.DeadLetterMaxRatio*float64(t+r) && (letters+refused > m.cfg.DeadLetterMaxPerMinute || fresh)
	}
	// What is up to ten seconds older than a minute may count or not.
	must := decide(m.now.Add(-time.Minute))
	cuts := []time.Time{m.now.Add(-time.Minute - simSlack)}
	for _, a := range slices.Concat(st.answers, st.account.letters) {
		if a.at.After(cuts[0]) && !a.at.After(m.now.Add(-time.Minute)) {
			cuts = append(cuts, a.at)
		}
	}
	for _, cut := range cuts {
		if decide(cut) != must {
			return simUnsure
		}
	}
	if must {
		return simYes
	}
	return simNo
}

// mayBeStream reports whether refusals may be about a stream, and not about its rows.
func (m *simModel) mayBeStream(st *simStream) bool {
	rejecting := st.hold != nil && st.hold.kind == "rejecting"
	return rejecting && (st.taken == st.hold.taken || st.account.alone.enough() || st.alone.enough() && !slices.Contains(st.hold.tried, false)) || st.alike
}

// answered counts rows that the API took and refused for good, and reports whether the
// refused ones were retained.
func (m *simModel) answered(s *simRun, st *simStream, taken, refused int, retained bool) bool {
	now := simAnswers{m.now, taken, refused}
	st.answers = append(st.answers, now)
	trying := st.hold != nil && st.hold.kind == "rejecting"
	if trying {
		h := st.hold
		h.tried = append(h.tried, slices.Repeat([]bool{true}, refused)...)
		h.tried = append(h.tried, slices.Repeat([]bool{false}, taken)...)
		h.tried = h.tried[max(0, len(h.tried)-simTrials):]
	}
	if taken > 0 {
		st.account.takenAt, st.account.alone = m.now, simStreak{}
		st.endStreak(taken)
	}
	st.taken += taken
	if refused == 0 {
		return false
	}
	if must := m.retains(st, refused); must == simNo && retained && m.mayBeStream(st) {
		return true // whatever its rows are
	} else if must == simYes && !retained || must == simNo && retained {
		t, r := within(st.answers, m.now.Add(-time.Minute))
		_, letters := within(st.account.letters, m.now.Add(-time.Minute))
		s.fail("I6", "%d refused rows of %s were retained: %v, with %d refused and %d taken in a minute and %d dead letters of the account", refused, st.name, retained, r, t, letters)
	}
	if !retained {
		st.account.letters = append(st.account.letters, simAnswers{m.now, 0, refused})
	}
	return retained
}
