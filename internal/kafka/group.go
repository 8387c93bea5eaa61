package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/crash"
	"github.com/contactsync/contactsync/internal/kafka/group"
)

// GroupConfig says how to be a member of a consumer group.
type GroupConfig struct {
	ID     string
	Topics []string
	// InstanceID makes the membership outlast a restart of less than the session
	// time-out. No two processes may have the same one; empty for none.
	InstanceID        string
	SessionTimeout    time.Duration
	RebalanceTimeout  time.Duration
	HeartbeatInterval time.Duration
	// PartitionCheckInterval is how often it is asked whether a topic has got other
	// partitions. The generation ends when one has.
	PartitionCheckInterval time.Duration
}

// leaseMargin is how much earlier the lease ends than the coordinator may give partitions away.
func (c GroupConfig) leaseMargin() time.Duration {
	return max(c.SessionTimeout/10, 100*time.Millisecond)
}

// Lease is for how long a confirmation by the coordinator counts.
func (c GroupConfig) Lease() time.Duration {
	return min(c.SessionTimeout, c.RebalanceTimeout) - c.leaseMargin()
}

// NoOffset says that nothing is committed.
const NoOffset = -1

// Committed is what a group has committed, or is to commit, for one partition.
type Committed struct {
	contactsync.TopicPartition
	Offset int64 // of the record to read next; NoOffset where nothing is committed
	Err    error // why it could not be asked for; Offset says nothing then
	// Metadata is what is kept with the offset, at most 4,096 bytes unless the brokers
	// are set otherwise. Others may have written it.
	Metadata string
	// Cluster and TopicID tell which log the offset is of, as far as the brokers have ids.
	// They are not looked at where an offset is to be committed.
	Cluster string
	TopicID [16]byte
}

// Generation is one assignment of a group's partitions, as one member sees it.
type Generation struct {
	ID     int32 // counts the assignments of this process; the group's own number may come twice
	Group  int32 // the group's number of it
	Member string
	Owned  []Committed // the partitions of this member
	All    int         // how many partitions the topics have, whoever owns them
	// Missing are the topics that do not exist, or that this client may not see.
	Missing []string

	// Ended is done when the member has to give its partitions up. Its cause is
	// ErrRebalance while commits may still be taken, and ErrFenced when they may not.
	Ended context.Context
	// Lost is done when the partitions may have another owner: nothing of them may be
	// sent any more. It may be so from the first, or while they are given up.
	Lost context.Context
}

// Group is this process's membership in a consumer group. One goroutine calls Next
// and Leave; Commit and Committed may be called by others between two calls of Next.
type Group struct {
	client *Client
	cfg    GroupConfig

	exchanger *exchanger
	inner     *group.Group
	abandon   context.CancelFunc // ends inner as a crash would; nil before the first Next and after Leave
	missing   absence
	held      *group.Generation // what Next returned last; nil once it is given up

	trouble atomic.Pointer[error] // of joining, since it was last returned
	fenced  atomic.Bool

	// Owned by inner's goroutine.
	told   time.Time // when a trouble was logged last
	absent []string  // topics that were missing at the last assignment, and were told
}

// NewGroup returns a member that has not joined yet.
func (c *Client) NewGroup(cfg GroupConfig) *Group {
	g := &Group{client: c, cfg: cfg, exchanger: newExchanger(c)}
	g.inner = group.Open(group.Config{
		Group: cfg.ID, ClientID: c.cfg.ClientID, InstanceID: cfg.InstanceID, Topics: cfg.Topics, Brokers: c.cfg.Brokers,
		Session: cfg.SessionTimeout, Rebalance: cfg.RebalanceTimeout, Heartbeat: cfg.HeartbeatInterval,
		LeaseMargin: cfg.leaseMargin(), Watch: cfg.PartitionCheckInterval, Seed: rand.Uint64(),
	}, g.exchanger, g.observe)
	return g
}

