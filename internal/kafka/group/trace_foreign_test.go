package group

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/contactsync/contactsync"
)

// javaMember is a member as Java's consumer is one, eager or cooperative; it assigns
// with franz-go's balancers.
type javaMember struct {
	s           *sim
	id          string
	protocols   []string
	cooperative bool
	topics      []string
	owned       []contactsync.TopicPartition
	generation  int32
	busy        bool
	left        bool
}

func (s *sim) joinJava(cooperative bool, protocols ...string) *javaMember {
	m := &javaMember{s: s, protocols: protocols, cooperative: cooperative, topics: []string{"a"}, generation: -1}
	s.foreign = append(s.foreign, m)
	m.join()
	m.beat()
	return m
}

func (m *javaMember) owns() []contactsync.TopicPartition { return m.owned }

func (m *javaMember) join() {
	m.busy = true
	if !m.cooperative {
		m.owned = nil
	}
	r := &joinRequest{group: "g", member: m.id, session: 12 * time.Second, rebalance: 30 * time.Second}
	owned := map[string][]int32{}
	for _, p := range m.owned {
		owned[p.Topic] = append(owned[p.Topic], p.Partition)
	}
	for _, name := range m.protocols {
		r.protocols = append(r.protocols, protocol{name, subscriptionOf(3, m.topics, nil, owned, m.generation)})
	}
	m.s.after(m.s.latency, func() {
		m.s.group.join(r, func(res *joinResponse) { m.s.after(m.s.latency, func() { m.joined(res) }) })
	})
}

func (m *javaMember) joined(r *joinResponse) {
	switch {
	case m.left:
	case r.code == codeMemberIDRequired:
		m.id = r.member
		m.join()
	case r.code == codeUnknownMember:
		m.id, m.owned = "", nil
		m.join()
	case r.code != codeOK:
		m.s.after(time.Second, m.join)
	default:
		m.generation = r.generation
		sync := &syncRequest{group: "g", member: m.id, generation: r.generation, protocol: r.protocol}
		if r.leader == m.id {
			sync.assignments = m.assign(r)
		}
		m.s.after(m.s.latency, func() {
			m.s.group.syncGroup(sync, func(res *syncResponse) { m.s.after(m.s.latency, func() { m.synced(res) }) })
		})
	}
}

// assign leads the group.
func (m *javaMember) assign(r *joinResponse) []memberAssignment {
	var members []kmsg.JoinGroupResponseMember
	for _, j := range r.members {
		k := kmsg.JoinGroupResponseMember{MemberID: j.id, ProtocolMetadata: j.metadata}
		if j.instance != "" {
			k.InstanceID = &j.instance
		}
		members = append(members, k)
	}
	by := map[string]kgo.GroupBalancer{ranges: kgo.RangeBalancer(), cooperative: kgo.CooperativeStickyBalancer(), sticky: kgo.StickyBalancer()}[r.protocol]
	balancer, topics, err := by.MemberBalancer(members)
	if err != nil {
		m.s.t.Fatalf("another client cannot read what the members say: %v", err)
	}
	counts := map[string]int32{}
	for topic := range topics {
		counts[topic] = int32(m.s.topics[topic].Partitions)
	}
	plan, err := balancer.(kgo.GroupMemberBalancerOrError).BalanceOrError(counts)
	if err != nil {
		m.s.t.Fatal(err)
	}
	var list []memberAssignment
	for _, a := range plan.IntoSyncAssignment() {
		list = append(list, memberAssignment{a.MemberID, a.MemberAssignment})
	}
	return list
}

func (m *javaMember) synced(r *syncResponse) {
	if m.left {
		return
	}
	if r.code != codeOK {
		m.join()
		return
	}
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(r.assignment); err != nil {
		m.s.t.Fatalf("another client cannot read its assignment: %v", err)
	}
	var assigned []contactsync.TopicPartition
	for _, t := range a.Topics {
		for _, p := range t.Partitions {
			assigned = append(assigned, tp(t.Topic, p))
		}
	}
	gaveBack := slices.ContainsFunc(m.owned, func(p contactsync.TopicPartition) bool { return !slices.Contains(assigned, p) })
	m.owned, m.busy = assigned, false
	if m.cooperative && gaveBack {
		m.join()
	}
}

func (m *javaMember) beat() {
	if m.left {
		return
	}
	m.s.after(time.Second, m.beat)
	if m.busy {
		return
	}
	switch m.s.group.heartbeat(&heartbeatRequest{member: m.id, generation: m.generation}) {
	case codeOK:
	case codeRebalance:
		m.join()
	case codeUnknownMember:
		m.id, m.owned = "", nil
		m.join()
	default:
		m.owned, m.generation = nil, -1
		m.join()
	}
}

func (m *javaMember) leave() {
	m.left, m.owned = true, nil
	m.s.group.leave(&leaveRequest{members: []leaver{{member: m.id}}})
}

