package group

import (
	"math/rand/v2"
	"time"
)

// Member is one member of a consumer group. It decides what to send and what the
// owner of the partitions must know; it does neither, and has no clock, lock or
// goroutine. Whoever drives it calls Poll, sends the calls, hands in their answers,
// and calls Poll again after every method and at the time that Poll named.
// Not safe for concurrent use.
type Member struct {
	*base
	coordinator *coordinator
	entry       entry   // into the next generation
	round       round   // the present generation
	lease       lease   // of the assignment
	watch       watch   // of the partitions
	recheck     recheck // of the first assignment of a static member
	offsets     offsets // to commit and to fetch
	exit        exit    // out of the group

	phase    phase
	after    phase // what follows Released
	stopping bool

	hold   *holding // nil where the owner has nothing
	number int32    // of the last assignment
	owned  claims   // in the last assignment
}

type phase int

const (
	phaseJoin    phase = iota // until JoinGroup is answered
	phasePlan                 // the leader wants to know the partitions
	phaseSync                 // until SyncGroup is answered
	phaseAccept               // assigned; lease and topics are being asked for
	phaseHold                 // the owner has the assignment
	phaseRelease              // the owner gives it back
	phaseLeave                // until LeaveGroup is answered
	phaseOut                  // fenced
	phaseDone                 // stopped
)

// Todo is what the driver of a member has to do.
type Todo struct {
	Calls  []Call
	Events []Event
	Wake   time.Time // when to call Poll again at the latest; zero for never
}

// New returns a member that joins when it is polled.
func New(cfg Config) *Member {
	b := &base{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0)), id: identity{generation: -1}, calls: map[int]*call{}}
	m := &Member{
		base: b, coordinator: &coordinator{base: b, silent: map[string]time.Time{}}, entry: entry{base: b}, round: round{base: b}, lease: lease{base: b},
		watch: watch{base: b}, recheck: recheck{base: b}, offsets: offsets{base: b}, exit: exit{base: b}, owned: claims{generation: -1},
	}
	m.entry.protocols = offer(cfg.Topics, m.owned)
	return m
}

// Poll returns what there is to do now.
func (m *Member) Poll(now time.Time) Todo {
	m.wake = time.Time{}
	m.expire(now)
	if m.phase != phaseOut && m.phase != phaseDone && m.after != phaseOut {
		m.coordinator.find(now)
		m.leave(now)
	}
	switch m.phase {
	case phaseJoin:
		m.join(now)
	case phasePlan, phaseSync, phaseAccept:
		m.sync(now)
	case phaseHold:
		m.watch.look(now, m.coordinator)
		m.recheck.ask(now, m.coordinator)
	case phaseRelease, phaseLeave, phaseOut, phaseDone:
	}
	if m.phase == phaseAccept || m.phase == phaseHold {
		m.lease.prove(now, m.coordinator, &m.round)
	}
	if m.phase >= phasePlan && m.phase <= phaseHold || m.phase == phaseRelease && !m.hold.lost {
		m.lease.beat(now, m.coordinator)
	}
	m.offsets.serve(now, m.hold, m.coordinator)
	todo := Todo{m.out, m.events, m.wake}
	m.out, m.events = nil, nil
	return todo
}

// Answer hands in the answer to a call, or why there is none.
func (m *Member) Answer(now time.Time, id int, res response, err error) {
	m.expire(now)
	c, late := m.take(id)
	if c == nil || m.phase == phaseDone {
		return
	}
	switch c.kind {
	case kindFind:
		m.coordinator.onFind(now, c, res, err)
	case kindProbe:
		if m.coordinator.onProbe(c, err) {
			m.drop(now, c)
		}
	case kindJoin:
		m.onJoin(now, c, late, res, err)
	case kindSync:
		m.onSync(now, c, late, res, err)
	case kindProof:
		m.onProof(now, c, late, res, err)
	case kindBeat:
		m.onBeat(now, c, late, res, err)
	case kindLeave:
		if m.exit.take(now, c, res, err) {
			m.drop(now, c)
		}
	case kindLook:
		m.coordinator.heard(now, c, err)
		if !late {
			m.onLook(now, res, err)
		}
	case kindDescribe:
		if !late && c.by == m.id && m.recheck.take(now, m.round.protocol, res, err) {
			m.watch.others, m.watch.planned, m.watch.at = allTopics(m.recheck.members), nil, now
		}
	case kindCommit, kindFetch:
		m.onAsk(now, c, res, err)
	}
}