// Next gives up the generation that it returned last, takes part in the rebalance
// and returns the next generation. So it is to be called when nothing of the last
// one is in flight.
//
// It makes one attempt, of the session time-out at most, and any error but
// ErrNoTopic is worth another one. ErrNoTopic comes only where none of the topics
// exists before the group is joined, and only when that is to be believed: a group
// whose other members are well is not joined for nothing. ErrRebalance says that other
// members are waited for.
func (g *Group) Next(ctx context.Context) (*Generation, error) {
	g.giveUp()
	if g.abandon == nil {
		err := g.anyTopic(ctx)
		if believed := g.missing.believed(err); err != nil {
			if errors.Is(err, ErrNoTopic) && !believed {
				return nil, errors.New(err.Error()) // may pass
			}
			return nil, err
		}
		var run context.Context
		run, g.abandon = context.WithCancel(g.client.life)
		g.client.running.Go(func() { defer crash.Exit(); g.inner.Run(run) })
	}
	attempt, cancel := context.WithTimeout(ctx, g.cfg.SessionTimeout)
	defer cancel()
	gen, err := g.inner.Next(attempt)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			gen.Release()
		}
		return nil, context.Cause(ctx)
	case err == nil:
		g.held = gen
		return g.generation(ctx, gen)
	case g.fenced.Load():
		return nil, fmt.Errorf("join group %q: %w: this process stays out: give each one an instance_id of its own, and restart it", g.cfg.ID, group.ErrTaken)
	}
	if t := g.trouble.Swap(nil); t != nil {
		return nil, groupError(*t, g.cfg.ID)
	}
	return nil, ErrRebalance
}

// anyTopic asks whether one of the topics exists. It returns ErrNoTopic only where none
// does: with one, the others are missing as they would be had they been deleted later.
func (g *Group) anyTopic(ctx context.Context) error {
	ctx, cancel := g.client.bounded(ctx)
	defer cancel()
	_, errs, err := g.client.topics(ctx, g.cfg.Topics)
	if err != nil {
		return err
	}
	if slices.Contains(errs, nil) {
		return nil
	}
	for _, err := range errs {
		if !errors.Is(err, ErrNoTopic) { // it may be there
			return g.client.renewal.note(err)
		}
	}
	return g.client.renewal.note(errors.Join(errs...))
}

// observe is called for what happens in the membership, and must not block.
func (g *Group) observe(e group.Event) {
	log := g.client.log
	switch e := e.(type) {
	case group.Trouble:
		g.trouble.Store(&e.Err)
		_ = g.client.renewal.note(e.Err)
		if now := time.Now(); now.Sub(g.told) >= time.Minute {
			g.told = now
			log.Warn("the group protocol failed; retried", "err", e.Err)
			return
		}
		log.Debug("the group protocol failed; retried", "err", e.Err)
	case group.Recreated:
		log.Error("a topic was deleted and created again: offsets of the old one are not committed any more", "topic", e.Topic, "old", e.Old, "new", e.New)
	case group.Fenced:
		g.fenced.Store(true)
	case group.Assigned:
		g.trouble.Store(nil)
		absent := missing(g.cfg.Topics, e)
		for _, t := range absent {
			if !slices.Contains(g.absent, t) {
				log.Error("a topic does not exist, or DESCRIBE on it is missing: nothing of it is read", "topic", t)
			}
		}
		g.absent = absent
	case group.Lost:
		log.Warn("partitions were lost: another replica may own them", "assignment", e.Number, "cause", e.Cause)
	case group.Release, group.Left, group.Done:
	}
}

// generation asks for the offsets of an assignment.
func (g *Group) generation(ctx context.Context, gen *group.Generation) (*Generation, error) {
	ended, end := context.WithCancelCause(context.Background())
	context.AfterFunc(gen.Current(), func() {
		why := ErrRebalance
		if gen.Owned().Err() != nil {
			why = ErrFenced
		}
		end(fmt.Errorf("%w: %w", why, context.Cause(gen.Current())))
	})
	out := &Generation{ID: gen.Number, Group: gen.Generation, Member: gen.Member, Ended: ended, Lost: gen.Owned()}
	for _, t := range gen.Topics {
		out.All += t.Partitions
	}
	out.Missing = missing(g.cfg.Topics, gen.Assigned)
	if len(gen.Partitions) == 0 {
		return out, nil
	}
	ask, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(gen.Current(), func() { cancel(ErrRebalance) })()
	offsets, err := gen.Fetch(ask, gen.Partitions)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case gen.Current().Err() != nil:
		return nil, ErrRebalance
	case err != nil:
		return nil, groupError(err, g.cfg.ID)
	}
	for _, o := range offsets {
		out.Owned = append(out.Owned, g.committed(gen.Cluster, o))
	}
	return out, nil
}

func (g *Group) committed(cluster string, o group.Offset) Committed {
	c := Committed{TopicPartition: o.TopicPartition, Offset: max(o.Offset, NoOffset), Metadata: o.Metadata, Cluster: cluster, TopicID: o.TopicID}
	if o.Code != 0 {
		c.Err = g.client.renewal.note(groupError(fmt.Errorf("ask for the committed offset of %v: %w", o.TopicPartition, o.Code), g.cfg.ID))
	}
	return c
}

