package group

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/contactsync/contactsync"
)

// startJoin begins to enter the next generation. Nothing is held.
func (m *Member) startJoin(now time.Time) {
	m.phase, m.after = phaseJoin, phaseJoin
	m.id.generation = -1
	m.lease = time.Time{}
	m.looked = false
	m.check, m.described = checkNone, nil
	m.lanes[kindJoin], m.lanes[kindSync], m.lanes[kindProof], m.lanes[kindDescribe] = 0, 0, 0, 0
	m.protocols = m.offer()
	// Other members that come and go may cost some rounds; a coordinator that never
	// gets further is not asked without a pause.
	if m.rounds++; m.rounds > 4 {
		m.joinAt = now.Add(m.backoff(m.rounds-4, firstRetry, lastRetry))
	}
}

// join sends JoinGroup. One without a member id is sent alone: each that the
// coordinator carries out makes another member, and of a static member's the later
// one fences the earlier.
func (m *Member) join(now time.Time) {
	if m.phase != phaseJoin || !m.idle(kindJoin) || !m.ready(now) || !m.due(now, m.joinAt) {
		return
	}
	m.probeFails, m.probeAt = 0, now.Add(m.cfg.short())
	m.send(now, kindJoin, m.coordinator, &joinRequest{
		group: m.cfg.Group, member: m.id.member, instance: m.cfg.InstanceID,
		session: m.cfg.Session, rebalance: m.cfg.Rebalance, protocols: m.protocols,
	}, m.cfg.wait())
}

func (m *Member) onJoin(now time.Time, c *call, late bool, res response, err error) {
	if late || m.phase != phaseJoin {
		m.onLateJoin(c, res, err)
		return
	}
	if err != nil {
		m.trouble(fmt.Errorf("join group %q: %w", m.cfg.Group, err))
		m.giveUp(now, c)
		m.drop(now, c)
		m.joinLater(now, firstRetry, lastRetry)
		return
	}
	r := res.(*joinResponse)
	if r.code != codeOK {
		m.onJoinRefused(now, c, r)
		return
	}
	offered := slices.ContainsFunc(m.protocols, func(p protocol) bool { return p.name == r.protocol })
	if r.member == "" || r.generation < 0 || !offered {
		m.trouble(fmt.Errorf("join group %q: %w: member %q, generation %d, protocol %q", m.cfg.Group, ErrMalformed, r.member, r.generation, r.protocol))
		m.joinLater(now, firstFatal, lastFatal)
		return
	}
	m.answered(c)
	m.proven, m.joinFails = true, 0
	if m.static() && c.by.member == "" {
		m.fresh = true
	}
	m.id, m.protocol = identity{r.member, r.generation}, r.protocol
	m.beatAt, m.syncAt, m.lookAt, m.lookFails = now.Add(m.cfg.Heartbeat), now, now, 0
	m.plan, m.planned, m.groupTopics = nil, nil, nil
	// Up to version 8 a static leader that is back is told its old id as the leader's,
	// while the coordinator holds the new one to be it: nobody else leads.
	m.leader = r.leader == r.member || m.wasMine(r.leader)
	m.phase = phaseSync
	if r.leader == r.member {
		var faults []error
		m.members, faults = readMembers(r.members)
		for _, err := range faults {
			m.trouble(fmt.Errorf("lead group %q: a member gets nothing: %w", m.cfg.Group, err))
		}
		m.groupTopics = allTopics(m.members)
		if !r.skip {
			m.phase = phasePlan
		}
	}
}

