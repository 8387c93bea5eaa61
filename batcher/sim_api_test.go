package batcher_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
)

// simMood is how the API treats an account or a stream as a whole.
type simMood string

const (
	simFine         simMood = "fine"
	simDown         simMood = "down"
	simThrottling   simMood = "throttling"
	simUnauthorized simMood = "unauthorized"
	simGone         simMood = "gone"
	simRejecting    simMood = "rejecting" // every row is refused
	simSilent       simMood = "silent"    // requests time out; they may be applied
)

// simAPI is the API of one account, and its gate.
type simAPI struct {
	run     *simRun
	account string
	mood    simMood
	streams map[string]simMood
	rows    int // most of a request; 0 for any
	bytes   int // most of its body; 0 for any

	calls    int       // that may still start
	again    time.Time // when the gate may be asked again
	spare    time.Time // and when for what can wait
	admitted int
	reports  int
	reported contactsync.Kind // the last of them
	until    time.Time        // that it names where it is throttled
}

// PerSecond implements Gate.
func (a *simAPI) PerSecond() float64 { return 0 }

// mostInFlight is how many requests of an account may be in flight: the API names no budget.
func (s *simRun) mostInFlight() int { return cmp.Or(s.cfg.MaxInFlight, batcher.LeastInFlight) }

// Admit implements Gate.
func (a *simAPI) Admit(now time.Time, _ string, spare bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	again, left := &a.again, 0
	if spare {
		again, left = &a.spare, simSpare
	}
	if now.Before(*again) {
		a.run.fail("I7", "the gate of %s is asked %v before the time that it named", a.account, again.Sub(now))
	}
	if a.calls <= left {
		*again = now.Add(time.Duration(1+a.run.rand.IntN(2000)) * time.Millisecond)
		return nil, *again
	}
	a.calls--
	a.admitted++
	reported := false
	return func(now time.Time, r contactsync.Result) time.Time {
		if reported {
			a.run.fail("I7", "a result of %s is reported twice", a.account)
		}
		reported, a.reported = true, r.Kind
		a.reports++
		if r.Kind == contactsync.Throttled && a.run.chance(2) {
			a.until = later(a.until, now.Add(time.Duration(1+a.run.rand.IntN(10_000))*time.Millisecond))
		}
		return a.until
	}, time.Time{}
}

// simSpare is how many calls must be left after one that can wait.
const simSpare = 2

// simState is what the API holds of a contact.
type simState struct {
	members map[string]any
	n       int // of the newest event in it
}

// simApply is a request that the API applies although it has not answered it.
type simApply struct {
	at      time.Time
	request *simRequest
}

// answer makes up what the API says to a request, and applies what it takes.
func (s *simRun) answer(q *simRequest) contactsync.Result {
	a, b := s.apis[q.req.Batch.Account], q.req.Batch
	mood := a.mood
	if of := a.streams[b.Stream]; mood == simFine && of != "" {
		mood = of
	}
	if s.plan.mad && !s.quiet && s.chance(3) {
		return s.madAnswer(q)
	}
	if mood == simFine && !s.quiet {
		switch {
		case s.plan.ambiguous && s.chance(8):
			mood = simSilent
		case s.plan.faults && s.chance(6):
			mood = []simMood{simDown, simDown, simThrottling, simUnauthorized}[s.rand.IntN(4)]
		}
	}
	switch mood {
	case simDown:
		kind := contactsync.Unavailable
		if s.chance(6) {
			kind = contactsync.Unknown
		}
		r := contactsync.Result{Kind: kind, Status: s.status([]int{0, 500, 503}[s.rand.IntN(3)])}
		r.MayBeRows = r.Status != 0
		return r
	case simThrottling:
		r := contactsync.Result{Kind: contactsync.Throttled, Status: s.status(429)}
		for i := 0; s.plan.sloppy && i < len(b.Rows) && s.chance(2); i++ { // as far as the limit has let it
			s.apply(q, b.Rows[i])
			r.Rows = append(r.Rows, contactsync.Outcome{Verdict: contactsync.Delivered})
		}
		return r
	case simUnauthorized:
		return contactsync.Result{Kind: contactsync.Unauthorized, Status: s.status(401)}
	case simGone:
		return contactsync.Result{Kind: contactsync.StreamGone, Status: s.status(404)}
	case simSilent:
		return s.timeOut(q)
	}
	return s.judge(q, mood)
}

