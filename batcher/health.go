package batcher

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// holdKind says why a stream is on hold.
type holdKind uint8

const (
	noHold           holdKind = iota
	holdUnauthorized          // the API refuses the credentials, the scope, or the stream's name
	holdGone                  // it does not know the stream
	holdContract              // its answers contradict themselves
	holdRejecting             // too many rows are refused for all to be at fault
	holdCredential            // only what signs for it is
	holdAlone                 // no stream: contacts that wait although they were refused, or failed, alone
	holdFailing               // it is not on hold, but stalls
	holdKinds
)

// allHolds are the kinds of holds.
var allHolds = []holdKind{holdUnauthorized, holdGone, holdContract, holdRejecting, holdCredential, holdAlone, holdFailing}

func (k holdKind) String() string {
	return [...]string{"none", "unauthorized", "stream_gone", "contract", "rejecting", "credential", "alone", "failing"}[k]
}

// reason is that of dead letters whose hold has lasted too long, or was given up.
func (k holdKind) reason() contactsync.Reason {
	switch k {
	case holdGone:
		return contactsync.ReasonStreamGone
	case holdRejecting:
		return contactsync.ReasonRejected
	case holdContract:
		return contactsync.ReasonUnresolved
	}
	return contactsync.ReasonUnauthorized
}

// hold is a stream that cannot be delivered as it is, and is probed. Its contacts
// stay pending; other streams are not touched.
type hold struct {
	kind        holdKind
	since       time.Time
	probes      int // requests that were refused since
	status      int
	last        said  // by the last refusal
	tried       trial // of holdRejecting
	whole       bool  // of holdRejecting: no row was accepted since whole requests were refused, whatever their rows
	deadLetters int   // made of its contacts since

	// An operator's decision: what arrived before becomes a dead letter. 0 for none.
	asideBelow   uint64
	asideBecause string
}

// said is what an answer comes to: in words of our own, for everybody, and in those of the API.
type said struct {
	detail string
	text   contactsync.Text
}

// streamHealth is what the API's answers say of a stream.
type streamHealth struct {
	failures           int       // requests in a row that did not settle anything
	backoff            time.Time // nothing is sent before it
	credentialsRefused bool      // by the last answer
	accepted           bool      // the API has answered for each of its rows, as far as that is remembered
	acceptedAt         time.Time // when it did last, likewise
	strange            bool      // it was refused before it was ever accepted
	hold               *hold     // nil where the stream is not on hold
	answered           lastMinute
	bad                badRate
	accepts            int // rows of it that were accepted

	failingSince time.Time     // the first of the failures in a row
	failed       time.Time     // the last of them
	besideOthers bool          // other streams of the account were answered between two of them
	unproven     bool          // one of these requests was larger than any that was answered for
	most         int           // rows of the next request while it fails; 0 for any number
	singles      int           // requests of one row that failed
	alone        alike[string] // contacts that failed alone since a row was settled
	refused      streak        // contacts that were refused alone since a row was accepted, as far as that is remembered
	share        badRate       // how many of its last rows were bad, before these
	trusted      int           // refusals before so many rows were accepted say nothing of a row: all of the stream were refused then
	settled      time.Time     // when a row of it was accepted or refused last
	ordinary     lapse         // of its requests, but those with suspects
	doubted      bool          // the last of these failed, and a row may be the cause
	back         time.Time     // when a hold of it ended last that was long
}

// onHold reports whether the stream is on hold of a kind.
func (h *streamHealth) onHold(kind holdKind) bool { return h.hold != nil && h.hold.kind == kind }

// fruitless reports whether nothing of the stream was accepted since single contacts of it were tried, one after the other.
func (h *streamHealth) fruitless() bool {
	switch {
	case h.hold == nil:
		return h.failures > 0 && h.singles >= suspectAfter
	case h.hold.kind == holdRejecting:
		return h.hold.whole
	}
	return true
}

// accountHealth is what the API's answers say of an account.
type accountHealth struct {
	size        requestSize
	answered    lastMinute
	deadLetters lastMinute // of the refused ones those that became dead letters
	refused     streak     // contacts that were refused alone since a row was accepted

	suspectsPassed int       // alone, since one failed
	acquitted      time.Time // when it was seen last that the rows had not been the cause
	stalledPassed  int       // requests of streams that stalled, since one of any failed
}

// health is the rules by which answers change what is known of streams and accounts.
type health struct {
	cfg      *Config
	rand     *rand.Rand // of the jitter
	m        *series
	log      *eventLog
	schedule *schedule
}

