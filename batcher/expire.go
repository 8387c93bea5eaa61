package batcher

import (
	"log/slog"
	"slices"
	"time"
)

// expireAtOnce bounds the contacts that become dead letters in one go, so that a hold of
// many does not double the window's memory.
const expireAtOnce = 1000

// crowded reports whether Kafka has so many dead letters to acknowledge that what is given up waits where it is: on hold
// it has a part of the window, and is read again in its turn, where letters that nobody takes would fill all of it.
func (o *outbox) crowded(c *Config) bool {
	return o.pending() >= expireAtOnce || o.bytes >= c.holdPart()/2
}

// expire makes dead letters of contacts that wait in a stream and are due, of most at most, and returns
// of how many. They say what is known of the hold that they were in.
func (p *pending) expire(now time.Time, st *stream, most int, on func(*contact) (why expiry, due bool)) (n int) {
	for _, c := range slices.Backward(slices.Collect(st.waiting)) {
		if n == most || p.outbox.crowded(p.schedule.cfg) {
			break
		}
		why, due := on(c)
		if !due || c.lateUntil.After(now) {
			continue // not the last: rows that were put back are in front of older ones
		}
		c.failed(later(why.since, c.since))
		p.deadLetter(now, c, why.kind.reason(), why.last, why.status)
		n++
	}
	return n
}

// expiry is why a contact in a hold becomes a dead letter.
type expiry struct {
	kind   holdKind
	since  time.Time
	status int
	last   said
}

// expired reports whether contacts of a stream may have waited for too long in its
// hold. A hold for refused rows needs no such end: it lets dead letters out as their
// budget has room. One for answers that contradict themselves says nothing of the contacts.
func (h *health) expired(now time.Time, st *stream) bool {
	on := st.health.hold
	return h.cfg.HoldMax > 0 && on != nil && on.kind != holdRejecting && on.kind != holdContract && now.Sub(on.since) >= h.cfg.HoldMax
}

// lasted says of a contact of a stream whether it has waited for too long: in the stream's hold, or alone, because
// the API does not know it.
func (h *health) lasted(now time.Time, st *stream) func(*contact) (expiry, bool) {
	expired, on := h.expired(now, st), st.health.hold
	return func(c *contact) (why expiry, due bool) {
		switch {
		case expired && now.Sub(c.since) >= h.cfg.HoldMax:
			return on.expiry(), true
		case c.kept && c.gone != nil && now.Sub(c.gone.since) >= h.cfg.HoldMax:
			return expiry{holdGone, c.gone.since, c.gone.status, c.gone.last}, true
		}
		return expiry{}, false
	}
}

// expiry is the hold as the cause of dead letters.
func (on *hold) expiry() expiry { return expiry{on.kind, on.since, on.status, on.last} }

// countExpired notes that contacts of a stream have become dead letters.
func (h *health) countExpired(now time.Time, st *stream, n int) {
	on := st.health.hold
	switch {
	case !h.expired(now, st): // a hold, if there is one, is not why
		h.log.unknown(now, st, n)
	case n > 0 && on.deadLetters == 0:
		h.log.add(slog.LevelError, "a hold has lasted for hold_max: contacts of the stream go to the dead-letter topic; when the stream is back: contactsync dlq replay --stream STREAM --reason KIND",
			"kind", on.kind.String(), "account", st.account.id, "stream", st.name, "held_for", now.Sub(on.since),
			"pending", len(st.contacts)+n, "status", on.status, "detail", on.last.detail)
	}
	if on != nil {
		on.deadLetters += n
	}
}
