package group

import (
	"slices"
	"time"
)

// What operators, their tools and the loss of a broker's disk do to a group.

// cutGroupLog takes away what was written last to the partition of the offsets topic that
// the group is in, once that can be: its latest generation, and the commits since.
func (w *world) cutGroupLog() bool {
	var try func(times int)
	try = func(times int) {
		if w.quiet || times == 0 || w.groupLogCut() {
			return
		}
		w.after(time.Second, func() { try(times - 1) })
	}
	try(40)
	return true
}

func (w *world) groupLogCut() bool {
	if !w.group.cutBack() {
		return false
	}
	w.faults[groupLogCut]++
	for _, l := range w.logs {
		l.setCommitted(0)
		if o, ok := w.offsetOf(l); ok {
			l.setCommitted(o.Offset)
		}
		for _, e := range l.records {
			e.again = time.Time{} // perhaps that is lost too
		}
	}
	for _, r := range w.processes {
		if r.gen == nil {
			continue
		}
		for _, f := range r.gen.fetchers {
			f.told = false
		}
	}
	w.logf("the group is back in generation %d", w.group.persisted.generation)
	w.failover(w.otherBroker(), w.between(0, 8*time.Second))
	return true
}

// offsetOf returns what is committed of a log; false where that was read from another topic.
func (w *world) offsetOf(l *worldLog) (Offset, bool) {
	o, ok := w.group.offsets[l.partition]
	return o, ok && o.TopicID == w.topics[o.Topic].ID
}

// setCommitted notes an offset that no replica has committed.
func (l *worldLog) setCommitted(offset int64) {
	l.committed, l.commit = offset, worldSnapshot{} // what was sent beyond it is sent again
}

// resetOffsets stops all replicas in order, sets offsets back once the group is empty (before,
// brokers refuse it), and starts them again. Kafka's own kafka-consumer-groups writes the offsets without
// metadata. A tool that reads what is committed, changes the offset and writes it back keeps
// them, as a program with franz-go's kadm does: FetchOffsets, then CommitOffsets.
func (w *world) resetOffsets() bool {
	var numbers []int
	for _, r := range w.replicas {
		switch {
		case r.works():
			numbers = append(numbers, r.number)
		case !r.member.dead:
			return false
		}
	}
	if len(numbers) == 0 {
		return false
	}
	for _, n := range numbers {
		w.replicas[n].stop(nil)
	}
	started := false
	start := func() {
		for _, n := range numbers {
			if !started && w.replicas[n].member.dead {
				w.start(n)
			}
		}
		started = true
	}
	w.ends = append(w.ends, start)
	var look func(times int)
	look = func(times int) {
		switch {
		case started:
		case times == 0:
			start()
		case w.group.state == "Empty" && w.working() == 0 && !w.missing:
			w.setBack()
			start()
		default:
			w.after(time.Second, func() { look(times - 1) })
		}
	}
	look(40)
	return true
}

// setBack sets offsets back: what lies behind them is to be sent again.
func (w *world) setBack() {
	done := false
	for _, l := range w.logs {
		o, ok := w.offsetOf(l)
		if !ok || o.Offset <= l.first || w.chance(3) {
			continue
		}
		o.Offset = l.first + w.rand.Int64N(o.Offset-l.first)
		if w.chance(2) {
			o.Metadata = ""
		}
		w.logf("an operator sets %v back to %d, with %q", l.partition, o.Offset, o.Metadata)
		w.group.keep(o)
		l.setCommitted(o.Offset)
		for _, e := range l.records[l.at(o.Offset):] {
			e.again = w.now
		}
		done = true
	}
	if done {
		w.faults[offsetsSetBack]++
	}
}

// The faults that ask for something first.
const (
	offsetsSetBack = "an operator sets offsets back"
	groupLogCut    = "the group's log is cut off"
)

// toMirror loses the cluster. The replicas go on in another one, to which a mirror has copied
// the logs, but for what was written last, and the group's offsets. MirrorMaker 2 does so:
// each record gets the next offset there, a committed offset becomes that of the same record,
// and what was committed with it is copied as it is (MirrorCheckpointTask.checkpoint).
func (w *world) toMirror() bool {
	if w.missing {
		return false
	}
	for _, r := range w.processes {
		if !r.member.dead && r == w.replicas[r.number] {
			w.after(w.between(100*time.Millisecond, 10*time.Second), func() { w.start(r.number) })
		}
		r.kill()
	}
	for _, f := range w.foreign {
		m := f.(*javaMember)
		m.left, m.owned = true, nil
	}
	old := w.group
	w.cluster += "'"
	w.group = newModel(w.sim)
	w.group.accepted, w.group.rebalances, w.group.ids = w.checkCommit, old.rebalances, old.ids
	for _, b := range brokerNames {
		w.brokers[b] = &simBroker{}
	}
	w.coord, w.loading = brokerNames[0], time.Time{}
	if topic := w.topics["a"]; topic.ID != (TopicID{}) {
		w.topics["a"] = Topic{TopicID{topic.ID[0] + 1}, topic.Partitions}
	}
	for _, l := range w.logs {
		l.cut(l.end - min(l.end-l.first, w.rand.Int64N(20)))
		o, ok := old.offsets[l.partition]
		to := int64(l.at(o.Offset))
		for i, e := range l.records {
			e.offset, e.epoch = int64(i), 0
		}
		l.first, l.end, l.epoch, l.began = 0, int64(len(l.records)), 0, nil
		l.setCommitted(0)
		if ok {
			w.group.keep(Offset{TopicPartition: l.partition, Offset: to, LeaderEpoch: -1, Metadata: o.Metadata})
			l.setCommitted(to)
		}
		w.logf("%v ends at %d in the other cluster, and the group is at %d", l.partition, l.end, l.committed)
	}
	return true
}

// journaled is a record of the offsets topic: of the group, or of an offset.
type journaled struct {
	group  *model
	offset Offset
}

// keep keeps a committed offset.
func (g *model) keep(o Offset) {
	g.offsets[o.TopicPartition] = o
	g.journal = append(g.journal, journaled{offset: o})
}

// cutBack loses the latest generation and what was committed since, as an unclean election
// in the offsets topic does; the coordinator that loads what is left answers all members
// with 22. It reports false where there is no generation before that had all of them: one
// that the coordinator does not know at all has no say in the next one, which begins at once,
// and learns of that with its next heartbeat, as if an administrator had removed it.
func (g *model) cutBack() bool {
	for i, j := range slices.Backward(g.journal) {
		was := j.group
		if was == nil || was.generation >= g.persisted.generation {
			continue
		}
		for id, m := range g.persisted.members {
			if w := was.members[id]; g.members[id] != nil && (w == nil || m.instance != "" && was.static[m.instance] != id) {
				return false
			}
		}
		end := i + 1
		for g.journal[end].group == nil {
			end++
		}
		g.journal, g.persisted = g.journal[:end], was
		clear(g.offsets)
		for _, j := range g.journal {
			if j.group == nil {
				g.offsets[j.offset.TopicPartition] = j.offset
			}
		}
		return true
	}
	return false
}