// onAnswer notes what an answer says of the stream and account of a request.
func (h *health) onAnswer(now time.Time, req *Request, d *Decision, r contactsync.Result) {
	st := req.stream
	if req.group == nil || !req.group.suspect || d.credentialsRefused { // rows that are tried apart say nothing of the others
		st.health.credentialsRefused = d.credentialsRefused
	}
	if req.trial {
		st.account.health.size.trying = false
	}
	if req.group != nil && req.group.suspect {
		st.account.health.suspectsAnswered(now, req.rows, r, d.suspects || d.rows == keepAlone)
	}
	switch says := d.size; {
	case says == sizeFits && r.Kind == contactsync.Answered && (len(r.Rows) < len(req.rows) || slices.ContainsFunc(r.Rows, unsettled)):
		if req.trial {
			h.learnSize(now, req, sizeTooLarge)
		}
	case says != sizeUnknown:
		h.learnSize(now, req, says)
	}
	if d.rowsAnswered {
		stalled := st.stalls() && !st.onHold() && (req.group == nil || !req.group.suspect)
		if h.onRowsAnswered(now, st); stalled {
			h.stalledPassed(st.account)
		}
	}
	switch {
	case d.rows == settleEach, slices.ContainsFunc(r.Rows, delivered):
		st.account.strangers.accept(now, st)
	case d.credentialsRefused, d.hold != noHold, d.rowsAnswered && d.rows == halveInTurn, r.Kind == contactsync.BadRequest: // that may be for the stream's name
		st.account.strangers.refuse(st)
	}
	if d.hold != noHold {
		h.putOnHold(now, st, d.hold, r)
	}
	if d.backOff && (req.group == nil || !mayBeRows(r)) { // sets that are tried apart wait by themselves
		h.failing(now, req, r)
	}
}

func unresolved(o contactsync.Outcome) bool { return o.Verdict == contactsync.Unresolved }

// putOnHold puts a stream on hold, or keeps it there after a probe that was refused. It waits
// longer each time.
func (h *health) putOnHold(now time.Time, st *stream, kind holdKind, r contactsync.Result) {
	s := &st.health
	on := s.hold
	probed := on != nil && !s.backoff.After(now) // else the request was made before the hold began
	if on == nil {
		on = &hold{since: now}
		s.hold, s.failures, s.backoff = on, 0, time.Time{}
		h.schedule.countHeld(st)
	}
	if on.kind != kind {
		if on.kind == holdRejecting || kind == holdRejecting {
			*on = hold{since: now, asideBelow: on.asideBelow, asideBecause: on.asideBecause} // a different cause
		}
		h.log.add(slog.LevelError, "stream is on hold: its contacts are kept and it is probed; see docs/holds.md for what to do, and contactsync answers HASH for what the API wrote",
			"kind", kind.String(), "account", st.account.id, "stream", st.name, "status", r.Status, "detail", r.Detail)
		if kind != holdRejecting { // that one is bounded by the dead-letter budget
			h.recordStrike(now, st)
		}
	}
	if kind == holdContract && st.account.breaksContract() && !st.signer.held {
		st.signer.contract = true
		h.holdSigner(now, st, "account is on hold: the API's answers contradict themselves, whatever the contact; one request of one contact at a time probes it", "contacts", len(st.account.contradicted), "status", r.Status, "detail", r.Detail)
	}
	on.kind, on.status, on.last = kind, r.Status, said{r.Detail, r.Text}
	if probed {
		h.countProbe(on)
	}
	longest := h.cfg.HoldProbeMax
	if kind == holdRejecting || kind == holdContract {
		longest = h.cfg.BackoffMax // its rows leave one by one: waiting long would hold up the good ones
	}
	h.backOff(now, st, longest)
	if c := st.signer; c.held && !c.probe.After(now) {
		c.probes++
		c.probe = now.Add(h.wait(c.probes, h.cfg.BackoffMax))
	}
}

func (h *health) countProbe(on *hold) {
	on.probes++
	h.m.probes[on.kind].Inc()
}

// Why a hold ends, as the log says it.
const (
	endedAnswer = "the API answers for its rows again"
	endedRare   = "refusals are rare again"
	endedEmpty  = "nothing of it is left to send"

	endedByOperator = "an operator has released it"
)

// endHold ends the hold of a stream that is on hold.
func (h *health) endHold(now time.Time, st *stream, why string) {
	on := st.health.hold
	st.health.hold = nil
	h.noteBack(&st.health.back, now, on.since)
	h.schedule.countHeld(st)
	h.resetBackoff(st)
	h.log.add(slog.LevelInfo, "stream is no longer on hold", "because", why, "kind", on.kind.String(), "account", st.account.id, "stream", st.name,
		"lasted", now.Sub(on.since), "probes_refused", on.probes, "dead_letters", on.deadLetters)
}

// onRowsAnswered notes that the API has looked at rows of a stream: its credentials and
// name are good, it need not wait, and what was put on hold before was not its credential's
// fault. Where all streams with it were on hold, the others may probe immediately.
func (h *health) onRowsAnswered(now time.Time, st *stream) {
	st.account.strangers.answered = now
	switch s := &st.health; {
	case s.hold == nil:
		h.resetBackoff(st)
	case s.hold.kind != holdRejecting: // whose waits end with a row that is accepted
		h.endHold(now, st, endedAnswer)
	}
	c := st.signer
	c.answered = now
	c.strikes, st.account.contradicted = nil, nil
	if !c.held {
		return
	}
	h.endCredential(now, c)
	h.log.add(slog.LevelInfo, "account is no longer on hold", c.attrs(st, "lasted", now.Sub(c.heldSince))...)
}

