package batcher

import "time"

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