// status is that of an answer that a row may be the cause of: there is none where rows are not.
func (s *simRun) status(status int) int {
	if s.plan.doubt {
		return status
	}
	return 0
}

// timeOut is a request without an answer. The API has applied it, or does so before the
// delay for such requests is over, or both, or never.
func (s *simRun) timeOut(q *simRequest) contactsync.Result {
	how := s.rand.IntN(4)
	if how == 0 || how == 1 {
		s.applyAll(q)
	}
	if delay := s.cfg.AmbiguousRetryDelay; delay > 0 && (how == 1 || how == 2) {
		s.late = append(s.late, simApply{s.now.Add(time.Duration(s.rand.Int64N(int64(delay)))), q})
	}
	return contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true, MayBeRows: s.plan.doubt}
}

// applyLate applies what was not answered and is due by now.
func (s *simRun) applyLate(now time.Time) {
	var left []simApply
	for _, l := range s.late {
		if l.at.After(now) {
			left = append(left, l)
			continue
		}
		for i, row := range l.request.req.Batch.Rows {
			if s.deletes[row.ID] == l.request.deletes[i] { // else see TestSim_Known_DeleteEndsTheDelay
				s.apply(l.request, row)
			}
		}
	}
	s.late = left
}

// judge is the answer of an API that works: by size, and by what the rows hold.
func (s *simRun) judge(q *simRequest, mood simMood) contactsync.Result {
	a, b := s.apis[q.req.Batch.Account], q.req.Batch
	size := 0
	var bad []string
	for _, row := range b.Rows {
		size += len(row.Body) + 1
		word, _ := members(s, row)["bad"].(string)
		if s.quiet {
			word = ""
		}
		bad = append(bad, word)
	}
	for i, word := range bad {
		if word == "413" || a.rows > 0 && i >= a.rows || a.bytes > 0 && size > a.bytes && len(bad) > 1 {
			return contactsync.Result{Kind: contactsync.TooLarge, Status: 413}
		}
	}
	if slices.Contains(bad, "500") {
		return contactsync.Result{Kind: contactsync.Unavailable, Status: 500, MayBeRows: true}
	}
	if slices.Contains(bad, "400") {
		return contactsync.Result{Kind: contactsync.BadRequest, Status: 400}
	}
	r := contactsync.Result{Kind: contactsync.Answered, Status: 200}
	for i, row := range b.Rows {
		word := bad[i]
		if mood == simRejecting {
			word = "rejected"
		}
		if s.plan.sloppy && !s.quiet && s.chance(6) {
			word = []string{"open", "transient", "silent"}[s.rand.IntN(3)]
		}
		o := contactsync.Outcome{Verdict: contactsync.Delivered}
		switch word {
		case "rejected":
			o = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
		case "transient":
			o = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "later", Transient: true}
		case "silent":
			o = contactsync.Outcome{Verdict: contactsync.Failed}
		case "open":
			o = contactsync.Outcome{}
		default:
			s.apply(q, row)
		}
		r.Rows = append(r.Rows, o)
	}
	if s.plan.sloppy && r.Rows[len(r.Rows)-1].Verdict == contactsync.Unresolved && s.chance(2) {
		r.Rows = r.Rows[:len(r.Rows)-1]
	}
	return r
}

