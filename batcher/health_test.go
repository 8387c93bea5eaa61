package batcher

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// byStream answers some streams with a kind, and delivers all others.
func byStream(kinds map[string]contactsync.Kind) func(context.Context, int, contactsync.Batch) contactsync.Result {
	return func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
		if k, ok := kinds[b.Stream]; ok {
			return contactsync.Result{Kind: k, Status: 400 + int(k), Detail: "no"}
		}
		return allDelivered(b)
	}
}

// sent counts the requests of a stream.
func (s *harness) sent(stream string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.batch.Stream == stream {
			n++
		}
	}
	return n
}

// held is how many streams are on hold, of all accounts.
func (s *harness) held(kind string) (n float64) {
	for _, a := range s.status().Accounts {
		n += testutil.ToFloat64(s.m.Batcher.StreamsOnHold.WithLabelValues(a.Account, kind))
	}
	return n
}

func TestBatcher_HoldsAStreamAndNoOther(t *testing.T) {
	for kind, name := range map[contactsync.Kind]string{contactsync.Unauthorized: "unauthorized", contactsync.StreamGone: "stream_gone"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, func(c *Config) { c.HoldProbeMax = 5 * time.Minute })
				dead := map[string]contactsync.Kind{"dead": kind}
				s.answer = byStream(dead)
				s.add("dead/a", "live/b")
				for i := range 60 {
					s.at(time.Duration(i+1) * time.Minute)
					s.add("dead/a", "dead/c", "live/b")
				}
				s.at(61 * time.Minute)
				if n := s.sent("dead"); n < 12 || n > 35 {
					t.Errorf("%d requests of the stream on hold in an hour, want a few that come further and further apart", n)
				}
				if n := s.sent("live"); n != 61 {
					t.Errorf("%d requests of the other stream, want one for each of its events", n)
				}
				if len(s.deadLetters) != 0 || s.held(name) != 1 {
					t.Errorf("I6: %d dead letters, %v streams on hold", len(s.deadLetters), s.held(name))
				}
				st := s.status()
				if len(st.Holds) != 1 || st.Holds[0].Stream != "dead" || st.Holds[0].Kind != name || st.Holds[0].Contacts != 2 ||
					st.Holds[0].Detail != "no" || !st.Holds[0].NextProbe.After(time.Now()) {
					t.Errorf("status %+v", st.Holds)
				}
				log := s.log.String()
				if strings.Count(log, "stream is on hold") != 1 || strings.Count(log, "streams are on hold") < 55 || strings.Count(log, "\n") > 70 {
					t.Errorf("want it logged once, with a reminder each minute and little else:\n%s", log)
				}
				delete(dead, "dead")
				s.at(70 * time.Minute)
				if len(s.ended) != int(s.offset) || s.held(name) != 0 || len(s.status().Holds) != 0 {
					t.Errorf("I9: %d of %d ended after the end of the fault", len(s.ended), s.offset)
				}
				if !strings.Contains(s.log.String(), "no longer on hold") {
					t.Errorf("the end is not logged:\n%s", &s.log)
				}
			})
		})
	}
}

// An expired token is no hold: the first refusal is followed by one more try.
func TestBatcher_FirstRefusalIsRepeatedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.answer = func(_ context.Context, n int, b contactsync.Batch) contactsync.Result {
			if n == 1 {
				return contactsync.Result{Kind: contactsync.Unauthorized, Status: 401}
			}
			return allDelivered(b)
		}
		s.add("a")
		s.at(time.Second)
		s.wantCalls("500ms a", "500ms a")
		s.answer = func(_ context.Context, n int, b contactsync.Batch) contactsync.Result {
			if n == 3 {
				return contactsync.Result{Kind: contactsync.Unauthorized, Status: 401}
			}
			return allDelivered(b)
		}
		s.add("b") // another one, later: likewise
		s.at(3 * time.Second)
		s.wantCalls("500ms a", "500ms a", "1.5s b", "1.5s b")
		if strings.Contains(s.log.String(), "on hold") {
			t.Errorf("put on hold:\n%s", &s.log)
		}
	})
}

