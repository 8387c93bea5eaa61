package batcher

import (
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// A request can fail for one of its rows: a gateway dislikes a word, the API breaks at a
// character. So a row that is in failing requests again and again while others of its
// stream are answered is tried apart from these, in sets that are halved. That takes
// little evidence, because it costs calls only. To set a row aside takes much.
const (
	// suspectAfter is how many failed requests make a row suspect.
	suspectAfter = 3
	// othersMayFail is how large a share of the stream's other requests may fail meanwhile
	// for a row to be set aside: above it, the API fails whatever the rows.
	othersMayFail = 0.05
	// acquitAfter is how many suspect rows of an account must pass alone, one after the other and
	// none of them fail, for all that were suspect before to be believed: what failed was the API.
	acquitAfter = 6
)

// suspicion is what speaks for a row being the cause of requests that failed. It is of
// one body: another one is not suspect.
type suspicion struct {
	failures int       // requests that a row may have made fail, and that had this one
	since    time.Time // the first of them

	// Of requests that had this row alone, each after other rows of the stream were settled.
	alone      int
	aloneSince time.Time
	aloneLast  time.Time
	others     lapse // the stream's requests without suspects, when the first of them had failed
}

// lapse counts requests and those that failed.
type lapse struct{ requests, failed int }

// failed notes a failed request with the row, of which a row may be the cause.
func (s *suspicion) failed(now time.Time) {
	if s.failures == 0 {
		s.since = now
	}
	s.failures++
}

// suspect reports whether a row is to be tried apart from others of its stream, of which
// some were settled at a time.
func (s *suspicion) suspect(settled time.Time) bool {
	return s.failures >= suspectAfter && settled.After(s.since)
}

// suspectsAnswered notes what came of a request of suspect rows, for all that are suspect in the account.
func (h *accountHealth) suspectsAnswered(now time.Time, rows []*contact, r contactsync.Result, failed bool) {
	switch {
	case failed && r.MayBeRows:
		h.suspectsPassed = 0
	case len(rows) == 1 && rows[0].suspicion.failures >= suspectAfter && slices.ContainsFunc(r.Rows, delivered):
		if h.suspectsPassed++; h.suspectsPassed >= acquitAfter {
			h.acquitted = now
		}
	}
}

// acquitted reports whether a group is of suspect rows, none of which made a request fail after a time when it
// became known that the API had failed whatever the rows.
func (g *group) acquitted(at time.Time) bool {
	return g.suspect && g.head.suspicion.failures >= suspectAfter && !g.since.After(at)
}

// failedAlone notes that a request with this row alone failed.
func (s *suspicion) failedAlone(now time.Time, h *streamHealth) {
	switch {
	case s.alone == 0:
		s.aloneSince, s.others = now, h.ordinary
	case !h.settled.After(s.aloneLast):
		return // nothing shows that the stream worked meanwhile
	}
	s.alone++
	s.aloneLast = now
}

// convicted reports whether the row is the cause beyond reasonable doubt.
func (s *suspicion) convicted(now time.Time, h *streamHealth, c *Config) bool {
	requests, failed := h.ordinary.requests-s.others.requests, h.ordinary.failed-s.others.failed
	return s.alone >= c.UnansweredAttempts && now.Sub(s.aloneSince) >= c.UnansweredAfter &&
		float64(failed) <= othersMayFail*float64(requests)
}
