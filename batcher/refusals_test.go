package batcher

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
)

// rejects answers rows of some ids as refused, each for itself.
func rejects(bad func(id string) bool) func(context.Context, int, contactsync.Batch) contactsync.Result {
	return func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
		r := allDelivered(b)
		for i, row := range b.Rows {
			if bad(row.ID) {
				r.Rows[i] = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "not allowed"}
			}
		}
		return r
	}
}

// mostlyBad is nine contacts of ten.
func mostlyBad(id string) bool { return !strings.HasSuffix(id, "0") }

func TestBatcher_PoisonWithinTheBudgetIsSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio = 5, 0.5 })
		s.answer = rejects(func(id string) bool { return strings.HasSuffix(id, "3") }) // a tenth
		s.add(names(0, 100)...)
		s.at(time.Minute)
		if len(s.deadLetters) != 10 || len(s.ended) != 100 || s.held("rejecting") != 0 {
			t.Errorf("%d dead letters, %d ended: more than dead_letter_max_per_minute, but far less than dead_letter_max_ratio", len(s.deadLetters), len(s.ended))
		}
	})
}

func TestBatcher_OutageOfRowsIsNotPoison(t *testing.T) {
	for name, outage := range map[string]func(context.Context, int, contactsync.Batch) contactsync.Result{
		"each row": rejects(func(string) bool { return true }),
		"the request": func(context.Context, int, contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.BadRequest, Status: 400, Detail: "maintenance"}
		},
		"nothing accounted for": func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: make([]contactsync.Outcome, len(b.Rows))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// hold_max is for other holds: these rows were refused, not their stream.
				s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.BackoffMax, c.HoldMax = 5, 10*time.Second, time.Minute })
				s.answer = outage
				s.add(names(0, 300)...)
				s.at(59 * time.Second)
				if a := s.status().Accounts[0]; a.Rejected < 5 || a.DeadLetters != len(s.deadLetters) || a.DeadLetterMaxPerMinute != 5 || a.HeldStreams != 1 || a.HeldEvents != 300-len(s.ended) {
					t.Errorf("the status does not say what is going on: %+v, %d dead letters, %d events ended", a, len(s.deadLetters), len(s.ended))
				}
				if first := len(s.deadLetters); first > 5 || name == "each row" && first > 0 {
					t.Errorf("I6: %d dead letters in the first minute, although everything was refused", first)
				}
				s.at(10 * time.Minute)
				if most := 5 * 11; len(s.deadLetters) > most {
					t.Errorf("I6: %d dead letters in ten minutes, at most %d are in the budget", len(s.deadLetters), most)
				}
				if s.held("rejecting") != 1 || testutil.ToFloat64(s.m.Batcher.RejectedRowsRetained) == 0 {
					t.Errorf("nothing says that the stream is on hold: %v, kept %v", s.held("rejecting"), testutil.ToFloat64(s.m.Batcher.RejectedRowsRetained))
				}
				good := len(s.deadLetters)
				s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result { return allDelivered(b) }
				from := len(s.calls)
				s.at(12 * time.Minute)
				if len(s.ended) != 300 || len(s.deadLetters) != good {
					t.Errorf("I9: %d of 300 ended after the outage, %d more dead letters", len(s.ended), len(s.deadLetters)-good)
				}
				if n := len(s.calls) - from; n > 20 {
					t.Errorf("%d requests after the outage: the stream keeps to single rows", n)
				}
			})
		})
	}
}

// The end of such a hold says what it has cost.
func TestBatcher_RejectingHoldCountsItsDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.BackoffMax = 5, 10*time.Second })
		refuse := rejects(mostlyBad)
		s.answer = func(ctx context.Context, n int, b contactsync.Batch) contactsync.Result {
			time.Sleep(50 * time.Millisecond)
			return refuse(ctx, n, b)
		}
		s.add(names(0, 40)...)
		for s.at(time.Second); len(s.ended) < 41; s.at(time.Since(s.start) + 90*time.Millisecond) {
			if s.held("rejecting") == 1 && s.sent("other") == 0 {
				s.add("other/good0")
			}
			if time.Since(s.start) > time.Hour {
				t.Fatalf("%d ended", len(s.ended))
			}
			st := s.status()
			if len(st.Holds) == 1 && st.Holds[0].NextProbe.Before(time.Now().Add(-time.Second)) {
				t.Fatalf("after %v: the next probe was at %v", time.Since(s.start), st.Holds[0].NextProbe)
			}
		}
		s.at(time.Since(s.start) + time.Hour)
		probes := len(s.calls) - 3 // all but the two requests that began it, and the other stream's
		for _, want := range []string{"dead_letters=36", fmt.Sprintf("probes_refused=%d ", probes)} {
			if !strings.Contains(s.log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, &s.log)
			}
		}
		if n := testutil.ToFloat64(s.m.Batcher.ProbesRefused.WithLabelValues("rejecting")); n != float64(probes) {
			t.Errorf("%v probes counted, want %d", n, probes)
		}
	})
}

