package group

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/lab/bounded"
)

func tp(topic string, partition int32) contactsync.TopicPartition {
	return contactsync.TopicPartition{Topic: topic, Partition: partition}
}

var idA, idB = TopicID{1, 2, 3, 15: 9}, TopicID{4, 5, 6, 15: 8}

// sampleOffsets are of two topics, in order.
func sampleOffsets() []Offset {
	return []Offset{
		{TopicPartition: tp("a", 0), TopicID: idA, Offset: 17, LeaderEpoch: 3, Metadata: "m\x00\xff"},
		{TopicPartition: tp("a", 4), TopicID: idA, Offset: 1 << 40, LeaderEpoch: -1},
		{TopicPartition: tp("b", 1), TopicID: idB, Offset: 0, LeaderEpoch: 0},
	}
}

// sampleRequests are requests of every kind, with and without what may be null.
func sampleRequests() []request {
	withoutIDs := sampleOffsets()
	withoutIDs[2].TopicID = TopicID{}
	return []request{
		&versionsRequest{},
		&metadataRequest{[]string{"a", "b"}},
		&metadataRequest{},
		&findRequest{"g"},
		&joinRequest{group: "g", session: 45e9, rebalance: 60e9, protocols: []protocol{{"range", []byte{1, 2}}, {"sticky", nil}}},
		&joinRequest{group: "g", member: "m", instance: "i", session: 45e9, rebalance: 60e9},
		&syncRequest{group: "g", member: "m", generation: 7, protocol: "range"},
		&syncRequest{group: "g", member: "m", instance: "i", generation: 7, protocol: "range", assignments: []memberAssignment{{"m", []byte{9}}, {"n", nil}}},
		&heartbeatRequest{group: "g", member: "m", generation: 3},
		&heartbeatRequest{group: "g", member: "m", instance: "i", generation: 3},
		&leaveRequest{"g", []leaver{{member: "m"}, {instance: "i"}}},
		&describeRequest{"g"},
		&commitRequest{group: "g", member: "m", instance: "i", generation: 3, offsets: sampleOffsets()},
		&commitRequest{group: "g", member: "m", generation: 3, offsets: withoutIDs},
		&fetchRequest{"g", sampleOffsets()},
		&fetchRequest{"g", withoutIDs},
		&fetchRequest{"g", nil},
	}
}

// TestRequests_AreReadByAnotherClient decodes what is written with kmsg, in every
// version, and wants the same bytes from it.
func TestRequests_AreReadByAnotherClient(t *testing.T) {
	t.Parallel()
	for _, req := range sampleRequests() {
		a := req.api()
		for v := a.min; v <= a.max; v++ {
			t.Run(fmt.Sprintf("%s/v%d", a.name, v), func(t *testing.T) {
				frame, err := encodeRequest(req, v, 77, "client")
				if err != nil {
					t.Fatal(err)
				}
				oracle := kmsg.RequestForKey(a.key)
				oracle.SetVersion(v)
				if oracle.IsFlexible() != (v >= a.flexible) {
					t.Fatalf("flexible: %v", v >= a.flexible)
				}
				want := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client")).AppendRequest(nil, oracle, 77)
				head := len(want) - len(oracle.AppendTo(nil))
				if !bytes.Equal(frame[:head-4], want[4:head]) {
					t.Fatalf("header\n%x, want\n%x", frame[:head-4], want[4:head])
				}
				body := frame[head-4:]
				if err := oracle.ReadFrom(body); err != nil {
					t.Fatal(err)
				}
				if again := oracle.AppendTo(nil); !bytes.Equal(again, body) {
					t.Fatalf("body\n%x, and read and written by kmsg\n%x", body, again)
				}
				checkRequest(t, req, oracle)
			})
		}
	}
}

