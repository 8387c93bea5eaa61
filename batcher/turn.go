package batcher

import (
	"cmp"
	"iter"
	"time"
)

// standing says which streams of an account go before a stream that is ready.
type standing uint8

const (
	regular  standing = iota // those with older events
	stranger                 // regular ones, for the most part: it was refused before, or most strangers are, or streams like it begin to fail
	apart                    // likewise, and strangers: it is troubled, or has rows only that are tried apart
)

func (s *schedule) standing(st *stream, now time.Time) standing {
	switch h := &st.health; {
	case st.troubled(), s.regularDue(st).After(now):
		return apart
	case h.strange, !h.accepted && st.account.strangers.first.refused(), st.doubted():
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
// then, so that regular work, when it comes, finds a call. What was accepted before and is in doubt goes as regular work does: its answer tells. The rows of a stream that fails wait for one
// of them already, where there are others than the one that fails, and several do not fail alone.
func (st *stream) spares(is standing) bool {
	fails := st.fails() && st.health.hold == nil && st.othersWait()
	return is != regular && !fails && (is != stranger || !st.health.accepted) && st.account.yields()
}

// othersWait reports whether other rows of a stream that fails may wait for those that do.
func (st *stream) othersWait() bool { return len(st.contacts) > 1 && st.health.singles <= suspectAfter }

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

// class is what a stream's turn depends on besides its place among those of the same class, and the state of its account
// and credential. So of the ready streams only the first of each class has to be looked at, however many there are.
type class struct {
	held                             *credential // that signs for it, where that is on hold
	accepted, strange, onHold, fails bool
	waits                            bool // of one that fails, other rows wait for those that do
	doubted                          bool // it may be the next to fail; see trouble
	lingers                          bool // only its rows that are tried apart are due
	released                         bool // by an operator
}

func (st *stream) classNow() class {
	c := class{accepted: st.health.accepted, strange: st.health.strange, onHold: st.health.hold != nil, fails: st.fails(), released: st.released}
	c.waits, c.doubted = c.fails && st.othersWait(), st.doubted()
	if st.signer.held {
		c.held = st.signer
	}
	return c
}

// compare is the order of ready streams of a class.
func (c class) compare(a, b *stream) int {
	switch {
	case c.held != nil:
		return compareProbes(a, b)
	case c.doubted:
		return compareDoubted(a, b)
	}
	return compareRanks(a, b)
}

// compareDoubted compares streams in doubt: what fails again and again is old, and what was accepted is answered again, more likely.
func compareDoubted(a, b *stream) int {
	return cmp.Or(b.health.acceptedAt.Compare(a.health.acceptedAt), compareRanks(b, a))
}

// heads are the first of the ready streams of each class.
func (s *schedule) heads(a *account) iter.Seq[*stream] {
	return func(yield func(*stream) bool) {
		for _, h := range a.ready {
			if len(h.streams) == 0 {
				continue
			}
			if s.visits++; !yield(h.streams[0]) {
				return
			}
		}
	}
}

// turn is the ready stream of an account that goes first, or nil: the one with the oldest
// event. What is tried apart has old events, and strangers may be many, so they take turns
// with the others, and with each other.
func (s *schedule) turn(a *account, now time.Time) *stream {
	older := func(st, than *stream) *stream {
		if than == nil || compareRanks(st, than) < 0 {
			return st
		}
		return than
	}
	var first, likeliest *stream // of those in doubt: to be answered
	doubted := false
	var oldest [apart + 1]*stream
	for st := range s.heads(a) {
		first = older(st, first)
		is := s.standing(st, now)
		doubts := st.class.doubted && is == stranger
		doubted = doubted || doubts
		switch {
		case st.signer.held, a.spareAgain.After(now) && st.spares(is): // it is probed with, or nothing is left over for it
		case !doubts:
			oldest[is] = older(st, oldest[is])
		case likeliest == nil || compareDoubted(st, likeliest) < 0:
			likeliest = st
		}
	}
	if likeliest != nil {
		oldest[stranger] = older(likeliest, oldest[stranger])
	}
	held := a.onHold() != nil
	if !held && !doubted && first == oldest[regular] { // of those in doubt there may be older ones
		return first
	}
	if !s.mayBeApart(a) {
		oldest[apart] = nil
	}
	if held {
		st := s.probe(a, now)
		if st != nil && (!a.spareAgain.After(now) || !st.spares(s.standing(st, now))) {
			oldest[apart] = older(st, oldest[apart])
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
// that an operator has released, or else that was accepted before and was not refused yet. Then streams that were accepted before
// and are on hold, and strangers that were not refused yet, go by turns, so that no number
// of either keeps the others from being tried.
func (s *schedule) probe(a *account, now time.Time) *stream {
	promise := func(st *stream) int {
		switch held := st.health.hold != nil; {
		case st.released:
			return 4
		case st.health.accepted && !held:
			return 3
		case held && !st.health.accepted:
			return 0
		case held == (a.newcomers < othersFirst):
			return 1
		}
		return 2
	}
	var best *stream
	for st := range s.heads(a) {
		if st.signer.held && st.probeDue(now) &&
			(best == nil || cmp.Or(cmp.Compare(promise(best), promise(st)), compareProbes(st, best)) < 0) {
			best = st
		}
	}
	return best
}

// compareProbes compares streams that promise as much, of credentials on hold.
func compareProbes(x, y *stream) int {
	if x.class.onHold { // whose probe is due for longest
		return cmp.Or(x.due.Compare(y.due), compareRanks(x, y))
	}
	// Streams that work have many contacts, and young ones.
	return cmp.Or(cmp.Compare(y.open, x.open), compareRanks(y, x))
}
