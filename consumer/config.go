package consumer

import (
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/setting"
)

// Config is the consumer section of the settings.
type Config struct {
	// Topics are the topics to read contact-changed events from. At least one.
	Topics []string `yaml:"topics"`
	// Group is the consumer group. Replicas of the same group share the partitions.
	Group string `yaml:"group"`
	// InstanceID lets a replica restart within session_timeout without a rebalance:
	// it comes back to the partitions that it had, and does not leave the group when it
	// stops. Each replica needs an id of its own that it keeps, such as the name of
	// its pod in a StatefulSet. Empty means none.
	InstanceID string `yaml:"instance_id"`
	// SessionTimeout is how long Kafka waits for a heartbeat before it assigns the
	// partitions to another replica. A request starts only if it would end nine tenths
	// of that after the last heartbeat that was confirmed.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	// RebalanceTimeout is how long Kafka waits for every replica to rejoin when the group changes.
	RebalanceTimeout time.Duration `yaml:"rebalance_timeout"`
	// HeartbeatInterval is the time between heartbeats; at most a third of
	// session_timeout.
	HeartbeatInterval time.Duration `yaml:"heartbeat_interval"`
	// DrainTimeout is how long requests in flight may take to finish when partitions
	// are revoked or the service stops. It is at most half of session_timeout and of
	// rebalance_timeout.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
	// FetchMinBytes is the least data that a fetch waits for, up to fetch_max_wait. A
	// small value wakes the client for each record, which costs CPU at a steady rate
	// of events.
	FetchMinBytes setting.Size `yaml:"fetch_min_bytes"`
	// FetchMaxBytes bounds one fetch of one partition. Where a replica has more than 64
	// partitions, each asks for its part of 64 MiB, but for no less than 64 KiB. A single larger
	// record batch is still read; such answers take 64 MiB together, or one max_batch_bytes.
	FetchMaxBytes setting.Size `yaml:"fetch_max_bytes"`
	// FetchMaxWait is how long a fetch may wait for fetch_min_bytes. It adds to the
	// age of an event.
	FetchMaxWait time.Duration `yaml:"fetch_max_wait"`
	// MaxBatchBytes bounds one record batch after decompression. A partition with a
	// larger one halts, so that a decompression bomb cannot exhaust the memory of one
	// replica after another.
	MaxBatchBytes setting.Size `yaml:"max_batch_bytes"`
	// CommitInterval is the time between offset commits.
	CommitInterval time.Duration `yaml:"commit_interval"`
	// CommitEvents is how many completed events cause a commit before commit_interval
	// has passed.
	CommitEvents int `yaml:"commit_events"`
	// ProgressTopic holds what ended beyond a committed offset where it does not fit the
	// commit: a backlog with many events of each contact, or millions of contacts. After
	// a restart that is not sent again. Its cleanup.policy should be compact; it keeps one
	// record for each partition and group, of at most 1 MiB. Empty means none: what does
	// not fit is sent again.
	ProgressTopic string `yaml:"progress_topic"`
	// CatchupMax bounds how long a newly assigned partition is read without sending
	// anything, so that only the newest states are sent after a takeover. 0 disables
	// catching up.
	CatchupMax time.Duration `yaml:"catchup_max"`
	// OnOffsetLoss is what happens when the committed offset lies below the start or
	// beyond the end of the partition: halt (wait for an operator) or skip (count the
	// loss and continue from the first offset that exists).
	OnOffsetLoss string `yaml:"on_offset_loss"`
	// OnUnreadableBatch is what happens to a record batch that cannot be read because it
	// is corrupt, too large or of an unsupported form: halt (its partition waits for an
	// operator) or set_aside (a dead letter describes it, and the partition goes on).
	OnUnreadableBatch string `yaml:"on_unreadable_batch"`
	// OnUnreadableFeed is what happens when most of the last events of a partition, at least
	// 20, are undecodable or invalid, as where a topic holds another format: halt (the
	// partition waits for an operator, or for events that can be read), skip (each becomes a
	// dead letter, and the log and /status say so) or off (nobody looks).
	OnUnreadableFeed string `yaml:"on_unreadable_feed"`
	// PartitionCheckInterval is the time between checks for new partitions, and between
	// attempts to read a partition that is halted or whose committed offset is not known.
	PartitionCheckInterval time.Duration `yaml:"partition_check_interval"`
	// StallAfter is how long a loop may stand still, or contacts may wait that nothing would ever send, before the service
	// counts as stuck and /livez fails. An outage of Kafka or of the API is neither.
	StallAfter time.Duration `yaml:"stall_after"`
}

// The policies for a committed offset that does not exist, for a batch that cannot be
// read, and for a partition most of whose events cannot.
const (
	Halt     = "halt"
	Skip     = "skip"
	SetAside = "set_aside"
	Off      = "off"
)

// DefaultConfig returns the defaults. Topics and Group have none.
func DefaultConfig() Config {
	return Config{
		SessionTimeout:         45 * time.Second,
		RebalanceTimeout:       60 * time.Second,
		HeartbeatInterval:      3 * time.Second,
		DrainTimeout:           10 * time.Second,
		FetchMinBytes:          64 << 10,
		FetchMaxBytes:          1 << 20,
		FetchMaxWait:           250 * time.Millisecond,
		MaxBatchBytes:          64 << 20,
		CommitInterval:         time.Second,
		CommitEvents:           50_000,
		CatchupMax:             60 * time.Second,
		OnOffsetLoss:           Halt,
		OnUnreadableBatch:      Halt,
		OnUnreadableFeed:       Halt,
		PartitionCheckInterval: 30 * time.Second,
		StallAfter:             2 * time.Minute,
	}
}

