package batcher

import (
	"log/slog"
	"slices"
	"time"
)

// credential is what the API's answers say of what signs for streams of an account: all of them, or
// those of one of its apps.
type credential struct {
	app      string    // empty for the account's own
	inFlight int       // requests
	waiting  int       // streams on hold, by themselves or with it, of which something waits
	answered time.Time // when the API last looked at rows of any of the streams

	strikes   []string // streams put on hold, or for another cause, since the API last looked at rows
	held      bool
	contract  bool // held, because answers contradict themselves
	heldSince time.Time
	probes    int       // refused, while held
	probe     time.Time // the next one, while held
	back      time.Time // when a hold of it ended last that was long
}

// probeDue reports whether a stream may be sent to try its credential, which is on hold. What an operator has released does
// not wait for the time of the next one.
func (st *stream) probeDue(now time.Time) bool {
	return st.signer.inFlight == 0 && (st.released || !st.signer.probe.After(now))
}

// accountStrikes is how many streams with one credential must be put on hold, with no
// answer about rows in between, before all of its streams are.
const accountStrikes = 3

// signer returns what signs for a stream, whether that is known or not; nil where its account is not.
func (s *schedule) signer(key streamKey) *credential {
	app := ""
	if s.credential != nil {
		app = s.credential(key.account, key.name)
	}
	for _, a := range s.accounts {
		if a.id == key.account {
			return a.signer(app)
		}
	}
	return nil
}

// signer returns the credential of an app, which is made where it is new.
func (a *account) signer(app string) *credential {
	c := a.credentials[app]
	if c == nil {
		c = &credential{app: app}
		a.credentials[app] = c
	}
	return c
}

// onHold reports whether nothing of a stream is sent but to find out whether the API takes it
// again: it is on hold by itself, or by what signs for it.
func (st *stream) onHold() bool { return st.health.hold != nil || st.signer.held }

// stalls reports whether the last request of a stream failed, and nothing of it was settled since.
func (st *stream) stalls() bool { return st.health.failures > 0 }

// doubted reports whether the requests of a stream may fail as those of others do: see trouble.
func (st *stream) doubted() bool { return st.account.strangers.trouble.doubts(&st.health) }

// withheld reports whether all that waits of a stream counts as on hold: nobody knows when something of it will be settled.
func (st *stream) withheld() bool { return st.onHold() || st.stalls() || st.doubted() }

// holdKind says why a stream is on hold, and since when that is so.
func (st *stream) holdKind() (holdKind, time.Time) {
	switch {
	case st.health.hold != nil:
		return st.health.hold.kind, st.health.hold.since
	case st.signer.held:
		return holdCredential, st.signer.heldSince
	}
	return noHold, time.Time{}
}

// signedBy calls f with each stream that a credential signs for.
func (h *health) signedBy(c *credential, f func(*stream)) {
	h.schedule.each(func(st *stream) {
		if st.signer == c {
			f(st)
		}
	})
}

// recordStrike notes one more stream with its credential that was refused, or for another cause
// than before: what its hold was until then does not matter.
func (h *health) recordStrike(now time.Time, st *stream) {
	c := st.signer
	if c.held || slices.Contains(c.strikes, st.name) || !st.account.strangers.count(now, st, h.cfg.HoldProbeMax) {
		return
	}
	if c.strikes = append(c.strikes, st.name); len(c.strikes) >= accountStrikes {
		h.holdSigner(now, st, "account is on hold: several of its streams were refused and no answer about rows came in between; one request at a time probes it", "streams", len(c.strikes))
	}
}

// holdSigner puts all streams on hold for which the same credential signs.
func (h *health) holdSigner(now time.Time, st *stream, why string, attrs ...any) {
	c := st.signer
	c.held, c.heldSince, c.probes, c.probe = true, now, 0, time.Time{}
	h.signedBy(c, h.schedule.countHeld)
	h.log.add(slog.LevelError, why, c.attrs(st, attrs...)...)
}

// attrs says for the log which account is on hold, or which app of it.
func (c *credential) attrs(st *stream, more ...any) []any {
	attrs := []any{"account", st.account.id}
	if c.app != "" {
		attrs = append(attrs, "app", c.app)
	}
	return append(attrs, more...)
}

// endEmpty ends the holds of credentials that nothing is left to probe with while events are to be
// read again: their streams are tried anew with these.
func (w Parking) endEmpty() {
	held := func(a *account) bool { return a.onHold() != nil }
	if w.claims.parkedBytes == 0 || !slices.ContainsFunc(w.schedule.accounts, held) {
		return
	}
	for _, a := range w.schedule.accounts {
		for _, c := range a.credentials {
			if c.held && c.waiting == 0 && c.inFlight == 0 {
				w.health.endCredential(w.now, c)
				w.log.add(slog.LevelInfo, "account is no longer on hold: nothing is left in memory to probe it with, and its events are read again", "account", a.id, "app", c.app)
			}
		}
	}
}

// endCredential ends the hold of a credential: its streams on hold may probe immediately.
func (h *health) endCredential(now time.Time, c *credential) {
	h.noteBack(&c.back, now, c.heldSince)
	c.held, c.contract, c.probe, c.strikes = false, false, time.Time{}, nil
	h.signedBy(c, func(st *stream) {
		if h.schedule.countHeld(st); st.health.hold != nil {
			h.resetBackoff(st)
		}
	})
}

// credentialRenewed says that what signs for an account is another one now; app is empty for the account's own.
func (w decisions) credentialRenewed(now time.Time, account, app string) {
	w.clock(now)
	for _, a := range w.schedule.accounts {
		if c := a.credentials[app]; a.id == account && c != nil {
			w.health.renewed(c)
		}
	}
}

// renewed has the streams on hold for a credential that is another one now probe for it immediately. Their waits begin anew,
// because a probe in flight is signed with the one before.
func (h *health) renewed(c *credential) {
	c.probes, c.probe = 0, time.Time{}
	h.signedBy(c, func(st *stream) {
		if c.held || st.health.onHold(holdUnauthorized) {
			h.resetBackoff(st)
		}
	})
}
