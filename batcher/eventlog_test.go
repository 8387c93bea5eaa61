package batcher

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/setting"
)

// wantLines compares the lines of a log with some of their words each.
func wantLines(t *testing.T, l *eventLog, want ...string) {
	t.Helper()
	lines := l.take()
	if len(lines) != len(want) {
		t.Fatalf("%d lines %v, want %d", len(lines), lines, len(want))
	}
	for i, line := range lines {
		got := fmt.Sprint(line.Level, " ", line.Text)
		for j := 0; j+1 < len(line.Args); j += 2 {
			got += fmt.Sprintf(" %v=%v", line.Args[j], line.Args[j+1])
		}
		for words := range strings.SplitSeq(want[i], "|") {
			if !strings.Contains(got, words) {
				t.Errorf("line %d: %s\nlacks %q", i, got, words)
			}
		}
	}
}

func none(string) bool { return false }

// While one stream fails its account is not said to be answered again because others are.
func TestEventLog_OneStreamFailsOn(t *testing.T) {
	t.Parallel()
	l, now, failing := newEventLog(), time.Unix(1_700_000_000, 0), map[string]bool{}
	hear := func(stream string, kind contactsync.Kind) {
		now = now.Add(time.Second)
		d := decide(answer{kind: kind})
		l.answer(now, contactsync.Batch{Account: "a", Stream: stream}, d, contactsync.Result{Kind: kind}, func(stream string) bool { return failing[stream] })
		failing[stream] = d.outage
	}
	hear("bad", contactsync.Unavailable)
	hear("gone", contactsync.Unavailable)
	wantLines(t, &l, "not answered|stream=bad")
	hear("good", contactsync.Answered)
	hear("bad", contactsync.Unknown)
	hear("good", contactsync.Answered)
	wantLines(t, &l, "not answered|kind=unknown|stream=bad")
	delete(failing, "gone") // nothing of it waits any more
	hear("bad", contactsync.Answered)
	wantLines(t, &l, "answered again|stream=bad|after_kind=unknown|requests=1")
}

// It is the window that knows which streams fail.
func TestWindow_SaysThatRequestsAreAnsweredWhenNoStreamFails(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.Linger = 0 })
	w.add("bad/a")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.Unavailable, Status: 503})
	w.TakeLogEvents()
	w.deliver("good/a")
	wantLines(t, &w.log)
	req := w.send()
	w.settle(req, allDelivered(req.Batch))
	w.wantLogged("requests are answered again", "bad")
}

// An outage is written at once, once a minute while it lasts, and when it is over.
func TestEventLog_Outage(t *testing.T) {
	t.Parallel()
	l, now := newEventLog(), time.Unix(1_700_000_000, 0)
	hear := func(account string, kind contactsync.Kind) {
		l.answer(now, contactsync.Batch{Account: account, Stream: "st"}, decide(answer{kind: kind}), contactsync.Result{Kind: kind, Status: 503}, none)
	}
	for range 90 { // a request a second, all in vain
		hear("a", contactsync.Unavailable)
		now = now.Add(time.Second)
	}
	wantLines(t, &l, "WARN requests are not answered|kind=unavailable|account=a|requests=1 ", "kind=unavailable|requests=61")
	hear("a", contactsync.Unknown) // something else goes wrong now
	hear("a", contactsync.Unknown)
	wantLines(t, &l, "ERROR requests are not answered|kind=unknown|requests=1 ")
	hear("a", contactsync.StreamGone) // a hold reports that
	hear("b", contactsync.Answered)   // another account
	hear("a", contactsync.Canceled)
	wantLines(t, &l)
	now = now.Add(time.Second)
	hear("a", contactsync.TooLarge)
	hear("a", contactsync.Answered)
	wantLines(t, &l, "INFO requests are answered again|account=a|after_kind=unknown|requests=2|lasted=1s")
}