// A stream that is unknown after its rows were refused is another matter: what the
// end of that hold counts is its own.
func TestBatcher_HoldOfAnotherKindCountsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.BackoffMax = 5, 10*time.Second })
		s.answer = rejects(mostlyBad)
		s.add(names(0, 40)...)
		s.at(time.Minute)
		s.add("other/good0")
		s.at(3 * time.Minute)
		if len(s.deadLetters) == 0 || s.held("rejecting") != 1 {
			t.Fatalf("%d dead letters, %v streams on hold", len(s.deadLetters), s.held("rejecting"))
		}
		s.answer = func(context.Context, int, contactsync.Batch) contactsync.Result {
			return contactsync.Result{Kind: contactsync.StreamGone, Status: 404}
		}
		s.at(4 * time.Minute)
		s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result { return allDelivered(b) }
		from := len(s.calls)
		s.at(time.Hour)
		_, end, _ := strings.Cut(s.log.String(), "stream is no longer on hold")
		if !strings.Contains(end, "kind=stream_gone") || !strings.Contains(end, "dead_letters=0") || from == 0 {
			t.Errorf("the hold of another kind has the numbers of the first:\n%s", &s.log)
		}
	})
}

// Answers that say nothing of any row, whatever the row, are no fault of the rows: none is given up for them. Of two
// contacts that cannot be told from their fault.
func TestBatcher_AnswersThatSayNothingMakeNoDeadLetters(t *testing.T) {
	for contacts, want := range map[int]int{1: 1, 2: 2, 3: 0, 40: 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newHarness(t, nil)
			s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result {
				return contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: make([]contactsync.Outcome, len(b.Rows))}
			}
			s.add(names(0, contacts)...)
			s.at(2 * time.Hour)
			if len(s.deadLetters) != want || want == 0 && s.held("rejecting") != 1 {
				t.Errorf("%d contacts: %d dead letters, want %d; %v streams on hold", contacts, len(s.deadLetters), want, s.held("rejecting"))
			}
			s.answer = func(_ context.Context, _ int, b contactsync.Batch) contactsync.Result { return allDelivered(b) }
			s.at(3 * time.Hour)
			if len(s.ended) != contacts || s.held("rejecting") != 0 {
				t.Errorf("%d of %d contacts ended, %v streams on hold", len(s.ended), contacts, s.held("rejecting"))
			}
		})
	}
}

// A stream of which most is bad gets rid of it at the pace of the budget, without a hand. One of which everything is stays on hold, for then it
// need not be the rows. Neither slows the others.
func TestBatcher_ABadStreamDrainsAtTheBudget(t *testing.T) {
	for name, tt := range map[string]struct {
		bad     func(id string) bool
		letters int
		ended   int
	}{"most": {mostlyBad, 36, 130}, "all": {func(string) bool { return true }, 0, 90}} {
		synctest.Test(t, func(t *testing.T) {
			s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.BackoffMax = 5, 10*time.Second })
			s.answer = func(ctx context.Context, n int, b contactsync.Batch) contactsync.Result {
				if b.Stream == "bad" {
					return rejects(tt.bad)(ctx, n, b)
				}
				return allDelivered(b)
			}
			for _, id := range names(0, 40) {
				s.add("bad/" + id)
			}
			for i := range 90 {
				s.at(time.Duration(i+1) * 20 * time.Second)
				s.add("good/" + fmt.Sprint(i))
			}
			s.at(time.Hour)
			if len(s.deadLetters) != tt.letters || len(s.ended) != tt.ended || (s.held("rejecting") == 1) != (tt.letters == 0) {
				t.Errorf("%s bad: %d dead letters of %d, %d ended of %d, %v streams on hold", name, len(s.deadLetters), tt.letters, len(s.ended), tt.ended, s.held("rejecting"))
			}
			if n := s.sent("good"); n != 90 {
				t.Errorf("%s bad: %d requests of the good stream, want 90", name, n)
			}
		})
	}
}