// Released says that the owner has given an assignment back.
func (m *Member) Released(now time.Time, number int32) {
	m.expire(now)
	if m.hold == nil || m.hold.number != number {
		return
	}
	m.hold = nil
	if m.phase == phaseHold { // of its own accord
		m.phase, m.after = phaseRelease, phaseJoin
	}
	if m.phase == phaseRelease {
		m.next(now)
	}
}

// Stop makes the member give its partitions back and leave. A static member does
// not leave the group: it may be back within a session.
func (m *Member) Stop(now time.Time) {
	m.expire(now)
	if m.stopping {
		return
	}
	m.stopping = true
	switch m.phase {
	case phaseHold:
		m.rejoin(now, ErrStopped)
	case phaseRelease:
	case phaseJoin, phasePlan, phaseSync, phaseAccept, phaseLeave, phaseOut, phaseDone:
		m.next(now)
	}
}

// LeaseUntil is until when the owner may work on its assignment: the last
// confirmation, counted from its sending, and a session less the margin. It is
// zero where nothing is owned.
func (m *Member) LeaseUntil() time.Time {
	if m.hold == nil || m.hold.lost {
		return time.Time{}
	}
	return m.lease.until
}

// next goes on where nothing is held.
func (m *Member) next(now time.Time) {
	switch {
	case m.after == phaseOut && !m.stopping:
		m.phase = phaseOut
	case !m.stopping:
		m.startJoin(now)
	case m.after == phaseOut || m.cfg.static():
		// Within a session this one, or its successor, comes back to the same assignment.
		m.finish()
	default:
		m.phase, m.exit.by = phaseLeave, now.Add(2*m.cfg.short())
	}
}

func (m *Member) finish() {
	m.phase = phaseDone
	m.offsets.end()
	m.emit(Left{})
}

// rejoin ends an assignment in order: the owner is asked for it, and while it gives
// it back the membership goes on.
func (m *Member) rejoin(now time.Time, cause error) {
	switch m.phase {
	case phaseAccept:
		m.startJoin(now)
	case phaseHold:
		m.phase, m.after = phaseRelease, phaseJoin
		m.emit(Release{m.hold.number, cause})
	case phaseJoin, phasePlan, phaseSync, phaseRelease, phaseLeave, phaseOut, phaseDone:
	}
}

// lose takes the owner's assignment away. Without one the member goes on at once.
func (m *Member) lose(now time.Time, cause error, after phase) {
	m.id.generation = -1
	m.after = after
	if m.hold == nil {
		m.next(now)
		return
	}
	m.phase = phaseRelease
	if !m.hold.lost {
		m.hold.lost = true
		m.emit(Lost{m.hold.number, cause})
	}
}

// drop gives the coordinator up that a call went to. The assignment stays: another
// coordinator, or the same one, goes on with it. What was asked of it and is not
// answered yet is asked again of the next one.
func (m *Member) drop(now time.Time, c *call) {
	if !m.coordinator.current(c) {
		return
	}
	if j := m.waiting(kindJoin); j != nil {
		m.entry.giveUp(now, j)
	}
	m.free(kindProbe, kindJoin, kindSync, kindProof, kindBeat, kindDescribe)
	m.coordinator.drop(now)
	m.lease.beatAt, m.lease.proveAt = now, now
}
