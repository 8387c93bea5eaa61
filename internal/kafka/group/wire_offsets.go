package group

import (
	"slices"

	"github.com/contactsync/contactsync"
)

// Offset is a position in a partition that is committed.
type Offset struct {
	contactsync.TopicPartition
	TopicID     TopicID // of the log that was read; zero where it is not known
	Offset      int64   // the one to read next; -1 where nothing is committed
	LeaderEpoch int32   // of the last record before it; -1 where it is not known
	Metadata    string  // at most 4,096 bytes by the brokers' default
	Code        Code    // why it was not committed or cannot be fetched; 0 where it was
}

// byTopic calls topic once for each topic and partition for each of its offsets.
func byTopic(offsets []Offset, topic func(o Offset, partitions int), partition func(o Offset)) {
	for len(offsets) > 0 {
		n := slices.IndexFunc(offsets, func(o Offset) bool { return o.Topic != offsets[0].Topic })
		if n < 0 {
			n = len(offsets)
		}
		topic(offsets[0], n)
		for _, o := range offsets[:n] {
			partition(o)
		}
		offsets = offsets[n:]
	}
}

func topics(offsets []Offset) int {
	n := 0
	byTopic(offsets, func(Offset, int) { n++ }, func(Offset) {})
	return n
}

// withIDs lowers the versions to those that name topics where an id is not known.
func withIDs(a api, offsets []Offset) api {
	if slices.ContainsFunc(offsets, func(o Offset) bool { return o.TopicID == TopicID{} }) {
		a.max = min(a.max, 9)
	}
	return a
}

// commitRequest commits offsets, which are in the order of their topics.
type commitRequest struct {
	group, member, instance string
	generation              int32
	offsets                 []Offset
}

// commitResponse holds topic, or id, partition and code of each offset.
type commitResponse struct {
	asked   int // bounds what an answer may hold
	results []Offset
}

func (m *commitRequest) api() api           { return withIDs(apiOffsetCommit, m.offsets) }
func (m *commitRequest) response() response { return &commitResponse{asked: len(m.offsets)} }

func (m *commitRequest) encode(w *writer, version int16) {
	w.string(m.group)
	w.int32(m.generation)
	w.string(m.member)
	w.nullable(m.instance)
	w.array(topics(m.offsets))
	first := true
	byTopic(m.offsets, func(o Offset, partitions int) {
		if !first {
			w.tags() // of the topic before
		}
		first = false
		topicName(w, version, o)
		w.array(partitions)
	}, func(o Offset) {
		w.int32(o.Partition)
		w.int64(o.Offset)
		w.int32(o.LeaderEpoch)
		w.nullable(o.Metadata)
		w.tags()
	})
	if !first {
		w.tags()
	}
	w.tags()
}

func topicName(w *writer, version int16, o Offset) {
	if version >= 10 {
		w.id(o.TopicID)
		return
	}
	w.string(o.Topic)
}

func (m *commitResponse) decode(r *reader, version int16) {
	r.int32() // throttle time
	for range r.array("topics", 3) {
		o := readTopicName(r, version)
		for range r.array("partitions", 6) {
			o.Partition, o.Code = r.int32(), Code(r.int16())
			r.tags()
			if m.results = append(m.results, o); len(m.results) > m.asked {
				r.fail("more offsets than the %d that were committed", m.asked)
				return
			}
		}
		r.tags()
	}
	r.tags()
}

func readTopicName(r *reader, version int16) (o Offset) {
	if version >= 10 {
		o.TopicID = r.id()
		return o
	}
	o.Topic = r.string()
	return o
}

// fetchRequest asks for committed offsets; those that a transaction may still
// change are not answered.
type fetchRequest struct {
	group   string
	offsets []Offset // in the order of their topics
}

// fetchResponse holds topic, or id, and the rest of each offset.
type fetchResponse struct {
	asked   int // bounds what an answer may hold
	code    Code
	offsets []Offset
}

func (m *fetchRequest) api() api           { return withIDs(apiOffsetFetch, m.offsets) }
func (m *fetchRequest) response() response { return &fetchResponse{asked: len(m.offsets)} }

func (m *fetchRequest) encode(w *writer, version int16) {
	if version >= 8 {
		w.array(1)
	}
	w.string(m.group)
	if version >= 9 {
		w.nullable("") // member
		w.int32(-1)    // its epoch, for the other group protocol
	}
	w.array(topics(m.offsets))
	first := true
	byTopic(m.offsets, func(o Offset, partitions int) {
		if !first {
			w.tags() // of the topic before
		}
		first = false
		topicName(w, version, o)
		w.array(partitions)
	}, func(o Offset) { w.int32(o.Partition) })
	if !first {
		w.tags()
	}
	if version >= 8 {
		w.tags() // of the group
	}
	w.bool(true) // stable offsets only
	w.tags()
}

func (m *fetchResponse) decode(r *reader, version int16) {
	r.int32() // throttle time
	if version >= 8 {
		if n := r.array("groups", 5); n != 1 {
			r.fail("%d groups where one was asked for", n)
		}
		r.string() // group
	}
	for range r.array("topics", 3) {
		o := readTopicName(r, version)
		for range r.array("partitions", 20) {
			o.Partition, o.Offset, o.LeaderEpoch = r.int32(), r.int64(), r.int32()
			o.Metadata, o.Code = r.string(), Code(r.int16())
			r.tags()
			if m.offsets = append(m.offsets, o); len(m.offsets) > m.asked {
				r.fail("more offsets than the %d that were asked for", m.asked)
				return
			}
		}
		r.tags()
	}
	m.code = Code(r.int16())
	if version >= 8 {
		r.tags()
	}
	r.tags()
}
