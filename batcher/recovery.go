package batcher

// An API that fails whatever it is sent leaves all streams failing: each waits for itself, they stand behind regular work, and what
// they have counts as on hold. If hundreds had to pass one after the other, the last events would be very late, although the
// first answers have shown that the API is well.

// stalledPassed notes that the API has answered for rows of a stream that stalled. Once it has for several in a row, and no
// request of the account failed in between, it was not the streams: none of them waits any longer, as if it had been answered itself.
func (h *health) stalledPassed(a *account) {
	if a.health.stalledPassed++; a.health.stalledPassed < acquitAfter {
		return
	}
	a.health.stalledPassed = 0
	a.health.size.retry() // that smaller requests passed may have been chance
	a.strangers.trouble = trouble{}
	h.schedule.each(func(st *stream) {
		switch {
		case st.account != a:
		case st.health.hold == nil && st.fails():
			st.health.doubted = false
			h.resetBackoff(st)
		default:
			h.schedule.countHeld(st) // it may have been in doubt
		}
	})
}