// A host that fails and answers in turn is one trouble, not many.
func TestEventLog_FlappingDoesNotFloodTheLog(t *testing.T) {
	t.Parallel()
	l, now := newEventLog(), time.Unix(1_700_000_000, 0)
	kinds := []contactsync.Kind{contactsync.Unavailable, contactsync.Answered, contactsync.Unknown, contactsync.Throttled}
	for i := range 600 {
		kind := kinds[i%len(kinds)]
		l.answer(now, contactsync.Batch{Account: "a"}, decide(answer{kind: kind}), contactsync.Result{Kind: kind}, none)
		now = now.Add(time.Second)
	}
	if n := len(l.take()); n > 45 || n < 20 {
		t.Errorf("%d lines in ten minutes, want about one a minute for each kind, and their ends", n)
	}
}

func TestEventLog_OnceAMinute(t *testing.T) {
	t.Parallel()
	l, now := newEventLog(), time.Unix(1_700_000_000, 0)
	w := newTestWindow(t, nil)
	for range 121 {
		l.stale(now, w.event("x"))
		l.repartitioned(now, w.event("x"), contactsync.Position{})
		l.halved(now, contactsync.Batch{}, contactsync.Result{})
		now = now.Add(time.Second)
	}
	wantLines(t, &l, "older than what is known|position=contacts/1@0", "two partitions", "whole requests", "older", "two partitions", "whole", "older", "two", "whole")
}

// More lines than can be written at a time are left to the metrics.
func TestEventLog_IsBounded(t *testing.T) {
	t.Parallel()
	l := newEventLog()
	for range 2 * logEventsKept {
		l.add(slog.LevelInfo, "line")
	}
	if n := len(l.take()); n != logEventsKept {
		t.Errorf("%d lines, want %d", n, logEventsKept)
	}
	if l.add(slog.LevelInfo, "line"); len(l.take()) != 1 {
		t.Error("nothing is written any more")
	}
}

func TestEventLog_WritingDeadLetters(t *testing.T) {
	t.Parallel()
	l, now := newEventLog(), time.Unix(1_700_000_000, 0)
	l.published(now, published{attempts: 1})
	wantLines(t, &l)
	for i := range 61 {
		l.published(now, published{pending: 2, attempts: i + 1, err: errors.New("no leader")})
		now = now.Add(time.Second)
	}
	wantLines(t, &l, "ERROR dead letters cannot be written|letters=2|attempts=1 |err=no leader", "attempts=61")
	l.published(now, published{attempts: 62})
	wantLines(t, &l, "INFO dead letters can be written again|attempts=62|lasted=1m1s")
	l.published(now, published{pending: 1, attempts: 1}) // a second later
	l.published(now, published{attempts: 2})
	wantLines(t, &l)
}

// The first reminder comes a minute after the hold was reported.
func TestEventLog_RemindsOfHolds(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, nil)
	remind := func(after time.Duration) {
		w.now = w.now.Add(after)
		w.log.remind(w.Observe(w.now))
	}
	for i, name := range []string{"b1", "b2", "a1", "c1", "d1", "e1", "f1"} {
		st := w.schedule.stream(name, name[:1])
		st.health.hold = &hold{kind: []holdKind{holdGone, holdRejecting, holdUnauthorized}[i%3], since: w.now}
		st.contacts["x"] = &contact{}
	}
	remind(0)
	remind(59 * time.Second)
	wantLines(t, &w.log)
	remind(time.Second)
	wantLines(t, &w.log, "ERROR streams are on hold|unauthorized=2|stream_gone=3|rejecting=2|contacts=7|longest=1m0s|accounts=a b c d e")
	remind(59 * time.Second)
	wantLines(t, &w.log)
	remind(time.Second)
	wantLines(t, &w.log, "longest=2m0s")
	held := w.schedule.streams
	w.schedule.streams = nil
	remind(time.Hour)
	w.schedule.streams = held // a new hold, an hour later
	remind(59 * time.Second)
	wantLines(t, &w.log)
	remind(time.Second)
	wantLines(t, &w.log, "ERROR streams")
}

