package batcher

import (
	"log/slog"
	"slices"
	"time"
)

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
				w.health.endCredential(c)
				w.log.add(slog.LevelInfo, "account is no longer on hold: nothing is left in memory to probe it with, and its events are read again", "account", a.id, "app", c.app)
			}
		}
	}
}

// endCredential ends the hold of a credential: its streams on hold may probe immediately.
func (h *health) endCredential(c *credential) {
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
