package batcher

import (
	"cmp"
	"slices"
)

// standing says which streams of an account go before a stream.
type standing uint8

const (
	regular  standing = iota // those with older events
	stranger                 // regular ones, for the most part: it was refused before, or most strangers are
	onHold                   // likewise, and strangers
)

func (st *stream) standing() standing {
	switch h := &st.health; {
	case h.hold != nil:
		return onHold
	case h.strange, !h.accepted && st.account.strangers.first.refused():
		return stranger
	}
	return regular
}

// othersFirst is how many requests of regular streams go before one of another, and how
// many of strangers before one of a stream on hold, where they are ready: however many
// streams are on hold or strange, three quarters of the account's calls are for the
// others, and however many are on hold, new streams are tried soon.
const othersFirst = 3

// turn is the ready stream of an account that goes first: the one with the oldest event.
// Streams on hold have old events, and strangers may be many, so they take turns with the
// others, and with each other.
func (a *account) turn() *stream {
	if a.health.held {
		return a.probe()
	}
	first := a.ready.streams[0]
	if first.standing() == regular {
		return first
	}
	var oldest [onHold + 1]*stream
	for _, st := range a.ready.streams {
		if s := st.standing(); oldest[s] == nil || compareRanks(st, oldest[s]) < 0 {
			oldest[s] = st
		}
	}
	switch {
	case oldest[regular] != nil && a.others < othersFirst:
		return oldest[regular]
	case oldest[onHold] == nil, oldest[stranger] != nil && a.newcomers < othersFirst:
		return oldest[stranger]
	}
	return oldest[onHold]
}

// probe is the ready stream of an account on hold whose answer says the most of it: one
// that was accepted before and was not refused yet. Then streams that were accepted before
// and are on hold, and strangers that were not refused yet, go by turns, so that no number
// of either keeps the others from being tried.
func (a *account) probe() *stream {
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
	return slices.MaxFunc(a.ready.streams, func(x, y *stream) int {
		if c := cmp.Compare(promise(x), promise(y)); c != 0 || x.health.hold != nil {
			return cmp.Or(c, y.due.Compare(x.due), compareRanks(y, x)) // whose probe is due for longest
		}
		// Streams that work have many contacts, and young ones.
		return cmp.Or(cmp.Compare(len(x.contacts), len(y.contacts)), compareRanks(x, y))
	})
}
