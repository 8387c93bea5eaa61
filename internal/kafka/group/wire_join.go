package group

import "time"

const protocolType = "consumer"

// joinRequest enters the group, or enters its next generation.
type joinRequest struct {
	group, member, instance string
	session, rebalance      time.Duration
	protocols               []protocol
}

// protocol is a way to assign partitions that a member knows, with what it says
// about itself in it.
type protocol struct {
	name     string
	metadata []byte
}

type joinResponse struct {
	version    int16
	code       Code
	generation int32
	protocol   string
	leader     string
	skip       bool // the leader is to leave the assignments as they are
	member     string
	members    []joinedMember // for the leader
}

type joinedMember struct {
	id, instance string
	metadata     []byte
}

func (*joinRequest) api() api           { return apiJoinGroup }
func (*joinRequest) response() response { return new(joinResponse) }

func (m *joinRequest) encode(w *writer, version int16) {
	w.string(m.group)
	w.int32(int32(m.session.Milliseconds()))
	w.int32(int32(m.rebalance.Milliseconds()))
	w.string(m.member)
	w.nullable(m.instance)
	w.string(protocolType)
	w.array(len(m.protocols))
	for _, p := range m.protocols {
		w.string(p.name)
		w.bytes(p.metadata)
		w.tags()
	}
	if version >= 8 {
		w.nullable("") // reason
	}
	w.tags()
}

func (m *joinResponse) decode(r *reader, version int16) {
	m.version = version
	r.int32() // throttle time
	m.code = Code(r.int16())
	m.generation = r.int32()
	if version >= 7 {
		r.string() // protocol type
	}
	m.protocol, m.leader = r.string(), r.string()
	if version >= 9 {
		m.skip = r.bool()
	}
	m.member = r.string()
	least := 8
	if r.flexible {
		least = 4
	}
	m.members = make([]joinedMember, r.array("members", least))
	for i := range m.members {
		m.members[i] = joinedMember{id: r.string(), instance: r.string(), metadata: r.bytes()}
		r.tags()
	}
	r.tags()
}

// syncRequest asks for this member's assignment; the leader's brings everybody's.
type syncRequest struct {
	group, member, instance string
	generation              int32
	protocol                string
	assignments             []memberAssignment
}

type memberAssignment struct {
	member     string
	assignment []byte
}

type syncResponse struct {
	code       Code
	assignment []byte
}

func (*syncRequest) api() api           { return apiSyncGroup }
func (*syncRequest) response() response { return new(syncResponse) }

func (m *syncRequest) encode(w *writer, version int16) {
	w.string(m.group)
	w.int32(m.generation)
	w.string(m.member)
	w.nullable(m.instance)
	if version >= 5 {
		w.string(protocolType)
		w.string(m.protocol)
	}
	w.array(len(m.assignments))
	for _, a := range m.assignments {
		w.string(a.member)
		w.bytes(a.assignment)
		w.tags()
	}
	w.tags()
}

func (m *syncResponse) decode(r *reader, version int16) {
	r.int32() // throttle time
	m.code = Code(r.int16())
	if version >= 5 {
		r.string() // protocol type
		r.string() // protocol
	}
	m.assignment = r.bytes()
	r.tags()
}
