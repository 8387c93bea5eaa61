package batcher

import (
	"math/bits"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// strangers is what tells the streams of an account that the API has accepted from those
// that may never be: it may not know them, or they may belong to somebody else. After a
// start every stream is a stranger.
type strangers struct {
	accepted *simplelru.LRU[string, knownStream]  // streams for whose rows, one by one, the API has answered
	refused  *simplelru.LRU[string, streak]       // streams with contacts that were refused alone since a row was accepted
	misfits  *simplelru.LRU[contactKey, struct{}] // contacts that were refused while others were accepted, and were not accepted since
	answered time.Time                            // when it last looked at rows of any stream
	first    firstAnswers
	trouble  trouble
}

// knownStream is what is remembered of a stream whose rows were accepted.
type knownStream struct {
	at    time.Time // the last of them
	share badRate
}

// knownStreams bounds the streams that are remembered, at about 120 bytes each, and 250 with contacts that were refused.
const knownStreams = 100_000

// knownMisfits bounds the contacts of an account that are remembered as refused for what they hold, at about 200 bytes each.
const knownMisfits = 10_000

func newStrangers() strangers {
	accepted, _ := simplelru.NewLRU[string, knownStream](knownStreams, nil) // it fails only for a size below 1
	refused, _ := simplelru.NewLRU[string, streak](knownStreams, nil)
	misfits, _ := simplelru.NewLRU[contactKey, struct{}](knownMisfits, nil)
	return strangers{accepted: accepted, refused: refused, misfits: misfits}
}

// firstAnswers is how the last strangers were received, a bit each: 1 was refused.
type firstAnswers uint32

const (
	firstAnswersCount = 20
	mostlyRefused     = firstAnswersCount / 2
)

func (f *firstAnswers) add(refused bool) {
	if *f = *f << 1 & (1<<firstAnswersCount - 1); refused {
		*f |= 1
	}
}

// refused reports whether at least half of the last strangers were.
func (f firstAnswers) refused() bool { return bits.OnesCount32(uint32(f)) >= mostlyRefused }

// accept notes that the API has answered for each row of a request of a stream.
func (s *strangers) accept(now time.Time, st *stream) {
	s.answered = now
	s.trouble.accepted()
	st.health.acceptedAt = now
	if !st.health.accepted {
		st.health.accepted, st.health.strange = true, false
		s.first.add(false)
	}
	s.remember(st)
}

// remember keeps what is known of a stream for when it has had nothing to send.
func (s *strangers) remember(st *stream) {
	if st.health.accepted {
		s.accepted.Add(st.name, knownStream{st.health.acceptedAt, st.health.share})
	}
	if st.health.refused != (streak{}) {
		s.refused.Add(st.name, st.health.refused)
	} else {
		s.refused.Remove(st.name)
	}
}

// recall brings that back.
func (h *streamHealth) recall(s *strangers, name string) {
	known, ok := s.accepted.Peek(name)
	h.acceptedAt, h.accepted, h.share = known.at, ok, known.share
	h.refused, _ = s.refused.Peek(name)
}

// refuse notes that the API does not know a stream, or refuses its credentials or whole requests.
func (s *strangers) refuse(st *stream) {
	if !st.health.accepted && !st.health.strange {
		st.health.strange = true
		s.first.add(true)
	}
}

// count reports whether a stream that is refused says something about its account. A
// stranger does not while the account works.
func (s *strangers) count(now time.Time, st *stream, lately time.Duration) bool {
	return st.health.accepted || s.answered.IsZero() || now.Sub(s.answered) >= lately
}

// trouble is that one stream after another begins to fail. It may be the host, or only these: then what has the oldest event, and fails
// next, would open the breaker for all others again and again.
type trouble struct {
	streams     int       // that began to fail and none was accepted in between, until these are some
	since, last time.Time // when the first of them did, and the last
}

const (
	// troubleAfter is how many streams must begin to fail for the others to be doubted.
	troubleAfter = 3
	// troubleMost is for how many times the longest back-off they are at most, so that old events have their turn.
	troubleMost = 10
)

// began notes that a stream begins to fail, and reports whether others are doubted from now on.
func (t *trouble) began(now time.Time, lately time.Duration) bool {
	if t.streams == 0 || now.Sub(t.last) >= lately {
		t.streams, t.since = 0, now
	}
	t.streams, t.last = t.streams+1, now
	return t.streams == troubleAfter
}

// accepted notes that one was accepted.
func (t *trouble) accepted() {
	if t.streams < troubleAfter {
		t.streams = 0
	}
}

// over reports whether others were doubted, and are no longer: none has begun to fail for as long as streams back off.
func (t *trouble) over(now time.Time, lately time.Duration) bool {
	if t.streams < troubleAfter || now.Sub(t.last) < lately && now.Sub(t.since) < troubleMost*lately {
		return false
	}
	*t = trouble{}
	return true
}

// doubts reports whether a stream may be the next one: it was not accepted since.
func (t *trouble) doubts(h *streamHealth) bool {
	return t.streams >= troubleAfter && !h.acceptedAt.After(t.since)
}