// checkRequest looks at the members whose order in the bytes could be wrong and
// still be read.
func checkRequest(t *testing.T, req request, oracle kmsg.Request) {
	t.Helper()
	str := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	same := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	switch o := oracle.(type) {
	case *kmsg.JoinGroupRequest:
		r := req.(*joinRequest)
		same("join", []any{o.Group, o.MemberID, str(o.InstanceID), o.SessionTimeoutMillis, o.RebalanceTimeoutMillis, o.ProtocolType, len(o.Protocols)},
			[]any{r.group, r.member, r.instance, int32(45000), int32(60000), "consumer", len(r.protocols)})
	case *kmsg.SyncGroupRequest:
		r := req.(*syncRequest)
		same("sync", []any{o.Group, o.MemberID, str(o.InstanceID), o.Generation, len(o.GroupAssignment)}, []any{r.group, r.member, r.instance, r.generation, len(r.assignments)})
		if o.Version >= 5 {
			same("protocol", []any{str(o.ProtocolType), str(o.Protocol)}, []any{"consumer", r.protocol})
		}
	case *kmsg.HeartbeatRequest:
		r := req.(*heartbeatRequest)
		same("heartbeat", []any{o.Group, o.MemberID, str(o.InstanceID), o.Generation}, []any{r.group, r.member, r.instance, r.generation})
	case *kmsg.LeaveGroupRequest:
		same("leave", []any{o.Members[0].MemberID, str(o.Members[0].InstanceID), o.Members[1].MemberID, str(o.Members[1].InstanceID)}, []any{"m", "", "", "i"})
	case *kmsg.MetadataRequest:
		same("metadata", o.AllowAutoTopicCreation, false)
	case *kmsg.OffsetCommitRequest:
		p := o.Topics[0].Partitions[0]
		same("commit", []any{o.Group, o.Generation, o.MemberID, p.Partition, p.Offset, p.LeaderEpoch, str(p.Metadata), len(o.Topics[0].Partitions), o.Topics[1].Partitions[0].Partition},
			[]any{"g", int32(3), "m", int32(0), int64(17), int32(3), "m\x00\xff", 2, int32(1)})
		if o.Version >= 10 {
			same("topic id", o.Topics[1].TopicID, [16]byte(idB))
		} else {
			same("topic", o.Topics[1].Topic, "b")
		}
	case *kmsg.OffsetFetchRequest:
		same("stable offsets only", o.RequireStable, true)
		if o.Version >= 9 {
			same("member epoch", o.Groups[0].MemberEpoch, int32(-1))
		}
	}
}

// sample is an answer as kmsg writes it, for the request that it answers, and what is to
// be read of it in a version.
type sample struct {
	req    request
	answer func(v int16) kmsg.Response
	want   func(v int16) response
}

