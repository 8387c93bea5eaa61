package batcher

import (
	"hash/fnv"
	"io"
	"math"
	"slices"
	"time"
)

// Contacts that are refused alone, one after the other with none accepted in between, may each be bad, or it may be their stream or account.
// No answer says which. Where half of a stream's rows are bad three in a row are nothing unusual, and they may be the last that come of it. So it goes
// by how likely that was before.
const (
	// rarely is how small the chance must be that all of them are bad, for their stream or account to be the cause.
	rarely = 0.01
	// hardlyEver is the chance below which it is for good, and not only for a time.
	hardlyEver = 1e-4
	// leastShare of the rows of any stream may be bad: what is less tells no sooner than three contacts.
	leastShare = 0.2
	// mostAlike is how many are about the stream, or account, whatever the chance, and at most set aside while none is accepted.
	mostAlike = 13
	// chanceGrace is how long a hold lasts that may be by chance. Few outages do.
	chanceGrace = 24 * time.Hour
)

// streak is the contacts of a stream, or an account, that were refused alone since a row was accepted. They do not count for how likely that is:
// or a stream of which all is refused from now on would seem to have had bad rows always.
type streak struct {
	contacts [mostAlike + 1]uint32 // a hash of each
	n        uint8
	rows     uint8   // that were refused alone first meanwhile
	chance   float32 // that all of them are bad, by the share of bad rows in their streams
	atMost   float32 // likewise, by what that may be, for little is known of a stream after a start
}

// note notes a contact that was refused alone, of a stream of whose rows so many were bad.
func (s *streak) note(key contactKey, of badRate) {
	if s.n == 0 {
		s.chance, s.atMost = 1, 1
	}
	if s.has(key) || int(s.n) == len(s.contacts) {
		return
	}
	s.contacts[s.n] = key.hash()
	s.n++
	least, most := of.share()
	s.chance *= float32(max(leastShare, least))
	s.atMost *= float32(most)
}

func (s *streak) has(key contactKey) bool { return slices.Contains(s.contacts[:s.n], key.hash()) }

// enough reports whether it is not the contacts, as far as can be told.
func (s *streak) enough() bool { return s.n > 0 && (s.chance <= rarely || s.n >= mostAlike) }

// completes reports whether one more contact would be enough.
func (s *streak) completes(key contactKey, of badRate) bool {
	next := *s
	next.note(key, of)
	return next.enough()
}

// mayBeChance reports whether it may be the contacts for all that.
func (s *streak) mayBeChance() bool { return s.n == 0 || s.n <= mostAlike && s.atMost > hardlyEver }

// share is what share of the rows is bad, at the least and at the most, as few of them tell little.
func (r badRate) share() (least, most float64) {
	rows, bad := float64(r.rows+3), float64(r.bad)
	return bad / rows, (bad + math.Sqrt(bad) + 2) / rows
}

// hash tells contacts apart, but for one pair in some billions.
func (k contactKey) hash() uint32 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, k.stream.name+"\x00"+k.id) // it does not fail
	return h.Sum32()
}

// endStreak notes that rows of a stream were accepted. Were those that were refused before too many for chance, it was not for what they hold.
func (h *streamHealth) endStreak(accepted int) {
	refused := int(h.refused.rows)
	if !h.refused.mayBeChance() {
		refused, h.trusted = 0, h.accepts+1
	}
	h.share.add(accepted+refused, refused)
	h.refused = streak{}
}

// again reports whether a contact that is refused alone was so before, and others of its stream were accepted then: it is for what it holds.
func (r *refusal) again(accepts int, h *streamHealth) bool {
	if r.alone > h.trusted {
		return accepts >= r.alone
	}
	if r.alone == 0 {
		h.refused.rows = min(mostAlike, h.refused.rows+1)
	}
	r.alone = h.accepts + 1
	return false
}

// outlasts reports whether contacts of a stream are set aside on a hold for those that were refused alone: it may be by chance, and nothing has told otherwise.
func (st *stream) outlasts(now time.Time) bool {
	return now.Sub(st.health.hold.since) >= chanceGrace && st.health.refused.mayBeChance() && st.account.health.refused.mayBeChance()
}
