package group

import (
	"time"

	"github.com/contactsync/contactsync/internal/progress"
)

// worldFault is something that goes wrong. do reports whether it could.
type worldFault struct {
	name string
	do   func(w *world) bool
	asks bool // it begins, and counts itself if it happens in the end
}

// worldFaultList are all of them. What lasts ends by itself, or when all faults end. That
// an administrator removes a member is not among them: the coordinator gives its partitions
// away at once, and it learns of that with its next heartbeat.
var worldFaultList = []worldFault{
	{"kill and restart", func(w *world) bool {
		return w.toOne(func(r *replica) {
			r.kill()
			w.after(w.between(100*time.Millisecond, 20*time.Second), func() { w.start(r.number) })
		})
	}, false},
	{"restart in order", func(w *world) bool {
		return w.toOne(func(r *replica) {
			r.stop(func() { w.after(w.between(100*time.Millisecond, 10*time.Second), func() { w.start(r.number) }) })
		})
	}, false},
	{"rolling restart", func(w *world) bool { w.restartFrom(0); return true }, false},
	{"freeze within a session", func(w *world) bool { return w.freezeOne(time.Second, worldSession) }, false},
	{"freeze beyond a session", func(w *world) bool { return w.freezeOne(worldSession, 2*worldSession) }, false},
	{"an instance id is taken over", func(w *world) bool {
		if !w.static {
			return false
		}
		return w.toOne(func(r *replica) {
			r.freeze()
			w.after(w.between(100*time.Millisecond, worldSession), func() { w.start(r.number) })
			w.lasts(time.Second, 2*worldSession, r.thaw)
		})
	}, false},
	{"cut off from Kafka", func(w *world) bool {
		return w.toOne(func(r *replica) {
			r.cut = true
			w.lasts(2*time.Second, 2*worldSession, func() { r.cut = false })
		})
	}, false},
	{"answers of Kafka lost or late", func(w *world) bool {
		w.lossy = 2 + w.rand.IntN(4)
		w.lasts(3*time.Second, 20*time.Second, func() { w.lossy = 0 })
		return true
	}, false},
	{"heartbeats lost", func(w *world) bool { // and nothing else, while another replica joins: they have a connection of their own, which breaks without a word
		return len(w.replicas) <= 4 && w.toOne(func(r *replica) {
			w.mute = r.member
			w.after(w.between(0, 2*time.Second), func() { w.start(len(w.replicas)) })
			w.lasts(4*time.Second, 2*worldSession, func() { w.mute = nil })
		})
	}, false},
	{"coordinator moves", func(w *world) bool {
		w.failover(w.otherBroker(), w.between(0, 8*time.Second))
		return true
	}, false},
	{"coordinator dies", func(w *world) bool {
		old := w.coord
		w.kill(old)
		w.after(w.between(100*time.Millisecond, 8*time.Second), func() { w.failover(w.otherBroker(), w.between(0, 8*time.Second)) })
		w.lasts(10*time.Second, 20*time.Second, func() { w.brokers[old].down = false })
		return true
	}, false},
	{"coordinator freezes", func(w *world) bool {
		old := w.coord
		if w.brokers[old].down {
			return false
		}
		w.brokers[old].frozen = true
		w.after(w.between(time.Second, 8*time.Second), func() { w.failover(w.otherBroker(), w.between(0, 8*time.Second)) })
		w.lasts(10*time.Second, 20*time.Second, func() { w.thaw(old) })
		return true
	}, false},
	{"another client in the group", func(w *world) bool {
		protocols := [][]string{{ranges}, {cooperative}, {ranges, cooperative}, {sticky}}[w.rand.IntN(4)]
		m := w.joinJava(protocols[0] == cooperative, protocols...)
		w.lasts(5*time.Second, 30*time.Second, m.leave)
		return true
	}, false},
	{"replica added", func(w *world) bool {
		if len(w.replicas) > 4 {
			return false
		}
		w.start(len(w.replicas))
		return true
	}, false},
	{"replica taken away", func(w *world) bool {
		return w.working() > 1 && w.toOne(func(r *replica) { r.stop(nil) })
	}, false},
	{"API down", func(w *world) bool {
		w.api.down = true
		w.lasts(time.Second, 20*time.Second, func() { w.api.down = false })
		return true
	}, false},
	{"API does not answer in time", func(w *world) bool {
		w.api.silent = true
		w.lasts(3*time.Second, 20*time.Second, func() { w.api.silent = false })
		return true
	}, false},
	{"API is slow", func(w *world) bool {
		w.api.slow = true
		w.lasts(3*time.Second, 30*time.Second, func() { w.api.slow = false })
		return true
	}, false},
	{"API refuses rows for a while", func(w *world) bool {
		w.api.rejects = true
		w.lasts(time.Second, 10*time.Second, func() { w.api.rejects = false })
		return true
	}, false},
	{"dead letters are not taken", func(w *world) bool {
		w.noLetters = true
		w.lasts(time.Second, 20*time.Second, func() { w.noLetters = false })
		return true
	}, false},
	{"logs are compacted", func(w *world) bool {
		for _, l := range w.logs {
			l.compact(w.rand.Int64N(l.end + 1))
		}
		return true
	}, false},
	{"log cut off", func(w *world) bool {
		l := w.logs[w.rand.IntN(len(w.logs))]
		if len(l.records) == 0 {
			return false
		}
		l.cut(l.end - min(l.end, 1+w.rand.Int64N(20)))
		return true
	}, false},
	{groupLogCut, (*world).cutGroupLog, true},
	{offsetsSetBack, (*world).resetOffsets, true},
	{"the cluster is lost, and its mirror goes on", (*world).toMirror, false},
	{"topic recreated", func(w *world) bool { return w.recreate() }, false},
	{"partition added", func(w *world) bool {
		if len(w.logs) > 6 || w.missing {
			return false
		}
		w.addPartition()
		return true
	}, false},
}