func TestBatcher_HoldsTheAccountWhenManyStreamsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.BackoffMin, c.BackoffMax = time.Second, time.Minute })
		refused := map[string]contactsync.Kind{}
		var ids []string
		for i := range 50 {
			stream := fmt.Sprintf("st%02d", i)
			refused[stream] = contactsync.Unauthorized
			ids = append(ids, stream+"/a")
		}
		s.answer = byStream(refused)
		s.add(ids...)
		s.at(2 * time.Hour)
		if st := s.status(); st.Accounts[0].HeldSince.IsZero() || testutil.ToFloat64(s.m.Batcher.AccountsOnHold) != 1 {
			t.Fatalf("the account is not on hold: %+v", st.Accounts)
		}
		// The 16 that may be in flight at once are out before the first answer. Then
		// one probe at a time, a minute apart at most and half a minute at least.
		if n := len(s.calls); n < 100 || n > 16*2+2*120+10 {
			t.Errorf("%d requests in two hours", n)
		}
		for i := 60; i < len(s.calls)-1; i++ {
			if gap := s.calls[i+1].at - s.calls[i].at; gap < 30*time.Second && s.calls[i+1].batch.Stream != s.calls[i].batch.Stream {
				t.Errorf("probes %v apart: %v, %v", gap, s.calls[i].batch.Stream, s.calls[i+1].batch.Stream)
			}
		}
		clear(refused)
		s.at(2*time.Hour + 2*time.Minute)
		if len(s.ended) != 50 || len(s.deadLetters) != 0 {
			t.Errorf("I9: %d of 50 ended, %d dead letters", len(s.ended), len(s.deadLetters))
		}
		if st := s.status(); !st.Accounts[0].HeldSince.IsZero() || len(st.Holds) != 0 {
			t.Errorf("still on hold: %+v", st)
		}
	})
}

func TestBatcher_HoldMaxSetsContactsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.HoldMax = time.Hour })
		s.answer = byStream(map[string]contactsync.Kind{"dead": contactsync.StreamGone})
		s.add("dead/a", "dead/b", "dead/a")
		s.at(30 * time.Minute)
		s.add("dead/c")
		s.at(59 * time.Minute)
		s.wantEnded()
		s.at(62 * time.Minute)
		s.wantEnded(0, 1, 2)
		if len(s.deadLetters) != 2 || s.deadLetters[0].Reason != contactsync.ReasonStreamGone || s.deadLetters[0].Status == 0 || len(s.deadLetters[0].Positions)+len(s.deadLetters[1].Positions) != 3 {
			t.Fatalf("dead letters %+v", s.deadLetters)
		}
		if log := s.log.String(); strings.Count(log, "has lasted for hold_max") != 1 || !strings.Contains(log, "stream=dead held_for=1h0m") || strings.Contains(log, "no longer") {
			t.Errorf("the log does not say what hold_max has done:\n%s", log)
		}
		s.at(92 * time.Minute)
		s.wantEnded(0, 1, 2, 3) // each contact has its hour
		s.at(3 * time.Hour)
		if log := s.log.String(); strings.Count(log, "has lasted for hold_max") != 1 ||
			!strings.Contains(log, `no longer on hold" because="nothing of it is left to send" kind=stream_gone`) || !strings.Contains(log, "dead_letters=3") {
			t.Errorf("the end of the hold looks like a recovery:\n%s", log)
		}
	})
}

// What one account delivers says nothing of another.
func TestBatcher_AccountsAreHeldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.BackoffMin, c.BackoffMax, c.HoldProbeMax = time.Minute, time.Minute, time.Hour })
		s.answer = byStream(map[string]contactsync.Kind{"x": contactsync.Unauthorized, "y": contactsync.Unauthorized, "z": contactsync.Unauthorized})
		s.add("x/a", "y/a", "z/a")
		s.at(30 * time.Second)
		if s.status().Accounts[0].HeldSince.IsZero() {
			t.Fatal("the account is not on hold")
		}
		calls := len(s.calls)
		other := func(ev *event.Event) { ev.Contact.Account = "b" }
		s.addWith(other, "u/a")
		s.addWith(other, "v/a")
		s.at(32 * time.Second)
		if len(s.calls) != calls+2 || s.status().Accounts[0].HeldSince.IsZero() {
			t.Errorf("%d requests, want those of the two streams of the other account alone", len(s.calls)-calls)
		}
	})
}

// A few dead streams among live ones say nothing of their account.
func TestBatcher_DeadStreamsAmongLiveOnesDoNotHoldTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.answer = byStream(map[string]contactsync.Kind{
			"dead1": contactsync.StreamGone, "dead2": contactsync.StreamGone, "dead3": contactsync.StreamGone, "dead4": contactsync.StreamGone,
		})
		for i := range 4 {
			s.add(fmt.Sprintf("dead%d/a", i+1))
			s.at(time.Duration(2*i+1) * time.Second)
			s.add(fmt.Sprintf("live/%d", i))
			s.at(time.Duration(2*i+2) * time.Second)
		}
		s.at(time.Minute)
		if s.held("stream_gone") != 4 || strings.Contains(s.log.String(), "account is on hold") {
			t.Errorf("%v streams on hold, want 4, and the account never:\n%s", s.held("stream_gone"), &s.log)
		}
	})
}

