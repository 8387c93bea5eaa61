package batcher

import "time"

const (
	verdictSlots = 7
	verdictSlot  = 10 * time.Second // one of them is not over: together they cover the last minute
)

// verdicts counts the rows that the API took and refused for good in the last
// minute, a slot of ten seconds at a time.
type verdicts struct {
	slots [verdictSlots]struct {
		number         int64 // of the slot, since 1970
		taken, refused int
	}
}

func (v *verdicts) add(now time.Time, taken, refused int) {
	n := now.UnixNano() / int64(verdictSlot)
	s := &v.slots[n%verdictSlots]
	if s.number != n {
		s.number, s.taken, s.refused = n, 0, 0
	}
	s.taken += taken
	s.refused += refused
}

func (v *verdicts) lastMinute(now time.Time) (taken, refused int) {
	n := now.UnixNano() / int64(verdictSlot)
	for i := range v.slots {
		if s := &v.slots[i]; s.number > n-verdictSlots {
			taken += s.taken
			refused += s.refused
		}
	}
	return taken, refused
}

// holdGrace is how long a stream whose rows are refused makes no dead letters at
// all, so that a short outage makes none.
const holdGrace = time.Minute

// judge counts what an answer said of the rows of a lane, and reports whether the
// refused ones are to be kept. They become dead letters while those of the account
// are at most dead_letter_max_per_minute, or those of the stream at most
// dead_letter_max_ratio of what it sent in that minute. Beyond both the cause is
// more likely in the API than in the rows (I6).
func (w *Window) judge(l *lane, taken, refused int) (keep bool) {
	l.verdicts.add(w.now, taken, refused)
	l.account.verdicts.add(w.now, taken, refused)
	h := l.hold
	trying := h != nil && h.kind == holdRejecting
	if trying {
		h.tried.add(taken, refused)
	}
	if refused == 0 {
		return false
	}
	t, r := l.verdicts.lastMinute(w.now)
	if float64(r) > w.cfg.DeadLetterMaxRatio*float64(t+r) {
		_, letters := l.account.letters.lastMinute(w.now)
		keep = letters+refused > w.cfg.DeadLetterMaxPerMinute || trying && w.now.Sub(h.since) < holdGrace
	}
	if !keep {
		l.account.letters.add(w.now, 0, refused)
		if trying { // hold counts those that are kept
			h.probes++
			w.m.probes[holdRejecting].Inc()
		}
	}
	return keep
}

// trial is the outcome of the last ten rows that a stream on hold has tried.
type trial struct {
	refused [10]bool
	n       int
}

func (t *trial) add(taken, refused int) {
	for range refused {
		t.refused[t.n%len(t.refused)] = true
		t.n++
	}
	for range taken {
		t.refused[t.n%len(t.refused)] = false
		t.n++
	}
}

// passed reports whether refusals are rare again.
func (t *trial) passed(share float64) bool {
	if t.n < len(t.refused) {
		return false
	}
	refused := 0
	for _, r := range t.refused {
		if r {
			refused++
		}
	}
	return float64(refused) <= share*float64(len(t.refused))
}
