package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/contactsync/contactsync/consumer"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/upstream"
)

// watchLines runs a watch for some seconds, of statuses that change as the test has it, and
// returns the lines with the second in which each was printed.
func watchLines(t *testing.T, seconds int, asJSON bool, change func(second int, s *app.Status)) (lines []string, at []int) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second+time.Millisecond)
	defer cancel()
	second := func() int { return int(time.Since(began) / time.Second) }
	out := writerFunc(func(p []byte) {
		for line := range strings.Lines(string(p)) {
			lines, at = append(lines, line), append(at, second())
		}
	})
	started := began.Add(-time.Hour)
	if err := watchStatus(ctx, out, asJSON, func() ([]byte, app.Status, error) {
		n := second()
		s := app.Status{Time: time.Now(), Started: started, Headline: app.Headline{Text: "nothing waits", Level: "good"}}
		s.Flow.Records, s.Flow.Events = map[string]int64{"update": int64(100 * n)}, map[string]int64{"delivered": int64(50 * n), "dead_letter": 2}
		s.Partitions = []consumer.Partition{{Topic: "contacts", State: consumer.Reading}}
		s.Gates = map[string]app.Gate{"emea": {State: upstream.StateReady}}
		change(n, &s)
		text, err := json.Marshal(s)
		return text, s, err
	}); err != nil {
		t.Error(err)
	}
	return lines, at
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestStatusWatch_IntoAPipePrintsAtOnceAndThenALineAtEachChange(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(second int, s *app.Status)
		want   []int
	}{
		"nothing changes": {func(int, *app.Status) {}, []int{0, 10, 20, 30}},
		"a partition is not read for a while": {func(n int, s *app.Status) {
			if n >= 3 && n < 7 {
				s.Partitions[0].State = consumer.Halted
			}
		}, []int{0, 3, 7, 17, 27}},
		"an account is down": {func(n int, s *app.Status) {
			if n >= 12 {
				s.Gates["emea"] = app.Gate{State: upstream.StateBreakerOpen}
			}
		}, []int{0, 10, 12, 22, 32}},
		"it is not ready": {func(n int, s *app.Status) {
			if n == 1 {
				s.NotReady = "no partitions are assigned"
			}
		}, []int{0, 1, 2, 12, 22, 32}},
		"it has restarted": {func(n int, s *app.Status) {
			if n >= 5 {
				s.Started = s.Started.Add(time.Minute)
			}
		}, []int{0, 5, 15, 25}},
		"a budget is used up now and then, and what waits changes": {func(n int, s *app.Status) {
			s.Window.PendingContacts = n
			if n%2 == 1 {
				s.Gates["emea"], s.Headline.Level = app.Gate{State: upstream.StateBudgetExhausted}, "warn"
				s.Partitions[0].State = consumer.Waiting
			}
		}, []int{0, 10, 20, 30}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for _, asJSON := range []bool{false, true} {
					lines, at := watchLines(t, 33, asJSON, test.change)
					if len(at) != len(test.want) {
						t.Fatalf("lines in the seconds %v, want %v", at, test.want)
					}
					for i := range at {
						if at[i] != test.want[i] {
							t.Errorf("lines in the seconds %v, want %v", at, test.want)
						}
						if asJSON && !json.Valid([]byte(lines[i])) {
							t.Errorf("no JSON: %s", lines[i])
						}
					}
				}
			})
		})
	}
}

func TestStatusWatch_ALineSaysHowItGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lines, _ := watchLines(t, 10, false, func(_ int, s *app.Status) { s.Headline.Text = "nothing\nwaits\x1b" })
		want := []string{
			`2000-01-01T00:00:00Z ready, good: "nothing\nwaits\x1b"; read -; completed -; calls -; dead letters 2` + "\n",
			`2000-01-01T00:00:10Z ready, good: "nothing\nwaits\x1b"; read 100.0/s; completed 50.0/s; calls 0.0/s; dead letters 2` + "\n",
		}
		if len(lines) != 2 || lines[0] != want[0] || lines[1] != want[1] {
			t.Errorf("it prints %q, want %q", lines, want)
		}
	})
}

func TestStatusWatch_EndsWithTheReplica(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	if err := watchStatus(t.Context(), writerFunc(func([]byte) {}), false, func() ([]byte, app.Status, error) { return nil, app.Status{}, gone }); !errors.Is(err, gone) {
		t.Errorf("it ends with %v", err)
	}
}
