package replay

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// Deps are what a replay works with.
type Deps struct {
	Log       *kafka.Client
	Topics    []string       // that the service reads: nothing is written to others
	Decoder   *event.Decoder // without a Route: an event that no account takes can be newer, too
	Route     event.Route
	Logger    *slog.Logger
	OnOutcome func(Outcome) // called as soon as an outcome is known; may be nil
}

// Options are what an operator asks for.
type Options struct {
	MaxReplays        int     // a dead letter that was replayed this many times is not replayed again
	Limit             int     // of dead letters to replay; 0: none
	Rate              float64 // dead letters a second; 0: unlimited
	AllowUnverifiable bool    // replay also where the source topic no longer reaches back to the event
}

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

// Run writes the records of the dead letters back to the topic and partition that they
// came from, with their keys, values and headers, and with the headers of an
// event.Replay. The service then takes them like any event.
//
// It writes in chunks; the log is read to its end before each one, and each has to be
// acknowledged by every in-sync replica before the next. When ctx ends, the present
// chunk is finished, and the rest is left for the next run.
func (r *Replayer) Run(ctx context.Context, entries []*deadletter.Entry) (Summary, error) {
	all, err := r.plan(ctx, entries)
	if err == nil {
		err = r.inChunks(ctx, r.replayable(all))
	}
	for _, c := range all {
		if !c.ended {
			r.end(c, NotAttempted, "")
		}
	}
	if err != nil {
		return r.summary, fmt.Errorf("replay dead letters: %w: run the command again to continue", err)
	}
	return r.summary, nil
}

// DryRun returns what Run would do, and writes nothing.
func (r *Replayer) DryRun(ctx context.Context, entries []*deadletter.Entry) (Summary, error) {
	all, err := r.plan(ctx, entries)
	if err != nil {
		return r.summary, err
	}
	for _, c := range r.replayable(all) {
		if r.room() == 0 {
			r.end(c, NotAttempted, "")
			continue
		}
		r.end(c, Replayed, "")
	}
	return r.summary, nil
}

// plan makes a candidate of each dead letter, ends those that cannot be replayed
// whatever the source topics hold, and reads those topics. It returns the candidates
// also with an error.
func (r *Replayer) plan(ctx context.Context, entries []*deadletter.Entry) ([]*candidate, error) {
	all := make([]*candidate, len(entries))
	for i, e := range entries {
		all[i] = &candidate{entry: e, record: e.Record}
	}
	// Of all topics: a newer event of a contact may be in any.
	bounds := map[string][]kafka.Bounds{}
	for _, topic := range r.deps.Topics {
		b, err := r.deps.Log.StableBounds(ctx, topic)
		if err != nil {
			return all, err
		}
		bounds[topic] = b
	}
	var open []*candidate
	for _, c := range all {
		result, detail, err := r.load(ctx, c, bounds)
		if err != nil {
			return all, err
		}
		if result != "" {
			r.end(c, result, detail)
			continue
		}
		open = append(open, c)
	}
	r.scan = newScan(r.deps, open)
	if len(open) == 0 {
		return all, nil
	}
	if err := r.scan.start(ctx, open, bounds); err != nil {
		return all, err
	}
	return all, r.scan.catchUp(ctx)
}

// replayable ends the candidates that must not be replayed and returns the others.
func (r *Replayer) replayable(candidates []*candidate) []*candidate {
	var open []*candidate
	for _, c := range candidates {
		if c.ended {
			continue
		}
		if result, detail := r.decide(c); result != "" {
			r.end(c, result, detail)
			continue
		}
		open = append(open, c)
	}
	return open
}

// decide returns why a candidate must not be replayed, by what the scan has read so
// far; the result is empty where it may.
func (r *Replayer) decide(c *candidate) (result Result, detail string) {
	switch {
	case c.replayed && c.attempted:
		return Replayed, "" // its acknowledgement was lost
	case c.replayed:
		return AlreadyReplayed, ""
	case c.newest != c:
		return Superseded, fmt.Sprintf("dead letter %v", c.newest.record.Position)
	case c.newer != nil:
		return Superseded, fmt.Sprintf("%v at %v", c.newer.kind, c.newer.at)
	case c.replays >= r.opts.MaxReplays:
		return ReplayLimit, fmt.Sprintf("replayed %d times and failed again: correct the cause, then raise --max-replays", c.replays)
	case !r.opts.AllowUnverifiable && !r.scan.verifies(c):
		return Unverifiable, "the source topic no longer reaches back to the event, or was recreated"
	}
	return "", ""
}

func (r *Replayer) end(c *candidate, result Result, detail string) {
	c.ended = true
	r.summary[result]++
	if r.deps.OnOutcome != nil {
		r.deps.OnOutcome(Outcome{Entry: c.entry, Result: result, Detail: detail})
	}
}

// room is how many dead letters may still be replayed.
func (r *Replayer) room() int {
	if r.opts.Limit == 0 {
		return 1 << 30
	}
	return max(0, r.opts.Limit-r.summary[Replayed])
}
