package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
)

// Feed is why a partition waits, or why its events become dead letters: most of the last
// ones cannot be read.
type Feed struct {
	From      int64  `json:"from"`                // everything from here on waits, or is read nevertheless
	Until     int64  `json:"until,omitzero"`      // unreadable events before it become dead letters; -1 for all until most can be read; absent where everything waits
	First     string `json:"first,omitzero"`      // of the last events, the first one that cannot be read
	Fault     string `json:"fault,omitzero"`      // what is wrong with that one
	LooksLike string `json:"looks_like,omitzero"` // what the feed is likely to be
	Unread    int    `json:"unreadable"`          // how many of the last events cannot be read
	Events    int    `json:"events"`              // how many are the last ones
	Ahead     int    `json:"ahead"`               // records that were looked at behind From
	// AheadUnread is how many of the last hundred of those cannot be read.
	AheadUnread int `json:"ahead_unreadable"`

	reason string
	since  time.Time
	advice string
	told   bool
}

// feedGuard has a partition wait when most of its events cannot be read. It belongs to
// the fetcher's goroutine, but for what is atomic.
type feedGuard struct {
	f       *fetcher
	fuse    fuse
	known   atomic.Pointer[Feed] // nil while most events can be read
	resumed chan resumption      // an operator's decision
}

func (g *feedGuard) init(f *fetcher) {
	g.f, g.resumed = f, make(chan resumption, 1)
	g.fuse.policy = f.c.cfg.OnUnreadableFeed
	g.fuse.waits.Store(nowhere)
}

const (
	feedHalts = "most events of a partition cannot be read: it waits, and the others go on"
	feedSkips = "most events of a partition cannot be read: they become dead letters"
	feedWaits = "most events of a partition could not be read before this replica had it: it waits"
)

// step reads on from an offset, or looks ahead where the partition waits there. It
// returns the offset to go on from, also where it returns an error.
func (f *fetcher) step(ctx context.Context, offset int64) (int64, error) {
	if f.feed.fuse.holds(offset) {
		return offset, f.feed.lookAhead(ctx, offset)
	}
	next, err := f.once(ctx, offset)
	if err == nil && !f.feed.fuse.holds(next) {
		f.works()
		f.c.losses.over(f.claim.TopicPartition)
	}
	return next, err
}

// takeOver goes on with what an earlier owner has found, or was told. Reading begins
// at offset.
func (g *feedGuard) takeOver(offset int64) {
	if g.f.inherited == nil || g.f.inherited.Offset != offset || g.f.inherited.Feed == nil || g.fuse.policy == Off {
		return
	}
	earlier := g.f.inherited.Feed
	feed := &Feed{From: earlier.Offset, reason: feedWaits, since: time.Now()}
	switch {
	case earlier.Waits && g.fuse.policy == Halt:
		g.fuse.wait(earlier.Offset)
	case earlier.Waits:
		g.fuse.pass(untilReadable)
		feed.Until, feed.reason = -1, feedSkips
		g.f.tracker.Recommit()
	default:
		g.fuse.pass(earlier.Offset)
		feed.From, feed.Until, feed.reason = offset, earlier.Offset, feedSkips
		if earlier.Offset == untilReadable {
			feed.Until = -1
		}
	}
	g.known.Store(feed)
}

// judge has the fuse judge one more event. Where that blows it, what follows waits or,
// by policy, goes on.
func (g *feedGuard) judge(ev *event.Event) {
	blown, readable := g.fuse.note(ev)
	switch {
	case readable:
		g.known.Store(nil)
		g.f.c.deps.Log.Info("the events of a partition can be read again", "topic", g.f.claim.Topic, "partition", g.f.claim.Partition, "offset", ev.Record.Offset)
	case blown:
		g.f.c.deps.Metrics.UnreadableFeeds.WithLabelValues(g.fuse.policy).Inc()
		feed := g.describe(&g.fuse.recent, g.fuse.recent.first(), ev.Record.Offset+1, event.LooksLike(ev.Record.Value))
		what := feedHalts
		if g.fuse.policy == Skip {
			what, feed.Until = feedSkips, -1
			g.fuse.pass(untilReadable)
		} else {
			g.fuse.wait(feed.From)
		}
		g.f.tracker.Recommit()
		g.tell(what, feed)
		g.known.Store(feed)
	}
}

// describe is what is known of a feed.
func (g *feedGuard) describe(s *sample, first fault, from int64, looks event.Looks) *Feed {
	at := contactsync.Position{TopicPartition: g.f.claim.TopicPartition, Offset: first.offset}
	return &Feed{
		From: from, First: at.String(), Fault: first.err.Error(), LooksLike: looks.Like, Unread: s.unread, Events: s.events,
		reason: fmt.Sprintf("%d of %d events cannot be read, the first at offset %d: %s: it looks like %s", s.unread, s.events, first.offset, first.err, looks.Like),
		since:  time.Now(), advice: looks.Advice,
	}
}

// tell logs a feed once, with what to do about it.
func (g *feedGuard) tell(what string, feed *Feed) {
	feed.told = true
	hint := "correct what writes to the topic, or event.*"
	if feed.advice != "" {
		hint += ": " + feed.advice
	}
	if g.fuse.policy == Halt {
		hint += fmt.Sprintf(". Nothing is lost meanwhile. To go on: contactsync feed resume %v, which halts again where need be; with --records N or --until-readable unreadable events become dead letters", g.f.claim.TopicPartition)
	}
	g.f.c.deps.Log.Error(what, "topic", g.f.claim.Topic, "partition", g.f.claim.Partition, "first", feed.First, "fault", feed.Fault, "looks_like", feed.LooksLike,
		"unreadable", feed.Unread, "events", feed.Events, "from", feed.From, "policy", g.fuse.policy, "hint", hint)
}

