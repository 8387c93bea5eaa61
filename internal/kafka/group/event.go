package group

import (
	"errors"

	"github.com/contactsync/contactsync"
)

// Why an assignment ends. The event that ends it carries one of these, or an error
// that wraps one.
var (
	ErrRejoin     = errors.New("the group rebalances")
	ErrPartitions = errors.New("a topic of the group has got other partitions")
	ErrOutdated   = errors.New("the assignment is of other topics or partitions than there are now")
	ErrStopped    = errors.New("the member stops")
	ErrEvicted    = errors.New("the coordinator knows this member no more, or not in this generation")
	ErrLease      = errors.New("no sign of life was confirmed for a session")
	ErrTaken      = errors.New("another process has taken the instance id")
)

// Why a commit or a fetch of offsets has failed.
var (
	// ErrNotOwned says that the assignment has ended.
	ErrNotOwned = errors.New("the assignment has ended")
	// ErrRetry says that it may not have been done, and that it can be tried again.
	ErrRetry = errors.New("the coordinator has not done it")
)

// Event is what the owner of a member must know of, in this order.
type Event interface{ isEvent() }

// Assigned gives partitions to the owner. They are its own until Release or Lost,
// and as long as the lease holds.
type Assigned struct {
	Number     int32 // counts assignments; Kafka's generation may come twice
	Generation int32
	Member     string
	Protocol   string
	Leader     bool
	Partitions []contactsync.TopicPartition
	// Cluster is the id of the Kafka cluster; empty where the brokers do not say it.
	Cluster string
	// Topics are those of the own topics that exist. One may be missing although
	// partitions of it are assigned, when no broker answered in time.
	Topics map[string]Topic
}

// Topic is what is known of a topic.
type Topic struct {
	ID         TopicID
	Partitions int
}

// recreates reports whether t is another topic of the same name. Where a broker does
// not say its id, it is not.
func (t Topic) recreates(old Topic) bool {
	return t.ID != old.ID && t.ID != TopicID{} && old.ID != TopicID{}
}

// Release asks the owner to give an assignment back: to end its work, commit, and
// call Released. The membership goes on meanwhile.
type Release struct {
	Number int32
	Cause  error
}

// Lost takes an assignment away: somebody else may own its partitions. The owner
// forgets it, sends and commits nothing, and calls Released. It may follow a Release.
type Lost struct {
	Number int32
	Cause  error
}

// Fenced says that the member stays out for good: another process uses its
// instance id. Joining again would fence that one in turn.
type Fenced struct{}

// Left says that the member has stopped.
type Left struct{}

// Done is the outcome of Commit or Fetch.
type Done struct {
	Ticket  int
	Err     error    // of the whole; the offsets hold nothing
	Offsets []Offset // each with its own code
}

// Recreated says that a topic was deleted and created again while its partitions
// were owned. Offsets of the old one are not committed any more, and the leader of
// the group begins the next generation when it sees it too.
type Recreated struct {
	Topic    string
	Old, New TopicID
}

// Trouble is something that went wrong and is tried again.
type Trouble struct{ Err error }

func (Assigned) isEvent()  {}
func (Release) isEvent()   {}
func (Lost) isEvent()      {}
func (Fenced) isEvent()    {}
func (Left) isEvent()      {}
func (Done) isEvent()      {}
func (Recreated) isEvent() {}
func (Trouble) isEvent()   {}
