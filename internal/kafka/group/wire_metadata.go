package group

// metadataRequest asks for the partitions of topics. It creates none.
type metadataRequest struct{ topics []string }

type metadataResponse struct {
	brokers []broker
	cluster string
	topics  []topicMetadata
}

type broker struct {
	host string
	port int32
}

type topicMetadata struct {
	code       Code
	name       string
	id         TopicID
	partitions int
}

func (*metadataRequest) api() api           { return apiMetadata }
func (*metadataRequest) response() response { return new(metadataResponse) }

func (m *metadataRequest) encode(w *writer, version int16) {
	w.array(len(m.topics))
	for _, t := range m.topics {
		if version >= 10 {
			w.id(TopicID{})
		}
		w.string(t)
		w.tags()
	}
	w.bool(false) // create topics
	if version >= 8 && version <= 10 {
		w.bool(false) // the cluster's authorized operations
	}
	if version >= 8 {
		w.bool(false) // the topics' authorized operations
	}
	w.tags()
}

func (m *metadataResponse) decode(r *reader, version int16) {
	r.int32() // throttle time
	m.brokers = make([]broker, r.array("brokers", 11))
	for i := range m.brokers {
		r.int32() // node
		m.brokers[i] = broker{r.string(), r.int32()}
		r.string() // rack
		r.tags()
	}
	m.cluster = r.string()
	r.int32() // controller
	m.topics = make([]topicMetadata, r.array("topics", 6))
	for i := range m.topics {
		t := &m.topics[i]
		t.code, t.name = Code(r.int16()), r.string()
		if version >= 10 {
			t.id = r.id()
		}
		r.bool() // internal
		t.partitions = r.array("partitions", 17)
		for range t.partitions {
			passPartition(r)
		}
		if version >= 8 {
			r.int32() // authorized operations
		}
		r.tags()
	}
	if version >= 8 && version <= 10 {
		r.int32() // authorized operations
	}
	r.tags()
}

// passPartition reads over one partition: the count is all that assigning needs.
func passPartition(r *reader) {
	r.int16() // code
	r.int32() // index
	r.int32() // leader
	r.int32() // leader epoch
	for _, replicas := range []string{"replicas", "in sync", "offline"} {
		r.take(4 * r.array(replicas, 4))
	}
	r.tags()
}
