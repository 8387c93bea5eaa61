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
	holdRejecting             // too many rows are refused for all to be at fault
	holdKinds
)

// allHolds are the kinds of holds.
var allHolds = []holdKind{holdUnauthorized, holdGone, holdRejecting}

func (k holdKind) String() string {
	return [...]string{"none", "unauthorized", "stream_gone", "rejecting"}[k]
}

// reason is that of dead letters whose hold has lasted too long, or was given up.
func (k holdKind) reason() contactsync.Reason {
	switch k {
	case holdGone:
		return contactsync.ReasonStreamGone
	case holdRejecting:
		return contactsync.ReasonRejected
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
	detail      string // of the last refusal
	tried       trial  // of holdRejecting
	deadLetters int    // made of its contacts since

	// An operator's decision: what arrived before becomes a dead letter. 0 for none.
	asideBelow   uint64
	asideBecause string
}

// streamHealth is what the API's answers say of a stream.
type streamHealth struct {
	failures           int       // requests in a row that did not settle anything
	backoff            time.Time // nothing is sent before it
	credentialsRefused bool      // by the last answer
	accepted           bool      // the API has answered about its rows, as far as that is remembered
	strange            bool      // it was refused before it was ever accepted
	hold               *hold     // nil where the stream is not on hold
	answered           lastMinute
}

// onHold reports whether the stream is on hold of a kind.
func (h *streamHealth) onHold(kind holdKind) bool { return h.hold != nil && h.hold.kind == kind }

// accountHealth is what the API's answers say of an account.
type accountHealth struct {
	size        requestSize
	answered    lastMinute
	deadLetters lastMinute // of the refused ones those that became dead letters

	strikes   []string // streams put on hold, or for another cause, since the API last looked at rows
	held      bool
	heldSince time.Time
	probes    int       // refused, while held
	probe     time.Time // the next one, while held
}

// accountStrikes is how many streams of an account must be put on hold, with no
// answer about rows in between, before the account as a whole is.
const accountStrikes = 3

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
	st.health.credentialsRefused = d.credentialsRefused
	if d.rowsAnswered {
		h.onRowsAnswered(now, st)
	}
	if d.credentialsRefused || d.hold != noHold {
		st.account.strangers.refuse(st)
	}
	if d.hold != noHold {
		h.putOnHold(now, st, d.hold, r)
	}
	if d.backOff {
		h.backOff(now, st, h.cfg.BackoffMax)
	}
	if d.size != sizeUnknown {
		h.learnSize(now, req, d.size == sizeFits)
	}
}

// putOnHold puts a stream on hold, or keeps it there after a probe that was refused. It waits
// longer each time.
func (h *health) putOnHold(now time.Time, st *stream, kind holdKind, r contactsync.Result) {
	s := &st.health
	on := s.hold
	probed := on != nil && !s.backoff.After(now) // else the request was made before the hold began
	if on == nil {
		on = &hold{since: now}
		s.hold, s.failures, s.backoff = on, 0, time.Time{}
	}
	if on.kind != kind {
		if on.kind == holdRejecting || kind == holdRejecting {
			*on = hold{since: now} // a different cause
		}
		h.log.add(slog.LevelError, "stream is on hold: its contacts are kept and it is probed; see docs/holds.md for what to do",
			"kind", kind.String(), "account", st.account.id, "stream", st.name, "status", r.Status, "detail", r.Detail)
		if kind != holdRejecting { // that one is bounded by the dead-letter budget
			h.recordStrike(now, st)
		}
	}
	on.kind, on.status, on.detail = kind, r.Status, r.Detail
	if probed {
		h.countProbe(on)
	}
	longest := h.cfg.HoldProbeMax
	if kind == holdRejecting {
		longest = h.cfg.BackoffMax // its rows leave one by one: waiting long would hold up the good ones
	}
	h.backOff(now, st, longest)
	if a := &st.account.health; a.held && !a.probe.After(now) {
		a.probes++
		a.probe = now.Add(h.wait(a.probes, h.cfg.BackoffMax))
	}
}

func (h *health) countProbe(on *hold) {
	on.probes++
	h.m.probes[on.kind].Inc()
}

// recordStrike notes one more stream of the account that was refused, or for another cause
// than before: what its hold was until then does not matter.
func (h *health) recordStrike(now time.Time, st *stream) {
	a := &st.account.health
	if a.held || slices.Contains(a.strikes, st.name) || !st.account.strangers.count(now, st, h.cfg.HoldProbeMax) {
		return
	}
	if a.strikes = append(a.strikes, st.name); len(a.strikes) >= accountStrikes {
		a.held, a.heldSince, a.probes, a.probe = true, now, 0, time.Time{}
		h.log.add(slog.LevelError, "account is on hold: several of its streams were refused and no answer about rows came in between; one request at a time probes it",
			"account", st.account.id, "streams", len(a.strikes))
	}
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
	h.resetBackoff(st)
	h.log.add(slog.LevelInfo, "stream is no longer on hold", "because", why, "kind", on.kind.String(), "account", st.account.id, "stream", st.name,
		"lasted", now.Sub(on.since), "probes_refused", on.probes, "dead_letters", on.deadLetters)
}

