package batcher

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
)

// takesAtMost answers as an API that takes requests up to a size.
func takesAtMost(rows, bytes int) func(context.Context, int, contactsync.Batch) contactsync.Result {
	return func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
		size := 0
		for _, r := range b.Rows {
			size += len(r.Body) + 1
		}
		if len(b.Rows) > rows || size > bytes {
			return contactsync.Result{Kind: contactsync.TooLarge, Status: 413}
		}
		return allDelivered(b)
	}
}

func names(from, n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("c%04d", from+i))
	}
	return ids
}

func TestBatcher_LearnsHowLargeARequestMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.answer = takesAtMost(30, 1<<20)
		s.add(names(0, 100)...)
		s.at(time.Minute)
		if len(s.ended) != 100 || len(s.deadLetters) != 0 {
			t.Fatalf("%d ended, %d dead letters", len(s.ended), len(s.deadLetters))
		}
		first := len(s.calls)
		if first > 1+2+4 { // 100 and 50 are refused; a quarter each passes
			t.Errorf("%d calls for a hundred rows, thirty at a time", first)
		}
		s.add(names(100, 50)...)
		s.at(2 * time.Minute)
		second := len(s.calls)
		if second > first+3 {
			t.Errorf("%d more calls: what was learned is forgotten", second-first)
		}
		if rows := testutil.ToFloat64(s.m.Batcher.RequestMaxRows.WithLabelValues("a")); rows < 15 || rows > 30 {
			t.Errorf("the series says %v rows", rows)
		}
		s.at(time.Hour)
		s.add(names(200, 100)...)
		s.at(time.Hour + time.Minute)
		largest := 0
		for _, c := range s.calls[second:] {
			largest = max(largest, len(c.batch.Rows))
		}
		if largest <= 30 {
			t.Errorf("an hour later at most %d rows are tried: the ceiling does not recover", largest)
		}
		if len(s.ended) != 250 {
			t.Errorf("%d ended", len(s.ended))
		}
	})
}

func TestBatcher_OneRowThatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.answer = takesAtMost(1000, 10)
		s.add("a")
		s.at(2 * time.Minute) // nothing else is accepted
		s.wantEnded(0)
		if len(s.deadLetters) != 1 || s.deadLetters[0].Reason != contactsync.ReasonTooLarge || s.deadLetters[0].Status != 413 {
			t.Errorf("dead letters %+v", s.deadLetters)
		}
		s.answer = takesAtMost(1000, 1<<20)
		alone := len(s.calls)
		s.add(names(0, 50)...)
		s.at(3 * time.Minute)
		if n := len(s.calls) - alone; n != 1 || len(s.calls[alone].batch.Rows) != 50 {
			t.Errorf("%d calls: one row that is too large must not make requests smaller", n)
		}
	})
}

// The size of an account's requests decides of all its streams whether they are full.
func TestWindow_LearnedSizeCountsForAllStreams(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.MaxRows, c.Linger = 4, time.Hour })
	next := func(want string) *Request {
		t.Helper()
		f := w.Next(w.now)
		if got := ids(f); got != want {
			t.Fatalf("the next request has %q, want %q", got, want)
		}
		return f
	}
	w.offset = 10 // bodies of one length
	w.add("a", "b", "c", "d", "other/e", "other/f")
	w.settle(next("a b c d"), contactsync.Result{Kind: contactsync.TooLarge})
	left, right := next("a b"), next("c d")
	next("")
	w.settle(left, allDelivered(left.Batch))
	w.settle(right, allDelivered(right.Batch))
	f := next("e f") // two are the most now
	w.settle(f, allDelivered(f.Batch))

	w.add("a", "b", "c", "other/e", "other/f", "other/g")
	trial := next("a b c") // as a trial, and one at a time
	next("e f")
	w.settle(trial, contactsync.Result{Kind: contactsync.TooLarge})
	next("a b") // it was too large, and that is no fault of its rows
}

// Whatever the API takes, the size comes down to it in a few refusals and rises again to
// about what it takes, never stands still, and never keeps rows from going.
func TestRequestSize_FindsTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultConfig()
		limit := rapid.Int64Range(1, 100).Draw(t, "rows")
		limitBytes := rapid.Int64Range(2100, 60_000).Draw(t, "bytes")
		row := rapid.Int64Range(50, 2000).Draw(t, "size of a row")
		s, now, refused := newRequestSize(&cfg), time.Unix(1_700_000_000, 0), 0
		for range 100 {
			most, mostBytes := s.next()
			rows := min(most, max(1, mostBytes/row))
			if rows < 1 {
				t.Fatalf("a request of %d rows: %+v", rows, s)
			}
			bytes, trial := rows*row, s.larger(rows, rows*row)
			if rows <= limit && bytes <= limitBytes {
				s.fits(now, rows, bytes)
				continue
			}
			if refused++; refused > 24 {
				t.Fatalf("refused %d times, and still %d rows: %+v", refused, rows, s)
			}
			if trial {
				s.trialFailed(now, rows, bytes)
			} else {
				s.tooLarge(now, rows, bytes)
			}
		}
		takes := min(limit, limitBytes/row, int64(cfg.MaxBytes)/row)
		if most, mostBytes := s.next(); min(most, mostBytes/row) < takes-takes/4-1 {
			t.Fatalf("%d rows, %d bytes, and the API takes %d rows: %+v", most, mostBytes, takes, s)
		}
		s.recover(now.Add(24 * time.Hour))
		if s.lowered() {
			t.Fatalf("a day later: %+v", s)
		}
	})
}