// metered admits one request a second.
type metered struct {
	open
	next time.Time
}

func (m *metered) Admit(now time.Time, _ string, _ bool) (func(time.Time, contactsync.Result) time.Time, time.Time) {
	if now.Before(m.next) {
		return nil, m.next
	}
	m.next = now.Add(time.Second)
	return func(time.Time, contactsync.Result) time.Time { return time.Time{} }, time.Time{}
}

// Hundreds of streams on hold have older events than any other, and more probes
// due than the account has calls. The others get three quarters of these.
func TestWindow_ManyHoldsDoNotStarveTheOthers(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.HoldProbeMax, cfg.DeadLetterMaxPerMinute, cfg.DeadLetterMaxRatio = 10*time.Second, 0, 0
	w := NewWindow(cfg, func(string) (Gate, bool) { return &metered{}, true }, &metrics.New(prometheus.NewRegistry()).Batcher, 1)
	w.Assign(time.Unix(0, 0), []contactsync.Claim{testClaim}, false)
	now, offset := time.Unix(1_700_000_000, 0), int64(0)
	add := func(stream string, n int) {
		for i := range n {
			id := fmt.Sprint("c", i)
			w.Add(now, &event.Event{
				Record: contactsync.Record{Position: contactsync.Position{TopicPartition: testClaim.TopicPartition, Offset: offset}, Generation: testClaim.Generation, Time: now}, Kind: event.Update,
				Contact: event.Contact{Stream: stream, ID: id, Account: "a", Body: []byte(`{}`)},
			})
			offset++
		}
	}
	for i := range 200 {
		add(fmt.Sprint("dead", i), 1)
	}
	good, bad := 0, 0
	for range 4000 {
		now = now.Add(500 * time.Millisecond)
		add(fmt.Sprint("live", now.Unix()%50), 1) // more than the account can take
		f := w.Next(now)
		if f == nil {
			continue
		}
		r := allDelivered(f.Batch)
		if strings.HasPrefix(f.Batch.Stream, "dead") {
			r = contactsync.Result{Kind: contactsync.StreamGone, Status: 404}
			bad++
		} else {
			good++
		}
		w.Settle(now, f, r)
	}
	bad -= 200 // the first of each, before anybody knew
	if good < 5*bad/2 || bad < 200 {
		t.Errorf("%d requests of live streams and %d probes of dead ones, want about three to one", good, bad)
	}
}

// Requests that were out when a hold began say nothing new: they neither make the
// wait longer nor a hold of one expired token.
func TestBatcher_ManyRequestsInOneBlip(t *testing.T) {
	for kind, held := range map[contactsync.Kind]int{contactsync.StreamGone: 1, contactsync.Unauthorized: 0} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, nil)
				s.answer = func(_ context.Context, n int, b contactsync.Batch) contactsync.Result {
					time.Sleep(100 * time.Millisecond)
					if n <= 16 { // all that were out at the same moment
						return contactsync.Result{Kind: kind, Status: 400}
					}
					return allDelivered(b)
				}
				s.add(names(0, 1600)...)
				s.at(30 * time.Second)
				if len(s.ended) != 1600 {
					t.Errorf("30 s after a blip of 100 ms %d of 1600 have ended: %+v", len(s.ended), s.status().Holds)
				}
				if n := strings.Count(s.log.String(), "stream is on hold"); n != held {
					t.Errorf("%d holds, want %d:\n%s", n, held, &s.log)
				}
			})
		})
	}
}

func TestBatcher_OneStreamIsOneStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.HoldMax, c.HoldProbeMax = 20*time.Second, 5*time.Second })
		s.answer = byStream(map[string]contactsync.Kind{"dead": contactsync.StreamGone})
		for i := range 5 {
			s.at(time.Duration(i) * time.Minute)
			s.add(fmt.Sprint("dead/", i))
		}
		s.at(5*time.Minute + 25*time.Second)
		if strings.Contains(s.log.String(), "account is on hold") {
			t.Errorf("one stream put its account on hold:\n%s", &s.log)
		}
		began, ended := strings.Count(s.log.String(), "stream is on hold"), strings.Count(s.log.String(), "no longer on hold")
		if began == 0 || began != ended || len(s.deadLetters) != 5 || s.held("stream_gone") != 0 {
			t.Errorf("logged %d times that it is on hold and %d times that it no longer is, %d dead letters, %v held", began, ended, len(s.deadLetters), s.held("stream_gone"))
		}
	})
}

