package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/terminal"
	"github.com/contactsync/contactsync/upstream"
)

// watchInterval is how often a line is printed where no state changes.
const watchInterval = 10 * time.Second

// watchStatus asks once a second until ctx ends, which is how watching ends. It redraws a terminal
// that can do so each time. Elsewhere it prints a line, or the JSON, at once, when a state changes, and every
// watchInterval.
func watchStatus(ctx context.Context, out io.Writer, asJSON bool, ask func() ([]byte, app.Status, error)) error {
	screen := terminal.Redraws(out) && !asJSON
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before *app.Status // as it was printed last
	for {
		text, now, err := ask()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if before == nil || screen || states(before) != states(&now) || now.Time.Sub(before.Time) >= watchInterval {
			if before == nil {
				before = &now
			}
			switch {
			case asJSON:
				err = printJSON(out, json.RawMessage(text))
			case screen:
				terminal.Clear(out)
				width, height := terminal.Size(out)
				_, err = io.WriteString(out, statusText(before, &now, width, height-1)) // below it is the cursor
			default:
				_, err = io.WriteString(out, statusLine(before, &now))
			}
			if err != nil {
				return err
			}
			before = &now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// states are what a line is printed for when it changes: whether the replica is ready and
// something stands, accounts that may not call, partitions that are not read. Under a backlog
// budgets and figures change all the time.
func states(s *app.Status) string {
	var b strings.Builder
	fmt.Fprint(&b, s.Started, s.Headline.Level == "bad", s.NotReady != "", s.Stuck != "")
	for _, account := range slices.Sorted(maps.Keys(s.Gates)) {
		if state := s.Gates[account].State; state != upstream.StateReady && state != upstream.StateBudgetExhausted {
			fmt.Fprint(&b, " ", account, "=", state)
		}
	}
	for i := range s.Partitions {
		if p := &s.Partitions[i]; !p.State.Read() {
			fmt.Fprint(&b, " ", p.Topic, "/", p.Partition, "=", p.State)
		}
	}
	return b.String()
}

// statusLine writes a status as one line, with rates since the one before.
func statusLine(before, now *app.Status) string {
	state := "ready"
	if now.NotReady != "" {
		state = "not ready"
	}
	flow := func(name string, of func(*app.Status) int64) string {
		return name + " " + rate(before, now, of(before), of(now))
	}
	parts := []string{
		fmt.Sprintf("%s %s, %s: %s", stamp(now.Time), state, clean(now.Headline.Level), clean(now.Headline.Text)),
		flow("read", func(s *app.Status) int64 { return sum(s.Flow.Records) }),
		flow("completed", func(s *app.Status) int64 { return sum(s.Flow.Events) }),
		flow("calls", func(s *app.Status) int64 { return calls(s, "", "") }),
		fmt.Sprintf("dead letters %d", now.Flow.Events["dead_letter"]),
	}
	return strings.Join(parts, "; ") + "\n"
}