// The share of a stream is that of its last minute, also where it has nothing
// pending between its events.
func TestBatcher_ShareOfATrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio, c.Linger = 5, 0.5, 0 })
		s.answer = rejects(func(id string) bool { return strings.HasSuffix(id, "3") }) // a tenth
		for i, id := range names(0, 200) {
			s.at(time.Duration(i) * 200 * time.Millisecond)
			s.add(id)
		}
		s.at(49 * time.Second) // each is sent once more after others were accepted
		if kept := testutil.ToFloat64(s.m.Batcher.RejectedRowsRetained); s.held("rejecting") != 0 || kept != 20 || len(s.deadLetters) != 20 {
			t.Errorf("%v streams held, %v rows kept, %d dead letters, want 20", s.held("rejecting"), kept, len(s.deadLetters))
		}
		s.at(5 * time.Minute)
		if n := s.status().Streams; n != 0 {
			t.Errorf("%d streams are kept although nothing is left of them", n)
		}
	})
}

func TestBatcher_NoMinuteHasMoreThanTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.Linger = 20, 0 })
		s.answer = rejects(func(id string) bool { return id != "good" })
		slot := 10*time.Second - time.Duration(time.Now().UnixNano()%int64(10*time.Second)) - 100*time.Millisecond
		s.at(slot)                  // just before a slot of the count ends
		twenty := func(first int) { // that are refused beside one that is not, and once more
			s.add(append(names(first, 20), "good")...)
		}
		twenty(0)
		s.at(slot + 46*time.Second)
		twenty(100)
		s.at(slot + 60*time.Second)
		if len(s.deadLetters) != 20 {
			t.Errorf("%d dead letters within a minute, want 20", len(s.deadLetters))
		}
	})
}

func TestBatcher_EndOfRejectionsIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute = 2 })
		s.answer = rejects(func(string) bool { return true })
		s.add("a", "b", "c")
		s.at(5 * time.Second)
		if s.held("rejecting") != 1 {
			t.Fatal("not on hold")
		}
		s.answer = rejects(func(string) bool { return false })
		s.at(5 * time.Minute)
		s.wantEnded(0, 1, 2)
		if !strings.Contains(s.log.String(), "no longer on hold") || s.held("rejecting") != 0 {
			t.Errorf("the end is not logged:\n%s", &s.log)
		}
	})
}

func TestBatcher_DeletedRowsAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio, c.Linger = 0, 0, 0 })
		refuse := rejects(func(string) bool { return true })
		s.answer = func(ctx context.Context, n int, b contactsync.Batch) contactsync.Result {
			time.Sleep(time.Second)
			return refuse(ctx, n, b)
		}
		s.add("a", "b")
		s.addWith(func(ev *event.Event) { ev.Kind = event.Delete }, "a")
		s.at(3 * time.Second) // the request is refused, and then each half
		if kept := testutil.ToFloat64(s.m.Batcher.RejectedRowsRetained); kept != 1 {
			t.Errorf("%v rows kept, want b alone", kept)
		}
		s.wantEnded(0, 2)
	})
}

// A row that a delete came after is no dead letter, so it costs none.
func TestBatcher_DeletedRowsCostNoDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHarness(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.Linger = 2, 0 })
		refuse := rejects(func(id string) bool { return id != "good" })
		s.answer = func(ctx context.Context, n int, b contactsync.Batch) contactsync.Result {
			time.Sleep(time.Second)
			return refuse(ctx, n, b)
		}
		s.add("x/a", "x/b")
		s.addWith(func(ev *event.Event) { ev.Kind = event.Delete }, "x/a", "x/b")
		s.at(2 * time.Second)
		s.add("y/a")
		s.at(4 * time.Second)
		s.add("z/good") // so that what y/a gets is believed
		s.at(20 * time.Second)
		if kept := testutil.ToFloat64(s.m.Batcher.RejectedRowsRetained); len(s.deadLetters) != 1 || s.deadLetters[0].Stream != "y" || kept != 1 {
			t.Errorf("dead letters %+v, kept %v", s.deadLetters, kept)
		}
		if n := s.status().Accounts[0].Rejected; n != 1 {
			t.Errorf("%d dead letters counted, want 1", n)
		}
	})
}

func TestLastMinute(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_700_000_000, 0) // a slot begins here
	var m lastMinute
	m.add(start, tally{accepted: 1})
	m.add(start.Add(9*time.Second), tally{refused: 2})
	m.add(start.Add(30*time.Second), tally{accepted: 4})
	for after, want := range map[time.Duration]tally{
		0:                {5, 2},
		60 * time.Second: {5, 2}, // all of the last 60 seconds, and not more than 70
		69 * time.Second: {5, 2},
		70 * time.Second: {4, 0},
		99 * time.Second: {4, 0},
		2 * time.Minute:  {},
	} {
		if got := m.at(start.Add(after)); got != want {
			t.Errorf("%v later: %+v, want %+v", after, got, want)
		}
	}
	m.add(start.Add(70*time.Second), tally{accepted: 8}) // in the place of the first slot
	if got := m.at(start.Add(70 * time.Second)); got != (tally{12, 0}) {
		t.Errorf("%+v, want what was added lately alone", got)
	}
}

