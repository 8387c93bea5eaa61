package batcher_test

import (
	"math"
	"time"
)

// What the documentation promises of contacts that are refused alone in a row: how likely that is tells what it is about.

// simMost is how many contacts are refused alike before it is their stream, whatever is known of it.
const simMost = 13

// simByChance is how long they are kept that may be refused by chance.
const simByChance = 24 * time.Hour

// simShare is how many of the last rows of a stream were bad.
type simShare struct{ rows, bad int }

func (h *simShare) add(rows, bad int) {
	h.rows, h.bad = h.rows+rows, h.bad+bad
	for h.rows > 256 {
		h.rows, h.bad = h.rows/2, h.bad/2
	}
}

// simStreak is contacts that were refused alone, since a row was taken.
type simStreak struct {
	seen         map[simKey]bool
	rows         int // that were refused alone for the first time
	chance, most float32
}

func (k *simStreak) note(key simKey, of simShare) {
	if k.seen == nil {
		k.seen, k.chance, k.most = map[simKey]bool{}, 1, 1
	}
	if k.seen[key] || len(k.seen) > simMost {
		return
	}
	k.seen[key] = true
	k.chance *= float32(max(0.2, float64(of.bad)/float64(of.rows+3)))
	k.most *= float32((float64(of.bad) + math.Sqrt(float64(of.bad)) + 2) / float64(of.rows+3))
}

// enough reports whether it is less likely than one in a hundred that they are bad.
func (k *simStreak) enough() bool {
	return len(k.seen) >= simAlike && k.chance <= 0.01 || len(k.seen) >= simMost
}

// likely reports whether it may be more likely than one in ten thousand.
func (k *simStreak) likely() bool { return len(k.seen) == 0 || len(k.seen) <= simMost && k.most > 1e-4 }

// endStreak notes that rows were taken.
func (st *simStream) endStreak(taken int) {
	rows := min(simMost, st.alone.rows)
	if !st.alone.likely() {
		rows, st.trusted = 0, st.taken+1
	}
	st.share.add(taken+rows, rows)
	st.alone = simStreak{}
}

// wasAlone reports whether the row of a request was refused alone before, and others of its stream were taken then; it notes that it is.
func (m *simModel) wasAlone(q *simRequest) bool {
	c, st := q.cells[0], q.stream
	if c.alone > st.trusted {
		return q.taken >= c.alone
	}
	if c.alone == 0 {
		st.alone.rows++
	}
	c.alone = st.taken + 1
	return false
}