func samples() []sample {
	text := func(s string) *string { return &s }
	fetch := &fetchRequest{"g", sampleOffsets()}
	commit := &commitRequest{offsets: sampleOffsets()}
	// named are the offsets as an answer has them: by id from version 10 on.
	named := func(v int16, change func(o *Offset)) []Offset {
		offsets := sampleOffsets()
		for i := range offsets {
			change(&offsets[i])
			if v >= 10 {
				offsets[i].Topic = ""
			} else {
				offsets[i].TopicID = TopicID{}
			}
		}
		return offsets
	}
	return []sample{
		{&versionsRequest{}, func(int16) kmsg.Response {
			r := kmsg.NewPtrApiVersionsResponse()
			r.ErrorCode = 35
			r.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 11, MinVersion: 2, MaxVersion: 9}, {ApiKey: 12, MaxVersion: 4}}
			return r
		}, func(int16) response {
			return &versionsResponse{codeUnsupportedVersion, []versionRange{{11, 2, 9}, {12, 0, 4}}}
		}},
		{&metadataRequest{}, func(int16) kmsg.Response {
			r := kmsg.NewPtrMetadataResponse()
			r.ThrottleMillis, r.ClusterID, r.ControllerID = 5, text("c"), 1
			r.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "one", Port: 9092, Rack: text("r")}, {NodeID: 2, Host: "two", Port: 9093}}
			one := kmsg.NewMetadataResponseTopic()
			one.Topic, one.TopicID = text("a"), idA
			for i := range int32(3) {
				p := kmsg.NewMetadataResponseTopicPartition()
				p.Partition, p.Replicas, p.ISR, p.OfflineReplicas = i, []int32{1, 2}, []int32{1}, []int32{2}
				one.Partitions = append(one.Partitions, p)
			}
			two := kmsg.NewMetadataResponseTopic()
			two.Topic, two.ErrorCode = text("b"), 3
			r.Topics, r.ClusterID = []kmsg.MetadataResponseTopic{one, two}, text("c-1")
			return r
		}, func(v int16) response {
			id := idA
			if v < 10 {
				id = TopicID{}
			}
			return &metadataResponse{[]broker{{"one", 9092}, {"two", 9093}}, "c-1", []topicMetadata{{0, "a", id, 3}, {3, "b", TopicID{}, 0}}}
		}},
		{&findRequest{"g"}, func(v int16) kmsg.Response {
			r := kmsg.NewPtrFindCoordinatorResponse()
			r.ThrottleMillis, r.ErrorCode, r.ErrorMessage, r.NodeID, r.Host, r.Port = 16, 15, text("x"), 2, "two", 9093
			if v >= 4 {
				c := kmsg.NewFindCoordinatorResponseCoordinator()
				c.Key, c.NodeID, c.Host, c.Port, c.ErrorCode, c.ErrorMessage = "g", 2, "two", 9093, 15, text("x")
				r.Coordinators = []kmsg.FindCoordinatorResponseCoordinator{c}
			}
			return r
		}, func(int16) response { return &findResponse{codeNotAvailable, "two", 9093} }},
		{&joinRequest{}, func(int16) kmsg.Response {
			r := kmsg.NewPtrJoinGroupResponse()
			r.ThrottleMillis, r.ErrorCode, r.Generation, r.ProtocolType, r.Protocol, r.LeaderID, r.SkipAssignment, r.MemberID = 16, 79, 7, text("consumer"), text("range"), "l", true, "m"
			r.Members = []kmsg.JoinGroupResponseMember{{MemberID: "m", InstanceID: text("i"), ProtocolMetadata: []byte{1}}, {MemberID: "n", ProtocolMetadata: []byte{}}}
			return r
		}, func(v int16) response {
			return &joinResponse{
				version: v, code: codeMemberIDRequired, generation: 7, protocol: "range", leader: "l", skip: v >= 9, member: "m",
				members: []joinedMember{{"m", "i", []byte{1}}, {"n", "", []byte{}}},
			}
		}},
		{&syncRequest{}, func(int16) kmsg.Response {
			r := kmsg.NewPtrSyncGroupResponse()
			r.ThrottleMillis, r.ErrorCode, r.ProtocolType, r.Protocol, r.MemberAssignment = 16, 27, text("consumer"), text("range"), []byte{4, 5}
			return r
		}, func(int16) response { return &syncResponse{codeRebalance, []byte{4, 5}} }},
		{&leaveRequest{}, func(int16) kmsg.Response {
			r := kmsg.NewPtrLeaveGroupResponse()
			r.ThrottleMillis, r.ErrorCode = 16, 15
			r.Members = []kmsg.LeaveGroupResponseMember{{MemberID: "m", InstanceID: text("i"), ErrorCode: 25}, {ErrorCode: 82}}
			return r
		}, func(int16) response { return &leaveResponse{codeNotAvailable, []Code{25, 82}} }},
		{&describeRequest{}, func(int16) kmsg.Response {
			r := kmsg.NewPtrDescribeGroupsResponse()
			g := kmsg.NewDescribeGroupsResponseGroup()
			g.ErrorCode, g.Group, g.State, g.ProtocolType, g.Protocol = 30, "g", "Stable", "consumer", "range"
			g.Members = []kmsg.DescribeGroupsResponseGroupMember{{MemberID: "m", InstanceID: text("i"), ClientID: "c", ClientHost: "h", ProtocolMetadata: []byte{1}, MemberAssignment: []byte{2}}}
			r.Groups = []kmsg.DescribeGroupsResponseGroup{g}
			return r
		}, func(int16) response {
			return &describeResponse{CodeGroupForbidden, "Stable", "range", []describedMember{{"m", "i", []byte{1}, []byte{2}}}}
		}},
		{commit, func(v int16) kmsg.Response {
			r := kmsg.NewPtrOffsetCommitResponse()
			a, b := kmsg.NewOffsetCommitResponseTopic(), kmsg.NewOffsetCommitResponseTopic()
			a.Topic, a.TopicID, b.Topic, b.TopicID = "a", idA, "b", idB
			a.Partitions = []kmsg.OffsetCommitResponseTopicPartition{{Partition: 0, ErrorCode: 0}, {Partition: 4, ErrorCode: 12}}
			b.Partitions = []kmsg.OffsetCommitResponseTopicPartition{{Partition: 1, ErrorCode: 12}}
			r.Topics = []kmsg.OffsetCommitResponseTopic{a, b}
			return r
		}, func(v int16) response {
			return &commitResponse{asked: 3, results: named(v, func(o *Offset) {
				o.Offset, o.LeaderEpoch, o.Metadata = 0, 0, ""
				if o.Partition > 0 {
					o.Code = CodeMetadataTooLarge
				}
			})}
		}},
		{fetch, func(v int16) kmsg.Response {
			r := kmsg.NewPtrOffsetFetchResponse()
			offsets := sampleOffsets()
			if v < 8 {
				for _, o := range offsets {
					t := kmsg.NewOffsetFetchResponseTopic()
					t.Topic = o.Topic
					t.Partitions = []kmsg.OffsetFetchResponseTopicPartition{{Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: text(o.Metadata), ErrorCode: 88}}
					r.Topics = append(r.Topics, t)
				}
				r.ErrorCode = 14
				return r
			}
			g := kmsg.NewOffsetFetchResponseGroup()
			g.Group, g.ErrorCode = "g", 14
			for _, o := range offsets {
				t := kmsg.NewOffsetFetchResponseGroupTopic()
				t.Topic, t.TopicID = o.Topic, o.TopicID
				t.Partitions = []kmsg.OffsetFetchResponseGroupTopicPartition{{Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: text(o.Metadata), ErrorCode: 88}}
				g.Topics = append(g.Topics, t)
			}
			r.Groups = []kmsg.OffsetFetchResponseGroup{g}
			return r
		}, func(v int16) response {
			return &fetchResponse{asked: 3, code: codeLoading, offsets: named(v, func(o *Offset) { o.Code = codeUnstableOffset })}
		}},
	}
}