// TopicNames are the topics that the consumer reads and writes.
func (c Config) TopicNames() []string {
	names := slices.Clone(c.Topics)
	if c.ProgressTopic != "" {
		names = append(names, c.ProgressTopic)
	}
	return names
}

// Membership is the part that a kafka.Group needs.
func (c Config) Membership() kafka.GroupConfig {
	return kafka.GroupConfig{
		ID: c.Group, Topics: c.Topics, InstanceID: c.InstanceID,
		SessionTimeout: c.SessionTimeout, RebalanceTimeout: c.RebalanceTimeout,
		HeartbeatInterval: c.HeartbeatInterval, PartitionCheckInterval: c.PartitionCheckInterval,
	}
}

// Lease is for how long Kafka's confirmation of the membership is relied on.
func (c Config) Lease() time.Duration { return c.Membership().Lease() }

// Validate returns every error of the settings.
func (c Config) Validate() []setting.Error {
	const day = 24 * time.Hour
	var errs setting.Errors
	if len(c.Topics) == 0 {
		errs.Add("topics", "name at least one topic to read")
	}
	seen := map[string]bool{}
	for i, t := range c.Topics {
		switch key := fmt.Sprintf("topics[%d]", i); {
		case !setting.IsKafkaName(t):
			errs.Add(key, setting.NoTopic, t)
		case seen[t]:
			errs.Add(key, "%q is named twice", t)
		}
		seen[t] = true
	}
	switch t := c.ProgressTopic; {
	case t == "":
	case !setting.IsKafkaName(t):
		errs.Add("progress_topic", setting.NoTopic, t)
	case seen[t]:
		errs.Add("progress_topic", "%q is a topic of events: name one of its own", t)
	}
	if c.Group == "" {
		errs.Add("group", "name the consumer group")
	}
	if c.InstanceID != "" && !setting.IsKafkaName(c.InstanceID) {
		errs.Add("instance_id", "%q is not valid: at most 249 letters, digits, '.', '_' and '-', and neither . nor ..", c.InstanceID)
	}
	for _, d := range []struct {
		key         string
		value       time.Duration
		least, most time.Duration
	}{
		{"session_timeout", c.SessionTimeout, time.Second, day},
		{"rebalance_timeout", c.RebalanceTimeout, time.Second, day},
		{"heartbeat_interval", c.HeartbeatInterval, 100 * time.Millisecond, day},
		{"drain_timeout", c.DrainTimeout, 100 * time.Millisecond, day},
		// It goes to Kafka as a number of milliseconds, and an event waits for it.
		{"fetch_max_wait", c.FetchMaxWait, time.Millisecond, 5 * time.Minute},
		{"commit_interval", c.CommitInterval, 10 * time.Millisecond, day},
		{"partition_check_interval", c.PartitionCheckInterval, 100 * time.Millisecond, day},
		{"stall_after", c.StallAfter, time.Second, day},
	} {
		if d.value < d.least || d.value > d.most {
			errs.Add(d.key, "%v must be between %v and %v", d.value, d.least, d.most)
		}
	}
	if c.CatchupMax < 0 {
		errs.Add("catchup_max", "%v is negative: 0 switches catch-up off", c.CatchupMax)
	}
	if c.HeartbeatInterval > c.SessionTimeout/3 {
		errs.Add("heartbeat_interval", "%v is more than a third of session_timeout (%v): one lost heartbeat would cost the partitions", c.HeartbeatInterval, c.SessionTimeout)
	}
	if limit := min(c.SessionTimeout, c.RebalanceTimeout) / 2; c.DrainTimeout > limit {
		errs.Add("drain_timeout", "%v is more than half of session_timeout and rebalance_timeout: at most %v", c.DrainTimeout, limit)
	}
	if c.FetchMinBytes < 1 || c.FetchMinBytes > c.FetchMaxBytes {
		errs.Add("fetch_min_bytes", "%v must be between 1B and fetch_max_bytes (%v)", c.FetchMinBytes, c.FetchMaxBytes)
	}
	if c.FetchMaxBytes > 1<<30 {
		errs.Add("fetch_max_bytes", "%v is too large: at most 1GiB", c.FetchMaxBytes)
	}
	if c.MaxBatchBytes < c.FetchMaxBytes {
		errs.Add("max_batch_bytes", "%v is less than fetch_max_bytes (%v)", c.MaxBatchBytes, c.FetchMaxBytes)
	}
	if c.CommitEvents < 1 {
		errs.Add("commit_events", "%d must be at least 1", c.CommitEvents)
	}
	if c.OnOffsetLoss != Halt && c.OnOffsetLoss != Skip {
		errs.Add("on_offset_loss", "%q is unknown: halt or skip", c.OnOffsetLoss)
	}
	if c.OnUnreadableBatch != Halt && c.OnUnreadableBatch != SetAside {
		errs.Add("on_unreadable_batch", "%q is unknown: halt or set_aside", c.OnUnreadableBatch)
	}
	if c.OnUnreadableFeed != Halt && c.OnUnreadableFeed != Skip && c.OnUnreadableFeed != Off {
		errs.Add("on_unreadable_feed", "%q is unknown: halt, skip or off", c.OnUnreadableFeed)
	}
	return errs
}
