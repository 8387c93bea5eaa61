package batcher

import (
	"math"
	"time"

	"github.com/contactsync/contactsync"
)

// LeastInFlight is how many requests of an account may be in flight at least, unless
// max_in_flight is less.
const LeastInFlight = 16

const (
	// inFlightHeadroom is how many more requests may be in flight than use up the budget, on
	// the average: some take longer than others.
	inFlightHeadroom = 2
	// latencyOver is over about how many requests the latency is averaged.
	latencyOver = 100
)

// latency is how long the requests of an account take, on the average of the last ones.
type latency struct {
	mean     time.Duration
	requests int // at most latencyOver
}

// note takes in how long a request took, whatever came of it: those that time out are in
// flight as well.
func (l *latency) note(took time.Duration, kind contactsync.Kind) {
	if kind == contactsync.Canceled {
		return // it might have taken longer
	}
	l.requests = min(l.requests+1, latencyOver)
	l.mean += (took - l.mean) / time.Duration(l.requests)
}

// mostInFlight is how many requests of an account may be in flight. So many that it is the budget
// that limits the calls, whatever their latency (Little's law: their number is the
// rate times the time that they take); and no more, so that a host that stops answering holds
// up the contacts of few requests. Where there is no budget nothing says how many that is.
func (s *schedule) mostInFlight(a *account) int {
	bound, rate := s.cfg.MaxInFlight, a.gate.PerSecond()
	if rate == 0 {
		if bound == 0 {
			return LeastInFlight
		}
		return bound
	}
	most := max(LeastInFlight, int(math.Ceil(inFlightHeadroom*rate*a.latency.mean.Seconds())))
	if bound > 0 {
		return min(most, bound)
	}
	return most
}
