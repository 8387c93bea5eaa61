package group

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
)

// TestReadMembers_WhoCannotBeReadGetsNothing is trace 3: whatever the members
// write, those that can be read share the partitions, and the others get an
// assignment that holds nothing.
func TestReadMembers_WhoCannotBeReadGetsNothing(t *testing.T) {
	t.Parallel()
	topics := []string{"a"}
	v1 := append([]byte{0, 1}, subscriptionOf(0, topics, nil, nil, -1)[2:]...)
	joined := []joinedMember{
		{"v0", "", subscriptionOf(0, topics, nil, nil, -1)},
		{"v1 short", "", v1},
		{"v1", "", subscriptionOf(1, topics, nil, nil, -1)},
		{"v2", "", subscriptionOf(2, topics, nil, nil, 3)},
		{"v3", "", subscriptionOf(3, topics, nil, nil, 3)},
		{"v7", "", append(append([]byte{0, 7}, subscriptionOf(3, topics, nil, nil, 3)[2:]...), 5)},
		{"v0", "", subscriptionOf(0, []string{"b"}, nil, nil, -1)}, // twice
		{"garbage", "", []byte{0, 0, 0x7f, 0xff, 0xff, 0xff}},
		{"empty", "", nil},
		{"no topics", "", subscriptionOf(0, nil, nil, nil, -1)},
	}
	members, faults := readMembers(joined)
	if len(members) != 9 || len(faults) != 2 {
		t.Fatalf("%d members, faults %v", len(members), faults)
	}
	for _, name := range protocolNames() {
		list := assign(name, members, map[string]int{"a": 12, "b": 4}).encode()
		if len(list) != 9 {
			t.Fatalf("%s: %d of 9 members have an entry", name, len(list))
		}
		for _, e := range list {
			parts, err := readAssignment(e.assignment)
			want := 2
			if slices.Contains([]string{"garbage", "empty", "no topics"}, e.member) {
				want = 0
			}
			if err != nil || len(parts) != want || len(e.assignment) < 10 {
				t.Errorf("%s: %q gets %v, %v, want %d partitions", name, e.member, parts, err, want)
			}
		}
	}
}

// drawGroup draws members, some static and some with topics of their own, and the
// partitions that exist.
func drawGroup(t *rapid.T) ([]joinedMember, map[string]int) {
	topics := []string{"a", "b", "c", "gone"}
	partitions := map[string]int{}
	for _, name := range topics[:3] {
		partitions[name] = rapid.IntRange(1, 12).Draw(t, name)
	}
	var joined []joinedMember
	for i := range rapid.IntRange(1, 7).Draw(t, "members") {
		own := rapid.SliceOfNDistinct(rapid.SampledFrom(topics), 1, len(topics), rapid.ID[string]).Draw(t, "topics")
		slices.Sort(own)
		instance := rapid.SampledFrom([]string{"", fmt.Sprint("i", 9-i)}).Draw(t, "instance")
		joined = append(joined, joinedMember{fmt.Sprint("m", i), instance, subscriptionOf(3, own, nil, nil, -1)})
	}
	return joined, partitions
}

// checkComplete wants each partition that somebody reads with one who reads it.
func checkComplete(t interface{ Fatalf(string, ...any) }, members []groupMember, partitions map[string]int, a assignment) {
	owner := map[contactsync.TopicPartition]string{}
	for id, parts := range a {
		i := slices.IndexFunc(members, func(m groupMember) bool { return m.id == id })
		for _, p := range parts {
			if owner[p] != "" || !slices.Contains(members[i].topics, p.Topic) || int(p.Partition) >= partitions[p.Topic] {
				t.Fatalf("%v goes to %s, also %q", p, id, owner[p])
			}
			owner[p] = id
		}
	}
	for topic := range subscribers(members, partitions) {
		for i := range int32(partitions[topic]) {
			if owner[tp(topic, i)] == "" {
				t.Fatalf("%v goes to nobody", tp(topic, i))
			}
		}
	}
}

func TestAssignRanges_AsAnotherClientDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		joined, partitions := drawGroup(t)
		members, _ := readMembers(joined)
		got := assign(ranges, members, partitions)
		checkComplete(t, members, partitions, got)
		var theirs []kmsg.JoinGroupResponseMember
		for _, j := range joined {
			m := kmsg.JoinGroupResponseMember{MemberID: j.id, ProtocolMetadata: j.metadata}
			if j.instance != "" {
				m.InstanceID = &j.instance
			}
			theirs = append(theirs, m)
		}
		balancer, err := kgo.NewConsumerBalancer(kgo.RangeBalancer().(kgo.ConsumerBalancerBalance), theirs)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int32{}
		for topic, n := range partitions {
			counts[topic] = int32(n)
		}
		plan, err := balancer.BalanceOrError(counts)
		if err != nil {
			t.Fatal(err)
		}
		for id, topics := range plan.(*kgo.BalancePlan).AsMemberIDMap() {
			var want []contactsync.TopicPartition
			for topic, parts := range topics {
				for _, p := range parts {
					want = append(want, tp(topic, p))
				}
			}
			if !slices.Equal(got[id], sortPartitions(want)) {
				t.Fatalf("%s gets %v, and by franz-go %v", id, got[id], want)
			}
		}
	})
}

