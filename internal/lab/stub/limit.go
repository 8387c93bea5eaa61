package stub

import (
	"sync"
	"time"
)

// limiter accepts at most n calls of an account in any window.
type limiter struct {
	n      int
	window time.Duration
	mu     sync.Mutex

	starts map[string][]time.Time // accepted calls of the account, oldest first
}

func newLimiter(n int, window time.Duration) *limiter {
	return &limiter{n: n, window: window, starts: map[string][]time.Time{}}
}

func (l *limiter) take(account string, now time.Time) bool {
	if l.n <= 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.starts[account]
	for len(kept) > 0 && now.Sub(kept[0]) >= l.window {
		kept = kept[1:]
	}
	ok := len(kept) < l.n
	if ok {
		kept = append(kept, now)
	}
	l.starts[account] = kept
	return ok
}

func (l *limiter) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.starts)
}
