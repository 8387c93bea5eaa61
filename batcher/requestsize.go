package batcher

import "time"

const (
	// sizeKept is how long it is believed that the API refuses a size. Then the full size
	// is tried once, which costs a call where nothing has changed.
	sizeKept = 5 * time.Minute
	// sizeForgotten is when all that was learned is forgotten, although nothing was sent.
	sizeForgotten = time.Hour
)

// requestSize is the largest request that an account's API takes, as learned from
// answers. The API documents no limit, and an answer does not say whether the rows or the
// bytes are too many; the largest requests that it took decide that.
//
// It falls where both halves of a request that was refused or failed have passed, or a
// request of a stream that had failed with larger ones. It rises by trials: one request at a
// time is larger than any that passed, in the middle between these and what was refused,
// until the gap is small. A trial that fails is no failure of its rows.
type requestSize struct {
	rows, bytes dimension
	changed     time.Time // when it fell or a trial failed last
	trying      bool      // a trial is in flight

	largest     int64 // rows of a request that passed lately
	largestTime time.Time
}

// dimension is what is known of the rows of a request, or of its bytes.
type dimension struct {
	most    int64 // as configured
	limit   int64 // of requests that are no trials
	took    int64 // the most that it has answered for
	refused int64 // the least that it has refused; 0 where that is not known
}

func newRequestSize(c *Config) requestSize {
	rows, bytes := int64(c.MaxRows), int64(c.MaxBytes)
	return requestSize{rows: dimension{most: rows, limit: rows}, bytes: dimension{most: bytes, limit: bytes}}
}

// fits notes a request that was not too large.
func (s *requestSize) fits(now time.Time, rows, bytes int64) {
	s.rows.fits(rows)
	s.bytes.fits(bytes)
	if rows >= s.largest || now.Sub(s.largestTime) > time.Minute {
		s.largest, s.largestTime = rows, now
	}
}

func (d *dimension) fits(n int64) {
	d.took = max(d.took, n)
	switch {
	case n <= d.limit:
	case n < d.refused && n < d.most: // one row may be larger than the most
		d.limit = n
	default: // nothing is known to be refused
		d.limit, d.refused = d.most, 0
	}
}

// fell notes that a request passed of a stream that had failed with larger ones since a
// time. Whether it was their size, the next request tells, which is a trial of the full size.
func (s *requestSize) fell(now, since time.Time, rows, bytes int64) {
	if rows >= s.rows.limit || s.largest > rows && !s.largestTime.Before(since) {
		return // larger ones passed meanwhile, of others
	}
	s.rows = dimension{most: s.rows.most, limit: rows, took: rows}
	s.bytes = dimension{most: s.bytes.most, limit: min(bytes, s.bytes.most), took: bytes} // one row may be larger than the most
	s.changed = now
}

// tooLarge learns from a request of several rows that was too large. It always
// leaves less than the request had, of rows or of bytes.
func (s *requestSize) tooLarge(now time.Time, rows, bytes int64) {
	byRows, byBytes := rows > s.rows.took, bytes > s.bytes.took
	if !byRows && !byBytes { // it would have passed before: the API takes less than it did
		s.rows.took, s.bytes.took = 0, 0
		byRows, byBytes = true, true
	}
	if byRows {
		s.rows.tooLarge(rows)
	}
	if byBytes {
		s.bytes.tooLarge(bytes)
	}
	s.changed = now
}

func (d *dimension) tooLarge(n int64) {
	d.limit = max(1, min(d.limit, max(n/2, d.took)))
	d.refused = n
}

// trialFailed notes that a request that was larger than any that passed did not.
func (s *requestSize) trialFailed(now time.Time, rows, bytes int64) {
	s.rows.trialFailed(rows)
	s.bytes.trialFailed(bytes)
	s.changed = now
}

func (d *dimension) trialFailed(n int64) {
	if n > d.limit {
		d.refused = n
	}
}

// lowered reports whether less than configured is sent.
func (s *requestSize) lowered() bool { return s.rows.lowered() || s.bytes.lowered() }

func (d *dimension) lowered() bool { return d.limit < d.most }

// next returns the most rows and bytes of the next request.
func (s *requestSize) next() (rows, bytes int64) {
	if s.trying {
		return s.rows.limit, s.bytes.limit
	}
	return s.rows.next(), s.bytes.next()
}

func (d *dimension) next() int64 {
	if d.refused == 0 {
		return d.most
	}
	if half := (d.refused - d.limit) / 2; half > 0 && half >= d.limit/32 {
		return d.limit + half
	}
	return d.limit
}

// unproven reports whether a request is larger than any that was answered for.
func (s *requestSize) unproven(rows, bytes int64) bool {
	return rows > s.rows.took || bytes > s.bytes.took
}

// larger reports whether a request is a trial.
func (s *requestSize) larger(rows, bytes int64) bool {
	return s.rows.lowered() && rows > s.rows.limit || s.bytes.lowered() && bytes > s.bytes.limit
}

// recover forgets what is too old, and reports whether more may be sent because of it.
func (s *requestSize) recover(now time.Time) (raised bool) {
	if !s.lowered() {
		return false
	}
	switch age := now.Sub(s.changed); {
	case age >= sizeForgotten:
		s.rows = dimension{most: s.rows.most, limit: s.rows.most, took: s.rows.took}
		s.bytes = dimension{most: s.bytes.most, limit: s.bytes.most, took: s.bytes.took}
		return true
	case age >= sizeKept:
		s.retry()
	}
	return false
}

// retry has the full size tried once.
func (s *requestSize) retry() { s.rows.refused, s.bytes.refused = 0, 0 }