// withClaims lets each member claim what it has, in a generation.
func withClaims(members []groupMember, a assignment, generation int32) []groupMember {
	members = slices.Clone(members)
	for i := range members {
		members[i].userData = claims{a[members[i].id], generation}.bytes()
	}
	return members
}

func TestAssignSticky_BalancesAndKeeps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		joined, partitions := drawGroup(t)
		members, _ := readMembers(joined)
		first := assign(sticky, members, partitions)
		checkComplete(t, members, partitions, first)
		checkBalanced(t, members, first)
		again := assign(sticky, withClaims(members, first, 1), partitions)
		if !maps.EqualFunc(first, again, slices.Equal[[]contactsync.TopicPartition]) {
			t.Fatalf("nothing has changed, and %v becomes %v", first, again)
		}
		// One member leaves: nobody else loses a partition that the balance does not ask for.
		if len(members) == 1 {
			return
		}
		rest := withClaims(members, first, 1)[1:]
		after := assign(sticky, rest, partitions)
		checkComplete(t, rest, partitions, after)
		checkBalanced(t, rest, after)
		if !sameTopics(rest) {
			return
		}
		for _, m := range rest {
			for _, p := range first[m.id] {
				if !slices.Contains(after[m.id], p) {
					t.Fatalf("%s loses %v although another one left: %v, then %v", m.id, p, first, after)
				}
			}
		}
	})
}

func sameTopics(members []groupMember) bool {
	return !slices.ContainsFunc(members, func(m groupMember) bool { return !slices.Equal(m.topics, members[0].topics) })
}

// checkBalanced wants no partition with a member that could give it to one that has
// two fewer.
func checkBalanced(t interface{ Fatalf(string, ...any) }, members []groupMember, a assignment) {
	for _, from := range members {
		for _, to := range members {
			for _, p := range a[from.id] {
				if slices.Contains(to.topics, p.Topic) && len(a[from.id]) > len(a[to.id])+1 {
					t.Fatalf("%v could go from %s with %d to %s with %d", p, from.id, len(a[from.id]), to.id, len(a[to.id]))
				}
			}
		}
	}
}

func TestAssignSticky_Claims(t *testing.T) {
	t.Parallel()
	member := func(id string, generation int32, parts ...int32) joinedMember {
		c := claims{generation: generation}
		for _, p := range parts {
			c.owned = append(c.owned, tp("a", p))
		}
		return joinedMember{id, "", subscription{topics: []string{"a"}, userData: c.bytes()}.bytes()}
	}
	plan := func(joined ...joinedMember) assignment {
		members, faults := readMembers(joined)
		if faults != nil {
			t.Fatal(faults)
		}
		return assign(sticky, members, map[string]int{"a": 4})
	}
	got := plan(member("old", 3, 0, 1, 2, 3), member("new", 4, 2, 3))
	if !slices.Equal(got["new"], []contactsync.TopicPartition{tp("a", 2), tp("a", 3)}) {
		t.Errorf("the newer generation does not win: %v", got)
	}
	// In one generation the claims of both are worth nothing, and the partition goes
	// where there is room.
	got = plan(member("x", 4, 0, 1), member("y", 4, 1, 2, 3))
	if !slices.Contains(got["x"], tp("a", 0)) || !slices.Contains(got["y"], tp("a", 2)) || !slices.Contains(got["y"], tp("a", 3)) || !slices.Contains(got["x"], tp("a", 1)) {
		t.Errorf("claimed twice: %v", got)
	}
}

// TestAssignCooperative_NoPartitionHasTwoOwners plays rounds of a cooperative group
// led by this member: in none is a partition given away that another member has not
// given back, and the rounds end.
func TestAssignCooperative_NoPartitionHasTwoOwners(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		joined, partitions := drawGroup(t)
		owned := map[string][]contactsync.TopicPartition{}
		// Somebody owns everything before the first round.
		for topic, n := range partitions {
			for i := range int32(n) {
				owned["m0"] = append(owned["m0"], tp(topic, i))
			}
		}
		for round := int32(1); ; round++ {
			members, _ := readMembers(joined)
			for i := range members {
				members[i].owned, members[i].generation = owned[members[i].id], round
			}
			a := assign(cooperative, members, partitions)
			revoked := false
			for id, parts := range a {
				for other, has := range owned {
					for _, p := range parts {
						if other != id && slices.Contains(has, p) {
							t.Fatalf("round %d: %v goes to %s while %s has it", round, p, id, other)
						}
					}
				}
				for _, p := range owned[id] {
					revoked = revoked || !slices.Contains(parts, p)
				}
			}
			owned = a
			if !revoked {
				checkComplete(t, members, partitions, a)
				return
			}
			if round == 4 {
				t.Fatal("members give partitions back in every round")
			}
		}
	})
}
