package group

import (
	"container/heap"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
)

// sim is a Kafka cluster with one group, and the members that use it, in virtual
// time. A seedless run: everything happens in the order of its time.
type sim struct {
	t        simT
	now      time.Time
	events   eventQueue
	seq      int
	latency  time.Duration
	brokers  map[string]*simBroker
	coord    string    // the coordinator's address
	loading  time.Time // until when it loads its groups
	scala    bool      // answers SyncGroup with 27 while it loads
	group    *model
	topics   map[string]Topic
	cluster  string // its id
	checkIDs bool
	commits  []commitSeen
	members  []*simMember
	foreign  []interface {
		owns() []contactsync.TopicPartition
	}
	// before may answer, or lose, a request instead of the broker.
	before func(from *simMember, c Call, reply func(response, error)) bool
}

// simT is what a run fails with: a test, or one world of many.
type simT interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

type simBroker struct {
	down   bool // refuses connections
	frozen bool // takes requests and does not answer until it goes on
	queue  []func()
}

type commitSeen struct {
	at         time.Time
	member     string
	generation int32
	offset     Offset
}

type simEvent struct {
	at  time.Time
	seq int
	run func()
}

type eventQueue []simEvent

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *eventQueue) Pop() any {
	e := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return e
}

var brokerNames = []string{"b1:1", "b2:2", "b3:3"}

func newSim(t simT) *sim {
	s := &sim{
		t: t, now: time.Unix(1_800_000_000, 0), latency: 2 * time.Millisecond, brokers: map[string]*simBroker{}, coord: "b1:1",
		topics: map[string]Topic{"a": {TopicID{1}, 6}}, cluster: "here",
	}
	for _, b := range brokerNames {
		s.brokers[b] = &simBroker{}
	}
	s.group = newModel(s)
	return s
}

func (s *sim) at(t time.Time, run func()) {
	s.seq++
	heap.Push(&s.events, simEvent{t, s.seq, run})
}

func (s *sim) after(d time.Duration, run func()) { s.at(s.now.Add(d), run) }

// run lets time pass.
func (s *sim) run(d time.Duration) { s.until("", d, func() bool { return false }) }

// until lets time pass until something has happened, within d.
func (s *sim) until(what string, d time.Duration, ok func() bool) time.Duration {
	s.t.Helper()
	begin := s.now
	end := begin.Add(d)
	for !ok() {
		if len(s.events) == 0 || s.events[0].at.After(end) {
			s.now = end
			if what != "" {
				s.t.Fatalf("in vain for %v: %s\n%s", d, what, s.story())
			}
			return d
		}
		e := heap.Pop(&s.events).(simEvent)
		s.now = e.at
		e.run()
		s.checkOwners()
	}
	return s.now.Sub(begin)
}

func (s *sim) story() string {
	text := fmt.Sprintf("group %s generation %d\n", s.group.state, s.group.generation)
	for _, m := range s.members {
		text += fmt.Sprintf("%s: phase %d, %v\n", m.name, m.m.phase, m.log)
	}
	return text
}

// checkOwners wants no partition with two members that may work on it (I4).
func (s *sim) checkOwners() {
	s.t.Helper()
	owner := map[contactsync.TopicPartition]string{}
	take := func(name string, parts []contactsync.TopicPartition) {
		for _, p := range parts {
			if owner[p] != "" {
				s.t.Fatalf("%v is owned by %s and by %s\n%s", p, owner[p], name, s.story())
			}
			owner[p] = name
		}
	}
	for _, m := range s.members {
		take(m.name, m.owns())
	}
	for i, f := range s.foreign {
		take(fmt.Sprint("foreign ", i), f.owns())
	}
}

var errTimeout, errRefused, errClosed = errors.New("time-out"), errors.New("connection refused"), errors.New("connection closed")

// send carries a member's call to a broker, and the answer back.
func (s *sim) send(from *simMember, c Call) {
	answered := false
	reply := func(res response, err error) {
		s.after(s.latency, func() {
			if !answered {
				answered = true
				from.answer(c.ID, res, err)
			}
		})
	}
	s.after(c.Timeout, func() {
		if !answered {
			answered = true
			from.answer(c.ID, nil, errTimeout)
		}
	})
	if s.before != nil && s.before(from, c, reply) {
		return
	}
	s.after(s.latency, func() { s.receive(from, c, reply) })
}

// receive lets a broker take a request, once it runs.
func (s *sim) receive(from *simMember, c Call, reply func(response, error)) {
	b := s.brokers[c.To]
	switch {
	case b == nil || b.down || from.cluster != s.cluster:
		reply(nil, errRefused)
	case b.frozen:
		b.queue = append(b.queue, func() { s.receive(from, c, reply) })
	default:
		s.serve(c, reply)
	}
}

