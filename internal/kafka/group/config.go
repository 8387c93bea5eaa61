package group

import (
	"strings"
	"time"
)

// Config says which group to join, and how.
type Config struct {
	Group    string
	ClientID string
	// InstanceID makes this a static member: one that may be away for less than a
	// session without a rebalance. No two processes that run may share one. Empty
	// for a dynamic member.
	InstanceID string
	Topics     []string
	// Brokers are the addresses, host:port, to start from.
	Brokers []string
	// Session is how long the coordinator waits for a sign of life.
	Session time.Duration
	// Rebalance is how long the coordinator waits for this member to join the next
	// generation, so the owner has less than that to give its partitions back.
	Rebalance time.Duration
	// Heartbeat is the time between signs of life.
	Heartbeat time.Duration
	// LeaseMargin is how much earlier the lease ends than the coordinator may give the
	// partitions away.
	LeaseMargin time.Duration
	// Watch is the time between looks at the partitions of the topics.
	Watch time.Duration
	// Seed makes the jitter of the waiting times repeatable.
	Seed uint64
}

// short bounds a request that any living broker answers at once. It is far below
// the session, so that a frozen broker costs one of several tries.
func (c Config) short() time.Duration {
	return min(max(c.Session/6, 500*time.Millisecond), 3*time.Second)
}

// long bounds a request that has work to do: a commit waits for replicas. It bounds
// SyncGroup too, although the coordinator holds that back until the leader's has come,
// which may take minutes: SyncGroup only repeats itself within a generation, so it is sent
// again, and an answer that was lost costs seconds.
func (c Config) long() time.Duration { return min(max(c.Session/2, time.Second), 10*time.Second) }

// patient bounds a question to any broker. Where every one is slow, each round of them
// waits twice as long.
func (c Config) patient(round int) time.Duration {
	return min(c.short()<<min(round, 8), c.long())
}

// wait bounds JoinGroup, which the coordinator holds until the slowest member has
// answered: any member's rebalance time-out, which is five minutes where it is a
// Java consumer with the defaults. A shorter bound would join again and again.
func (c Config) wait() time.Duration { return max(c.Rebalance, 5*time.Minute) + 30*time.Second }

// static reports whether this is a static member.
func (c Config) static() bool { return c.InstanceID != "" }

// made reports whether the coordinator has made a member id for this instance: it
// puts 36 characters behind the instance id.
func (c Config) made(member string) bool {
	rest, ok := strings.CutPrefix(member, c.InstanceID+"-")
	return c.static() && ok && len(rest) == 36
}
