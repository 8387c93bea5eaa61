package batcher

import (
	"slices"
	"time"
)

const (
	minuteSlots = 7
	minuteSlot  = 10 * time.Second // one of them is not over: together they cover the last minute
)

// tally counts rows by what the API said of them for good.
type tally struct{ accepted, refused int }

// lastMinute is the tally of the last minute, a slot of ten seconds at a time.
type lastMinute [minuteSlots]struct {
	number int64 // of the slot, since 1970
	tally
}

func (m *lastMinute) add(now time.Time, t tally) {
	n := now.UnixNano() / int64(minuteSlot)
	s := &m[n%minuteSlots]
	if s.number != n {
		s.number, s.tally = n, tally{}
	}
	s.accepted += t.accepted
	s.refused += t.refused
}

func (m *lastMinute) at(now time.Time) (t tally) {
	n := now.UnixNano() / int64(minuteSlot)
	for i := range m {
		if s := &m[i]; s.number > n-minuteSlots {
			t.accepted += s.accepted
			t.refused += s.refused
		}
	}
	return t
}

// holdGrace is how long a stream whose rows are refused makes no dead letters at
// all, so that a short outage makes none.
const holdGrace = time.Minute

// withinBudget counts what an answer said of the rows of a stream, and reports whether
// the refused ones may become dead letters. They may while those of the account are at
// most dead_letter_max_per_minute, or the refused rows of the stream at most
// dead_letter_max_ratio of those answered in that minute. Beyond both the cause is more
// likely in the API than in the rows (I6).
// About the stream or the account as a whole are refusals that all of its rows get alike: then none of them may, until that has lasted for so long that
// it must be by chance where it can be (see outlasts). One that was refused beside accepted rows may.
func (h *health) withinBudget(now time.Time, st *stream, t tally, about scope) bool {
	st.health.answered.add(now, t)
	account := &st.account.health
	account.answered.add(now, t)
	if t.accepted > 0 {
		st.account.delivered, account.refused = now, streak{}
		st.health.endStreak(t.accepted)
		st.account.strangers.remember(st)
	}
	on := st.health.hold
	trying := st.health.onHold(holdRejecting)
	if trying {
		on.tried.add(t)
		on.whole = t.accepted == 0 && (on.whole || st.health.refused.enough() && on.tried.allRefused())
	}
	switch {
	case t.refused == 0:
		return true
	case about == aboutItself:
	case about != aboutRow, trying && (on.whole || account.refused.enough()) && !st.outlasts(now):
		return false
	}
	minute := st.health.answered.at(now)
	if float64(minute.refused) > h.cfg.DeadLetterMaxRatio*float64(minute.accepted+minute.refused) {
		made := account.deadLetters.at(now).refused
		if made+t.refused > h.cfg.DeadLetterMaxPerMinute || trying && now.Sub(on.since) < holdGrace {
			return false
		}
	}
	account.deadLetters.add(now, tally{refused: t.refused})
	if trying { // putOnHold counts the others
		h.countProbe(on)
	}
	return true
}

// trial is the outcome of the last ten rows that a stream on hold has tried.
type trial struct {
	refused [10]bool
	n       int
}

func (t *trial) add(rows tally) {
	for i := range rows.refused + rows.accepted {
		t.refused[t.n%len(t.refused)] = i < rows.refused
		t.n++
	}
}

// allRefused reports whether each of them was.
func (t *trial) allRefused() bool {
	return !slices.Contains(t.refused[:min(t.n, len(t.refused))], false)
}

// passed reports whether refusals are rare again.
func (t *trial) passed(ratio float64) bool {
	if t.n < len(t.refused) {
		return false
	}
	refused := 0
	for _, r := range t.refused {
		if r {
			refused++
		}
	}
	return float64(refused) <= ratio*float64(len(t.refused))
}