// serve answers as the broker does.
func (s *sim) serve(c Call, reply func(response, error)) {
	switch r := c.Request.(type) {
	case *findRequest:
		if s.coord == "" {
			reply(&findResponse{code: codeNotAvailable}, nil)
			return
		}
		var n int32
		_, _ = fmt.Sscanf(s.coord, "b%d:", &n)
		reply(&findResponse{host: fmt.Sprint("b", n), port: n}, nil)
		return
	case *metadataRequest:
		res := &metadataResponse{cluster: s.cluster}
		for i, name := range brokerNames {
			if !s.brokers[name].down {
				res.brokers = append(res.brokers, broker{fmt.Sprint("b", i+1), int32(i + 1)})
			}
		}
		for _, name := range r.topics {
			t, ok := s.topics[name]
			if !ok {
				res.topics = append(res.topics, topicMetadata{code: codeUnknownTopic, name: name})
				continue
			}
			res.topics = append(res.topics, topicMetadata{name: name, id: t.ID, partitions: t.Partitions})
		}
		reply(res, nil)
		return
	}
	switch {
	case c.To != s.coord:
		reply(coded(c.Request, codeNotCoordinator), nil)
	case s.now.Before(s.loading):
		code := codeLoading
		switch c.Request.(type) {
		case *heartbeatRequest:
			code = codeOK // without having looked
		case *syncRequest:
			if s.scala {
				code = codeRebalance
			}
		}
		reply(coded(c.Request, code), nil)
	default:
		s.coordinate(c.Request, reply)
	}
}

func (s *sim) coordinate(req request, reply func(response, error)) {
	g := s.group
	switch r := req.(type) {
	case *joinRequest:
		g.join(r, func(res *joinResponse) { reply(res, nil) })
	case *syncRequest:
		g.syncGroup(r, func(res *syncResponse) { reply(res, nil) })
	case *heartbeatRequest:
		reply(&heartbeatResponse{g.heartbeat(r)}, nil)
	case *leaveRequest:
		g.leave(r)
		reply(&leaveResponse{}, nil)
	case *commitRequest:
		reply(g.commit(r), nil)
	case *fetchRequest:
		reply(g.fetch(r), nil)
	case *describeRequest:
		reply(g.describe(), nil)
	}
}

// coded is an answer that holds only a code.
func coded(req request, code Code) response {
	switch r := req.(type) {
	case *joinRequest:
		return &joinResponse{code: code}
	case *syncRequest:
		return &syncResponse{code: code}
	case *heartbeatRequest:
		return &heartbeatResponse{code}
	case *leaveRequest:
		return &leaveResponse{code: code}
	case *describeRequest:
		return &describeResponse{code: code}
	case *fetchRequest:
		return &fetchResponse{code: code}
	case *commitRequest:
		res := &commitResponse{}
		for _, o := range r.offsets {
			o.Code = code
			res.results = append(res.results, o)
		}
		return res
	}
	return &findResponse{code: code}
}

// failover moves the group to another coordinator, which loads it for some time.
func (s *sim) failover(to string, load time.Duration) {
	lives := !s.brokers[s.coord].down && !s.brokers[s.coord].frozen
	s.coord, s.loading = to, s.now.Add(load)
	s.group.reload(lives)
}

// kill ends a broker: what waits there is cut off.
func (s *sim) kill(address string) {
	s.brokers[address].down = true
	for _, m := range s.members {
		for _, id := range slices.Sorted(maps.Keys(m.open)) {
			if m.open[id] == address {
				s.after(0, func() { m.answer(id, nil, errClosed) })
			}
		}
	}
}

// thaw lets a frozen broker go on, with all that was sent to it.
func (s *sim) thaw(address string) {
	b := s.brokers[address]
	b.frozen = false
	queue := b.queue
	b.queue = nil
	for _, f := range queue {
		f()
	}
}

// simMember is a member with its process and its owner.
type simMember struct {
	s       *sim
	name    string
	cluster string // the one that it is connected to
	m       *Member
	open    map[int]string // address by call
	wake    int            // counts, so that an old alarm is not heard
	held    *Assigned
	lost    bool
	log     []string
	events  []Event
	last    map[string]time.Time // of each kind of event

	owner func(Event) // takes the events; nil for one that only owns and commits
	// replaced says that an earlier process with the instance id may be at work until its
	// lease ends: one session from the assignment.
	replaced bool
	drain    time.Duration // how long the owner takes to give back
	frozen   bool          // SIGSTOP: time passes, nothing happens
	missed   []func()
	dead     bool  // SIGKILL
	offset   int64 // what is committed next
	tickets  map[int]string
	results  map[string]Done
}

func config(s *sim) Config {
	return Config{
		Group: "g", Topics: []string{"a"}, Brokers: slices.Clone(brokerNames), Session: 12 * time.Second, Rebalance: 30 * time.Second,
		Heartbeat: time.Second, LeaseMargin: time.Second, Watch: 10 * time.Second, Seed: uint64(len(s.members)),
	}
}

// join starts a member.
func (s *sim) join(name string, change func(*Config)) *simMember {
	cfg := config(s)
	if change != nil {
		change(&cfg)
	}
	m := &simMember{
		s: s, name: name, cluster: s.cluster, m: New(cfg), open: map[int]string{}, last: map[string]time.Time{}, drain: 500 * time.Millisecond,
		tickets: map[int]string{}, results: map[string]Done{},
	}
	s.members = append(s.members, m)
	m.step()
	return m
}