// noteBack notes when a hold ended that was long: what was left because of it is read again promptly then. What comes and goes waits for a
// reading that is worth it.
func (h *health) noteBack(back *time.Time, now, since time.Time) {
	if now.Sub(since) >= h.cfg.HoldProbeMax {
		*back = now
	}
}

// review ends the hold of a stream whose rows were refused when that is rare again.
func (h *health) review(now time.Time, st *stream) {
	if on := st.health.hold; st.health.onHold(holdRejecting) && !on.whole && on.tried.passed(h.cfg.DeadLetterMaxRatio) {
		h.endHold(now, st, endedRare)
	}
}

// resetBackoff ends the wait of a stream: the API has answered for its rows.
func (h *health) resetBackoff(st *stream) {
	st.health.failures, st.health.most, st.health.backoff, st.health.alone = 0, 0, time.Time{}, nil
	h.schedule.countHeld(st)
}

// failing notes that a request of a stream failed. From the second failure in a row on, where
// a row may be the cause, each request has half of the rows of the last one, down to
// one: no call more than there would be anyway, and sooner or later rows pass. While the API
// answers for other streams it need not be spared, so the stream does not wait for long until
// three rows have failed alone.
func (h *health) failing(now time.Time, req *Request, r contactsync.Result) {
	s, rows := &req.stream.health, len(req.rows)
	req.stream.account.health.stalledPassed = 0
	if s.failures == 0 {
		if req.stream.account.strangers.trouble.began(now, h.cfg.BackoffMax) {
			h.schedule.touchAll(req.stream.account)
		}
		s.failingSince, s.besideOthers, s.unproven, s.singles = now, false, false, 0
	}
	s.unproven = s.unproven || req.stream.account.health.size.unproven(int64(rows), req.bytes)
	s.besideOthers = s.besideOthers || req.stream.account.strangers.answered.After(s.failingSince)
	halves := mayBeRows(r) && s.failures > 0 && !s.backoff.After(now)
	s.failed = now
	if halves && rows == 1 {
		s.singles++
	}
	if halves && s.besideOthers && s.singles <= suspectAfter {
		s.backoff = now.Add(h.wait(1, h.cfg.BackoffMax))
		h.schedule.touch(req.stream)
	} else {
		h.backOff(now, req.stream, h.cfg.BackoffMax)
	}
	if halves {
		s.most = max(1, rows/2)
	}
}

// backOff makes a stream wait once more, at most for longest. A request that was made
// before the wait began does not make it longer.
func (h *health) backOff(now time.Time, st *stream, longest time.Duration) {
	if st.health.backoff.After(now) {
		return
	}
	st.health.failures++
	st.health.backoff = now.Add(h.wait(st.health.failures, longest))
	h.schedule.countHeld(st)
}

// wait is the n-th wait of a row of failures: doubled each time up to the longest, and
// between half and all of that, so that streams do not wait in step.
func (h *health) wait(n int, longest time.Duration) time.Duration {
	d := h.cfg.backoff(n, longest)
	return d/2 + time.Duration(h.rand.Int64N(int64(d/2)+1))
}

// learnSize learns from the answer to a request how large one may be.
func (h *health) learnSize(now time.Time, req *Request, says sizeAnswer) {
	a := req.stream.account
	size := &a.health.size
	before := *size
	rows, bytes := int64(len(req.rows)), req.bytes
	switch {
	case says == sizeFits:
		if st := req.stream; req.group == nil && st.health.most > 0 && (!st.health.besideOthers || st.health.unproven) {
			size.fell(now, st.health.failingSince, rows, bytes)
		}
		size.fits(now, rows, bytes)
	case req.trial:
		size.trialFailed(now, rows, bytes)
	}
	if req.group != nil && req.group.split != nil && req.group.split.answered(says == sizeFits) {
		whole := req.group.split
		if req.group.suspect {
			size.fell(now, req.group.since, rows, bytes)
		} else {
			size.tooLarge(now, int64(whole.rows), whole.bytes)
		}
		h.log.add(slog.LevelWarn, "a request was too large for the API: smaller ones are sent from now on", "account", a.id,
			"rows", size.rows.limit, "bytes", size.bytes.limit, "refused_rows", whole.rows, "refused_bytes", whole.bytes)
	}
	if size.rows.limit != before.rows.limit || size.bytes.limit != before.bytes.limit {
		h.schedule.touchAll(a)
	}
}

// limits returns the most rows and bytes that the next request of a stream may have.
func (h *health) limits(now time.Time, st *stream) (rows int, bytes int64) {
	a, s := &st.account.health, &st.health
	if a.size.recover(now) {
		h.schedule.touchAll(st.account)
	}
	most, bytes := a.size.next()
	rows = int(most)
	if s.most > 0 && !s.besideOthers && st.account.strangers.answered.After(s.failed) {
		s.most = 0 // nothing was answered while it failed, and now others are: it was not the stream
	}
	switch {
	case s.hold != nil, st.signer.contract: // the rows may be at fault, and others than the last
		return 1, bytes
	case s.most > 0:
		return min(rows, s.most), bytes
	}
	return rows, bytes
}