// onJoinRefused reacts to the error of a JoinGroup.
func (m *Member) onJoinRefused(now time.Time, c *call, r *joinResponse) {
	err := fmt.Errorf("join group %q: %w", m.cfg.Group, r.code)
	switch r.code {
	case codeMemberIDRequired:
		// The coordinator waits for this id to join, and the whole group with it.
		m.answered(c)
		m.id.member = r.member
		if r.member != "" {
			return
		}
		m.joinLater(now, firstRetry, lastRetry)
	case codeLoading, codeRebalance, codeIllegalGeneration:
		m.joinLater(now, firstRetry, lastRetry)
	case codeNotAvailable, codeNotCoordinator:
		m.drop(now, c)
		m.joinLater(now, firstRetry, lastRetry)
	case codeUnknownMember:
		m.id.member = ""
		m.joinLater(now, firstRetry, lastRetry)
		if m.joinFails == 1 {
			m.joinAt = now
		}
	case codeFencedInstance:
		m.fenced(now)
		return
	default:
		m.joinLater(now, firstFatal, lastFatal)
	}
	m.trouble(err)
}

// onLateJoin takes the member id from an answer that is not waited for any more.
// The coordinator waits for that id: it is used, or left.
func (m *Member) onLateJoin(c *call, res response, err error) {
	if err != nil || c.by.member != "" {
		return
	}
	r := res.(*joinResponse)
	if r.member == "" || r.code != codeOK && r.code != codeMemberIDRequired {
		return
	}
	if m.id.member == "" && m.idle(kindJoin) && (m.phase == phaseJoin || m.phase == phaseLeave) {
		m.id.member = r.member
		return
	}
	if !m.static() && r.member != m.id.member {
		m.surplus = append(m.surplus, r.member)
	}
}

func (m *Member) joinLater(now time.Time, first, last time.Duration) {
	m.joinFails++
	m.joinAt = now.Add(m.backoff(m.joinFails, first, last))
}

// wasMine reports whether a member id was made for this instance id: the
// coordinator puts 36 characters behind it.
func (m *Member) wasMine(member string) bool {
	rest, ok := strings.CutPrefix(member, m.cfg.InstanceID+"-")
	return m.static() && ok && len(rest) == 36
}

// giveUp notes that a JoinGroup without a member id is not waited for any more. The
// coordinator may carry it out all the same, and later than the next one.
func (m *Member) giveUp(now time.Time, c *call) {
	if c.by.member == "" {
		m.strays, m.strayed = min(m.strays+1, 3), now
	}
}

// fenced reacts to another process that has this instance id. One that joined
// again would fence that one, and so on without end; so it stays out. The other one
// may be this process itself, though, by a JoinGroup that it has given up.
func (m *Member) fenced(now time.Time) {
	m.id.member = ""
	if m.strays > 0 && now.Sub(m.strayed) < m.cfg.wait() {
		m.joinAt = now.Add(m.backoff(4-m.strays, firstFatal, lastFatal))
		m.strays--
		m.trouble(fmt.Errorf("group %q: %w, perhaps by a request of this process that it has given up", m.cfg.Group, codeFencedInstance))
		m.lose(now, ErrFenced, phaseJoin)
		return
	}
	m.lose(now, ErrFenced, phaseOut)
	m.events = append(m.events, Fenced{})
}

// syncRequest is the same to a byte each time in one generation.
func (m *Member) syncRequest() *syncRequest {
	return &syncRequest{
		group: m.cfg.Group, member: m.id.member, instance: m.cfg.InstanceID, generation: m.id.generation,
		protocol: m.protocol, assignments: m.plan,
	}
}

// sync sends SyncGroup; again where the answer was lost.
func (m *Member) sync(now time.Time) {
	if m.phase == phaseSync && m.idle(kindSync) && m.ready(now) && m.due(now, m.syncAt) {
		m.send(now, kindSync, m.coordinator, m.syncRequest(), m.cfg.wait())
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
		m.answered(c)
		m.proven = true
		m.confirm(c.sent)
		m.assigned(now, r.assignment)
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
		m.joinLater(now, firstFatal, lastFatal)
	}
}

