package batcher_test

import (
	"time"

	"pgregory.net/rapid"

	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/setting"
)

// simPlan is what a world has. A world with few features goes deeper into them than
// one that has all.
type simPlan struct {
	theme                                   string // what there is more of
	accounts, streams, contacts, partitions int    // streams of an account, contacts of a stream

	declared string // what events declare of their order: nothing, version, occurred, mixed
	slow     bool   // the API takes its time
	eager    bool   // requests start as soon as they may, as in the loop; else they pile up

	deletes, tombstones, late, replays, broken, shapes, wander bool // events

	poison, sloppy, ambiguous, faults, moods, limits, mad, budget bool // the API

	// doubt: rows may be the cause of requests that fail, and are tried apart. Which ones and
	// when is left open by the model; what must come of each event is not.
	doubt bool

	takeovers, restarts, slowCatchUp, smallWindow, kafkaAway bool // the service

	gone bool // what is to be read again may be deleted in Kafka before

	poisons []string // why the API refuses rows
}

func drawPlan(t *rapid.T) simPlan {
	has := func(name string) bool { return rapid.Bool().Draw(t, name) }
	p := simPlan{
		theme:      rapid.SampledFrom([]string{"all", "all", "halves", "holds", "strangers", "rejecting", "takeovers", "replays", "sizes", "parking"}).Draw(t, "theme"),
		accounts:   rapid.IntRange(1, 3).Draw(t, "accounts"),
		streams:    rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "streams"),
		contacts:   rapid.SampledFrom([]int{2, 4, 12}).Draw(t, "contacts"),
		partitions: rapid.IntRange(1, 3).Draw(t, "partitions"),
		declared:   rapid.SampledFrom([]string{"nothing", "version", "occurred", "mixed"}).Draw(t, "declared"),
		eager:      has("eager"), slow: has("slow"),
		deletes: has("deletes"), tombstones: has("tombstones"), broken: has("broken"), shapes: has("shapes"),
		replays: has("replays"), poison: has("poison"), sloppy: has("sloppy"), ambiguous: has("ambiguous"),
		faults: has("faults"), moods: has("moods"), limits: has("limits"), budget: has("budget"),
		takeovers: has("takeovers"), kafkaAway: has("kafka away"),
	}
	p.doubt = rapid.IntRange(0, 3).Draw(t, "doubt") == 3
	p.late = p.declared != "nothing" && has("late")
	p.mad = rapid.IntRange(0, 9).Draw(t, "mad") == 9
	p.wander = rapid.IntRange(0, 9).Draw(t, "wander") == 9
	p.smallWindow = rapid.IntRange(0, 2).Draw(t, "small window") == 2
	p.restarts, p.slowCatchUp = has("restarts"), has("slow catch-up")
	p.poisons = []string{"400", "413", "rejected", "open", "transient"}
	switch p.theme {
	case "parking":
		p.accounts, p.streams, p.contacts, p.moods, p.poison, p.smallWindow = min(p.accounts, 2), 4, 12, true, false, true
		p.gone = has("gone")
	case "halves":
		p.streams, p.contacts, p.poison, p.moods = 1, 12, true, false
		p.poisons = []string{"400", "400", "413"}
	case "holds":
		p.accounts, p.streams, p.moods, p.poison = 1, 4, true, false
	case "strangers":
		p.accounts, p.streams, p.contacts, p.moods, p.poison = 1, 24, 2, true, false
	case "rejecting":
		p.accounts, p.streams, p.poison, p.moods, p.faults = 1, 2, true, true, false
		p.poisons = []string{"rejected"}
	case "takeovers":
		p.takeovers, p.slow, p.faults, p.moods = true, true, true, false
	case "replays":
		p.replays, p.poison, p.moods, p.faults = true, true, false, false
		p.poisons = []string{"rejected"}
	case "sizes":
		p.contacts, p.limits, p.moods = 12, true, false
	}
	if p.doubt {
		p.poison, p.mad, p.sloppy = true, false, false // no answer leaves rows open: whether it was cut short depends on what was learned
		p.poisons = []string{"400", "413", "rejected", "500", "500", "500"}
	}
	return p
}

func drawConfig(t *rapid.T, p simPlan) batcher.Config {
	ms := func(name string, of ...int) time.Duration {
		return time.Duration(rapid.SampledFrom(of).Draw(t, name)) * time.Millisecond
	}
	c := batcher.DefaultConfig()
	c.MaxRows = rapid.SampledFrom([]int{8, 4, 3, 2, 1, 100}).Draw(t, "max rows")
	c.MaxBytes = setting.Size(rapid.SampledFrom([]int{10_000, 300, 60}).Draw(t, "max bytes"))
	c.MaxInFlight = rapid.SampledFrom([]int{4, 2, 1}).Draw(t, "max in flight")
	c.Linger = ms("linger", 300, 0, 900)
	c.BackoffMin = ms("backoff min", 100, 500)
	c.BackoffMax = ms("backoff max", 2000, 20_000)
	c.RowAttempts = rapid.IntRange(1, 4).Draw(t, "row attempts")
	c.AmbiguousRetryDelay = ms("ambiguous retry delay", 1000, 5000, 0)
	c.HoldProbeMax = ms("hold probe max", 1000, 20_000)
	c.HoldMax = ms("hold max", 0, 3000, 15_000)
	c.DeadLetterMaxPerMinute = rapid.SampledFrom([]int{1000, 6, 2, 0}).Draw(t, "dead letter max per minute")
	c.DeadLetterMaxRatio = rapid.SampledFrom([]float64{0.5, 0, 1}).Draw(t, "dead letter max ratio")
	c.RememberContacts = rapid.SampledFrom([]int{100_000, 100_000, 100_000, 2, 0}).Draw(t, "remember contacts")
	switch p.theme {
	case "holds", "strangers", "parking":
		c.BackoffMin, c.HoldProbeMax = 500*time.Millisecond, 20*time.Second
	case "halves":
		c.MaxRows, c.MaxBytes, c.DeadLetterMaxPerMinute = max(c.MaxRows, 4), 10_000, 1000
	case "rejecting":
		c.DeadLetterMaxPerMinute, c.DeadLetterMaxRatio = min(c.DeadLetterMaxPerMinute, 6), 0.5
	case "replays":
		c.DeadLetterMaxRatio = 1
	case "sizes":
		c.MaxRows = max(c.MaxRows, 4)
	case "takeovers": // full requests, which are sent during catch-up too
		c.MaxRows = min(c.MaxRows, 3)
	}
	if p.doubt {
		c.DeadLetterMaxRatio = 1 // so that no dead letter of such a row is put off
		c.UnansweredAttempts = rapid.IntRange(2, 4).Draw(t, "unanswered attempts")
		c.UnansweredAfter = ms("unanswered after", 0, 1000, 20_000)
	}
	if p.smallWindow {
		c.WindowBytes = setting.Size(rapid.IntRange(2000, 9000).Draw(t, "window bytes"))
	}
	return c
}
