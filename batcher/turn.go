package batcher

import (
	"cmp"
	"slices"
	"time"
)

// standing says which streams of an account go before a stream that is ready.
type standing uint8

const (
	regular  standing = iota // those with older events
	stranger                 // regular ones, for the most part: it was refused before, or most strangers are
	apart                    // likewise, and strangers: it is troubled, or has rows only that are tried apart
)

func (s *schedule) standing(st *stream, now time.Time) standing {
	switch h := &st.health; {
	case st.troubled(), s.regularDue(st).After(now):
		return apart
	case h.strange, !h.accepted && st.account.strangers.first.refused():
		return stranger
	}
	return regular
}

// troubled reports whether a stream is on hold, or its last request failed.
func (st *stream) troubled() bool { return st.health.hold != nil || st.fails() }

// fails reports whether the last request of a stream failed, or the last one with rows that are not tried apart.
func (st *stream) fails() bool { return st.health.failures > 0 || st.health.doubted }

// othersFirst is how many requests of regular work go before one that is none, and how
// many of strangers before one that is tried apart, where they are ready: however many
// streams are on hold, fail or are strange, three quarters of the account's calls are for the
// others, and however many are on hold, new streams are tried soon.
const othersFirst = 3

// mostAhead bounds for how many requests of regular work those that can wait have had their part already, because
// calls were left over for them.
const mostAhead = 4 * othersFirst

// spares reports whether a request of a stream can wait: others have not had their part of the
// calls since the last one that was no regular work. What the budget has left over is all that it takes
// then, so that regular work, when it comes, finds a call. The rows of a stream that fails wait for one
// of them already.
func (st *stream) spares(is standing) bool {
	fails := st.fails() && st.health.hold == nil
	return is != regular && !fails && st.account.yields()
}

// yields reports whether what is no regular work goes behind it.
func (a *account) yields() bool { return a.others < othersFirst || a.ahead > 0 }

// mayBeApart reports whether an account has room for one more request that is tried apart.
// These may take as long as requests can, so they are a quarter of all at most.
func (s *schedule) mayBeApart(a *account) bool { return a.apart < max(1, s.mostInFlight(a)/4) }

// regularFirst reports whether the regular work of a stream of that standing goes before the rows of it that
// are tried apart.
func (s *schedule) regularFirst(st *stream, is standing) bool {
	a := st.account
	return is != apart && (a.others < othersFirst || !s.mayBeApart(a))
}

// turn is the ready stream of an account that goes first, or nil: the one with the oldest
// event. What is tried apart has old events, and strangers may be many, so they take turns
// with the others, and with each other.
func (s *schedule) turn(a *account, now time.Time) *stream {
	held := a.onHold() != nil
	switch {
	case len(a.ready.streams) == 0:
		return nil
	case !held && s.standing(a.ready.streams[0], now) == regular:
		return a.ready.streams[0]
	}
	if all, due, _ := a.probing(now); all && !due {
		return nil // however many streams wait
	}
	s.visits += len(a.ready.streams)
	var oldest [apart + 1]*stream
	for _, st := range a.ready.streams {
		if st.signer.held {
			continue
		}
		is := s.standing(st, now)
		if a.spareAgain.After(now) && st.spares(is) {
			continue // nothing is left over for it
		}
		if oldest[is] == nil || compareRanks(st, oldest[is]) < 0 {
			oldest[is] = st
		}
	}
	if !s.mayBeApart(a) {
		oldest[apart] = nil
	}
	if held {
		st := a.probe(now)
		if st != nil && a.spareAgain.After(now) && st.spares(s.standing(st, now)) {
			st = nil
		}
		if st != nil && (oldest[apart] == nil || compareRanks(st, oldest[apart]) < 0) {
			oldest[apart] = st
		}
	}
	switch {
	case oldest[regular] != nil && a.yields(), oldest[stranger] == nil && oldest[apart] == nil:
		return oldest[regular]
	case oldest[apart] == nil, oldest[stranger] != nil && a.newcomers < othersFirst:
		return oldest[stranger]
	}
	return oldest[apart]
}

// probe is the ready stream of a credential on hold that may be tried whose answer says the most of it, or nil: one
// that was accepted before and was not refused yet. Then streams that were accepted before
// and are on hold, and strangers that were not refused yet, go by turns, so that no number
// of either keeps the others from being tried.
func (a *account) probe(now time.Time) *stream {
	var due []*stream
	for _, st := range a.ready.streams {
		if st.signer.held && st.signer.probeDue(now) {
			due = append(due, st)
		}
	}
	if len(due) == 0 {
		return nil
	}
	promise := func(st *stream) int {
		switch held := st.health.hold != nil; {
		case st.health.accepted && !held:
			return 3
		case held && !st.health.accepted:
			return 0
		case held == (a.newcomers < othersFirst):
			return 1
		}
		return 2
	}
	return slices.MaxFunc(due, func(x, y *stream) int {
		if c := cmp.Compare(promise(x), promise(y)); c != 0 || x.health.hold != nil {
			return cmp.Or(c, y.due.Compare(x.due), compareRanks(y, x)) // whose probe is due for longest
		}
		// Streams that work have many contacts, and young ones.
		return cmp.Or(cmp.Compare(len(x.contacts), len(y.contacts)), compareRanks(x, y))
	})
}