// Committed asks again for what is committed for a partition of a generation.
func (g *Group) Committed(ctx context.Context, gen *Generation, partition contactsync.TopicPartition) Committed {
	held := g.held
	if held == nil || held.Number != gen.ID {
		return Committed{TopicPartition: partition, Err: group.ErrNotOwned}
	}
	ctx, cancel := g.client.bounded(ctx)
	defer cancel()
	offsets, err := held.Fetch(ctx, []contactsync.TopicPartition{partition})
	if err != nil {
		return Committed{TopicPartition: partition, Err: err}
	}
	return g.committed(held.Cluster, offsets[0])
}

// TopicID asks which topic has a name now: one that was deleted and created again has
// another id. It is zero where the brokers do not say it, and where there is none.
func (g *Group) TopicID(ctx context.Context, topic string) ([16]byte, error) {
	id, err := g.inner.TopicID(ctx, topic)
	return id, err
}

// giveUp lets the membership go on to the next generation.
func (g *Group) giveUp() {
	if g.held != nil {
		g.held.Release()
		g.held = nil
	}
}

// Commit commits offsets of partitions that a generation owns. It returns for each
// why it was not taken, and nil for one that was: ErrFenced where this member owns
// nothing any more, ErrMetadataTooLarge where the brokers keep less with an offset. With
// an error of its own nothing is known of any.
func (g *Group) Commit(ctx context.Context, gen *Generation, offsets []Committed) ([]error, error) {
	failed := make([]error, len(offsets))
	fence := func(err error) ([]error, error) {
		for i, o := range offsets {
			failed[i] = fmt.Errorf("%w: %v: %w", ErrFenced, o.TopicPartition, err)
		}
		return failed, nil
	}
	if g.held == nil || g.held.Number != gen.ID {
		return fence(group.ErrNotOwned)
	}
	ask := make([]group.Offset, len(offsets))
	index := map[contactsync.TopicPartition]int{}
	for i, o := range offsets {
		ask[i] = group.Offset{TopicPartition: o.TopicPartition, Offset: o.Offset, LeaderEpoch: -1, Metadata: o.Metadata}
		index[o.TopicPartition] = i
	}
	ctx, cancel := g.client.bounded(ctx)
	defer cancel()
	results, err := g.held.Commit(ctx, ask)
	switch {
	case errors.Is(err, group.ErrNotOwned):
		return fence(err)
	case err != nil:
		return nil, groupError(fmt.Errorf("commit offsets of group %q: %w", g.cfg.ID, err), g.cfg.ID)
	}
	for _, r := range results {
		if r.Code == 0 {
			continue
		}
		err := g.client.renewal.note(groupError(fmt.Errorf("commit %v of group %q: %w", r.TopicPartition, g.cfg.ID, r.Code), g.cfg.ID))
		if r.Code == group.CodeMetadataTooLarge {
			err = fmt.Errorf("%w: %w", ErrMetadataTooLarge, err)
		}
		failed[index[r.TopicPartition]] = err
	}
	return failed, nil
}

// LeaseUntil is until when the generation that Next returned last may be worked on:
// a session, less a margin, after the sending of what the coordinator confirmed last.
// It is zero where nothing is owned. It may be called from any goroutine.
func (g *Group) LeaseUntil() time.Time { return g.inner.LeaseUntil() }

// Leave gives up the generation and leaves the group, if it was joined. It waits
// until ctx ends at most: Kafka then notices when the session times out. With an
// instance id the group is not left, so that the next process may go on.
func (g *Group) Leave(ctx context.Context) error {
	defer g.exchanger.close()
	if g.abandon == nil {
		return nil
	}
	defer func() {
		g.abandon()
		g.abandon = nil
	}()
	g.inner.Stop() // before it is given up: it would join once more
	g.giveUp()
	select {
	case <-g.inner.Ended():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave group %q: %w", g.cfg.ID, context.Cause(ctx))
	}
}

// missing returns the topics that were not found, and of which nothing is assigned.
func missing(topics []string, a group.Assigned) (list []string) {
	if len(a.Topics) == 0 && a.Cluster == "" { // no broker has said which there are
		return nil
	}
	for _, t := range topics {
		_, found := a.Topics[t]
		if !found && !slices.ContainsFunc(a.Partitions, func(p contactsync.TopicPartition) bool { return p.Topic == t }) {
			list = append(list, t)
		}
	}
	return list
}
