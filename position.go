package contactsync

import (
	"fmt"
	"time"
)

// Claim is one partition during one generation of the consumer group. A
// partition that comes back after a rebalance is a new claim, so what belongs to
// an ended generation can never be taken for the current one.
type Claim struct {
	Topic      string
	Partition  int32
	Generation int32
}

// String prints the claim as topic/partition, which is what an operator looks for.
func (c Claim) String() string { return fmt.Sprintf("%s/%d", c.Topic, c.Partition) }

// Position says where an event is in Kafka. It is comparable and printable.
type Position struct {
	Claim
	Offset int64
}

// String prints the position as topic/partition@offset.
func (p Position) String() string { return fmt.Sprintf("%s/%d@%d", p.Topic, p.Partition, p.Offset) }

// Header is one header of a Kafka record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one Kafka record. Its slices are its own: nothing else writes to
// them, and they may be kept.
type Record struct {
	Position
	Time    time.Time // as the record carries it: set by the producer or the broker
	Key     []byte    // nil where the record has none
	Value   []byte    // nil for a tombstone
	Headers []Header
}