// The first answer about rows frees the account, whatever it says of them.
func TestBatcher_AnyAnswerAboutRowsFreesTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.Linger = 0 })
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			if b.Stream == "fresh" {
				return contactsync.Result{Kind: contactsync.BadRequest, Status: 400}
			}
			return contactsync.Result{Kind: contactsync.Unauthorized, Status: 401}
		}
		s.add("x/a", "y/a", "z/a")
		s.at(time.Second)
		if s.status().Accounts[0].HeldSince.IsZero() {
			t.Fatal("the account is not on hold")
		}
		s.add("fresh/a")
		s.at(2 * time.Minute)
		if len(s.deadLetters) != 1 || !s.status().Accounts[0].HeldSince.IsZero() {
			t.Errorf("%d dead letters, the account is held since %v", len(s.deadLetters), s.status().Accounts[0].HeldSince)
		}
	})
}

func TestBatcher_HoldMaxLooksBehindAYoungContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.HoldMax, c.Linger, c.HoldProbeMax = time.Hour, 0, time.Minute })
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			time.Sleep(time.Second)
			return contactsync.Result{Kind: contactsync.StreamGone, Status: 404}
		}
		s.add("a", "b")
		s.at(50 * time.Minute)
		for s.status().InFlightRequests == 0 {
			s.at(time.Since(s.start) + 100*time.Millisecond)
		}
		s.addWith(func(ev *event.Event) { ev.Kind = event.Delete }, "a") // and then it is back, in front of b
		s.add("a")
		s.at(65 * time.Minute)
		s.wantEnded(0, 1, 2) // all but the new a
		if l := s.deadLetters[0]; l.Contact != "b" || l.Attempts < 10 {
			t.Errorf("dead letter %+v: want b, with every request that carried it", l)
		}
	})
}

func TestBatcher_KindsThatAlternateAreOneHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.HoldMax, c.Linger = 10*time.Minute, 0 })
		s.answer = func(_ context.Context, n int, _ contactsync.Batch) contactsync.Result {
			if n%3 == 0 {
				return contactsync.Result{Kind: contactsync.StreamGone, Status: 404}
			}
			return contactsync.Result{Kind: contactsync.Unauthorized, Status: 401}
		}
		s.add("a")
		s.at(2 * time.Hour)
		if len(s.deadLetters) != 1 || len(s.calls) > 40 {
			t.Errorf("%d dead letters and %d requests in two hours: hold_max and the waits begin anew with each kind", len(s.deadLetters), len(s.calls))
		}
	})
}

// However many dead streams there are, and however their events are the oldest
// after a restart, a live stream waits for a few requests only.
func TestWindow_DeadStreamsDoNotDelayALiveOne(t *testing.T) {
	t.Parallel()
	for _, dead := range []int{2, 20, 100, 400} {
		for name, gate := range map[string]Gate{"a request a second": &metered{}, "no budget": open{}} {
			t.Run(fmt.Sprint(dead, " dead, ", name), func(t *testing.T) {
				t.Parallel()
				start := time.Unix(1_700_000_000, 0)
				now, offset := start, int64(0)
				w := NewWindow(DefaultConfig(), func(string) (Gate, bool) { return gate, true }, &metrics.New(prometheus.NewRegistry()).Batcher, 1)
				w.Assign(now, []contactsync.Claim{testClaim}, false)
				add := func(stream, id string) {
					w.Add(now, &event.Event{
						Record: contactsync.Record{Position: contactsync.Position{TopicPartition: testClaim.TopicPartition, Offset: offset}, Generation: testClaim.Generation, Time: now}, Kind: event.Update,
						Contact: event.Contact{Stream: stream, ID: id, Account: "a", Body: []byte(`{}`)},
					})
					offset++
				}
				for i := range dead {
					add(fmt.Sprint("dead", i), "a")
				}
				arrived, worst := map[string]time.Time{}, time.Duration(0)
				for now.Before(start.Add(time.Hour)) {
					if now = now.Add(100 * time.Millisecond); now.Sub(start)%(10*time.Second) == 0 {
						id := fmt.Sprint(offset)
						arrived[id] = now
						add("live", id)
					}
					for f := w.Next(now); f != nil; f = w.Next(now) {
						r := contactsync.Result{Kind: contactsync.StreamGone, Status: 404}
						if f.Batch.Stream == "live" {
							r = allDelivered(f.Batch)
							for _, row := range f.Batch.Rows {
								worst = max(worst, now.Sub(arrived[row.ID]))
							}
						}
						w.Settle(now, f, r)
					}
				}
				if worst > 15*time.Second || worst == 0 {
					t.Errorf("an event of the live stream waited %v", worst)
				}
			})
		}
	}
}