// A window that is full of streams on hold says so, and for how long it was.
func TestEventLog_FullOfHolds(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.Linger = 0 })
	look := func(after time.Duration) {
		w.now = w.now.Add(after)
		w.log.full(w.Observe(w.now))
	}
	seconds := func() float64 { return testutil.ToFloat64(w.m.FullSeconds) }
	w.add("dead/a", "small/a")
	w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone, Status: 404})
	w.settle(w.send(), contactsync.Result{Kind: contactsync.StreamGone, Status: 404})
	w.TakeLogEvents()
	w.add("dead/b", "dead/c", "live/a", "live/b", "live/c")
	w.cfg.WindowBytes = setting.Size(w.bytes() + contactOverhead)
	look(time.Second)
	wantLines(t, &w.log)
	for i := 0; !w.Full(); i++ { // it is full, and half of it is on hold
		w.add(fmt.Sprint("live/d", i))
	}
	look(time.Second)
	wantLines(t, &w.log, "ERROR the window is full, mostly of streams on hold|contactsync hold set-aside|streams=2|largest=dead|account=a|kind=stream_gone")
	look(59 * time.Second)
	wantLines(t, &w.log)
	look(time.Second)
	wantLines(t, &w.log, "ERROR the window is full")
	if seconds() != 61 {
		t.Errorf("full for %v seconds, want 61", seconds())
	}
	w.add("live/e", "live/f") // and more of it is not
	look(time.Second)
	wantLines(t, &w.log, "INFO the window is no longer full of streams on hold|lasted=1m1s")
	w.remove("live/f")
	w.remove("live/e")
	w.remove("live/d0")
	look(time.Second)
	wantLines(t, &w.log)
	if seconds() != 62 {
		t.Errorf("full for %v seconds, want 62", seconds())
	}
}

func TestEventLog_ReportsDeadLetters(t *testing.T) {
	t.Parallel()
	l, now := newEventLog(), time.Unix(1_700_000_000, 0)
	letter := func(reason contactsync.Reason, offset int64) []*DeadLetter {
		d := &DeadLetter{DeadLetter: contactsync.DeadLetter{Reason: reason, Stream: fmt.Sprint("st-", offset/3), Contact: "secret", Status: 400, Attempts: 2, Detail: fmt.Sprint("text=", offset)}}
		d.Record.Position = contactsync.Position{TopicPartition: testClaim.TopicPartition, Offset: offset}
		return []*DeadLetter{d}
	}
	l.report(now, false)
	wantLines(t, &l)
	l.acked(letter(contactsync.ReasonRejected, 1))
	l.report(now, false)
	wantLines(t, &l, "WARN events were set aside|letters=1|reasons=rejected=1|streams=1|stream=st-0|reason=rejected|status=400|detail=text=1|attempts=2|command=contactsync dlq show contacts/1@1")
	l.acked(letter(contactsync.ReasonRejected, 2))
	l.acked(letter(contactsync.ReasonInvalid, 3))
	l.acked(letter(contactsync.ReasonRejected, 4))
	l.report(now.Add(59*time.Second), false)
	wantLines(t, &l)
	l.report(now.Add(time.Minute), false)
	wantLines(t, &l, "letters=3|reasons=invalid=1 rejected=2|streams=2|stream=st-1|reason=rejected|status=400|detail=text=4|contacts/1@4")
	l.acked(letter(contactsync.ReasonInvalid, 5))
	l.report(now.Add(61*time.Second), true) // the last ones, at the end
	for _, line := range l.take() {
		if strings.Contains(fmt.Sprint(line), "secret") {
			t.Error("I11: what a dead letter says of a contact is in the log")
		}
	}
	if l.report(now.Add(2*time.Minute), false); len(l.take()) != 0 {
		t.Error("reported twice")
	}
}