// assigned takes the assignment in. One that cannot be read is none: to join again
// would bring the same one.
func (m *Member) assigned(now time.Time, raw []byte) {
	parts, err := readAssignment(raw)
	if err != nil {
		m.trouble(fmt.Errorf("lead of group %q: %w", m.cfg.Group, err))
	}
	own := func(p contactsync.TopicPartition) bool { return slices.Contains(m.cfg.Topics, p.Topic) }
	n := len(parts)
	parts = slices.DeleteFunc(parts, func(p contactsync.TopicPartition) bool { return !own(p) })
	m.raw, m.got = bytes.Clone(raw), parts
	m.owned = claims{parts, m.id.generation}
	m.phase, m.beatAt = phaseAccept, now
	if len(parts) == n {
		m.misfits = 0
		return
	}
	// The coordinator has answered with what an earlier process with other topics
	// was assigned, or the leader knows no better.
	if m.misfits++; m.misfits > 3 {
		m.trouble(fmt.Errorf("group %q: partitions of topics were assigned that this member does not read; they are left alone", m.cfg.Group))
		return
	}
	m.startJoin(now)
}

// accept gives the assignment to the owner once the lease has begun and the topics
// are known, or cannot be had soon.
func (m *Member) accept(now time.Time) {
	if m.phase != phaseAccept || !now.Before(m.lease) || !m.looked && m.lookFails < 2 {
		return
	}
	m.number++
	h := &holding{number: m.number, by: m.id, parts: m.got, ids: map[string]TopicID{}, suspect: map[string]bool{}, recreated: map[string]bool{}}
	topics := map[string]Topic{}
	for _, t := range m.cfg.Topics {
		if known, ok := m.topics[t]; ok {
			topics[t], h.ids[t] = known, known.ID
		}
	}
	m.hold, m.phase, m.rounds = h, phaseHold, 0
	m.events = append(m.events, Assigned{
		Number: h.number, Generation: m.id.generation, Member: m.id.member, Protocol: m.protocol, Leader: m.leader,
		Partitions: m.got, Topics: topics, Replaced: m.fresh,
	})
	m.check = checkNone
	if m.fresh {
		m.check, m.checkAt, m.checkTries = checkAsk, now, 0
	}
	m.fresh = false
}

var errLeaveTimeout = errors.New("the coordinator was not found in time")

// startLeave ends the membership. A static member only goes away: within a session
// it, or its successor, comes back to the same assignment.
func (m *Member) startLeave(now time.Time) {
	m.phase = phaseLeave
	m.joinAt = now.Add(m.cfg.short())     // for the id of a join that is not answered yet
	m.beatAt = now.Add(2 * m.cfg.short()) // for the coordinator
	if m.static() {
		m.finish()
	}
}

// leave sends LeaveGroup for this member once it stops, and at any time for ids
// that it was given and does not use: the group would wait for them.
func (m *Member) leave(now time.Time) {
	if !m.idle(kindLeave) || m.phase == phaseOut || m.phase == phaseDone {
		return
	}
	var members []leaver
	for _, id := range m.surplus {
		members = append(members, leaver{member: id})
	}
	if m.phase == phaseLeave && m.id.member != "" {
		members = append(members, leaver{member: m.id.member})
	}
	switch {
	case m.phase != phaseLeave:
		if len(members) > 0 && m.ready(now) {
			m.send(now, kindLeave, m.coordinator, &leaveRequest{m.cfg.Group, members}, m.cfg.short())
			m.surplus = nil
		}
	case len(members) == 0 && (m.idle(kindJoin) || m.due(now, m.joinAt)):
		m.finish()
	case len(members) == 0:
	case m.due(now, m.beatAt):
		m.trouble(fmt.Errorf("leave group %q: %w", m.cfg.Group, errLeaveTimeout))
		m.finish()
	case m.ready(now):
		m.send(now, kindLeave, m.coordinator, &leaveRequest{m.cfg.Group, members}, m.cfg.short())
		m.surplus = nil
	}
}

func (m *Member) onLeave(now time.Time, c *call, err error) {
	if err != nil {
		m.drop(now, c)
		return
	}
	if m.phase == phaseLeave && m.surplus == nil {
		m.finish()
	}
}
