package upstream

import (
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"
)

// outageLogEvery is how often a line is written about a host that goes on failing.
const outageLogEvery = time.Minute

// outage is what the log says of a host that fails. A host that fails now and then opens its
// breaker again as soon as it is closed, or half-open, so not each change has a line: the first
// opening has one, the rest is counted once a minute, and the end is where it stays closed. The
// breaker's lock guards it.
type outage struct {
	since  time.Time // the first opening; zero where the host is well
	told   time.Time // the last line
	opened int       // times, the first one included
	closed time.Time // since when it is closed again; zero where it is not
}

// changed notes a change of the breaker's state, and reports whether it is the first opening.
func (o *outage) changed(now time.Time, to gobreaker.State) (first bool) {
	o.closed = time.Time{}
	switch to {
	case gobreaker.StateOpen:
		o.opened++
		if first = o.since.IsZero(); first {
			o.since, o.told = now, now
		}
	case gobreaker.StateClosed:
		o.closed = now
	case gobreaker.StateHalfOpen:
	}
	return first
}

// goesOn writes the line that is due at now. The outage is over once the breaker has been closed
// for as long as it counts failures.
func (o *outage) goesOn(now time.Time, log *slog.Logger, host string, interval time.Duration) {
	switch {
	case o.since.IsZero():
	case !o.closed.IsZero() && now.Sub(o.closed) >= interval:
		log.Info("circuit breaker closed, and stays so", "host", host, "opened", o.opened, "lasted", o.closed.Sub(o.since))
		*o = outage{}
	case now.Sub(o.told) >= outageLogEvery:
		log.Warn("circuit breaker opens again and again", "host", host, "opened", o.opened, "since", o.since)
		o.told = now
	}
}
