package batcher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
)

// contradicting is an answer that contradicts itself about every row.
func contradicting(b contactsync.Batch) contactsync.Result {
	r := allDelivered(b)
	for i := range r.Rows {
		r.Rows[i] = contactsync.Outcome{Verdict: contactsync.Contradicted, Reason: "says both"}
	}
	return r
}

// contradictingWith contradicts itself wherever one of these contacts is in the request.
func contradictingWith(ids ...string) func(context.Context, int, contactsync.Batch) contactsync.Result {
	return func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
		for _, row := range b.Rows {
			if slices.Contains(ids, row.ID) {
				return contradicting(b)
			}
		}
		return allDelivered(b)
	}
}

func broken(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
	return contradicting(b)
}

// contractStreams are contacts of several streams.
func contractStreams(contacts int) (ids []string) {
	for i := range 10 * contacts {
		ids = append(ids, fmt.Sprintf("st%d/c%02d", i%10, i/10))
	}
	return ids
}

// An API whose answers contradict themselves whatever the rows costs a few calls and then one a minute, and no row becomes a
// dead letter, however long it lasts. When it is mended everything is delivered.
func TestContract_AnAPIThatBreaksItHoldsTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.HoldMax, c.MaxInFlight, c.BackoffMax = time.Hour, 1, time.Minute })
		s.answer = broken
		s.add(contractStreams(20)...)
		s.at(time.Minute)
		if n := len(s.calls); n > 30 || testutil.ToFloat64(s.m.Batcher.AccountsOnHold) != 1 || s.held("contract") == 0 {
			t.Errorf("%d calls in the first minute, %v accounts on hold, and %v streams", n, testutil.ToFloat64(s.m.Batcher.AccountsOnHold), s.held("contract"))
		}
		first := len(s.calls)
		s.at(25 * time.Hour)
		probes := s.calls[first:]
		tried := map[string]bool{}
		for _, c := range probes {
			if len(c.batch.Rows) != 1 || c.batch.Purpose != contactsync.Probe {
				t.Fatalf("a probe has %d rows, and its purpose is %v", len(c.batch.Rows), c.batch.Purpose)
			}
			tried[c.batch.Stream+"/"+c.batch.Rows[0].ID] = true
		}
		if n := len(probes); n < 24*60 || n > 2*25*60 || len(tried) < 100 {
			t.Errorf("%d probes of %d contacts in a day, want up to two a minute, of another contact each time", n, len(tried))
		}
		if len(s.deadLetters) != 0 || len(s.ended) != 0 {
			t.Fatalf("%d dead letters, %d events ended", len(s.deadLetters), len(s.ended))
		}
		if log := s.log.String(); strings.Count(log, "account is on hold: the API's answers contradict themselves") != 1 {
			t.Errorf("not logged once:\n%.2000s", log)
		}
		s.answer = contradictingWith()
		s.at(26 * time.Hour)
		if len(s.ended) != int(s.offset) || len(s.deadLetters) != 0 || s.held("contract") != 0 || testutil.ToFloat64(s.m.Batcher.AccountsOnHold) != 0 {
			t.Errorf("mended: %d of %d events ended, %d dead letters, %v streams on hold", len(s.ended), s.offset, len(s.deadLetters), s.held("contract"))
		}
	})
}

// One contact that such answers are about is kept alone, and the others of its stream are delivered; those
// of single contacts of several streams hold nothing either.
func TestContract_AContactOfItsOwnHoldsNobody(t *testing.T) {
	for name, bad := range map[string][]string{"one": {"c01"}, "four of four streams": {"c01", "c02", "c03", "c04"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHarness(t, func(c *Config) { c.BackoffMax, c.HoldMax = time.Minute, 10*time.Minute })
				s.answer = contradictingWith(bad...)
				var healthy, sick []string
				for i, id := range bad {
					sick = append(sick, fmt.Sprintf("st%d/%s", i, id))
				}
				for _, id := range contractStreams(20) {
					if !strings.Contains(strings.Join(bad, " "), id[len(id)-3:]) {
						healthy = append(healthy, id)
					}
				}
				s.add(healthy...)
				s.add(sick...)
				for i := range 60 {
					s.at(time.Duration(i+1) * time.Minute)
					s.add(healthy[i])
				}
				s.at(3 * time.Hour)
				if len(s.ended) != int(s.offset)-len(sick) || len(s.deadLetters) != 0 {
					t.Errorf("%d of %d events ended, %d dead letters", len(s.ended), int(s.offset)-len(sick), len(s.deadLetters))
				}
				if log := s.log.String(); strings.Contains(log, "on hold") {
					t.Errorf("on hold:\n%s", log)
				}
				if n := len(s.calls); n > len(sick)*(3*60*2+40)+100 {
					t.Errorf("%d calls", n)
				}
				s.answer = contradictingWith()
				s.at(3*time.Hour + 2*time.Minute)
				if len(s.ended) != int(s.offset) || len(s.deadLetters) != 0 {
					t.Errorf("mended: %d of %d events ended, %d dead letters", len(s.ended), s.offset, len(s.deadLetters))
				}
			})
		})
	}
}

