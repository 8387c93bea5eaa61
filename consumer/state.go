package consumer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/kafka"
)

// State is whether an owned partition is read, or why it is not.
type State string

// The states of a partition, as metrics name them. The last three may need an operator to end: a feed may become readable by itself.
const (
	CatchingUp  State = "catching_up" // read up to the end that it had at assignment; its contacts wait
	Reading     State = "reading"
	Waiting     State = "waiting"      // the window is full
	Unavailable State = "unavailable"  // it has no leader, or the leader does not answer
	Forbidden   State = "forbidden"    // Kafka does not let this client read it
	Missing     State = "missing"      // the topic, or the partition, does not exist
	Halted      State = "halted"       // events were lost, or a batch cannot be read
	FeedHalted  State = "feed_halted"  // most of its last events cannot be read, so the rest waits
	FeedSkipped State = "feed_skipped" // most of its last events cannot be read, and become dead letters
)

// Read reports whether events of the partition are handled, now or in a moment.
func (s State) Read() bool {
	return s == CatchingUp || s == Reading || s == Waiting || s == FeedSkipped
}

// waits reports whether an operator has to decide.
func (s State) waits() bool { return s == Halted || s == FeedHalted }

// Partition is what is known of an owned partition.
type Partition struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	State     State     `json:"state"`
	Reason    string    `json:"reason,omitzero"` // why it is not read
	Since     time.Time `json:"since"`           // of the state, and of the reason
	Committed int64     `json:"committed"`       // -1 before the first commit, and where it is not known
	Next      int64     `json:"next"`            // offset to read; -1 where it is not known
	End       int64     `json:"end"`             // of the partition; -1 where it is not known
	Lag       int64     `json:"lag"`             // records from where reading would begin after a restart to the end; -1 where that is not known
	// Oldest is Kafka's time of the oldest record that was read and is not completed; see ages.
	Oldest time.Time `json:"oldest,omitzero"`
	// Parked are records that are not kept, and are read again when their streams are no longer
	// on hold.
	Parked int `json:"parked,omitzero"`
	// Unreadable is the batch that the partition is halted at.
	Unreadable *kafka.Unreadable `json:"unreadable,omitzero"`
	// Feed is there where most of the last events cannot be read.
	Feed *Feed `json:"feed,omitzero"`
}

// problem is why a partition is not read.
type problem struct {
	state  State
	reason string
	since  time.Time
}

// waitsAfter is from when on a blocked fetcher shows: each hand-over blocks for a moment.
const waitsAfter = time.Second

// status collects what is known of the partition.
func (f *fetcher) status(now time.Time) Partition {
	t := f.tracker.State()
	p := Partition{
		Topic: f.claim.Topic, Partition: f.claim.Partition, State: Reading,
		Committed: t.Last, Next: t.Next, End: f.end.Load(), Lag: -1, Parked: t.Parked, Unreadable: f.bad.Load(), Feed: f.feed.known.Load(),
	}
	p.Since = time.Unix(0, f.turned.Load())
	switch trouble, adding := f.problem.Load(), f.adding.Load(); {
	case trouble != nil:
		p.State, p.Reason, p.Since = trouble.state, trouble.reason, trouble.since
	case p.Feed != nil && p.Feed.Until != 0:
		p.State, p.Reason, p.Since = FeedSkipped, p.Feed.reason, p.Feed.since
	case adding != 0 && now.Sub(time.Unix(0, adding)) >= waitsAfter:
		p.State, p.Since = Waiting, time.Unix(0, adding)
	case !f.caughtUp.Load():
		p.State = CatchingUp
	}
	begin := t.Last // where reading would begin after a restart
	if begin < 0 || f.halted.Load() {
		begin = f.first.Load()
	}
	switch {
	case f.halted.Load() || !f.located.Load():
		p.Next = begin
	default:
		begin = min(begin, t.Watermark) // below where a new log has not been committed yet
	}
	if p.End >= 0 && begin >= 0 && f.resumed.Load() {
		p.Lag = max(p.End-begin, 0)
	}
	if t.Open > 0 {
		p.Oldest = f.ages.at(t.Watermark)
	}
	return p
}

// unread notes that an attempt to read failed, and logs what is new about it.
func (f *fetcher) unread(what string, err error) {
	s, level := Unavailable, slog.LevelDebug
	switch {
	case errors.Is(err, kafka.ErrDenied):
		s = Forbidden
	case errors.Is(err, kafka.ErrNoTopic):
		s = Missing
	}
	reason := kafka.Reason(err)
	if f.fails(s, reason) {
		level = slog.LevelWarn
	}
	if s == Forbidden { // for as long as an operator lets it be
		f.giveUpCatchingUp()
	}
	f.c.deps.Log.Log(context.Background(), level, what, "topic", f.claim.Topic, "partition", f.claim.Partition, "state", s, "reason", reason, "err", err)
}

