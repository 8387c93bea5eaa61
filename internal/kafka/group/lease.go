package group

import (
	"bytes"
	"fmt"
	"time"
)

// beat sends heartbeats from the answer to JoinGroup until the owner has given
// its assignment back, also while it does so.
func (m *Member) beat(now time.Time) {
	switch m.phase {
	case phasePlan, phaseSync, phaseAccept, phaseHold:
	case phaseRelease:
		if m.hold.lost {
			return
		}
	default:
		return
	}
	if !m.idle(kindBeat) || !m.ready(now) || !m.due(now, m.beatAt) {
		return
	}
	m.beatAt = now.Add(m.cfg.Heartbeat)
	m.send(now, kindBeat, m.coordinator, &heartbeatRequest{
		group: m.cfg.Group, member: m.id.member, instance: m.cfg.InstanceID, generation: m.id.generation,
	}, m.cfg.short())
}

func (m *Member) onBeat(now time.Time, c *call, late bool, res response, err error) {
	if late || c.by != m.id {
		return // of a coordinator or a generation that is over
	}
	if err != nil {
		m.trouble(fmt.Errorf("heartbeat of group %q: %w", m.cfg.Group, err))
		m.drop(now, c)
		return
	}
	switch code := res.(*heartbeatResponse).code; code {
	case codeOK:
		// A coordinator that loads its groups answers so without having looked.
		if m.proven {
			m.answered(c)
			m.confirm(c.sent)
		}
	case codeRebalance:
		m.answered(c)
		m.proven = true
		m.confirm(c.sent)
		m.rejoin(now, ErrRebalance)
	default:
		m.refused(now, c, "heartbeat", code)
	}
}

// refused reacts to the codes that mean the same whatever was asked. Those of an
// earlier generation were left out before.
func (m *Member) refused(now time.Time, c *call, what string, code Code) {
	err := fmt.Errorf("%s of group %q: %w", what, m.cfg.Group, code)
	switch code {
	case codeNotAvailable, codeNotCoordinator, codeRequestTimedOut:
		m.trouble(err)
		m.drop(now, c)
	case codeIllegalGeneration:
		m.lose(now, fmt.Errorf("%w: %w", ErrEvicted, err), phaseJoin)
	case codeUnknownMember:
		m.id.member = ""
		m.lose(now, fmt.Errorf("%w: %w", ErrEvicted, err), phaseJoin)
	case codeFencedInstance:
		m.fenced(now)
	default:
		m.trouble(err)
	}
}

// confirm moves the lease: the coordinator has validated something that was sent
// at that time, and waits for a session from then on at least.
func (m *Member) confirm(sent time.Time) {
	if until := sent.Add(m.cfg.Session - m.cfg.LeaseMargin); until.After(m.lease) {
		m.lease = until
	}
}

// expire ends an assignment whose lease has ended. Nothing that is answered later
// brings it back: the member joins again.
func (m *Member) expire(now time.Time) {
	if m.hold != nil && !m.hold.lost && m.due(now, m.lease) {
		m.lose(now, ErrLease, phaseJoin)
	}
}

// prove makes a new coordinator validate this member. A heartbeat does not do:
// while its groups are being loaded, a coordinator answers every one with success.
// SyncGroup is validated, and in a stable group it only repeats the assignment.
func (m *Member) prove(now time.Time) {
	if m.phase != phaseHold && m.phase != phaseAccept || m.proven || !m.idle(kindProof) || !m.ready(now) || !m.due(now, m.proveAt) {
		return
	}
	m.proveAt = now.Add(min(m.cfg.Heartbeat, time.Second))
	m.send(now, kindProof, m.coordinator, m.syncRequest(), m.cfg.short())
}

func (m *Member) onProof(now time.Time, c *call, late bool, res response, err error) {
	if late || c.by != m.id || m.phase != phaseHold && m.phase != phaseAccept {
		return
	}
	if err != nil {
		m.trouble(fmt.Errorf("confirm the membership of group %q: %w", m.cfg.Group, err))
		m.drop(now, c)
		return
	}
	switch r := res.(*syncResponse); r.code {
	case codeOK:
		m.answered(c)
		m.proven = true
		m.confirm(c.sent)
		if !bytes.Equal(r.assignment, m.raw) {
			m.rejoin(now, ErrOutdated)
		}
	case codeLoading, codeRebalance:
		// Some coordinators answer the second one while they load. Where it is true, a
		// heartbeat says so.
	default:
		m.refused(now, c, "confirm the membership", r.code)
	}
}