// The row for which an answer contradicts itself is found by halving, in calls that are isolation's.
func TestContract_TheRowIsFoundByHalving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, nil)
		s.answer = contradictingWith("c77")
		var ids []string
		for i := range 128 {
			ids = append(ids, fmt.Sprintf("c%d", i))
		}
		s.add(ids...)
		s.at(2 * time.Second)
		isolation := 0
		for _, c := range s.calls {
			if c.batch.Purpose == contactsync.Isolation {
				isolation++
			}
		}
		if n := len(s.calls); len(s.ended) != 127 || n > 20 || isolation < 8 {
			t.Errorf("%d of 128 events ended after %d calls, %d of them isolation", len(s.ended), n, isolation)
		}
	})
}

// A row that is contradicted beside others that are settled is sent again however often, and never becomes a dead letter.
func TestContract_BesideOthersARowIsNeverSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.RowAttempts = 2 })
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			r := allDelivered(b)
			for i, row := range b.Rows {
				if row.ID == "bad" {
					r.Rows[i] = contactsync.Outcome{Verdict: contactsync.Contradicted, Reason: "says both"}
				}
			}
			return r
		}
		s.add("a", "bad", "b")
		s.at(time.Hour)
		if len(s.ended) != 2 || len(s.deadLetters) != 0 || len(s.calls) < 20 {
			t.Errorf("%d events ended, %d dead letters, %d calls", len(s.ended), len(s.deadLetters), len(s.calls))
		}
	})
}

// Contacts that come one by one hold the account with the third, unless others are answered for in between.
func TestContract_ThreeInARow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		answers string // to x, y and others, each alone: C contradicts itself, D is delivered
		held    bool
	}{
		{"CC", false}, {"CCC", true}, {"CCDC", false}, {"CCDCCC", true}, {"DCCC", true},
	} {
		w := newTestWindow(t, nil)
		for i, a := range tt.answers {
			w.add(fmt.Sprintf("st%d/c%d", i, i))
			for w.now = w.now.Add(time.Second); ; w.now = w.now.Add(time.Second) {
				req := w.Next(w.now)
				if req == nil {
					t.Fatalf("%s: nothing is sent", tt.answers)
				}
				if id := ids(req); id != fmt.Sprintf("c%d", i) { // one that was contradicted before
					w.settle(req, contradicting(req.Batch))
					continue
				}
				if a == 'D' {
					w.settle(req, allDelivered(req.Batch))
				} else {
					w.settle(req, contradicting(req.Batch))
				}
				break
			}
		}
		a := w.schedule.accounts[0]
		if held := a.onHold() != nil; held != tt.held {
			t.Errorf("%s: on hold %v", tt.answers, held)
		}
		for st := range w.schedule.streams {
			if h := w.schedule.streams[st].health; tt.answers[st.name[2]-'0'] == 'C' && h.accepted {
				t.Errorf("%s: %s is taken for accepted", tt.answers, st.name)
			}
		}
	}
}

// A probe whose answer settles its row ends the hold, also of an account whose first contacts stay contradicted: these are
// kept alone from then on. An operator's release has the stream tried at once.
func TestContract_EndsWithAnAnswerThatFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.BackoffMax = 10 * time.Minute })
		s.answer = contradictingWith("c0", "c1", "c2")
		s.add("a/c0", "b/c1", "c/c2")
		s.at(time.Hour)
		if testutil.ToFloat64(s.m.Batcher.AccountsOnHold) != 1 {
			t.Fatalf("the account is not on hold:\n%s", &s.log)
		}
		s.add("d/good")
		s.at(90 * time.Minute)
		if len(s.ended) != 1 || testutil.ToFloat64(s.m.Batcher.AccountsOnHold) != 0 {
			t.Fatalf("%d events ended, and %v accounts are on hold", len(s.ended), testutil.ToFloat64(s.m.Batcher.AccountsOnHold))
		}
		s.at(4 * time.Hour)
		if testutil.ToFloat64(s.m.Batcher.AccountsOnHold) != 0 || len(s.deadLetters) != 0 {
			t.Errorf("on hold again for contacts beside which others are answered for: %v accounts, %d dead letters", testutil.ToFloat64(s.m.Batcher.AccountsOnHold), len(s.deadLetters))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.BackoffMax = time.Hour })
		s.answer = broken
		s.add(contractStreams(2)...)
		s.at(5 * time.Hour)
		s.answer = contradictingWith()
		held := s.status().Holds[0]
		if held.Kind != "contract" || held.Detail == "" {
			t.Errorf("%+v", held)
		}
		err := s.b.ReleaseHold("", held.Stream)
		synctest.Wait()
		if err != nil || len(s.ended) == 0 {
			t.Errorf("%v, and %d events ended", err, len(s.ended))
		}
		s.at(5*time.Hour + time.Minute)
		if len(s.ended) != int(s.offset) || len(s.deadLetters) != 0 {
			t.Errorf("%d of %d events ended, %d dead letters", len(s.ended), s.offset, len(s.deadLetters))
		}
	})
}
