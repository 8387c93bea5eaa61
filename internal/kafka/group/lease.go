package group

import (
	"bytes"
	"fmt"
	"time"
)

// lease is for how long the coordinator's word counts, and when it is asked again.
type lease struct {
	*base
	until   time.Time
	known   time.Time // when the last was sent that the coordinator has validated
	settled time.Time // when the last was sent that it has answered outside of a join phase
	beatAt  time.Time
	proveAt time.Time
}

// confirm moves the lease: the coordinator has validated something that was sent at that
// time. It may remove a member once it has not heard of it for a session, and one that
// does not join in time once a rebalance has begun, which may be as soon as it has said
// that there is none. What it validates during one, a commit too, does not change that.
func (l *lease) confirm(sent time.Time, settled bool) {
	l.known = later(l.known, sent)
	if settled {
		l.settled = later(l.settled, sent)
	}
	l.until = earlier(l.known.Add(l.cfg.Session), l.settled.Add(l.cfg.Rebalance)).Add(-l.cfg.LeaseMargin)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// beat sends a heartbeat.
func (l *lease) beat(now time.Time, to *coordinator) {
	if !l.idle(kindBeat) || !to.ready(now) || !l.due(now, l.beatAt) {
		return
	}
	l.beatAt = now.Add(l.cfg.Heartbeat)
	l.send(now, kindBeat, to.address, &heartbeatRequest{
		group: l.cfg.Group, member: l.id.member, instance: l.cfg.InstanceID, generation: l.id.generation,
	}, l.cfg.short())
}

// prove makes a new coordinator validate this member. A heartbeat does not do:
// while its groups are being loaded, a coordinator answers every one with success.
// SyncGroup is validated, and in a stable group it only repeats the assignment.
func (l *lease) prove(now time.Time, to *coordinator, in *round) {
	if to.proven || !l.idle(kindProof) || !to.ready(now) || !l.due(now, l.proveAt) {
		return
	}
	l.proveAt = now.Add(min(l.cfg.Heartbeat, time.Second))
	l.send(now, kindProof, to.address, in.request(), l.cfg.short())
}

// expire ends an assignment whose lease has ended. Nothing that is answered later
// brings it back: the member joins again.
func (m *Member) expire(now time.Time) {
	if m.hold != nil && !m.hold.lost && m.due(now, m.lease.until) {
		m.lose(now, ErrLease, phaseJoin)
	}
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
		if m.coordinator.proven { // else it may not have looked
			m.coordinator.works(c)
			m.lease.confirm(c.sent, true)
		}
	case codeRebalance:
		m.validated(c, false)
		m.rejoin(now, ErrRejoin)
	default:
		m.refused(now, c, "heartbeat", code)
	}
}

// validated notes that the coordinator knows this member in its generation, and whether
// that was certainly outside of a join phase.
func (m *Member) validated(c *call, settled bool) {
	m.coordinator.works(c)
	m.coordinator.proven = true
	m.lease.confirm(c.sent, settled)
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
		m.validated(c, true)
		if !bytes.Equal(r.assignment, m.round.raw) {
			m.rejoin(now, ErrOutdated)
		}
	case codeLoading, codeRebalance:
		// Some coordinators answer the second one while they load. Where it is true, a
		// heartbeat says so.
	default:
		m.refused(now, c, "confirm the membership", r.code)
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
