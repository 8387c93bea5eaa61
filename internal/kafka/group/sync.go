package group

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// round is one generation as this member takes part in it.
type round struct {
	*base
	protocol string
	leader   bool               // watches the partitions of the group's topics
	members  []groupMember      // where it leads
	plan     []memberAssignment // what it has assigned
	raw      []byte             // what it was assigned, as it came
	got      []contactsync.TopicPartition
}

// begin takes the answer to JoinGroup. It returns why members could not be read.
func (r *round) begin(res *joinResponse) (faults []error) {
	r.protocol = res.protocol
	if res.leader == res.member {
		r.members, faults = readMembers(res.members)
	}
	// Up to version 8 a static leader that is back is told its old id as the leader's,
	// while the coordinator holds the new one to be it: nobody else leads.
	r.leader = res.leader == res.member || r.cfg.made(res.leader)
	return faults
}

// request is SyncGroup, the same to a byte each time in one generation.
func (r *round) request() *syncRequest {
	return &syncRequest{
		group: r.cfg.Group, member: r.id.member, instance: r.cfg.InstanceID, generation: r.id.generation,
		protocol: r.protocol, assignments: r.plan,
	}
}

// assigned takes the assignment in. It reports whether all of it is of own topics;
// the rest is left out. One that cannot be read is none: to join again would bring
// the same one.
func (r *round) assigned(raw []byte) (fits bool) {
	parts, err := readAssignment(raw)
	if err != nil {
		r.trouble(fmt.Errorf("lead of group %q: %w", r.cfg.Group, err))
	}
	n := len(parts)
	r.raw = bytes.Clone(raw)
	r.got = slices.DeleteFunc(parts, func(p contactsync.TopicPartition) bool { return !slices.Contains(r.cfg.Topics, p.Topic) })
	return len(r.got) == n
}

// sync goes from the answer to JoinGroup to an assignment that the owner may have.
// SyncGroup is sent again where its answer was lost.
func (m *Member) sync(now time.Time) {
	if m.phase == phaseSync && m.idle(kindSync) && m.coordinator.ready(now) {
		m.send(now, kindSync, m.coordinator.address, m.round.request(), m.cfg.long())
	}
	if !m.watch.looked {
		m.watch.look(now, m.coordinator)
	}
	// The assignment is accepted once the lease has begun, and the topics are known or
	// cannot be had soon.
	if m.phase == phaseAccept && now.Before(m.lease.until) && (m.watch.looked || m.watch.failures >= 2) {
		m.accept(now)
	}
}

func (m *Member) onSync(now time.Time, c *call, late bool, res response, err error) {
	if late || c.by != m.id || m.phase != phaseSync {
		return
	}
	if err != nil {
		m.trouble(fmt.Errorf("ask group %q for the assignment: %w", m.cfg.Group, err))
		m.drop(now, c)
		return
	}
	switch r := res.(*syncResponse); r.code {
	case codeOK:
		m.validated(c, true)
		m.phase, m.lease.beatAt = phaseAccept, now
		fits := m.round.assigned(r.assignment)
		m.owned = claims{m.round.got, m.id.generation}
		if fits {
			return
		}
		// The coordinator has answered with what an earlier process with other topics
		// was assigned, or the leader knows no better.
		if m.entry.rounds < 4 {
			m.startJoin(now)
			return
		}
		m.trouble(fmt.Errorf("group %q: partitions of topics were assigned that this member does not read; they are left alone", m.cfg.Group))
	case codeLoading, codeRebalance:
		m.startJoin(now)
	case codeNotAvailable, codeNotCoordinator:
		m.drop(now, c)
		m.startJoin(now)
	case codeIllegalGeneration, codeUnknownMember, codeFencedInstance:
		m.refused(now, c, "ask for the assignment", r.code)
	default:
		m.trouble(fmt.Errorf("ask group %q for the assignment: %w", m.cfg.Group, r.code))
		m.startJoin(now)
		m.entry.later(now, firstFatal, lastFatal)
	}
}

// accept gives the assignment to the owner.
func (m *Member) accept(now time.Time) {
	topics := map[string]Topic{}
	for _, t := range m.cfg.Topics {
		if known, ok := m.watch.topics[t]; ok {
			topics[t] = known
		}
	}
	m.number++
	m.hold, m.phase = newHolding(m.number, m.round.got, topics), phaseHold
	m.hold.unlooked = !m.watch.looked
	m.emit(Assigned{
		Cluster: m.watch.cluster,
		Number:  m.number, Generation: m.id.generation, Member: m.id.member, Protocol: m.round.protocol, Leader: m.round.leader,
		Partitions: m.round.got, Topics: topics,
	})
	if m.entry.fresh {
		m.recheck.begin(now)
	}
	m.entry.fresh, m.entry.rounds = false, 0
}
