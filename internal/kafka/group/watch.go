package group

import (
	"fmt"
	"slices"
	"time"
)

// watch knows the partitions of the topics.
type watch struct {
	*base
	others  []string // topics that members read, for the one that leads
	cluster string   // its id, as the brokers say
	topics  map[string]Topic
	planned map[string]Topic // as they were when the group's plan was made

	looked     bool // since the last join
	at         time.Time
	failures   int
	next       int  // which broker is asked
	suspicious bool // the last answer held less than was known
}

// names are the topics to look at, in order: the own ones, and for the leader those
// of all members.
func (w *watch) names() []string {
	list := slices.Concat(w.cfg.Topics, w.others)
	slices.Sort(list)
	return slices.Compact(list)
}

// look asks one of the brokers for the partitions.
func (w *watch) look(now time.Time, of *coordinator) {
	if !w.idle(kindLook) || !w.due(now, w.at) {
		return
	}
	brokers, all := of.candidates(now)
	w.send(now, kindLook, brokers[w.next%len(brokers)], &metadataRequest{w.names()}, w.cfg.patient(w.failures/all))
	w.next++
}

func (w *watch) onFailure(now time.Time, err error) {
	w.trouble(fmt.Errorf("look at the topics of group %q: %w", w.cfg.Group, err))
	w.failures++
	w.at = now.Add(w.backoff(w.failures, firstRetry, lastRetry))
}

// take takes an answer in. It reports false where that is doubtful: brokers learn of
// changes one after the other, and what looks as if something had gone is believed
// when a second one says so.
func (w *watch) take(now time.Time, found map[string]Topic, second time.Duration) bool {
	w.failures = 0
	if w.shrinks(found) && !w.suspicious {
		w.suspicious = true
		w.at = now.Add(second)
		return false
	}
	w.suspicious = false
	w.topics, w.looked = found, true
	w.at = now.Add(w.cfg.Watch)
	return true
}

// shrinks reports whether a topic that was known is missing, has fewer partitions,
// or is another one.
func (w *watch) shrinks(found map[string]Topic) bool {
	for _, name := range w.names() {
		old, known := w.topics[name]
		if f, ok := found[name]; known && (!ok || f.Partitions < old.Partitions || f.recreates(old)) {
			return true
		}
	}
	return false
}

// changed returns a topic that is not as it was when the plan was made.
func (w *watch) changed() (name string, ok bool) {
	if w.planned == nil {
		w.planned = w.topics // by a leader that has taken over what another had planned
	}
	for _, name := range w.names() {
		if was, is := w.planned[name], w.topics[name]; was.Partitions != is.Partitions || is.recreates(was) {
			return name, true
		}
	}
	return "", false
}

// counts are the partitions of the topics that exist.
func (w *watch) counts() map[string]int {
	n := map[string]int{}
	for name, t := range w.topics {
		n[name] = t.Partitions
	}
	return n
}

// existing returns the topics of an answer that can be read.
func existing(r *metadataResponse) map[string]Topic {
	found := map[string]Topic{}
	for _, t := range r.topics {
		if t.code == codeOK && t.partitions > 0 {
			found[t.name] = Topic{t.id, t.partitions}
		}
	}
	return found
}

func (m *Member) onLook(now time.Time, res response, err error) {
	if err != nil {
		m.watch.onFailure(now, err)
		return
	}
	r := res.(*metadataResponse)
	m.watch.cluster = r.cluster
	m.coordinator.brokers = m.coordinator.brokers[:0]
	for _, b := range r.brokers {
		if b.host != "" && b.port > 0 {
			m.coordinator.brokers = append(m.coordinator.brokers, addressOf(b.host, b.port))
		}
	}
	found, second := existing(r), time.Duration(0)
	if m.phase == phaseHold {
		second = min(time.Second, m.cfg.Watch)
	}
	if !m.watch.take(now, found, second) {
		if m.hold != nil {
			m.hold.suspects(found)
		}
		return
	}
	switch m.phase {
	case phasePlan:
		m.watch.planned = m.watch.topics
		m.round.plan = assign(m.round.protocol, m.round.members, m.watch.counts()).encode()
		m.phase = phaseSync
	case phaseHold:
		m.compare(now)
	}
}

// compare reacts to what has changed since the assignment. Only the leader's view
// decides about joining again: were each member to do so, one change would cost many
// rebalances. But where a topic was recreated before the assignment, and this member had
// not learned of it, the leader has planned with the new one and sees no change.
func (m *Member) compare(now time.Time) {
	for _, e := range m.hold.recreations(m.watch.topics) {
		m.emit(e)
		if m.hold.unlooked {
			m.rejoin(now, fmt.Errorf("%w: %s", ErrPartitions, e.Topic))
		}
	}
	if m.phase != phaseHold {
		return
	}
	if m.recheck.state == checkCompare {
		m.recheck.state = checkNone
		fits := m.recheck.fits(m.round.protocol, m.watch.counts())
		if !m.round.leader {
			m.watch.others = nil
		}
		if !fits {
			m.rejoin(now, ErrOutdated)
			return
		}
	}
	if name, changed := m.watch.changed(); changed && m.round.leader {
		m.rejoin(now, fmt.Errorf("%w: %s", ErrPartitions, name))
	}
}
