package group

import (
	"fmt"
	"slices"
	"strings"

	"github.com/contactsync/contactsync"
)

// The consumer protocol is what members write to each other inside of JoinGroup
// and SyncGroup. Its newer versions only append, so a version that is not known
// is read as the newest one that is, and what follows is ignored.

// maxTopics is how many topics a member may subscribe to. One with more gets
// nothing, as librdkafka does it.
const maxTopics = 10_000

// subscription is what a member says about itself when it joins.
type subscription struct {
	topics     []string
	userData   []byte
	owned      []contactsync.TopicPartition
	generation int32 // in which owned was assigned; -1 where it is not said
}

// bytes writes version 0. Every client can read it, and it says all that a member
// says that owns nothing while it joins.
func (s subscription) bytes() []byte {
	w := &writer{}
	w.int16(0)
	w.array(len(s.topics))
	for _, t := range s.topics {
		w.string(t)
	}
	if s.userData == nil {
		w.int32(-1)
	} else {
		w.bytes(s.userData)
	}
	return w.buf
}

// readSubscription reads versions 0 to 3 and later ones. A version 1 without
// owned partitions is what some clients write, and means none.
func readSubscription(b []byte) (subscription, error) {
	r := &reader{rest: b}
	s := subscription{generation: -1}
	version := r.int16()
	if version < 0 {
		r.fail("version %d", version)
	}
	n := r.array("topics", 2)
	if n > maxTopics {
		r.fail("%d topics, more than %d", n, maxTopics)
		n = 0
	}
	for range n {
		s.topics = append(s.topics, r.string())
	}
	s.userData = r.bytes()
	if version >= 1 && len(r.rest) > 0 {
		s.owned = readPartitions(r)
		if version >= 2 {
			s.generation = r.int32()
		}
	}
	if r.err != nil {
		return subscription{}, fmt.Errorf("read subscription: %w", r.err)
	}
	return s, nil
}

// encodeAssignment writes version 0; all versions are alike.
func encodeAssignment(parts []contactsync.TopicPartition) []byte {
	w := &writer{}
	w.int16(0)
	writePartitions(w, parts)
	w.bytes(nil) // user data
	return w.buf
}

// readAssignment reads what the leader assigned. No bytes are no partitions.
func readAssignment(b []byte) ([]contactsync.TopicPartition, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r := &reader{rest: b}
	if version := r.int16(); version < 0 {
		r.fail("version %d", version)
	}
	parts := readPartitions(r)
	if r.err != nil {
		return nil, fmt.Errorf("read assignment: %w", r.err)
	}
	return parts, nil
}

// writePartitions writes partitions by topic.
func writePartitions(w *writer, parts []contactsync.TopicPartition) {
	parts = sortPartitions(slices.Clone(parts))
	n := 0
	for i, p := range parts {
		if i == 0 || p.Topic != parts[i-1].Topic {
			n++
		}
	}
	w.array(n)
	for len(parts) > 0 {
		topic := parts[0].Topic
		n := slices.IndexFunc(parts, func(p contactsync.TopicPartition) bool { return p.Topic != topic })
		if n < 0 {
			n = len(parts)
		}
		w.string(topic)
		w.array(n)
		for _, p := range parts[:n] {
			w.int32(p.Partition)
		}
		parts = parts[n:]
	}
}

// readPartitions reads partitions by topic, each once, in order.
func readPartitions(r *reader) []contactsync.TopicPartition {
	var parts []contactsync.TopicPartition
	for range r.array("topics", 6) {
		topic := r.string()
		for _, p := range r.int32s("partitions") {
			if p < 0 {
				r.fail("partition %d", p)
				return nil
			}
			parts = append(parts, contactsync.TopicPartition{Topic: topic, Partition: p})
		}
	}
	return slices.Compact(sortPartitions(parts))
}

func sortPartitions(parts []contactsync.TopicPartition) []contactsync.TopicPartition {
	slices.SortFunc(parts, comparePartitions)
	return parts
}

func comparePartitions(a, b contactsync.TopicPartition) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

// claims is the user data of the sticky protocol: what a member owned, and in
// which generation.
type claims struct {
	owned      []contactsync.TopicPartition
	generation int32
}

func (c claims) bytes() []byte {
	w := &writer{}
	writePartitions(w, c.owned)
	w.int32(c.generation)
	return w.buf
}

// readClaims reads sticky user data with a generation, or without one, as it was
// written first. What is neither claims nothing.
func readClaims(b []byte) claims {
	r := &reader{rest: b}
	c := claims{owned: readPartitions(r), generation: -1}
	if len(r.rest) > 0 {
		c.generation = r.int32()
	}
	if r.err != nil || c.generation < -1 {
		return claims{generation: -1}
	}
	return c
}