// frameOf puts the header of an answer before its body.
func frameOf(a api, v int16, correlation byte, body []byte) []byte {
	head := []byte{0, 0, 0, correlation}
	if v >= a.flexible {
		head = append(head, 0)
	}
	return append(head, body...)
}

// TestResponses_AreReadAsAnotherClientWritesThem covers trace 2 too: an answer that
// ends early is an error with a name at every byte, and never a panic.
func TestResponses_AreReadAsAnotherClientWritesThem(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		a := s.req.api()
		for v := a.min; v <= a.max; v++ {
			t.Run(fmt.Sprintf("%s/v%d", a.name, v), func(t *testing.T) {
				oracle := s.answer(v)
				oracle.SetVersion(v)
				frame := frameOf(a, v, 7, oracle.AppendTo(nil))
				got, err := decodeResponse(s.req, v, 7, frame)
				if err != nil {
					t.Fatal(err)
				}
				if want := s.want(v); !reflect.DeepEqual(got, want) {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
				if _, err := decodeResponse(s.req, v, 8, frame); err == nil {
					t.Error("the answer to another request is taken")
				}
				for n := range frame {
					_, err := decodeResponse(s.req, v, 7, frame[:n])
					if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), a.name) {
						t.Fatalf("%d of %d bytes: %v", n, len(frame), err)
					}
				}
			})
		}
	}
}

// TestHeartbeat_EveryCodeIsSeen is trace 1. kafka-go reads the error where the
// throttle time is.
func TestHeartbeat_EveryCodeIsSeen(t *testing.T) {
	t.Parallel()
	for code, name := range map[Code]string{16: "NOT_COORDINATOR", 22: "ILLEGAL_GENERATION", 25: "UNKNOWN_MEMBER_ID", 27: "REBALANCE_IN_PROGRESS", 82: "FENCED_INSTANCE_ID"} {
		for v := apiHeartbeat.min; v <= apiHeartbeat.max; v++ {
			oracle := kmsg.NewPtrHeartbeatResponse()
			oracle.Version, oracle.ThrottleMillis, oracle.ErrorCode = v, 1000, int16(code)
			res, err := decodeResponse(&heartbeatRequest{}, v, 7, frameOf(apiHeartbeat, v, 7, oracle.AppendTo(nil)))
			if err != nil {
				t.Fatal(err)
			}
			if got := res.(*heartbeatResponse).code; got != code || !strings.Contains(got.Error(), name) {
				t.Errorf("v%d: %v, want %s", v, got, name)
			}
		}
	}
}

// TestReader_CountsCostNoMemory is the rest of trace 2. It is not parallel, since
// it measures what the process allocates.
func TestReader_CountsCostNoMemory(t *testing.T) {
	huge := map[string][]byte{
		"2^31-1": {0x7f, 0xff, 0xff, 0xff}, "-2": {0xff, 0xff, 0xff, 0xfe}, "2^60": {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10},
		"ten bytes": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, "2^64": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
	}
	for _, s := range samples() {
		a := s.req.api()
		for v := a.min; v <= a.max; v++ {
			oracle := s.answer(v)
			oracle.SetVersion(v)
			frame := frameOf(a, v, 7, oracle.AppendTo(nil))
			for name, count := range huge {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for at := 4; at < len(frame); at++ {
					bad := append(append(bytes.Clone(frame[:at]), count...), frame[at:]...)
					_, _ = decodeResponse(s.req, v, 7, bad)
				}
				runtime.ReadMemStats(&after)
				// Each answer is some hundred bytes, and so may be what is made of it.
				if n := (after.TotalAlloc - before.TotalAlloc) / uint64(len(frame)); n > 50_000 {
					t.Errorf("%s v%d with %s: %d bytes allocated for an answer of %d", a.name, v, name, n, len(frame))
				}
			}
		}
	}
}

func FuzzResponse(f *testing.F) {
	all := samples()
	for i, s := range all {
		a := s.req.api()
		for v := a.min; v <= a.max; v++ {
			oracle := s.answer(v)
			oracle.SetVersion(v)
			f.Add(byte(i), v, frameOf(a, v, 7, oracle.AppendTo(nil)))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, v int16, frame []byte) {
		defer bounded.Within(t, 1<<20+100*len(frame))()
		s := all[int(which)%len(all)]
		if a := s.req.api(); v < a.min || v > a.max {
			return
		}
		res, err := decodeResponse(s.req, v, 7, frame)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%v", err)
		}
		if (res == nil) != (err != nil) {
			t.Errorf("answer %v with error %v", res, err)
		}
	})
}