// lookAhead looks at what lies behind the offset at which the partition waits, and ends
// nothing of it. The partition goes on when that can be read, or by an operator.
func (g *feedGuard) lookAhead(ctx context.Context, offset int64) error {
	if g.f.problem.Load() == nil {
		g.f.fails(FeedHalted, g.known.Load().reason)
	}
	g.f.giveUpCatchingUp()
	u := &g.fuse
	wait := time.Duration(0)
	if u.left == 0 {
		wait = g.f.c.cfg.PartitionCheckInterval
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case how := <-g.resumed:
		if how.from == u.waits.Load() {
			g.goOn(offset, how)
		}
		return nil
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if u.left > 0 {
		if err := g.look(ctx, offset); err != nil || !u.holds(offset) {
			return err
		}
	}
	feed := *g.known.Load()
	feed.Ahead, feed.AheadUnread = aheadRecords-u.left, u.ahead.unread
	if !feed.told {
		g.tell(feedWaits, &feed)
	}
	g.known.Store(&feed)
	g.f.fails(FeedHalted, feed.reason)
	return nil
}

// look fetches what lies ahead. Where that can be read, the partition waits no more.
func (g *feedGuard) look(ctx context.Context, offset int64) error {
	u := &g.fuse
	end := int64(nowhere)
	var first fault // of the events that cannot be read
	var looks event.Looks
	fetched, err := g.f.fetch(ctx, max(u.next, offset), g.f.c.cfg.FetchMinBytes)
	if err == nil {
		defer fetched.Release()
		err = g.f.check(ctx, fetched, offset)
	}
	if err == nil {
		err = fetched.Each(ctx, func(rec contactsync.Record) {
			if u.left == 0 || end != nowhere {
				return
			}
			u.next = rec.Offset + 1
			ev := g.f.decode(rec)
			if u.look(&ev) {
				end = u.next
			}
			if first.err == nil && isUnreadable(&ev) {
				first, looks = fault{rec.Offset, ev.Err}, event.LooksLike(rec.Value)
			}
		})
		if err == nil && end == nowhere && u.left > 0 {
			u.next = fetched.Next
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
	case kafka.Cause(err) == kafka.CauseDecode: // a batch that an operator has to decide about when it is reached
		u.left = 0
	case kafka.Cause(err) == kafka.CauseOffset: // the log was cut off
		u.wait(u.waits.Load())
		return err
	default:
		return err
	}
	if feed := g.known.Load(); feed.First == "" && first.err != nil { // an earlier owner has found it
		g.known.Store(g.describe(&u.ahead, first, feed.From, looks))
	}
	if end != nowhere {
		g.letPass(offset, end)
		g.f.c.deps.Log.Info("the events of a partition can be read again: it goes on, and those before that cannot become dead letters", "topic", g.f.claim.Topic, "partition", g.f.claim.Partition, "from", offset, "until", end)
	}
	return nil
}

// resumption is an operator's decision about a partition that waits.
type resumption struct {
	from     int64 // where it waits; what was decided about another place is over
	records  int64 // how many offsets pass, whatever is there
	readable bool  // everything passes until most events can be read
}

func (g *feedGuard) goOn(offset int64, how resumption) {
	until := offset + how.records
	if how.readable || until < offset {
		until = untilReadable
	}
	if until == offset {
		g.fuse.recent = sample{} // it takes as many events as at first to halt again
	}
	g.letPass(offset, until)
	g.f.c.deps.Log.Warn("a partition whose events could not be read goes on, as an operator has decided", "topic", g.f.claim.Topic, "partition", g.f.claim.Partition,
		"from", offset, "records", how.records, "until_readable", how.readable)
}

// letPass ends the waiting at an offset. Unreadable events before until become dead letters.
func (g *feedGuard) letPass(offset, until int64) {
	g.fuse.pass(until)
	feed := *g.known.Load()
	feed.From, feed.Until, feed.since = offset, until, time.Now()
	if until == untilReadable {
		feed.Until = -1
	}
	g.known.Store(&feed)
	g.passed(offset)
	g.f.tracker.Recommit()
}

// forget begins anew with another log.
func (g *feedGuard) forget() {
	g.fuse.recent = sample{}
	g.fuse.pass(0)
	g.known.Store(nil)
}

// passed notes that reading has got to an offset.
func (g *feedGuard) passed(offset int64) {
	if feed := g.known.Load(); feed != nil && feed.Until > 0 && offset >= feed.Until {
		g.known.Store(nil)
		g.f.c.deps.Log.Info("unreadable events may halt the partition again", "topic", g.f.claim.Topic, "partition", g.f.claim.Partition, "offset", offset)
	}
}

var errFeedGoesOn = errors.New("the partition is not halted because of its feed: /status shows its state")

// ResumeFeed has a partition go on whose events cannot be read, as an operator's decision:
// so many records pass whatever they are, or all until most can be read. With neither it
// halts again where the events still cannot be read.
func (c *Consumer) ResumeFeed(p contactsync.TopicPartition, records int64, untilReadable bool) error {
	if records < 0 {
		return errors.New("a number of records is not negative")
	}
	g := c.present.Load()
	if g == nil {
		return errNotOwned
	}
	for _, f := range g.fetchers {
		if f.claim.TopicPartition != p {
			continue
		}
		from := f.feed.fuse.waits.Load()
		if from == nowhere {
			return errFeedGoesOn
		}
		select {
		case <-f.feed.resumed: // the last word counts
		default:
		}
		select {
		case f.feed.resumed <- resumption{from, records, untilReadable}:
		default: // two at once
		}
		return nil
	}
	return errNotOwned
}
