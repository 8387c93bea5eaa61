package batcher

import "time"

// sizeStep is how long a learned size is kept before it is raised by a tenth. A raise
// that goes too far costs one call.
const sizeStep = 5 * time.Minute

// requestSize is the largest request that an account's API takes, as learned from
// answers of 413. The API documents no limit, and an answer does not say whether
// the rows or the bytes are too many; the largest ones that it took decide that.
type requestSize struct {
	mostRows  int // as configured
	mostBytes int64

	rows      int // at most the above
	bytes     int64
	tookRows  int // the most that it has answered for
	tookBytes int64
	changed   time.Time
}

func newRequestSize(c *Config) requestSize {
	return requestSize{
		mostRows: c.MaxRows, mostBytes: int64(c.MaxBytes),
		rows: c.MaxRows, bytes: int64(c.MaxBytes),
	}
}

// fits notes a request that was not too large.
func (s *requestSize) fits(rows int, bytes int64) {
	s.tookRows, s.tookBytes = max(s.tookRows, rows), max(s.tookBytes, bytes)
}

// tooLarge learns from a request of several rows that was too large. It always
// leaves less than the request had, of rows or of bytes.
func (s *requestSize) tooLarge(now time.Time, rows int, bytes int64) {
	byRows, byBytes := rows > s.tookRows, bytes > s.tookBytes
	if !byRows && !byBytes { // it would have passed before: the API takes less than it did
		s.tookRows, s.tookBytes = 0, 0
		byRows, byBytes = true, true
	}
	if byRows {
		s.rows = max(1, min(s.rows, max(rows/2, s.tookRows)))
	}
	if byBytes {
		s.bytes = max(1, min(s.bytes, max(bytes/2, s.tookBytes)))
	}
	s.changed = now
}

// lowered reports whether less than configured is sent.
func (s *requestSize) lowered() bool { return s.rows < s.mostRows || s.bytes < s.mostBytes }

// recover raises the size by the steps that are due, and reports whether there were any.
func (s *requestSize) recover(now time.Time) (raised bool) {
	for s.lowered() && now.Sub(s.changed) >= sizeStep {
		s.rows = min(s.mostRows, s.rows+max(1, s.rows/10))
		s.bytes = min(s.mostBytes, s.bytes+max(1<<10, s.bytes/10))
		s.changed = s.changed.Add(sizeStep)
		raised = true
	}
	return raised
}
