package batcher

import (
	"time"

	"contactsync"
)

// drainPatience is how far ahead a draining window looks: a lane that may be sent
// within it is waited for, one that waits longer is left to the next owner.
const drainPatience = 500 * time.Millisecond

// Drain makes every lane ready that may be sent, full or not: what is delivered
// before the partitions are given back is not sent a second time by their next
// owner. Contacts of partitions that still catch up stay where they are.
func (w *Window) Drain(now time.Time) {
	w.clock(now)
	w.draining = true
	w.rescheduleAll()
}

// Drained reports whether nothing of the claims is on its way any more, and
// nothing could soon be. Call it when Next has returned nil.
func (w *Window) Drained(now time.Time, claims []contactsync.Claim) bool {
	w.clock(now)
	for _, c := range claims {
		if cl := w.claims[c]; cl != nil && (cl.flights > 0 || cl.letters > len(cl.heldLetters)) {
			return false
		}
	}
	wake := w.Wake()
	return wake.IsZero() || wake.After(w.now.Add(drainPatience))
}

// Flying calls f for each flight that carries events of the claims.
func (w *Window) Flying(claims []contactsync.Claim, f func(*Flight)) {
	lost := map[*claim]bool{}
	for _, c := range claims {
		lost[w.claims[c]] = true
	}
	for fl := range w.flights {
		carries := false
		forClaims(fl.rows, func(cl *claim) { carries = carries || lost[cl] })
		if carries {
			f(fl)
		}
	}
}

// Forget drops everything of the claims that has not ended. Nobody commits it,
// so the next owner reads it again. Results that come later end nothing.
func (w *Window) Forget(now time.Time, claims []contactsync.Claim) {
	w.clock(now)
	for _, c := range claims {
		cl := w.claims[c]
		if cl == nil {
			continue
		}
		cl.live = false
		delete(w.claims, c)
		if cl.catching {
			w.catchingUp--
		}
		w.letters = append(w.letters, cl.heldLetters...) // dropped below with the others
		cl.heldLetters = nil
		w.m.released.Add(float64(cl.open))
	}
	w.draining = false
	for _, l := range w.inOrderOfName() {
		for id, c := range l.contacts {
			w.forgetMarks(l, id, c)
		}
		w.prepare(l)
		w.reschedule(l)
		w.dropEmpty(l)
	}
	kept := w.letters[:0]
	for _, b := range w.letters {
		if w.keepLetter(b) {
			kept = append(kept, b)
		}
	}
	clear(w.letters[len(kept):])
	w.letters = kept
}

// forgetMarks leaves the events of dead claims out of a contact, and the contact
// itself where none is left.
func (w *Window) forgetMarks(l *lane, id string, c *contact) {
	if newer := c.newer; newer != nil {
		if newer.marks = liveMarks(newer.marks); len(newer.marks) == 0 {
			c.newer = nil
			w.free(newer)
		} else {
			w.recharge(newer)
		}
	}
	if c.at == inFlight {
		return // its marks are looked at when its request comes back
	}
	if live := liveMarks(c.marks); len(live) > 0 {
		c.marks = live
		w.recharge(c)
		return
	}
	w.unlink(c)
	delete(l.contacts, id)
	w.free(c)
}

func (w *Window) keepLetter(b *Burial) bool {
	for _, m := range b.marks {
		if m.claim.live {
			return true
		}
	}
	for _, m := range b.marks {
		m.claim.letters--
	}
	w.bytes -= b.charge
	return false
}

// recharge brings what the window charges for a contact up to date.
func (w *Window) recharge(c *contact) {
	n := c.charge()
	w.bytes += n - c.bytes
	c.bytes = n
}
