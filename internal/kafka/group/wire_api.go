package group

import "fmt"

// api is one request of the protocol in the versions that this package speaks.
type api struct {
	key      int16
	name     string
	min, max int16
	flexible int16 // the first version with compact lengths
}

const never = 1 << 14

// The lowest versions are those of Apache Kafka 2.5. It is the first with all
// that a member needs: static members, leaving by instance and stable offsets.
var (
	apiMetadata        = api{3, "Metadata", 7, 12, 9}
	apiOffsetCommit    = api{8, "OffsetCommit", 7, 10, 8}
	apiOffsetFetch     = api{9, "OffsetFetch", 7, 10, 6}
	apiFindCoordinator = api{10, "FindCoordinator", 1, 4, 3}
	apiJoinGroup       = api{11, "JoinGroup", 5, 9, 6}
	apiHeartbeat       = api{12, "Heartbeat", 3, 4, 4}
	apiLeaveGroup      = api{13, "LeaveGroup", 3, 5, 4}
	apiSyncGroup       = api{14, "SyncGroup", 3, 5, 4}
	apiDescribeGroups  = api{15, "DescribeGroups", 4, 4, 5}
	apiApiVersions     = api{18, "ApiVersions", 0, 0, never}
)

// API is one request of the protocol in the versions that a member may send.
type API struct{ Key, Min, Max int16 }

// APIs lists what a member sends.
func APIs() []API {
	var list []API
	for _, a := range []api{
		apiMetadata, apiOffsetCommit, apiOffsetFetch, apiFindCoordinator, apiJoinGroup,
		apiHeartbeat, apiLeaveGroup, apiSyncGroup, apiDescribeGroups,
	} {
		list = append(list, API{a.key, a.min, a.max})
	}
	return list
}

// request is a message to a broker.
type request interface {
	// api is what it asks for, its highest version lowered to what its content allows.
	api() api
	encode(w *writer, version int16)
	// response returns an empty answer to it.
	response() response
}

// response is the answer to a request.
type response interface {
	decode(r *reader, version int16)
}

// encodeRequest returns the frame of a request without its length.
func encodeRequest(req request, version int16, correlation int32, clientID string) ([]byte, error) {
	a := req.api()
	w := &writer{}
	w.int16(a.key)
	w.int16(version)
	w.int32(correlation)
	w.nullable(clientID)
	w.flexible = version >= a.flexible
	w.tags()
	req.encode(w, version)
	if w.err != nil {
		return nil, fmt.Errorf("write %s v%d: %w", a.name, version, w.err)
	}
	return w.buf, nil
}

// decodeResponse reads the frame of an answer without its length.
func decodeResponse(req request, version int16, correlation int32, frame []byte) (response, error) {
	a := req.api()
	r := &reader{rest: frame}
	if got := r.int32(); r.err == nil && got != correlation {
		return nil, fmt.Errorf("read %s v%d: %w: the answer to request %d came for request %d", a.name, version, ErrMalformed, got, correlation)
	}
	r.flexible = version >= a.flexible
	r.tags()
	res := req.response()
	res.decode(r, version)
	if r.err != nil {
		return nil, fmt.Errorf("read %s v%d: %w", a.name, version, r.err)
	}
	return res, nil
}

// TopicID tells a topic from an earlier one of the same name. It is zero where
// the broker does not say it.
type TopicID [16]byte

// String prints the id as a UUID.
func (t TopicID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", t[:4], t[4:6], t[6:8], t[8:10], t[10:])
}

// versionsRequest asks a broker which versions of each request it takes.
type versionsRequest struct{}

type versionsResponse struct {
	code   Code
	ranges []versionRange
}

type versionRange struct{ key, min, max int16 }

func (*versionsRequest) api() api              { return apiApiVersions }
func (*versionsRequest) encode(*writer, int16) {}
func (*versionsRequest) response() response    { return new(versionsResponse) }
func (m *versionsResponse) decode(r *reader, _ int16) {
	m.code = Code(r.int16())
	m.ranges = make([]versionRange, r.array("versions", 6))
	for i := range m.ranges {
		m.ranges[i] = versionRange{r.int16(), r.int16(), r.int16()}
	}
}