// The budget of an account is 5 dead letters a minute, and beyond that half of a
// stream's rows.
func TestHealth_DeadLetterBudget(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before []tally // of the stream, in the same minute
		other  int     // dead letters of another stream of the account
		rows   tally
		trying time.Duration // on hold for refused rows since; 0: it is not
		alone  int           // contacts of the account that were refused alone since a row was accepted
		want   bool
	}{
		{"nothing refused", nil, 5, tally{accepted: 1}, 0, 0, true},
		{"within the number", nil, 0, tally{refused: 5}, 0, 0, true},
		{"beyond it, all refused", nil, 0, tally{refused: 6}, 0, 0, false},
		{"beyond it, half refused", nil, 0, tally{6, 6}, 0, 0, true},
		{"beyond it, more than half refused", nil, 0, tally{5, 6}, 0, 0, false},
		{"half refused with what came before", []tally{{accepted: 6}}, 0, tally{refused: 6}, 0, 0, true},
		{"what came before used the number up", []tally{{refused: 5}}, 0, tally{refused: 1}, 0, 0, false},
		{"another stream used the number up", nil, 5, tally{refused: 1}, 0, 0, false},
		{"but not for a stream whose rows are mostly accepted", nil, 5, tally{1, 1}, 0, 0, true},
		{"refusals that were kept use nothing up", []tally{{refused: 6}}, 0, tally{refused: 5}, 0, 0, true},
		{"on hold, in its first minute", nil, 0, tally{refused: 1}, holdGrace - 1, 0, false},
		{"on hold, in its first minute, mostly accepted", []tally{{accepted: 1}}, 0, tally{refused: 1}, holdGrace - 1, 0, true},
		{"on hold, and three in a row are refused", nil, 0, tally{refused: 1}, 2 * holdGrace, 3, false},
		{"on hold, and two in a row are refused", nil, 0, tally{refused: 1}, 2 * holdGrace, 2, true},
		{"on hold, and three in a row are refused for a day", nil, 0, tally{refused: 1}, chanceGrace, 3, true},
		{"on hold, later", []tally{{accepted: 1}, {refused: 1}}, 0, tally{refused: 1}, holdGrace, 0, true},
		{"on hold, later, beyond the number", nil, 5, tally{refused: 1}, holdGrace, 0, false},
	} {
		w := newTestWindow(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio = 5, 0.5 })
		st, other := w.schedule.stream("st", "a"), w.schedule.stream("other", "a")
		if tt.trying > 0 {
			st.health.hold = &hold{kind: holdRejecting, since: w.now.Add(-tt.trying)}
		}
		w.health.withinBudget(w.now, other, tally{refused: tt.other}, aboutRow)
		for _, rows := range tt.before {
			w.health.withinBudget(w.now, st, rows, aboutRow)
		}
		for i := range tt.alone {
			st.account.health.refused.note(contactKey{st.key(), fmt.Sprint(i)}, badRate{})
		}
		if got := w.health.withinBudget(w.now, st, tt.rows, aboutRow); got != tt.want {
			t.Errorf("%s: within the budget %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The budget is the account's own.
func TestHealth_DeadLetterBudgetOfAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, func(c *Config) { c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio = 5, 0 })
	w.health.withinBudget(w.now, w.schedule.stream("b/1", "b"), tally{refused: 5}, aboutRow)
	if !w.health.withinBudget(w.now, w.schedule.stream("a/1", "a"), tally{refused: 5}, aboutRow) {
		t.Error("one account's dead letters used up the budget of another")
	}
}

func TestTrial(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		rows  []tally
		ratio float64
		want  bool
	}{
		{"nine rows", []tally{{9, 0}}, 0.5, false},
		{"ten good rows", []tally{{10, 0}}, 0, true},
		{"as many refused as may be", []tally{{5, 5}}, 0.5, true},
		{"one more", []tally{{4, 6}}, 0.5, false},
		{"the last ten count", []tally{{0, 10}, {10, 0}}, 0, true},
		{"of the last ten one refused", []tally{{0, 10}, {0, 1}, {9, 0}}, 0, false},
	} {
		var tr trial
		for _, rows := range tt.rows {
			tr.add(rows)
		}
		if got := tr.passed(tt.ratio); got != tt.want {
			t.Errorf("%s: passed %v, want %v", tt.name, got, tt.want)
		}
	}
}
