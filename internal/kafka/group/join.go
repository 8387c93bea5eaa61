package group

import (
	"fmt"
	"slices"
	"time"
)

// entry is how the member gets into the next generation.
type entry struct {
	*base
	protocols []protocol // as sent, so that a retry is the same to a byte
	at        time.Time  // not to join before
	failures  int        // in a row
	rounds    int        // of joining since the last assignment
	strays    int        // joins without a member id that were given up
	strayed   time.Time  // the last of them
	fresh     bool       // joined without a member id since the last assignment
}

// offer returns the protocols to join with. What was owned goes along: the sticky
// protocol wants it, and a member that joins because it wants another assignment
// must differ from what it said before, or the coordinator answers with the old one.
func offer(topics []string, owned claims) []protocol {
	var list []protocol
	topics = slices.Sorted(slices.Values(topics))
	for _, name := range protocolNames() {
		s := subscription{topics: topics}
		switch {
		case owned.generation < 0:
		case name == sticky:
			s.userData = owned.bytes()
		default:
			w := &writer{}
			w.int32(owned.generation)
			s.userData = w.buf
		}
		list = append(list, protocol{name, s.bytes()})
	}
	return list
}

// again begins a round of joining. Other members that come and go may cost some
// rounds; a coordinator that never gets further is not asked without a pause.
func (e *entry) again(now time.Time, owned claims) {
	e.protocols = offer(e.cfg.Topics, owned)
	if e.rounds++; e.rounds > 4 {
		e.at = now.Add(e.backoff(e.rounds-4, firstRetry, lastRetry))
	}
}

// later waits before the next try.
func (e *entry) later(now time.Time, first, last time.Duration) {
	e.failures++
	e.at = now.Add(e.backoff(e.failures, first, last))
}

// giveUp notes that a JoinGroup is not waited for any more. The coordinator may carry
// it out all the same, and, where it was one without a member id, after the next one.
func (e *entry) giveUp(now time.Time, c *call) {
	if c.by.member == "" {
		e.strays, e.strayed = min(e.strays+1, 3), now
	}
}

// fencedItself reports whether it may be a JoinGroup of this process that has taken
// its instance id.
func (e *entry) fencedItself(now time.Time) bool {
	if e.strays == 0 || now.Sub(e.strayed) >= e.cfg.wait() {
		return false
	}
	e.at = now.Add(e.backoff(4-e.strays, firstFatal, lastFatal))
	e.strays--
	return true
}

// startJoin begins to enter the next generation. Nothing is held.
func (m *Member) startJoin(now time.Time) {
	m.phase, m.after = phaseJoin, phaseJoin
	m.id.generation = -1
	m.round = round{base: m.base}
	m.lease = lease{base: m.base}
	m.recheck = recheck{base: m.base}
	m.watch.looked = false
	m.free(kindJoin, kindSync, kindProof, kindDescribe)
	m.entry.again(now, m.owned)
}

// join sends JoinGroup. One without a member id is sent alone: each that the
// coordinator carries out makes another member, and of a static member's the later
// one fences the earlier.
func (m *Member) join(now time.Time) {
	if !m.idle(kindJoin) {
		m.coordinator.probe(now)
		return
	}
	if !m.coordinator.ready(now) || !m.due(now, m.entry.at) {
		return
	}
	m.coordinator.probeFails, m.coordinator.probeAt = 0, now.Add(m.cfg.short())
	m.due(now, m.coordinator.probeAt)
	m.send(now, kindJoin, m.coordinator.address, &joinRequest{
		group: m.cfg.Group, member: m.id.member, instance: m.cfg.InstanceID,
		session: m.cfg.Session, rebalance: m.cfg.Rebalance, protocols: m.entry.protocols,
	}, m.cfg.wait())
}

func (m *Member) onJoin(now time.Time, c *call, late bool, res response, err error) {
	if late || m.phase != phaseJoin {
		if err == nil && c.by.member == "" {
			m.onLateJoin(res.(*joinResponse))
		}
		return
	}
	if err != nil {
		m.trouble(fmt.Errorf("join group %q: %w", m.cfg.Group, err))
		m.entry.giveUp(now, c)
		m.drop(now, c)
		m.entry.later(now, firstRetry, lastRetry)
		return
	}
	r := res.(*joinResponse)
	if r.code != codeOK {
		m.onJoinRefused(now, c, r)
		return
	}
	offered := slices.ContainsFunc(m.entry.protocols, func(p protocol) bool { return p.name == r.protocol })
	if r.member == "" || r.generation < 0 || !offered {
		m.trouble(fmt.Errorf("join group %q: %w: member %q, generation %d, protocol %q", m.cfg.Group, ErrMalformed, r.member, r.generation, r.protocol))
		m.entry.later(now, firstFatal, lastFatal)
		return
	}
	m.coordinator.works(c)
	m.coordinator.proven = true
	m.entry.failures = 0
	m.entry.fresh = m.entry.fresh || m.cfg.static() && c.by.member == ""
	m.id = identity{r.member, r.generation}
	m.lease.beatAt = now.Add(m.cfg.Heartbeat)
	m.watch.others, m.watch.planned, m.watch.at, m.watch.failures = nil, nil, now, 0
	m.watch.looked = false // a look that was sent before knows nothing of the others' topics, and makes no plan
	m.free(kindLook)
	m.phase = phaseSync
	faults := m.round.begin(r)
	for _, err := range faults {
		m.trouble(fmt.Errorf("lead group %q: a member gets nothing: %w", m.cfg.Group, err))
	}
	if m.round.members != nil {
		m.watch.others = allTopics(m.round.members)
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
		m.coordinator.works(c)
		m.id.member = r.member
		if r.member != "" {
			return
		}
		m.entry.later(now, firstRetry, lastRetry)
	case codeLoading, codeRebalance, codeIllegalGeneration:
		m.entry.later(now, firstRetry, lastRetry)
	case codeNotAvailable, codeNotCoordinator:
		m.drop(now, c)
		m.entry.later(now, firstRetry, lastRetry)
	case codeUnknownMember:
		m.id.member = ""
		if m.entry.later(now, firstRetry, lastRetry); m.entry.failures == 1 {
			m.entry.at = now
		}
	case codeFencedInstance:
		m.fenced(now)
		return
	default:
		m.entry.later(now, firstFatal, lastFatal)
	}
	m.trouble(err)
}

// onLateJoin takes the member id from an answer that is not waited for any more.
// The coordinator waits for that id: it is used, or left.
func (m *Member) onLateJoin(r *joinResponse) {
	if r.member == "" || r.code != codeOK && r.code != codeMemberIDRequired {
		return
	}
	if m.id.member == "" && m.idle(kindJoin) && (m.phase == phaseJoin || m.phase == phaseLeave) {
		m.id.member = r.member
		return
	}
	if !m.cfg.static() && r.member != m.id.member {
		m.exit.surplus = append(m.exit.surplus, r.member)
	}
}

// fenced reacts to another process that has this instance id. One that joined
// again would fence that one, and so on without end; so it stays out. The other one
// may be this process itself, though, by a JoinGroup that it has given up.
func (m *Member) fenced(now time.Time) {
	m.id.member = ""
	if m.entry.fencedItself(now) {
		m.trouble(fmt.Errorf("group %q: %w, perhaps by a request of this process that it has given up", m.cfg.Group, codeFencedInstance))
		m.lose(now, ErrTaken, phaseJoin)
		return
	}
	m.lose(now, ErrTaken, phaseOut)
	m.emit(Fenced{})
}
