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
	accepted *simplelru.LRU[string, struct{}] // streams for whose rows, one by one, the API has answered, the last of them
	answered time.Time                        // when it last looked at rows of any stream
	first    firstAnswers
}

// acceptedStreams bounds the streams that are remembered, at about 100 bytes each.
const acceptedStreams = 100_000

func newStrangers() strangers {
	lru, _ := simplelru.NewLRU[string, struct{}](acceptedStreams, nil) // it fails only for a size below 1
	return strangers{accepted: lru}
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
	s.accepted.Add(st.name, struct{}{})
	if !st.health.accepted {
		st.health.accepted, st.health.strange = true, false
		s.first.add(false)
	}
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