// worldFaults are the names, in their order.
func worldFaults() []string {
	var names []string
	for _, f := range worldFaultList {
		names = append(names, f.name)
	}
	return names
}

// do lets a fault happen. It reports whether it could.
func (w *world) do(f worldFault) bool {
	w.logf("FAULT: %s", f.name)
	ok := f.do(w)
	if ok && !f.asks {
		w.faults[f.name]++
	}
	return ok
}

// lasts calls end after a while, and when all faults end at the latest.
func (w *world) lasts(least, most time.Duration, end func()) {
	ended := false
	once := func() {
		if !ended {
			ended = true
			w.logf("a fault ends")
			end()
		}
	}
	w.ends = append(w.ends, once)
	w.after(w.between(least, most), once)
}

// endFaults ends what lasts, and sees to it that somebody works.
func (w *world) endFaults() {
	w.quiet = true
	w.logf("ALL FAULTS ARE OVER")
	for _, end := range w.ends {
		end()
	}
	w.after(30*time.Second, func() {
		if w.working() == 0 {
			w.start(len(w.replicas))
		}
	})
}

// any returns a replica that works, or nil.
func (w *world) any() *replica {
	var list []*replica
	for _, r := range w.replicas {
		if r.works() {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[w.rand.IntN(len(list))]
}

func (w *world) working() (n int) {
	for _, r := range w.replicas {
		if r.works() {
			n++
		}
	}
	return n
}

func (w *world) toOne(do func(*replica)) bool {
	r := w.any()
	if r == nil {
		return false
	}
	w.logf("FAULT: of %s", r)
	do(r)
	return true
}

func (w *world) freezeOne(least, most time.Duration) bool {
	return w.toOne(func(r *replica) {
		r.freeze()
		w.lasts(least, most, r.thaw)
	})
}

// restartFrom restarts one replica after the other, each when the one before is back.
func (w *world) restartFrom(number int) {
	if number >= len(w.replicas) {
		return
	}
	r := w.replicas[number]
	if !r.works() {
		w.restartFrom(number + 1)
		return
	}
	r.stop(func() {
		w.after(w.between(100*time.Millisecond, 2*time.Second), func() {
			w.start(number)
			w.after(w.between(time.Second, 5*time.Second), func() { w.restartFrom(number + 1) })
		})
	})
}

// otherBroker is one that runs and is not the coordinator, if there is one.
func (w *world) otherBroker() string {
	for _, b := range brokerNames {
		if b != w.coord && !w.brokers[b].down && !w.brokers[b].frozen {
			return b
		}
	}
	return w.coord
}

// onCall may lose or delay a call of a member, or its answer.
func (w *world) onCall(from *simMember, c Call, reply func(response, error)) bool {
	for _, r := range w.replicas {
		if r.member == from && r.cut {
			return true
		}
	}
	if _, beats := c.Request.(*heartbeatRequest); beats && from == w.mute {
		if w.chance(2) { // else its answer is lost
			return true
		}
		w.after(w.latency, func() { w.receive(from, c, func(response, error) {}) })
		return true
	}
	if w.lossy == 0 || !w.chance(w.lossy) {
		return false
	}
	switch w.rand.IntN(4) {
	case 0: // the request is lost
	case 1: // the answer is
		w.after(w.latency, func() { w.receive(from, c, func(response, error) {}) })
	case 2: // the connection is closed once it is done
		w.after(w.latency, func() { w.receive(from, c, func(response, error) { reply(nil, errClosed) }) })
	case 3: // it takes its time
		w.after(w.between(0, 4*time.Second), func() { w.receive(from, c, reply) })
	}
	return true
}

// recreate deletes the topic, and creates it again a while later. Where brokers take commits
// by name, only what is kept with them says of which topic they are.
func (w *world) recreate() bool {
	if w.missing || w.topics["a"].ID == (TopicID{}) || !w.checkIDs && w.room < progress.MaxText {
		return false
	}
	old := w.topics["a"]
	w.missing = true
	delete(w.topics, "a")
	for _, l := range w.logs {
		l.end, l.first, l.epoch, l.began, l.committed, l.commit = 0, 0, 0, nil, 0, worldSnapshot{}
		l.lose(func(*worldRecord) bool { return true })
		delete(w.group.offsets, l.partition)
	}
	w.group.journal = nil // the deletion is in it, and nothing before is looked at
	w.lasts(time.Second, 4*time.Second, func() {
		w.missing = false
		w.topics["a"] = Topic{TopicID{old.ID[0] + 1}, old.Partitions}
		w.logf("the topic is created again")
	})
	return true
}
