package batcher

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
)

var (
	refusedCredentials = contactsync.Result{Kind: contactsync.Unauthorized, Status: 401}
	redirected         = contactsync.Result{Kind: contactsync.Unavailable, Status: 302}
	notAllowed         = contactsync.Result{Kind: contactsync.Unknown, Status: 405}
)

// bad answers requests with the contact "bad" so, and delivers all others.
func bad(r contactsync.Result) func(time.Time, contactsync.Batch) contactsync.Result {
	return func(_ time.Time, b contactsync.Batch) contactsync.Result {
		if hasRow(b, "bad") {
			return r
		}
		return allDelivered(b)
	}
}

// Whatever the API answers to one row, by itself or among others, that harms only the row: the others of its stream are
// delivered as ever. What no row may be set aside for is tried alone until the API takes it.
func TestWindow_WhateverTheAnswerARowHarmsOnlyItself(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]contactsync.Result{"401": refusedCredentials, "404": refusedAsUnknown, "302": redirected, "405": notAllowed} {
		for _, beside := range []int{0, 40} {
			t.Run(fmt.Sprintf("%s, %d rows beside", name, beside), func(t *testing.T) {
				t.Parallel()
				l, rnd := newLifetime(t, 5, nil), rand.New(rand.NewPCG(1, 2))
				l.budget, l.every = time.Second, 20*time.Second
				l.answer = bad(r)
				l.live(20*time.Minute, true)
				before := [...]time.Duration{l.p99("s0"), l.p99(l.streams[1:]...)}
				clear(l.ages)
				l.change("s0", "bad")
				l.addRows(rnd, "s0", beside, 0)
				l.live(40*time.Second, true) // in which it is found
				st, held := l.schedule.streams[streamKey{"a", "s0"}], 0
				if len(st.contacts) > 1+1 { // it, and what has just come
					t.Errorf("%d contacts of its stream wait", len(st.contacts))
				}
				clear(l.ages)
				for range 360 {
					l.live(10*time.Second, true)
					if st.health.hold != nil || st.health.failures > 0 {
						held++
					}
				}
				for i, streams := range [][]string{{"s0"}, l.streams[1:]} {
					if now := l.p99(streams...); now > 2*before[i]+l.budget { // a call for it may have come just before
						t.Errorf("%s: p99 %v, without the bad row %v", strings.Join(streams, " "), now, before[i])
					}
				}
				if held > 0 || len(l.letters) > 0 || st.contacts["bad"] == nil {
					t.Errorf("its stream is on hold or fails at %d of 360 times, %d dead letters, waits %v", held, len(l.letters), st.contacts["bad"] != nil)
				}
				l.answer = bad(allDelivered(contactsync.Batch{Rows: make([]contactsync.Row, 1)}))
				if l.live(2*time.Minute, true); st.contacts["bad"] != nil {
					t.Error("it was not sent when the API took it")
				}
			})
		}
	}
}

// While nothing else is answered, refused credentials cost no call but the probes, and make no dead letter, however many
// contacts wait.
func TestWindow_RefusedCredentialsCostProbesOnly(t *testing.T) {
	t.Parallel()
	l := newLifetime(t, 10, nil)
	l.budget, l.every = time.Second, 20*time.Second
	l.answer = func(_ time.Time, b contactsync.Batch) contactsync.Result { return allDelivered(b) }
	l.live(5*time.Minute, true)
	l.calls, l.answer = 0, func(time.Time, contactsync.Batch) contactsync.Result { return refusedCredentials }
	l.live(2*time.Hour, true)
	// Two of each stream until the account is on hold, and then probes at most a minute apart.
	if most := 2*accountStrikes + 2*120; l.calls > most || len(l.letters) > 0 || l.schedule.account("a").onHold() == nil {
		t.Errorf("%d calls in two hours, at most %d are due; %d dead letters", l.calls, most, len(l.letters))
	}
}

// A stream that waits because one contact was refused alone tries another one at once if others of its credential are
// answered, and if these are refused too, the third tells that it is the stream.
func TestWindow_AFewContactsTellNothingOfAnAcceptedStream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		result   contactsync.Result
		stranger bool   // the stream was never accepted
		answered string // another stream, meanwhile
		tried    string
	}{
		{"others are answered", refusedCredentials, false, "st2", "b c"},
		{"by an unknown stream", refusedAsUnknown, false, "st2", "b c"},
		{"by a failure", fails, false, "st2", "b c"},
		{"nothing is answered", refusedCredentials, false, "", ""},
		{"others of another app are answered", refusedCredentials, false, "other", ""},
		{"a stream that was never accepted", refusedCredentials, true, "st2", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newTestWindow(t, func(c *Config) { c.BackoffMin, c.BackoffMax, c.HoldProbeMax = time.Hour, time.Hour, time.Hour })
			w.schedule.credential = func(_, stream string) string { return stream[:2] }
			st := w.schedule.stream("st", "a")
			if w.known("st2"); !tt.stranger {
				w.known("st")
			}
			w.add("a")
			for w.now = w.now.Add(time.Minute); st.health.failures == 0; {
				w.settle(w.Next(w.now), tt.result)
			}
			if w.now = w.now.Add(time.Second); tt.answered != "" {
				w.add(tt.answered + "/x")
				req := w.send()
				w.settle(req, allDelivered(req.Batch))
			}
			w.add("b", "c", "d")
			var tried []string
			for req := w.Next(w.now); req != nil; req = w.Next(w.now) {
				tried = append(tried, ids(req))
				w.settle(req, tt.result)
			}
			if got := strings.Join(tried, " "); got != tt.tried {
				t.Errorf("%q are tried without a wait, want %q", got, tt.tried)
			}
		})
	}
}