// onRowsAnswered notes that the API has looked at rows of a stream: its credentials and
// name are good, it need not wait, and what was put on hold before was not its account's
// fault. Where the account was on hold, its other streams on hold may probe immediately.
func (h *health) onRowsAnswered(now time.Time, st *stream) {
	st.account.strangers.accept(now, st)
	switch s := &st.health; {
	case s.hold == nil:
		h.resetBackoff(st)
	case s.hold.kind != holdRejecting: // whose waits end with a row that is accepted
		h.endHold(now, st, endedAnswer)
	}
	a := &st.account.health
	a.strikes = nil
	if !a.held {
		return
	}
	a.held, a.probe = false, time.Time{}
	h.log.add(slog.LevelInfo, "account is no longer on hold", "account", st.account.id, "lasted", now.Sub(a.heldSince))
	for _, other := range h.schedule.streams {
		if other.account == st.account && other.health.hold != nil {
			h.resetBackoff(other)
		}
	}
}

// review ends the hold of a stream whose rows were refused when that is rare again.
func (h *health) review(now time.Time, st *stream) {
	if st.health.onHold(holdRejecting) && st.health.hold.tried.passed(h.cfg.DeadLetterMaxRatio) {
		h.endHold(now, st, endedRare)
	}
}

// resetBackoff ends the wait of a stream: the API has answered for its rows.
func (h *health) resetBackoff(st *stream) {
	st.health.failures, st.health.backoff = 0, time.Time{}
	h.schedule.touch(st)
}

// backOff makes a stream wait once more, at most for longest. A request that was made
// before the wait began does not make it longer.
func (h *health) backOff(now time.Time, st *stream, longest time.Duration) {
	if st.health.backoff.After(now) {
		return
	}
	st.health.failures++
	st.health.backoff = now.Add(h.wait(st.health.failures, longest))
	h.schedule.touch(st)
}

// wait is the n-th wait of a row of failures: doubled each time up to the longest, and
// between half and all of that, so that streams do not wait in step.
func (h *health) wait(n int, longest time.Duration) time.Duration {
	d := h.cfg.backoff(n, longest)
	return d/2 + time.Duration(h.rand.Int64N(int64(d/2)+1))
}

// learnSize learns from the answer to a request how large one may be.
func (h *health) learnSize(now time.Time, req *Request, fits bool) {
	a := req.stream.account
	if fits {
		a.health.size.fits(len(req.rows), req.bytes)
	}
	if req.group == nil || req.group.split == nil || !req.group.split.answered(fits) {
		return
	}
	whole := req.group.split
	a.health.size.tooLarge(now, whole.rows, whole.bytes)
	h.schedule.touchAll(a)
	h.log.add(slog.LevelWarn, "a request was too large for the API: smaller ones are sent from now on", "account", a.id,
		"rows", a.health.size.rows, "bytes", a.health.size.bytes, "refused_rows", whole.rows, "refused_bytes", whole.bytes)
}

// limits returns the most rows and bytes that the next request of a stream may have.
func (h *health) limits(now time.Time, st *stream) (rows int, bytes int64) {
	size := &st.account.health.size
	if size.recover(now) {
		h.schedule.touchAll(st.account)
	}
	if st.health.onHold(holdRejecting) {
		return 1, size.bytes
	}
	return size.rows, size.bytes
}

// expired reports whether contacts of a stream may have waited for too long in its
// hold. A hold for refused rows needs no such end: it lets dead letters out as their
// budget has room.
func (h *health) expired(now time.Time, st *stream) bool {
	on := st.health.hold
	return h.cfg.HoldMax > 0 && on != nil && on.kind != holdRejecting && now.Sub(on.since) >= h.cfg.HoldMax
}

// countExpired notes that contacts of a stream have become dead letters.
func (h *health) countExpired(now time.Time, st *stream, n int) {
	on := st.health.hold
	if n > 0 && on.deadLetters == 0 {
		h.log.add(slog.LevelError, "a hold has lasted for hold_max: contacts of the stream go to the dead-letter topic; when the stream is back: contactsync dlq replay --stream STREAM --reason KIND",
			"kind", on.kind.String(), "account", st.account.id, "stream", st.name, "held_for", now.Sub(on.since),
			"pending", len(st.contacts)+n, "status", on.status, "detail", on.detail)
	}
	on.deadLetters += n
}