// do lets the process do something, later if it is frozen.
func (m *simMember) do(f func()) {
	switch {
	case m.dead:
	case m.frozen:
		m.missed = append(m.missed, f)
	default:
		f()
		m.step()
	}
}

func (m *simMember) answer(id int, res response, err error) {
	m.do(func() {
		delete(m.open, id)
		beat, ok := res.(*heartbeatResponse)
		evicted := ok && m.m.lanes[kindBeat] == id && m.m.calls[id].by == m.m.id && slices.Contains([]Code{codeIllegalGeneration, codeUnknownMember, codeFencedInstance}, beat.code)
		m.m.Answer(m.s.now, id, res, err)
		if evicted && !m.m.LeaseUntil().IsZero() {
			m.s.t.Fatalf("%s goes on after %v\n%s", m.name, beat.code, m.s.story())
		}
	})
}

func (m *simMember) freeze() { m.frozen = true }

func (m *simMember) goOn() {
	m.frozen = false
	missed := m.missed
	m.missed = nil
	for _, f := range missed {
		m.do(f)
	}
	m.step()
}

// kill ends the process without a word.
func (m *simMember) kill() { m.dead, m.held = true, nil }

func (m *simMember) stop() { m.do(func() { m.m.Stop(m.s.now) }) }

// step polls, and does what there is to do.
func (m *simMember) step() {
	if m.dead || m.frozen {
		return
	}
	todo := m.m.Poll(m.s.now)
	for _, c := range todo.Calls {
		m.open[c.ID] = c.To
		m.s.send(m, c)
	}
	for _, e := range todo.Events {
		m.on(e)
	}
	if !todo.Wake.IsZero() {
		m.wake++
		n := m.wake
		m.s.at(todo.Wake, func() {
			if m.wake == n {
				m.do(func() {})
			}
		})
	}
}

func (m *simMember) on(e Event) {
	if m.owner != nil {
		m.owner(e)
		return
	}
	m.events = append(m.events, e)
	kind := fmt.Sprintf("%T", e)[len("group."):]
	m.last[kind] = m.s.now
	m.log = append(m.log, fmt.Sprintf("\n  %v %s %+v", m.s.now.Sub(time.Unix(1_800_000_000, 0)), kind, e))
	switch e := e.(type) {
	case Assigned:
		if m.held != nil {
			m.s.t.Fatalf("%s is assigned again before it has given back\n%s", m.name, m.s.story())
		}
		m.held, m.lost = &e, false
		m.replaced = m.m.recheck.state == checkAsk // it joined without a member id
	case Release:
		m.s.after(m.drain, func() {
			m.do(func() {
				if m.held == nil || m.held.Number != e.Number || m.lost {
					return
				}
				m.commit("drain")
				m.s.after(20*time.Millisecond, func() { m.do(func() { m.released(e.Number) }) })
			})
		})
	case Lost:
		m.lost = true
		m.s.after(time.Millisecond, func() { m.do(func() { m.released(e.Number) }) })
	case Done:
		m.results[m.tickets[e.Ticket]] = e
	}
}

func (m *simMember) released(number int32) {
	if m.held != nil && m.held.Number == number {
		m.held = nil
	}
	m.m.Released(m.s.now, number)
}

// owns are the partitions that the member may work on now, by what it knows and the
// time that it sees.
func (m *simMember) owns() []contactsync.TopicPartition {
	if m.held == nil || m.lost || m.dead || !m.s.now.Before(m.m.LeaseUntil()) {
		return nil
	}
	// An earlier process with the same instance id may be at work until its lease ends.
	if m.replaced && m.s.now.Before(m.last["Assigned"].Add(m.m.cfg.Session)) {
		return nil
	}
	return m.held.Partitions
}

// commit commits the next offset of every partition held.
func (m *simMember) commit(name string) {
	if m.held == nil {
		return
	}
	m.offset++
	var offsets []Offset
	for _, p := range m.held.Partitions {
		offsets = append(offsets, Offset{TopicPartition: p, Offset: m.offset, LeaderEpoch: -1})
	}
	m.tickets[m.m.Commit(m.held.Number, offsets, m.s.now.Add(5*time.Second))] = name
}

// commits commits at an interval for as long as the process lives.
func (m *simMember) commits(every time.Duration) {
	m.s.after(every, func() {
		m.do(func() { m.commit("loop") })
		if !m.dead {
			m.commits(every)
		}
	})
}

func (m *simMember) count(kind string) int {
	n := 0
	for _, e := range m.events {
		if fmt.Sprintf("%T", e) == "group."+kind {
			n++
		}
	}
	return n
}

// owned waits until the members own all of the topics' partitions together, each
// something where there is enough.
func (s *sim) owned(d time.Duration, members ...*simMember) time.Duration {
	s.t.Helper()
	all := 0
	for t := range maps.Values(s.topics) {
		all += t.Partitions
	}
	return s.until(fmt.Sprintf("%d members own %d partitions", len(members), all), d, func() bool {
		n := 0
		for _, m := range members {
			own := len(m.owns())
			if own == 0 {
				return false
			}
			n += own
		}
		return n == all && s.group.state == "Stable"
	})
}