// fails notes why the partition is not read, and reports whether that is new.
func (f *fetcher) fails(s State, reason string) bool {
	before := f.problem.Load()
	if before != nil && before.state == s && before.reason == reason {
		return false
	}
	f.problem.Store(&problem{s, reason, time.Now()})
	halted := before != nil && before.state.waits()
	switch {
	case s.waits() && !halted:
		f.c.deps.Metrics.Halted.Inc()
	case !s.waits() && halted:
		f.c.deps.Metrics.Halted.Dec()
	}
	return true
}

// works notes that the partition is read.
func (f *fetcher) works() {
	f.c.wasRead()
	f.bad.Store(nil)
	before := f.problem.Swap(nil)
	if before == nil {
		return
	}
	f.turn()
	if before.state.waits() {
		f.c.deps.Metrics.Halted.Dec()
	}
	f.c.deps.Log.Info("the partition is read again", "topic", f.claim.Topic, "partition", f.claim.Partition,
		"was", before.state, "reason", before.reason, "for", time.Since(before.since).Round(time.Millisecond))
}

// turn notes that the partition is in another state of those in which it is read.
func (f *fetcher) turn() { f.turned.Store(time.Now().UnixNano()) }

// over ends a halt with its generation. The state stays as it was while the partition is
// given back.
func (f *fetcher) over() {
	if p := f.problem.Load(); p != nil && p.state.waits() {
		f.c.deps.Metrics.Halted.Dec()
	}
}

// Partitions returns what is known of the owned partitions, in order.
func (c *Consumer) Partitions() []Partition {
	g := c.present.Load()
	if g == nil {
		return nil
	}
	var all []Partition
	for _, f := range g.fetchers {
		all = append(all, f.status(time.Now()))
	}
	slices.SortFunc(all, func(a, b Partition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// MissingTopics returns the topics of the settings that do not exist, or that this client
// may not see. They have no partitions, so nobody owns any.
func (c *Consumer) MissingTopics() []string {
	g := c.present.Load()
	if g == nil {
		return nil
	}
	return g.Missing
}

// CommitsFailSince returns when the first of the last commits failed, where none was taken since; else the zero time.
func (c *Consumer) CommitsFailSince() time.Time {
	if g := c.present.Load(); g != nil {
		if at := g.commitsFail.Load(); at != 0 {
			return time.Unix(0, at)
		}
	}
	return time.Time{}
}

// readyFor is how long a replica stays ready although no event is read: a rebalance, or
// leaders that move, are nothing that it should be taken out for.
const readyFor = time.Minute

// NotReady returns why no event is read: before the first assignment, once none of the
// owned partitions has been read for readyFor, at once where all of them are halted, and
// where none of the topics exists. It returns the empty string otherwise, also where this
// replica owns none because there are more replicas than partitions.
func (c *Consumer) NotReady() string {
	why, halted := c.notRead()
	if why == "" || !halted && time.Since(time.Unix(0, c.readAt.Load())) < readyFor {
		return ""
	}
	return why
}

// notRead returns why no event is read now, and whether all partitions are halted.
func (c *Consumer) notRead() (why string, halted bool) {
	g := c.present.Load()
	if g == nil {
		why := "the group is joined, or rebalances"
		if e := c.joinError.Load(); e != nil {
			why = (*e).Error()
		}
		return "no partitions are assigned: " + why, false
	}
	var reasons []string
	all := c.Partitions()
	halted = len(all) > 0
	for _, p := range all {
		if p.State.Read() {
			return "", false
		}
		halted = halted && p.State.waits()
		reasons = append(reasons, contactsync.TopicPartition{Topic: p.Topic, Partition: p.Partition}.String()+" is "+string(p.State)+": "+p.Reason)
	}
	if len(all) == 0 && (g.All > 0 || len(g.Missing) == 0) {
		return "", false
	}
	for _, t := range g.Missing {
		reasons = append(reasons, "topic "+t+" does not exist, or DESCRIBE on it is missing")
	}
	what := "none of the owned partitions is read"
	if len(all) == 0 {
		what = "there is no partition to read"
	}
	return what + ":\n" + strings.Join(reasons, "\n"), halted
}

// wasRead notes that a partition is read now.
func (c *Consumer) wasRead() { c.readAt.Store(time.Now().UnixNano()) }
