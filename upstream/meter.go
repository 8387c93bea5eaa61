package upstream

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync/metrics"
)

// What a gate refuses for, as metrics.BlockCauses name it.
const (
	forBudget   = "budget"
	forThrottle = "throttled"
	forBreaker  = "breaker"
)

// meter is the series of one gate. Those of a budget are nil where there is none.
type meter struct {
	throttled                                 prometheus.Gauge
	blocked                                   map[string]prometheus.Counter
	limit, window, part, learned, share, left prometheus.Gauge
	refill                                    prometheus.Gauge
	used                                      prometheus.Counter

	// What the gate has refused for since then, as long as nothing else is said.
	cause        string
	since, until time.Time
}

func newMeter(m *metrics.Upstream, account string, b *budget) *meter {
	t := &meter{throttled: m.ThrottleRemaining.WithLabelValues(account), blocked: map[string]prometheus.Counter{}}
	for _, cause := range metrics.BlockCauses {
		t.blocked[cause] = m.BlockedSeconds.WithLabelValues(account, cause)
	}
	if b.requests > 0 {
		t.limit, t.window = m.BudgetLimit.WithLabelValues(account), m.BudgetWindow.WithLabelValues(account)
		t.part, t.learned = m.BudgetPart.WithLabelValues(account), m.BudgetLearned.WithLabelValues(account)
		t.share, t.left = m.BudgetShare.WithLabelValues(account), m.BudgetRemaining.WithLabelValues(account)
		t.refill, t.used = m.BudgetRefill.WithLabelValues(account), m.BudgetUsed.WithLabelValues(account)
		t.limit.Set(b.requests)
		t.window.Set(b.window.Seconds())
	}
	return t
}

// show brings the gauges up to date, and counts the time that was waited so far.
func (t *meter) show(now time.Time, b *budget) {
	t.passed(now)
	t.throttled.Set(max(0, b.throttledUntil.Sub(now).Seconds()))
	if t.limit == nil {
		return
	}
	t.left.Set(b.remaining(now))
	t.share.Set(b.perWindow())
	t.refill.Set(b.refill())
	t.part.Set(b.share)
	t.learned.Set(b.rateFactor)
}

// admitted notes a request that may start.
func (t *meter) admitted(now time.Time) {
	t.passed(now)
	t.cause = ""
	if t.used != nil {
		t.used.Inc()
	}
}

// refused notes that a request waits for a cause, at least until then. It may not be asked
// for any more afterwards, so nothing is counted beyond.
func (t *meter) refused(now time.Time, cause string, until time.Time) {
	t.passed(now)
	t.cause, t.since, t.until = cause, now, until
}

// passed counts the time since a request was refused.
func (t *meter) passed(now time.Time) {
	if to := earlier(now, t.until); t.cause != "" && to.After(t.since) {
		t.blocked[t.cause].Add(to.Sub(t.since).Seconds())
		t.since = to
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
