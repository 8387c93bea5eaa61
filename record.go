package contactsync

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TopicPartition is one partition of a topic. It is comparable and printable.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String prints topic/partition.
func (p TopicPartition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Claim is one partition during one generation of the consumer group. A
// partition that comes back after a rebalance is a new claim, so what belongs to
// an ended generation can never be taken for the current one.
type Claim struct {
	TopicPartition
	Generation int32
}

// Position is where a record is in Kafka, in any generation. It is comparable and
// printable.
type Position struct {
	TopicPartition
	Offset int64
}

// String prints the position as topic/partition@offset.
func (p Position) String() string { return fmt.Sprintf("%v@%d", p.TopicPartition, p.Offset) }

// State says how far an event had got under an earlier owner of its partition.
type State uint8

// The states of an event that is read.
const (
	Open      State = iota // not ended, or not known to have
	Completed              // ended: delivered, superseded or skipped
	SetAside               // ended as a dead letter
)

// Ended is an event of a claim that needs no more work.
type Ended struct {
	Claim
	Offset   int64
	SetAside bool // as a dead letter
}

// Parked is an event of a claim that is not kept, and is to be read again.
type Parked struct {
	Claim
	Offset int64
}

// Position returns where the event is in Kafka.
func (e Ended) Position() Position { return Position{e.TopicPartition, e.Offset} }

// ParsePosition reads what Position.String prints.
func ParsePosition(text string) (Position, error) {
	partitionText, offset, ok := strings.Cut(text, "@")
	partition, err := ParseTopicPartition(partitionText)
	fail := func(problem error) (Position, error) {
		return Position{}, fmt.Errorf("read position: %w: want topic/partition@offset", problem)
	}
	switch {
	case !ok:
		return fail(errPartMissing)
	case err != nil:
		return fail(err)
	}
	n, err := strconv.ParseUint(offset, 10, 63)
	if err != nil {
		return fail(errors.New("the offset is not a number"))
	}
	return Position{partition, int64(n)}, nil
}

var errPartMissing = errors.New("a part is missing")

// ParseTopicPartition reads what TopicPartition.String prints.
func ParseTopicPartition(text string) (TopicPartition, error) {
	slash := strings.LastIndexByte(text, '/')
	if slash < 1 {
		return TopicPartition{}, errPartMissing
	}
	partition, err := strconv.ParseUint(text[slash+1:], 10, 31)
	if err != nil {
		return TopicPartition{}, errors.New("the partition is not a number")
	}
	return TopicPartition{text[:slash], int32(partition)}, nil
}

// Header is one header of a Kafka record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one Kafka record. Its slices are its own: nothing else writes to
// them, and they may be kept.
type Record struct {
	Position
	Generation int32     // in which it was read; 0 outside of a consumer group
	Time       time.Time // as the record carries it: set by the producer or the broker
	Key        []byte    // nil where the record has none
	Value      []byte    // nil for a tombstone
	Headers    []Header
}

// Claim is the claim under which the record was read.
func (r *Record) Claim() Claim { return Claim{r.TopicPartition, r.Generation} }

// NamePattern is the one form of stream, account and contact ids. Nothing of that
// form can lead to another path, host or header. The API documents none; its ids
// are hexadecimal, and those of streams begin with st-.
const NamePattern = `^[A-Za-z0-9_-]{1,64}$`

// IsName reports whether text matches NamePattern.
func IsName[T string | []byte](text T) bool {
	if len(text) == 0 || len(text) > 64 {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// FoldID returns the form of a contact's id in which two spellings of one are equal: the
// API's ids are 24 hexadecimal digits, and it takes them in either case. Other ids are
// returned as they are.
func FoldID(id string) string {
	if len(id) != 24 || !hasUpper(id[:8]) && !hasUpper(id[8:16]) && !hasUpper(id[16:]) {
		return id
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return id
		}
	}
	return strings.ToLower(id)
}

// hasUpper reports whether one of eight bytes may be an upper-case letter: those have bit 6
// and not bit 5. It looks at all at once, because every event's id comes by here.
func hasUpper(s string) bool {
	_ = s[7]
	w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	return w&^(w<<1)&0x4040404040404040 != 0
}
