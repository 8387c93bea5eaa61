package batcher

import "time"

// ceilingStep is how long a learned ceiling stands before it is raised by a tenth.
// A raise that goes too far costs one call.
const ceilingStep = 5 * time.Minute

// ceiling is the largest request that an account's API takes, as learned from
// answers of 413. The API documents no limit, and an answer does not say whether
// it is the rows or the bytes that are too many; what passed before tells.
type ceiling struct {
	mostRows  int // as configured
	mostBytes int64

	rows        int // at most the above
	bytes       int64
	passedRows  int // the most that was answered for what the rows hold
	passedBytes int64
	changed     time.Time
}

func newCeiling(c Config) ceiling {
	return ceiling{
		mostRows: c.MaxRows, mostBytes: int64(c.MaxBytes),
		rows: c.MaxRows, bytes: int64(c.MaxBytes),
	}
}

// passed notes a request that was not too large.
func (c *ceiling) passed(rows int, bytes int64) {
	c.passedRows, c.passedBytes = max(c.passedRows, rows), max(c.passedBytes, bytes)
}

// refused learns from a request of several rows that was too large. It always
// leaves less than the request had, of rows or of bytes.
func (c *ceiling) refused(now time.Time, rows int, bytes int64) {
	byRows, byBytes := rows > c.passedRows, bytes > c.passedBytes
	if !byRows && !byBytes { // it would have passed before: the API takes less than it did
		c.passedRows, c.passedBytes = 0, 0
		byRows, byBytes = true, true
	}
	if byRows {
		c.rows = max(1, min(c.rows, max(rows/2, c.passedRows)))
	}
	if byBytes {
		c.bytes = max(1, min(c.bytes, max(bytes/2, c.passedBytes)))
	}
	c.changed = now
}

// lowered reports whether less than configured is sent.
func (c *ceiling) lowered() bool { return c.rows < c.mostRows || c.bytes < c.mostBytes }

// recover raises the ceiling by the steps that are due.
func (c *ceiling) recover(now time.Time) {
	for c.lowered() && now.Sub(c.changed) >= ceilingStep {
		c.rows = min(c.mostRows, c.rows+max(1, c.rows/10))
		c.bytes = min(c.mostBytes, c.bytes+max(1<<10, c.bytes/10))
		c.changed = c.changed.Add(ceilingStep)
	}
}