func TestRequestSize_TellsRowsFromBytes(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	s, now := newRequestSize(&cfg), time.Unix(1_700_000_000, 0)
	s.fits(now, 100, 30_000)
	s.tooLarge(now, 100, 90_000)
	if s.rows.limit != 100 || s.bytes.limit != 45_000 {
		t.Errorf("100 rows have passed before, so the bytes were too many: %+v", s)
	}
	s.tooLarge(now, 120, 20_000)
	if s.rows.limit != 100 || s.bytes.limit != 45_000 {
		t.Errorf("half of 120 is less than what has passed: %+v", s)
	}
	s.fits(now, 40, 44_000)
	s.tooLarge(now, 20, 44_000)
	if s.rows.limit != 10 || s.bytes.limit != 22_000 {
		t.Errorf("what passed before passes no longer, so nothing is known: %+v", s)
	}
}

// One row that is larger than a request may be says nothing of what requests may be.
func TestRequestSize_StaysAsConfiguredAfterALargerRow(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	s, now := newRequestSize(&cfg), time.Unix(1_700_000_000, 0)
	s.fell(now, now, 1, int64(cfg.MaxBytes)+1)
	if _, bytes := s.next(); bytes != int64(cfg.MaxBytes) {
		t.Errorf("requests have %d bytes, and may have %d", bytes, cfg.MaxBytes)
	}
	if s.bytes.limit != int64(cfg.MaxBytes) {
		t.Errorf("without a trial they have %d bytes", s.bytes.limit)
	}
}

// A row that the API finds too large in any company must not make the requests of
// its neighbours smaller.
func TestBatcher_OneRowTooLargeAmongMany(t *testing.T) {
	for _, bad := range []int{0, 37, 99} {
		t.Run(fmt.Sprint("row ", bad), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, nil)
				ids := names(0, 100)
				s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
					for _, r := range b.Rows {
						if r.ID == ids[bad] {
							return contactsync.Result{Kind: contactsync.TooLarge, Status: 413}
						}
					}
					return allDelivered(b)
				}
				s.add(ids...)
				s.at(time.Minute)
				if len(s.ended) != 100 || len(s.deadLetters) != 1 || s.deadLetters[0].Contact != ids[bad] || s.deadLetters[0].Reason != contactsync.ReasonTooLarge {
					t.Fatalf("%d ended, dead letters %v", len(s.ended), s.deadLetters)
				}
				if spent := len(s.calls) - 1; spent > 15 { // 2·log2(100), rounded up, and the row once more if it was refused before others were accepted
					t.Errorf("%d calls spent to find one row among 100", spent)
				}
				if rows := testutil.ToFloat64(s.m.Batcher.RequestMaxRows.WithLabelValues("a")); rows != 100 {
					t.Errorf("requests have at most %v rows now", rows)
				}
			})
		})
	}
}

// A ceiling that comes down makes other streams full, which need not linger then.
func TestBatcher_LowerCeilingReachesOtherStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = time.Minute })
		s.answer = takesAtMost(20, 1<<20)
		for _, id := range names(0, 40) {
			s.add("other/" + id)
		}
		for _, id := range names(0, 100) {
			s.add("big/" + id)
		}
		s.at(time.Second)
		s.add("other/c9999")
		s.at(2 * time.Second)
		if s.sent("other") == 0 {
			t.Error("41 rows under a ceiling of a dozen wait for their linger to end")
		}
	})
}

// A limit of bytes that is told by 413 is known before the parts of other requests are refused for it as well: those of
// the first go before others, and what is larger than the limit by then is cut anew.
func TestWindow_A413TeachesTheSizeWithFewCalls(t *testing.T) {
	t.Parallel()
	for _, streams := range []int{1, 10} {
		l := newLifetime(t, streams, func(c *Config) { c.MaxRows = 1000 })
		l.budget = 200 * time.Millisecond
		size := 0
		l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result {
			if batchBytes(b) > 64<<10 {
				return contactsync.Result{Kind: contactsync.TooLarge, Status: 413}
			}
			return allDelivered(b)
		}
		for i := range 20_000 {
			ev := l.event(fmt.Sprintf("%s/c%05d", l.streams[i%streams], i))
			ev.Contact.Body = fmt.Appendf(nil, `{"seq":%d,"n":"%0270d"}`, 100_000+i, 0)
			size += len(ev.Contact.Body) + 1
			l.Add(l.now, ev)
		}
		l.done()
		best := streams * ((size/streams + 64<<10 - 1) / (64 << 10))
		t.Logf("%d streams: %d calls, %d with the limit known; %d refused", streams, l.calls, best, l.failed)
		if l.pending.contacts > 0 || len(l.letters) > 0 || l.calls > best+18 || l.failed > 8 {
			t.Errorf("%d streams: %d calls, %d with the limit known; %d refused, %d contacts left, %d dead letters", streams, l.calls, best, l.failed, l.pending.contacts, len(l.letters))
		}
	}
}
