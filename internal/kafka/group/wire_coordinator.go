package group

// findRequest asks any broker which one coordinates the group.
type findRequest struct{ group string }

type findResponse struct {
	code Code
	host string
	port int32
}

func (*findRequest) api() api           { return apiFindCoordinator }
func (*findRequest) response() response { return new(findResponse) }

func (m *findRequest) encode(w *writer, version int16) {
	const groupKey = 0
	if version < 4 {
		w.string(m.group)
		w.int8(groupKey)
	} else {
		w.int8(groupKey)
		w.array(1)
		w.string(m.group)
	}
	w.tags()
}

func (m *findResponse) decode(r *reader, version int16) {
	r.int32() // throttle time
	if version < 4 {
		m.code = Code(r.int16())
		r.string() // message
		r.int32()  // node
		m.host, m.port = r.string(), r.int32()
		r.tags()
		return
	}
	n := r.array("coordinators", 13)
	if n != 1 {
		r.fail("%d coordinators for one group", n)
	}
	r.string() // key
	r.int32()  // node
	m.host, m.port = r.string(), r.int32()
	m.code = Code(r.int16())
	r.string() // message
	r.tags()
	r.tags()
}

// heartbeatRequest says that a member lives.
type heartbeatRequest struct {
	group, member, instance string
	generation              int32
}

type heartbeatResponse struct{ code Code }

func (*heartbeatRequest) api() api           { return apiHeartbeat }
func (*heartbeatRequest) response() response { return new(heartbeatResponse) }

func (m *heartbeatRequest) encode(w *writer, _ int16) {
	w.string(m.group)
	w.int32(m.generation)
	w.string(m.member)
	w.nullable(m.instance)
	w.tags()
}

func (m *heartbeatResponse) decode(r *reader, _ int16) {
	r.int32() // throttle time
	m.code = Code(r.int16())
	r.tags()
}

// leaveRequest takes members out of the group.
type leaveRequest struct {
	group   string
	members []leaver
}

// leaver is a member id, or an instance id with no member id.
type leaver struct{ member, instance string }

type leaveResponse struct {
	code    Code
	members []Code
}

func (*leaveRequest) api() api           { return apiLeaveGroup }
func (*leaveRequest) response() response { return new(leaveResponse) }

func (m *leaveRequest) encode(w *writer, version int16) {
	w.string(m.group)
	w.array(len(m.members))
	for _, l := range m.members {
		w.string(l.member)
		w.nullable(l.instance)
		if version >= 5 {
			w.nullable("") // reason
		}
		w.tags()
	}
	w.tags()
}

func (m *leaveResponse) decode(r *reader, _ int16) {
	r.int32() // throttle time
	m.code = Code(r.int16())
	m.members = make([]Code, r.array("members", 4))
	for i := range m.members {
		r.string() // member
		r.string() // instance
		m.members[i] = Code(r.int16())
		r.tags()
	}
	r.tags()
}

// describeRequest asks the coordinator what it knows of the group.
type describeRequest struct{ group string }

type describeResponse struct {
	code     Code
	state    string
	protocol string
	members  []describedMember
}

type describedMember struct {
	id, instance         string
	metadata, assignment []byte
}

func (*describeRequest) api() api           { return apiDescribeGroups }
func (*describeRequest) response() response { return new(describeResponse) }

func (m *describeRequest) encode(w *writer, _ int16) {
	w.array(1)
	w.string(m.group)
	w.bool(false) // authorized operations
}

func (m *describeResponse) decode(r *reader, _ int16) {
	r.int32() // throttle time
	n := r.array("groups", 18)
	if n != 1 {
		r.fail("%d groups where one was asked for", n)
	}
	m.code = Code(r.int16())
	r.string() // group
	m.state = r.string()
	r.string() // protocol type
	m.protocol = r.string()
	m.members = make([]describedMember, r.array("members", 16))
	for i := range m.members {
		d := &m.members[i]
		d.id, d.instance = r.string(), r.string()
		r.string() // client id
		r.string() // host
		d.metadata, d.assignment = r.bytes(), r.bytes()
	}
	r.int32() // authorized operations
}
