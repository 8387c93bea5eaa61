package replay

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/time/rate"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// Deps are what a replay works with.
type Deps struct {
	Log    *kafka.Client
	Topics []string // that the service reads: nothing is written to others
	Decode func(contactsync.Record) event.Event
	Route  func(stream, account string) (accountID string, ok bool)
	Logger *slog.Logger
	// Each, if set, is told every outcome as soon as it stands.
	Each func(Outcome)
}

// Options are what an operator asks for.
type Options struct {
	MaxReplays   int     // a letter replayed so often already is not replayed again
	Limit        int     // of letters to replay; 0: none
	Rate         float64 // letters a second; 0: as fast as it goes
	Unverifiable bool    // replay also where the source topic no longer reaches back to the event
}

// mostAtOnce bounds a chunk: what is written between two looks at the log.
const mostAtOnce = 500

// Replayer is one run.
type Replayer struct {
	deps    Deps
	opts    Options
	scan    *scan
	summary Summary
}

// New returns a run that has not begun.
func New(deps Deps, opts Options) *Replayer {
	return &Replayer{deps: deps, opts: opts, summary: Summary{}}
}

// Scanned is how many records of the source topics were read.
func (r *Replayer) Scanned() int {
	if r.scan == nil {
		return 0
	}
	return r.scan.records
}

// DryRun tells what would become of the letters if they were replayed now.
func (r *Replayer) DryRun(ctx context.Context, letters []*deadletter.Entry) (Summary, error) {
	targets, err := r.plan(ctx, letters)
	if err != nil {
		return r.summary, err
	}
	for _, t := range r.open(targets) {
		if r.room() == 0 {
			r.end(t, Left, "")
			continue
		}
		r.end(t, Replayed, "")
	}
	return r.summary, nil
}

// open ends the targets that must not be replayed and returns the others.
func (r *Replayer) open(targets []*target) []*target {
	var open []*target
	for _, t := range targets {
		if t.ended {
			continue
		}
		if result, detail := r.judge(t); result != "" {
			r.end(t, result, detail)
			continue
		}
		open = append(open, t)
	}
	return open
}

// judge says why a target must not be replayed by what the scan has met so far;
// the result is empty where it may.
func (r *Replayer) judge(t *target) (result Result, detail string) {
	switch {
	case t.already && t.tried:
		return Replayed, "" // its acknowledgement was lost
	case t.already:
		return Already, ""
	case t.newest != t:
		return Newer, fmt.Sprintf("letter %v", t.newest.record.Position)
	case t.newer != nil:
		return Newer, fmt.Sprintf("%v at %v", t.newer.kind, t.newer.at)
	case t.replay.Count >= r.opts.MaxReplays:
		return Loop, fmt.Sprintf("replayed %d times and failed again: correct the cause, then raise --max-replays", t.replay.Count)
	case !r.opts.Unverifiable && !r.scan.proves(t):
		return Unverifiable, "the source topic no longer reaches back to the event, or was made anew"
	}
	return "", ""
}

func (r *Replayer) end(t *target, result Result, detail string) {
	t.ended = true
	r.summary[result]++
	if r.deps.Each != nil {
		r.deps.Each(Outcome{Letter: t.letter, Result: result, Detail: detail})
	}
}

// leave ends what was not looked at.
func (r *Replayer) leave(targets []*target) {
	for _, t := range targets {
		if !t.ended {
			r.end(t, Left, "")
		}
	}
}

// room is how many letters may still be replayed.
func (r *Replayer) room() int {
	if r.opts.Limit == 0 {
		return 1 << 30
	}
	return max(0, r.opts.Limit-r.summary[Replayed])
}

// pace returns how many letters may go at once at most, and what lets them go.
func (r *Replayer) pace(most int) (int, *rate.Limiter) {
	if r.opts.Rate <= 0 {
		return most, rate.NewLimiter(rate.Inf, most)
	}
	most = max(1, min(most, int(r.opts.Rate))) // at most what a second lets through, so that the look at the log is fresh
	return most, rate.NewLimiter(rate.Limit(r.opts.Rate), most)
}

// withoutReplay returns the headers that are no replay's, and behind them those of more.
func withoutReplay(headers, more []contactsync.Header) []contactsync.Header {
	var kept []contactsync.Header
	for _, h := range headers {
		switch h.Key {
		case event.HeaderReplays, event.HeaderReplayOf, event.HeaderOrigin, event.HeaderOriginTime, event.HeaderChecked:
		default:
			kept = append(kept, h)
		}
	}
	return append(kept, more...)
}
