package group

import (
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
	// LeaseMargin is how much earlier than the session the lease ends.
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

// long bounds a request that has work to do: a commit waits for replicas.
func (c Config) long() time.Duration { return min(max(c.Session/2, time.Second), 10*time.Second) }

// wait bounds JoinGroup and SyncGroup, which the coordinator holds until the
// slowest member has answered: any member's rebalance time-out, which is five
// minutes where it is a Java consumer with the defaults. A shorter bound would
// join again and again.
func (c Config) wait() time.Duration { return max(c.Rebalance, 5*time.Minute) + 30*time.Second }

// backoff returns how long to wait after the given number of failures in a row,
// at most limit.
func (m *Member) backoff(failures int, first, limit time.Duration) time.Duration {
	if failures <= 0 {
		return 0
	}
	d := limit
	if failures < 20 {
		d = min(first<<(failures-1), limit)
	}
	return time.Duration(float64(d) * (0.8 + 0.4*m.rand.Float64()))
}

// Waiting times between tries.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2 * time.Second
	// What only an operator can mend is tried less often.
	firstFatal = time.Second
	lastFatal  = 30 * time.Second
)
