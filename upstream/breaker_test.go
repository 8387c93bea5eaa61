package upstream

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync"
)

// Streams of which every other request fails while others are answered do not open the breaker: here they fail one after the other.
func TestGate_StreamsThatFailNowAndThenDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(1, 0)
		bad := []string{"a", "b", "c", "d", "e", "f"}
		for i := range 100 {
			failing := bad
			if i < 2 { // the first failure of each counts
				failing = bad[3*i : 3*i+3]
			}
			for _, stream := range append([]string{"well"}, bad...) {
				time.Sleep(time.Millisecond)
				report, again := gates[0].Admit(time.Now(), stream, false)
				if report == nil {
					t.Fatalf("%s: not admitted for %v", stream, time.Until(again))
				}
				report(time.Now(), contactsync.Result{Kind: contactsync.Answered, Status: 200})
			}
			for _, stream := range failing {
				time.Sleep(time.Millisecond)
				if report, _ := gates[0].Admit(time.Now(), stream, false); report != nil {
					report(time.Now(), contactsync.Result{Kind: contactsync.Unavailable, Status: 500})
				}
			}
		}
	})
}

// A single stream that fails again and again before anything else is sent says nothing of the host, until another one
// fails as well or nothing was answered for others for long.
func TestGate_AStreamThatFailsFastDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		quiet  time.Duration // after the last answer for another stream
		fails  []string      // in turn
		closed bool
	}{
		"one beside others":                      {0, []string{"bad"}, true},
		"two of them":                            {0, []string{"bad", "well"}, false},
		"the only one that has anything to send": {DefaultConfig().Breaker.Interval, []string{"bad"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gates, _ := newTestGates(1, 0)
				send := func(stream string, kind contactsync.Kind) {
					time.Sleep(time.Millisecond)
					if report, _ := gates[0].Admit(time.Now(), stream, false); report != nil {
						report(time.Now(), contactsync.Result{Kind: kind, Status: 500})
					}
				}
				send("well", contactsync.Answered)
				time.Sleep(tt.quiet)
				for i := range 4 * DefaultConfig().Breaker.Consecutive {
					send(tt.fails[i%len(tt.fails)], contactsync.Unavailable)
				}
				if s := gates[0].State(time.Now()); (s.Name == StateReady) != tt.closed {
					t.Errorf("state is %+v", s)
				}
			})
		})
	}
}

// The log has the first opening, a line a minute with the count, and the end: not three lines for each time that an API which
// fails now and then is tried.
func TestBreaker_AHostThatFailsNowAndThenDoesNotFillTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, log := newTestGates(2, 0)
		began := time.Now()
		lines := func(want ...string) {
			t.Helper()
			got := strings.Split(strings.TrimSpace(log.String()), "\n")
			for i, text := range want {
				if len(got) != len(want) || !strings.Contains(got[i], text) {
					t.Fatalf("after %v the log has\n%s\nwant %q", time.Since(began), log, want)
				}
			}
		}
		second := func(kind contactsync.Kind) {
			t.Helper()
			for range 2 {
				if report, _ := gates[0].Admit(time.Now(), "st", false); report != nil {
					report(time.Now(), contactsync.Result{Kind: kind, Status: 503})
				}
			}
			for _, g := range gates { // of one host: a line comes once
				g.updateGauges(time.Now())
			}
			time.Sleep(time.Second)
		}
		for range 100 {
			second(contactsync.Unavailable)
		}
		lines(`"circuit breaker opened"`, `"circuit breaker opens again and again" host=api.test opened=4 since=`)
		for i := range 200 { // from here on answered for half of the time
			second([]contactsync.Kind{contactsync.Unavailable, contactsync.Answered}[i/20%2])
		}
		if n := strings.Count(log.String(), "\n"); n != 5 {
			t.Errorf("%d lines in five minutes:\n%s", n, log)
		}
		for range 30 {
			second(contactsync.Answered)
		}
		if strings.Contains(log.String(), "closed") {
			t.Errorf("closed for half a minute only:\n%s", log)
		}
		for range 60 {
			second(contactsync.Answered)
		}
		if text := log.String(); !strings.Contains(text, `"circuit breaker closed, and stays so" host=api.test opened=`) || !strings.Contains(text, " lasted=4m5") {
			t.Errorf("it is over:\n%s", text)
		}
		before := strings.Count(log.String(), "\n")
		for range 120 {
			second(contactsync.Answered)
		}
		if n := strings.Count(log.String(), "\n"); n != before {
			t.Errorf("lines after the end:\n%s", log)
		}
	})
}

// A stream that fails while others are answered says nothing of the host: however often it
// fails, the breaker stays closed for them. When nothing is answered any more, it opens.
func TestGate_AStreamThatFailsBesideOthersDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gates, _ := newTestGates(2, 0)
		result := func(gate int, stream string, kind contactsync.Kind) {
			t.Helper()
			time.Sleep(time.Millisecond)
			report, again := gates[gate].Admit(time.Now(), stream, false)
			if report == nil {
				t.Fatalf("%s: not admitted for %v", stream, time.Until(again))
			}
			time.Sleep(time.Millisecond)
			report(time.Now(), contactsync.Result{Kind: kind, Status: 500})
		}
		result(0, "well", contactsync.Answered)
		for range 100 {
			for _, bad := range []string{"bad", "worse", "worst"} {
				result(0, bad, contactsync.Unavailable)
			}
			result(1, "well", contactsync.Answered) // of another account on the host
		}
		for range 2 { // the second failure of each in a row without an answer
			for _, bad := range []string{"bad", "worse", "worst"} {
				if gates[0].State(time.Now()).Name == StateReady {
					result(0, bad, contactsync.Unavailable)
				}
			}
		}
		if s := gates[0].State(time.Now()); s.Name != StateReady {
			t.Errorf("three streams of four fail: state is %+v", s)
		}
		fail := func(times int, stream string) string {
			for range times {
				if gates[0].State(time.Now()).Name == StateReady {
					result(0, stream, contactsync.Unavailable)
				}
			}
			return gates[0].State(time.Now()).Name
		}
		if s := fail(50, "bad"); s != StateReady {
			t.Errorf("others have nothing to send for a moment: state is %s", s)
		}
		time.Sleep(DefaultConfig().Breaker.Interval)
		if s := fail(5, "bad"); s != StateBreakerOpen {
			t.Errorf("nothing is answered any more: state is %s", s)
		}
	})
}
