package group

import (
	"fmt"
	"slices"
	"time"
)

// checkState is how far the check of a static member's first assignment is.
type checkState int

const (
	checkNone    checkState = iota
	checkAsk                // the coordinator is to describe the group
	checkCompare            // the partitions of the group's topics are to be looked at
)

// look asks for the partitions of the topics: the leader of all that the group
// reads, the others of their own. Only the leader's view decides about joining again;
// were each member to do so, one change would cost many rebalances.
func (m *Member) look(now time.Time) {
	switch m.phase {
	case phasePlan, phaseSync, phaseAccept:
		if m.looked {
			return
		}
	case phaseHold:
	default:
		return
	}
	if !m.idle(kindLook) || !m.due(now, m.lookAt) {
		return
	}
	list := m.candidates()
	timeout := min(m.cfg.short()<<min(m.lookFails/len(list), 8), m.cfg.long())
	m.send(now, kindLook, list[m.lookNext%len(list)], &metadataRequest{m.lookTopics()}, timeout)
	m.lookNext++
}

// lookTopics are the topics to look at, in order.
func (m *Member) lookTopics() []string {
	list := slices.Concat(m.cfg.Topics, m.groupTopics)
	slices.Sort(list)
	return slices.Compact(list)
}

func (m *Member) onLook(now time.Time, res response, err error) {
	if err != nil {
		m.trouble(fmt.Errorf("look at the topics of group %q: %w", m.cfg.Group, err))
		m.lookFails++
		m.lookAt = now.Add(m.backoff(m.lookFails, firstRetry, lastRetry))
		return
	}
	m.lookFails = 0
	r := res.(*metadataResponse)
	m.brokers = m.brokers[:0]
	for _, b := range r.brokers {
		if b.host != "" && b.port > 0 {
			m.brokers = append(m.brokers, addressOf(b.host, b.port))
		}
	}
	found := map[string]Topic{}
	for _, t := range r.topics {
		if t.code == codeOK && t.partitions > 0 {
			found[t.name] = Topic{t.id, t.partitions}
		}
	}
	// Brokers learn of changes one after the other. What looks as if something had
	// gone is believed when a second one says so.
	if shrinks := m.shrinks(found); shrinks && !m.suspicious {
		m.suspicious = true
		m.suspect(found)
		m.lookAt = now
		if m.phase == phaseHold {
			m.lookAt = now.Add(min(time.Second, m.cfg.Watch))
		}
		return
	}
	m.suspicious = false
	m.topics, m.looked = found, true
	m.lookAt = now.Add(m.cfg.Watch)
	switch m.phase {
	case phasePlan:
		m.makePlan()
	case phaseHold:
		m.compare(now)
	}
}

// shrinks reports whether a topic that was known is missing, has fewer partitions,
// or is another one.
func (m *Member) shrinks(found map[string]Topic) bool {
	for _, name := range m.lookTopics() {
		old, known := m.topics[name]
		if f, ok := found[name]; known && (!ok || f.Partitions < old.Partitions || f.recreates(old)) {
			return true
		}
	}
	return false
}

// suspect keeps commits back from topics that may be other ones now.
func (m *Member) suspect(found map[string]Topic) {
	if m.hold == nil {
		return
	}
	for name, id := range m.hold.ids {
		if f, ok := found[name]; ok && f.recreates(Topic{ID: id}) {
			m.hold.suspect[name] = true
		}
	}
}

// compare reacts to what has changed since the assignment.
func (m *Member) compare(now time.Time) {
	clear(m.hold.suspect)
	for name, id := range m.hold.ids {
		t, ok := m.topics[name]
		if ok && t.recreates(Topic{ID: id}) && !m.hold.recreated[name] {
			m.hold.recreated[name] = true
			m.events = append(m.events, Recreated{name, id, t.ID})
		}
	}
	if m.check == checkCompare {
		m.check = checkNone
		if !m.fits() {
			m.rejoin(now, ErrOutdated)
			return
		}
	}
	if !m.leader {
		return
	}
	if m.planned == nil {
		m.planned = m.topics // a leader that has taken over what another had planned
	}
	for _, name := range m.lookTopics() {
		was, is := m.planned[name], m.topics[name]
		if was.Partitions != is.Partitions || is.recreates(was) {
			m.rejoin(now, fmt.Errorf("%w: %s", ErrPartitions, name))
			return
		}
	}
}

// counts are the partitions of the topics that exist.
func (m *Member) counts() map[string]int {
	n := map[string]int{}
	for name, t := range m.topics {
		n[name] = t.Partitions
	}
	return n
}

// makePlan assigns the partitions as the leader.
func (m *Member) makePlan() {
	m.planned = m.topics
	m.plan = assign(m.protocol, m.members, m.counts()).encode()
	m.phase = phaseSync
}

// describe asks what the group is assigned, once after a static member has come
// back: the coordinator has answered it with the assignment that its predecessor
// had, whatever topics and partitions there are now.
func (m *Member) describe(now time.Time) {
	if m.phase != phaseHold || m.check != checkAsk || !m.idle(kindDescribe) || !m.ready(now) || !m.due(now, m.checkAt) {
		return
	}
	m.send(now, kindDescribe, m.coordinator, &describeRequest{m.cfg.Group}, m.cfg.short())
}

func (m *Member) onDescribe(now time.Time, c *call, late bool, res response, err error) {
	if late || c.by != m.id || m.check != checkAsk {
		return
	}
	m.checkAt = now.Add(m.cfg.Heartbeat)
	if m.checkTries++; m.checkTries >= 10 {
		m.check = checkNone
	}
	if err != nil {
		m.trouble(fmt.Errorf("describe group %q: %w", m.cfg.Group, err))
		return // whether the coordinator lives is the heartbeat's business
	}
	r := res.(*describeResponse)
	if r.code != codeOK || r.state != "Stable" || r.protocol != m.protocol {
		return
	}
	var joined []joinedMember
	assigned := map[string][]byte{}
	for _, d := range r.members {
		joined = append(joined, joinedMember{d.id, d.instance, d.metadata})
		assigned[d.id] = d.assignment
	}
	m.described, _ = readMembers(joined)
	for i := range m.described {
		d := &m.described[i]
		d.owned, _ = readAssignment(assigned[d.id])
		d.generation = m.id.generation
	}
	m.groupTopics, m.planned = allTopics(m.described), nil
	m.check, m.lookAt = checkCompare, now
}

// fits reports whether the group's assignment is one that a leader would make now:
// the same for ranges, and for the sticky ones one that need not be changed.
func (m *Member) fits() bool {
	counts := m.counts()
	var want assignment
	if m.protocol == ranges {
		want = assignRanges(m.described, counts)
	} else {
		want = assignSticky(m.described, ownedClaims(m.described), counts)
	}
	if !m.leader {
		m.groupTopics = nil
	}
	for _, d := range m.described {
		if !slices.Equal(want[d.id], sortPartitions(slices.Clone(d.owned))) {
			return false
		}
	}
	return true
}