// madAnswer is an answer without sense.
func (s *simRun) madAnswer(q *simRequest) contactsync.Result {
	r := contactsync.Result{Kind: contactsync.Kinds()[s.rand.IntN(len(contactsync.Kinds()))], Status: 200 + s.rand.IntN(400), Ambiguous: s.chance(2)}
	if r.Kind != contactsync.Answered {
		r.Status = s.status(r.Status)
		return r
	}
	r.Ambiguous = false
	for _, row := range q.req.Batch.Rows {
		o := contactsync.Outcome{Verdict: contactsync.Verdict(s.rand.IntN(3)), Transient: s.chance(2), Reason: []string{"", "no"}[s.rand.IntN(2)]}
		if o.Verdict == contactsync.Delivered {
			s.apply(q, row)
		}
		r.Rows = append(r.Rows, o)
	}
	return r
}

// members reads a row.
func members(s *simRun, row contactsync.Row) map[string]any {
	var body map[string]any
	if err := json.Unmarshal(row.Body, &body); err != nil {
		s.fail("I1", "a row %q: %v", row.Body, err)
	}
	return body
}

func (s *simRun) applyAll(q *simRequest) {
	for _, row := range q.req.Batch.Rows {
		s.apply(q, row)
	}
}

// apply makes the API take a row as a merge patch. It must not be older than what it holds.
func (s *simRun) apply(q *simRequest, row contactsync.Row) {
	k, body := simKey{q.stream.name, row.ID}, members(s, row)
	n := int(body["n"].(float64))
	old := s.state[k]
	if n < old.n && !s.unordered[k] && !s.wanders(k) && !q.overlap {
		s.fail("I3", "the API is given state %d of %v after state %d", n, k, old.n)
	}
	state := simState{map[string]any{}, n}
	maps.Copy(state.members, old.members)
	for name, v := range body {
		if state.members[name] = v; v == nil {
			delete(state.members, name)
		}
	}
	s.state[k] = state
}

// anyAPI returns the API of some account.
func (s *simRun) anyAPI() *simAPI { return s.apis[s.model.accounts[s.rand.IntN(s.plan.accounts)].name] }

// setMood changes how the API treats an account or one of its streams.
func (s *simRun) setMood() {
	a := s.anyAPI()
	if s.plan.faults && (s.chance(2) || !s.plan.moods) {
		a.mood = []simMood{simFine, simFine, simDown, simThrottling, simUnauthorized, simRejecting}[s.rand.IntN(6)]
	} else {
		moods := []simMood{simFine, simFine, simUnauthorized, simGone, simRejecting, simSilent}
		switch s.plan.theme {
		case "holds", "strangers", "parking":
			moods = []simMood{simFine, simUnauthorized, simUnauthorized, simGone}
		case "rejecting":
			moods = []simMood{simFine, simRejecting}
		}
		mood := moods[s.rand.IntN(len(moods))]
		for _, stream := range s.streams { // one, or all of the account
			if all := (s.plan.theme == "holds" || s.plan.theme == "strangers") && s.chance(2) || s.plan.theme == "parking" && s.chance(4); s.account[stream] == a.account && (all || s.chance(s.plan.streams)) {
				a.streams[stream] = mood
			}
		}
	}
	s.logf("account %s: %s, streams %v", a.account, a.mood, a.streams)
}

// setLimits changes what size of requests the API takes.
func (s *simRun) setLimits() {
	a := s.anyAPI()
	a.rows, a.bytes = 0, 0
	switch s.rand.IntN(3) {
	case 0:
		a.rows = 1 + s.rand.IntN(5)
	case 1:
		a.bytes = 40 + s.rand.IntN(200)
	}
	s.logf("account %s: at most %d rows, %d bytes", a.account, a.rows, a.bytes)
}

// setBudget says how many requests an account may still start.
func (s *simRun) setBudget() {
	a := s.anyAPI()
	a.calls = s.rand.IntN(6)
	s.logf("account %s: %d calls", a.account, a.calls)
}
