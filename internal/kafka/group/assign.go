package group

import (
	"cmp"
	"slices"
	"strings"

	"github.com/contactsync/contactsync"
)

// The ways to assign partitions that this member offers, in its order of
// preference. Cooperative-sticky is there for groups whose other members know
// nothing else; this member gives its partitions back before it joins in any case.
const (
	sticky      = "sticky"
	ranges      = "range"
	cooperative = "cooperative-sticky"
)

func protocolNames() []string { return []string{sticky, ranges, cooperative} }

// groupMember is what the leader knows of a member.
type groupMember struct {
	id, instance string
	subscription
}

// readMembers reads what the members say about themselves, each once. One that
// cannot be read subscribes to nothing, so that it stops nobody else; its error is
// among those returned.
func readMembers(joined []joinedMember) (members []groupMember, faults []error) {
	seen := map[string]bool{}
	for _, j := range joined {
		if seen[j.id] {
			continue
		}
		seen[j.id] = true
		sub, err := readSubscription(j.metadata)
		if err != nil {
			faults = append(faults, err)
		}
		members = append(members, groupMember{id: j.id, instance: j.instance, subscription: sub})
	}
	slices.SortFunc(members, compareMembers)
	return members, faults
}

// compareMembers orders static members by instance id, then the others by member
// id, so that a static member keeps its place when it restarts.
func compareMembers(a, b groupMember) int {
	if (a.instance == "") != (b.instance == "") {
		return strings.Compare(b.instance, a.instance) // the empty one comes last
	}
	return cmp.Or(strings.Compare(a.instance, b.instance), strings.Compare(a.id, b.id))
}

// allTopics are the topics that any of the members subscribes to.
func allTopics(members []groupMember) []string {
	var topics []string
	for _, m := range members {
		topics = append(topics, m.topics...)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// assignment is the partitions of each member.
type assignment map[string][]contactsync.TopicPartition

// assign assigns every partition of the topics to one member that subscribes to
// its topic. partitions has the partitions of each topic that exists. Every member
// has an entry, an empty one where there is nothing for it.
func assign(protocol string, members []groupMember, partitions map[string]int) assignment {
	switch protocol {
	case ranges:
		return assignRanges(members, partitions)
	case cooperative:
		return withholdMoving(members, assignSticky(members, ownedClaims(members), partitions))
	default:
		return assignSticky(members, userDataClaims(members), partitions)
	}
}

// encode writes the assignment for SyncGroup.
func (a assignment) encode() []memberAssignment {
	var list []memberAssignment
	for id, parts := range a {
		list = append(list, memberAssignment{member: id, assignment: encodeAssignment(parts)})
	}
	slices.SortFunc(list, func(a, b memberAssignment) int { return strings.Compare(a.member, b.member) })
	return list
}

// subscribers returns the members of each topic that exists, in their order.
func subscribers(members []groupMember, partitions map[string]int) map[string][]string {
	by := map[string][]string{}
	for _, m := range members {
		topics := slices.Clone(m.topics)
		slices.Sort(topics)
		for _, t := range slices.Compact(topics) {
			if partitions[t] > 0 {
				by[t] = append(by[t], m.id)
			}
		}
	}
	return by
}

// assignRanges gives each member of a topic one run of its partitions. The first
// ones get one more where the partitions do not divide evenly.
func assignRanges(members []groupMember, partitions map[string]int) assignment {
	a := empty(members)
	for topic, ids := range subscribers(members, partitions) {
		next := 0
		for i, id := range ids {
			n := partitions[topic] / len(ids)
			if i < partitions[topic]%len(ids) {
				n++
			}
			for range n {
				a[id] = append(a[id], contactsync.TopicPartition{Topic: topic, Partition: int32(next)})
				next++
			}
		}
	}
	for _, parts := range a {
		sortPartitions(parts)
	}
	return a
}

func empty(members []groupMember) assignment {
	a := assignment{}
	for _, m := range members {
		a[m.id] = nil
	}
	return a
}