// Trace 20: groups with a Java consumer, which leads or is led, with range and with
// cooperative-sticky. In no round has a partition two owners, which the simulation
// checks at every step, and all of them have one in the end.
func TestTrace20_WithJava(t *testing.T) {
	t.Parallel()
	for _, protocols := range [][]string{{ranges}, {cooperative}, {ranges, cooperative}, {sticky}} {
		for _, first := range []string{"java", "ours"} {
			t.Run(fmt.Sprint(protocols, " ", first, " first"), func(t *testing.T) {
				t.Parallel()
				s := newSim(t)
				coop := protocols[0] == cooperative
				var java []*javaMember
				var ours []*simMember
				add := map[string]func(){
					"java": func() { java = append(java, s.joinJava(coop, protocols...)) },
					"ours": func() { ours = append(ours, s.join(fmt.Sprint("ours-", len(ours)), nil)) },
				}
				shared := func() {
					t.Helper()
					s.until("every partition has an owner", 2*time.Minute, func() bool {
						n := 0
						for _, m := range ours {
							n += len(m.owns())
						}
						for _, m := range java {
							n += len(m.owned)
						}
						return n == s.topics["a"].Partitions && s.group.state == "Stable"
					})
				}
				order := []string{"java", "ours", "ours", "java"}
				if first == "ours" {
					order = []string{"ours", "java", "java", "ours"}
				}
				for _, who := range order {
					add[who]()
					s.run(5 * time.Second)
					shared()
				}
				if want := protocols[0]; s.group.protocol != want {
					t.Errorf("the group assigns by %s, want %s", s.group.protocol, want)
				}
				for _, m := range ours {
					if len(m.owns()) == 0 {
						t.Errorf("%s owns nothing\n%s", m.name, s.story())
					}
				}
				s.topics["a"] = Topic{TopicID{1}, 12}
				if first == "ours" { // who leads looks
					s.run(15 * time.Second)
					shared()
				} else {
					s.topics["a"] = Topic{TopicID{1}, 6}
				}
				java[0].leave()
				s.run(5 * time.Second)
				shared()
				ours[0].stop()
				s.run(5 * time.Second)
				ours = ours[1:]
				shared()
				before := s.group.rebalances
				s.run(time.Minute)
				if s.group.rebalances != before {
					t.Errorf("the group does not come to rest: %d rebalances", s.group.rebalances-before)
				}
			})
		}
	}
}

// Trace 21: a Java consumer of the new group protocol joins, and the group becomes
// one whose broker assigns: no leader, no members, the first of our protocols.
func TestTrace21_TheBrokerAssigns(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	m := s.join("m", nil)
	s.owned(10*time.Second, m)
	parts := m.held.Partitions
	epoch, target := int32(100), parts[:4]
	s.before = func(_ *simMember, c Call, reply func(response, error)) bool {
		switch r := c.Request.(type) {
		case *joinRequest:
			reply(&joinResponse{version: 9, generation: epoch, protocol: r.protocols[0].name, member: r.member}, nil)
		case *syncRequest:
			code := codeOK
			if r.generation != epoch {
				code = codeRebalance
			}
			reply(&syncResponse{code: code, assignment: encodeAssignment(target)}, nil)
		case *heartbeatRequest:
			code := codeOK
			if r.generation != epoch {
				code = codeRebalance
			}
			reply(&heartbeatResponse{code}, nil)
		case *commitRequest:
			reply(coded(r, codeOK), nil)
		default:
			return false
		}
		return true
	}
	s.until("the share of a group of two", 20*time.Second, func() bool { return len(m.owns()) == 4 })
	s.run(time.Minute)
	epoch, target = 101, parts
	s.until("all of it again", 20*time.Second, func() bool { return len(m.owns()) == 6 })
	if m.count("Lost") != 0 {
		t.Errorf("lost\n%s", s.story())
	}
}

// What a foreign leader assigns badly is told and survived.
func TestMember_BadAssignments(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	bad := []byte{0, 0, 0x7f, 0xff, 0xff, 0xff}
	s.before = func(_ *simMember, c Call, reply func(response, error)) bool {
		r, ok := c.Request.(*syncRequest)
		if ok {
			s.after(s.latency, func() {
				s.group.syncGroup(r, func(res *syncResponse) { reply(&syncResponse{res.code, bad}, nil) })
			})
		}
		return ok
	}
	m := s.join("m", nil)
	s.until("an assignment of nothing", 10*time.Second, func() bool { return m.held != nil })
	if len(m.held.Partitions) != 0 || m.count("Trouble") != 1 {
		t.Errorf("%+v, troubles %d", m.held, m.count("Trouble"))
	}
	// Partitions of a topic that it does not read: asked for again, then left alone.
	bad = encodeAssignment([]contactsync.TopicPartition{tp("a", 1), tp("other", 0)})
	before := s.group.generation
	m.do(func() { m.m.rejoin(s.now, ErrRejoin) })
	s.until("its own part", 20*time.Second, func() bool { return m.held != nil && len(m.owns()) == 1 })
	if n := s.group.generation - before; n != 4 {
		t.Errorf("joined %d times", n)
	}
	s.run(time.Minute)
	if n := s.group.generation - before; n != 4 {
		t.Errorf("joined %d times in the end", n)
	}
}
