package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// holdKind says why a stream is on hold.
type holdKind uint8

const (
	holdUnauthorized holdKind = iota // 401, 403: credentials, scope, or the stream's name
	holdGone                         // 404, 410: the API does not know the stream
	holdRejecting                    // too many rows are refused to be poison
	holdKinds
)

func (k holdKind) String() string { return [...]string{"unauthorized", "stream_gone", "rejecting"}[k] }

// reason is what dead letters say whose hold has lasted too long.
func (k holdKind) reason() contactsync.Reason {
	if k == holdGone {
		return contactsync.ReasonStreamGone
	}
	return contactsync.ReasonUnauthorized
}

// accountStrikes is how many streams of an account must be put on hold, with no
// answer about its rows in between, before the account as a whole is held.
const accountStrikes = 3

// expireAtOnce bounds the contacts that one call of Expire makes dead letters of,
// so that a hold of many does not double the window's memory.
const expireAtOnce = 1000

// hold is a stream that cannot be delivered as it is, and is probed. Its contacts
// stay pending; other streams are not touched.
type hold struct {
	kind    holdKind
	since   time.Time
	probes  int // requests that were refused since
	status  int
	detail  string // of the last refusal
	tried   trial  // of holdRejecting
	letters int    // dead letters made of its contacts since
}

// hold puts a stream on hold, or keeps it there after a probe in vain. It waits
// longer each time.
func (w *Window) hold(l *lane, kind holdKind, r contactsync.Result) {
	h := l.hold
	probed := h != nil && !l.backoff.After(w.now) // else the request was out before the hold began
	if h == nil {
		h = &hold{since: w.now, kind: holdKinds}
		l.hold, l.failures, l.backoff = h, 0, time.Time{}
		if kind != holdRejecting { // that one is bounded by the dead-letter budget
			w.strike(l)
		}
	}
	if h.kind != kind {
		if h.kind == holdRejecting || kind == holdRejecting {
			h.since, h.probes, h.letters, h.tried = w.now, 0, 0, trial{} // another matter altogether
		}
		w.note(noteHold, "kind", kind.String(), "account", l.account.id, "stream", l.stream, "status", r.Status, "detail", r.Detail)
	}
	h.kind, h.status, h.detail = kind, r.Status, r.Detail
	if probed {
		h.probes++
		w.m.probes[kind].Inc()
	}
	longest := w.cfg.HoldProbeMax
	if kind == holdRejecting {
		longest = w.cfg.BackoffMax // its rows leave one by one: waiting long would hold up the good ones
	}
	w.delay(l, longest)
	if a := l.account; a.held && !a.probe.After(w.now) {
		a.probes++
		a.probe = w.now.Add(w.wait(a.probes, w.cfg.BackoffMax))
	}
}

// strike notes one more stream of the account that was put on hold.
func (w *Window) strike(l *lane) {
	a := l.account
	if a.held || slices.Contains(a.struck, l.stream) {
		return
	}
	if a.struck = append(a.struck, l.stream); len(a.struck) >= accountStrikes {
		a.held, a.heldSince, a.probes, a.probe = true, w.now, 0, time.Time{}
		w.note(noteAccountHeld, "account", a.id, "streams", len(a.struck))
	}
}

// Why a hold ends, as the log says it.
const (
	endedAnswer = "the API looks at its rows again"
	endedRare   = "refusals are rare again"
	endedEmpty  = "nothing of it is left to send"
)

// endHold ends the hold of a stream that is on hold.
func (w *Window) endHold(l *lane, why string) {
	h := l.hold
	l.hold = nil
	l.calm()
	w.note(noteHoldEnded, "because", why, "kind", h.kind.String(), "account", l.account.id, "stream", l.stream,
		"lasted", w.now.Sub(h.since), "probes_refused", h.probes, "dead_letters", h.letters)
}

// accountWorks notes that the API has looked at rows of an account: what was put
// on hold before was not the account's fault. Streams on hold may probe at once.
func (w *Window) accountWorks(a *account) {
	a.struck = nil
	if !a.held {
		return
	}
	a.held, a.probe = false, time.Time{}
	w.note(noteAccountHoldEnded, "account", a.id, "lasted", w.now.Sub(a.heldSince))
	for _, l := range w.inOrderOfName() {
		if l.account == a && l.hold != nil {
			l.calm()
			w.reschedule(l)
		}
	}
}

// review ends the hold of a stream whose rows were refused when that is rare again.
func (w *Window) review(l *lane) {
	if h := l.hold; h != nil && h.kind == holdRejecting && h.tried.passed(w.cfg.DeadLetterMaxRatio) {
		w.endHold(l, endedRare)
	}
}

// Expire makes dead letters of contacts that have waited for longer than hold_max
// in a stream whose hold has lasted as long. Call it every second or so.
func (w *Window) Expire(now time.Time) {
	w.clock(now)
	if w.cfg.HoldMax == 0 {
		return
	}
	left := expireAtOnce
	for _, l := range w.inOrderOfName() {
		h := l.hold
		if h == nil || h.kind == holdRejecting || w.now.Sub(h.since) < w.cfg.HoldMax {
			continue
		}
		for c, next := l.queue.head, (*contact)(nil); c != nil && left > 0; c = next {
			next = c.next
			if w.now.Sub(c.since) < w.cfg.HoldMax {
				continue // not the last: rows that were put back are in front of older ones
			}
			w.unlink(c)
			if c.firstFail.IsZero() {
				c.firstFail = later(h.since, c.since)
			}
			w.bury(c, h.kind.reason(), h.detail, h.status)
			w.endContact(c)
			left--
			if h.letters++; h.letters == 1 {
				w.note(noteExpired, "kind", h.kind.String(), "account", l.account.id, "stream", l.stream,
					"held_for", w.now.Sub(h.since), "pending", len(l.contacts)+1, "status", h.status, "detail", h.detail)
			}
		}
		w.reschedule(l)
	}
}
