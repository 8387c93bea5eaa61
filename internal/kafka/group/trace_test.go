package group

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// The traces are what a member must live through. Those about bytes are in the
// tests of the wire.

func TestMember_SharesTakesOverAndLeaves(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one := s.join("one", nil)
	s.owned(10*time.Second, one)
	two, three := s.join("two", nil), s.join("three", nil)
	s.owned(10*time.Second, one, two, three)
	if n := []int{len(one.owns()), len(two.owns()), len(three.owns())}; !slices.Equal(n, []int{2, 2, 2}) {
		t.Errorf("shares of %v", n)
	}
	s.run(time.Minute)
	before := s.group.rebalances
	two.stop()
	if d := s.owned(10*time.Second, one, three); d > 3*time.Second {
		t.Errorf("the takeover after an orderly stop took %v", d)
	}
	if two.count("Left") != 1 || s.group.rebalances != before+1 {
		t.Errorf("left %d times with %d rebalances", two.count("Left"), s.group.rebalances-before)
	}
	s.run(time.Minute)
	if n := s.group.rebalances - before; n != 1 {
		t.Errorf("%d rebalances", n)
	}
}

func TestMember_TakesOverFromADeadOne(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one, two := s.join("one", nil), s.join("two", nil)
	s.owned(10*time.Second, one, two)
	two.kill()
	if d := s.owned(30*time.Second, one); d < 10*time.Second {
		t.Errorf("taken over %v after a kill, sooner than a session", d)
	}
}

// Trace 4: the answer with the member id comes after the coordinator was given up.
func TestTrace04_LateMemberID(t *testing.T) {
	t.Parallel()
	for _, stops := range []bool{false, true} {
		t.Run(fmt.Sprint("stops ", stops), func(t *testing.T) {
			t.Parallel()
			s := newSim(t)
			s.brokers["b1:1"].frozen = false
			var held []func()
			s.before = func(from *simMember, c Call, reply func(response, error)) bool {
				r, ok := c.Request.(*joinRequest)
				if !ok || r.member != "" || held != nil {
					// The coordinator answers nothing at all for a while.
					if _, probe := c.Request.(*findRequest); probe && held != nil && s.now.Before(time.Unix(1_800_000_000, 0).Add(8*time.Second)) && c.To == s.coord {
						return true
					}
					return false
				}
				held = append(held, func() { s.receive(from, c, reply) })
				return true
			}
			m := s.join("m", nil)
			s.until("the first join", time.Second, func() bool { return held != nil })
			if stops {
				m.stop()
			} else {
				s.until("the coordinator is given up", 10*time.Second, func() bool { return m.m.coordinator.address == "" })
			}
			held[0]() // the coordinator makes a member id, and waits for it
			if stops {
				s.until("it has left", 5*time.Second, func() bool { return m.count("Left") == 1 })
			} else {
				s.owned(20*time.Second, m)
				if s.group.ids != 1 || m.held.Member != s.group.newID("member")[:len("member-")+35]+"1" {
					t.Errorf("%d member ids were made, and %s is used", s.group.ids, m.held.Member)
				}
			}
			if len(s.group.pending) != 0 {
				t.Errorf("the group waits for %v", s.group.pending)
			}
		})
	}
}

// A second id that is given while one is in use is left at once: the whole group
// would wait a session for it.
func TestTrace04_SurplusMemberID(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	var late func()
	s.before = func(from *simMember, c Call, reply func(response, error)) bool {
		if r, ok := c.Request.(*joinRequest); ok && r.member == "" && late == nil {
			late = func() { s.receive(from, c, reply) }
			return true
		}
		_, probe := c.Request.(*findRequest)
		return probe && late != nil && c.To == s.coord && s.group.ids == 0
	}
	m := s.join("m", nil)
	s.owned(20*time.Second, m)
	late()
	if len(s.group.pending) != 1 {
		t.Fatal("no second id")
	}
	s.run(time.Second)
	if len(s.group.pending) != 0 {
		t.Errorf("the group waits for %v", s.group.pending)
	}
	if len(m.owns()) != 6 {
		t.Errorf("the member lost its partitions\n%s", s.story())
	}
}

// A member that stops while an id is left that it did not use leaves, too, and whatever
// the coordinator answers that has not done it.
func TestMember_LeavesUntilItHasLeft(t *testing.T) {
	t.Parallel()
	answers := map[string]func(s *sim) response{
		"not the coordinator any more": func(s *sim) response { s.failover("b2:2", 0); return &leaveResponse{code: codeNotCoordinator} },
		"the coordinator loads":        func(*sim) response { return &leaveResponse{code: codeLoading} },
		"a member alone":               func(*sim) response { return &leaveResponse{members: []Code{codeLoading}} },
		"no answer":                    func(*sim) response { return nil },
		"it may not":                   func(*sim) response { return &leaveResponse{code: CodeGroupForbidden} },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t)
			m := s.join("m", nil)
			s.owned(20*time.Second, m)
			var left []string
			answered := false
			s.before = func(_ *simMember, c Call, reply func(response, error)) bool {
				r, ok := c.Request.(*leaveRequest)
				if !ok {
					return false
				}
				if len(r.members) == 1 && r.members[0].member == "surplus" {
					s.after(1500*time.Millisecond, func() { reply(&leaveResponse{members: []Code{codeUnknownMember}}, nil) })
					return true
				}
				left = append(left, r.members[0].member)
				if answered {
					return false
				}
				answered = true
				s.after(s.latency, func() {
					if res := answer(s); res != nil {
						reply(res, nil)
					} else {
						reply(nil, errRefused)
					}
				})
				return true
			}
			m.do(func() { m.m.exit.surplus = []string{"surplus"} })
			s.run(500 * time.Millisecond)
			m.stop()
			s.until("it ends", 5*time.Second, func() bool { return m.count("Left") == 1 })
			want := 0
			if name == "it may not" {
				want = 1
			}
			if len(s.group.members) != want || len(left) != 2-want {
				t.Errorf("asked to take out %q; %d members remain\n%s", left, len(s.group.members), s.story())
			}
		})
	}
}

// Trace 6: the owner needs three heartbeats to give back. They go on, its commit is
// accepted, and only then it joins.
func TestTrace06_DrainIsLong(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one := s.join("one", nil)
	s.owned(10*time.Second, one)
	one.drain = 3500 * time.Millisecond
	beats := 0
	var order []string
	s.before = func(from *simMember, c Call, _ func(response, error)) bool {
		if from != one || one.m.phase != phaseRelease && len(order) > 2 {
			return false
		}
		switch c.Request.(type) {
		case *heartbeatRequest:
			beats++
		case *commitRequest:
			order = append(order, "commit")
		case *joinRequest:
			order = append(order, "join")
		}
		return false
	}
	two := s.join("two", nil)
	s.until("a commit", 10*time.Second, func() bool { return len(one.results) == 1 })
	if d := one.results["drain"]; d.Err != nil || d.Offsets[0].Code != codeOK {
		t.Errorf("the commit in PREPARING: %+v", d)
	}
	s.owned(10*time.Second, one, two)
	if beats < 3 || !slices.Equal(order[:2], []string{"commit", "join"}) {
		t.Errorf("%d heartbeats, and %v", beats, order)
	}
}

// Trace 7: commits carry the generation in which the partition was owned. They are
// refused in the next one, and nothing is sent for an assignment that is over.
func TestTrace07_CommitsOfTheirGenerationOnly(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one := s.join("one", nil)
	s.owned(10*time.Second, one)
	first := *one.held
	refusals := map[Code]int{}
	s.before = func(from *simMember, c Call, reply func(response, error)) bool {
		r, ok := c.Request.(*commitRequest)
		if !ok {
			return false
		}
		if r.generation != first.Generation {
			t.Errorf("generation %d commits what was owned in %d", r.generation, first.Generation)
		}
		s.after(s.latency, func() {
			res := s.group.commit(r)
			refusals[res.results[0].Code]++
			reply(res, nil)
		})
		return true
	}
	// The coordinator is in COMPLETING of the generation that this member still owns.
	s.group.state = "Completing"
	one.do(func() { one.commit("completing") })
	s.until("the refusal", time.Second, func() bool { return refusals[codeRebalance] == 1 })
	if d := one.results["completing"]; d.Err == nil {
		s.run(10 * time.Millisecond)
	}
	if d := one.results["completing"]; !errors.Is(d.Err, ErrNotOwned) || one.count("Release") != 1 {
		t.Errorf("27 for a commit: %+v, %d releases", d, one.count("Release"))
	}
	s.group.state = "Stable"
	s.before = nil
	s.until("the next assignment", 10*time.Second, func() bool { return one.count("Assigned") == 2 })
	number := first.Number
	one.do(func() {
		one.m.Commit(number, []Offset{{TopicPartition: first.Partitions[0], Offset: 1}}, s.now.Add(time.Second))
	})
	s.run(100 * time.Millisecond)
	if d := one.results[""]; !errors.Is(d.Err, ErrNotOwned) {
		t.Errorf("a commit for the assignment before: %+v", d)
	}
	// A newer generation has begun without it: what it commits is refused with 22.
	s.group.generation++
	one.do(func() { one.commit("old") })
	s.until("it is lost", time.Second, func() bool { return one.count("Lost") == 1 })
	if d := one.results["old"]; !errors.Is(d.Err, ErrNotOwned) {
		t.Errorf("22 for a commit: %+v", d)
	}
	s.owned(10*time.Second, one)
	for _, c := range s.commits {
		if c.generation != first.Generation && c.offset.Offset < 1 {
			t.Errorf("%+v", c)
		}
	}
}

// Trace 8: errors that answer requests of an earlier generation change nothing.
func TestTrace08_LateErrors(t *testing.T) {
	t.Parallel()
	for _, code := range []Code{codeIllegalGeneration, codeUnknownMember, codeFencedInstance, codeRebalance} {
		for _, kind := range []string{"heartbeat", "commit"} {
			t.Run(fmt.Sprint(kind, " ", int(code)), func(t *testing.T) {
				t.Parallel()
				s := newSim(t)
				one := s.join("one", nil)
				s.owned(10*time.Second, one)
				var late func(response, error)
				var req request
				s.before = func(from *simMember, c Call, reply func(response, error)) bool {
					_, beat := c.Request.(*heartbeatRequest)
					_, commit := c.Request.(*commitRequest)
					if from != one || late != nil || kind == "heartbeat" && !beat || kind == "commit" && !commit {
						return false
					}
					late, req = reply, c.Request
					return true
				}
				if kind == "commit" {
					one.do(func() { one.commit("kept back") })
				} else {
					s.until("a heartbeat", 5*time.Second, func() bool { return late != nil })
				}
				s.group.prepare() // a rebalance for whatever reason
				s.before = func(*simMember, Call, func(response, error)) bool { return false }
				one.do(func() { one.m.rejoin(s.now, ErrRejoin) })
				s.until("the next generation", 5*time.Second, func() bool { return one.count("Assigned") == 2 })
				late(coded(req, code), nil)
				before := len(one.events)
				s.run(5 * time.Second)
				for _, e := range one.events[before:] {
					switch e.(type) {
					case Release, Lost, Fenced:
						t.Errorf("a late %v leads to %T %+v", code, e, e)
					}
				}
			})
		}
	}
}

// Trace 11: nobody knows the coordinator for a while.
func TestTrace11_CoordinatorNotAvailable(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	s.coord = ""
	asked := 0
	s.before = func(_ *simMember, c Call, _ func(response, error)) bool {
		if _, ok := c.Request.(*findRequest); ok {
			asked++
		}
		return false
	}
	m := s.join("m", nil)
	s.until("20 questions", 2*time.Minute, func() bool { return asked == 20 })
	if d := s.now.Sub(time.Unix(1_800_000_000, 0)); d < 10*time.Second {
		t.Errorf("20 questions in %v", d)
	}
	s.coord = "b2:2"
	s.owned(5*time.Second, m)
	// A node that nobody can reach is named.
	s.coord = "b9:9"
	s.brokers["b9:9"] = &simBroker{down: true}
	s.group.reload(true)
	s.run(3 * time.Second)
	s.coord = "b3:3"
	s.run(5 * time.Second)
	if m.count("Lost") != 0 || len(m.owns()) != 6 {
		t.Errorf("lost\n%s", s.story())
	}
}

// Trace 12: another member's rebalance time-out holds JoinGroup for five minutes.
func TestTrace12_JoinIsHeld(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	slow := s.join("slow", func(c *Config) { c.Rebalance = 5 * time.Minute })
	s.owned(10*time.Second, slow)
	slow.drain = 290 * time.Second
	joins := 0
	s.before = func(_ *simMember, c Call, _ func(response, error)) bool {
		if r, ok := c.Request.(*joinRequest); ok && r.member != "" {
			joins++
		}
		return false
	}
	m := s.join("m", nil)
	s.until("both share", 6*time.Minute, func() bool { return len(m.owns()) == 3 && len(slow.owns()) == 3 })
	if joins != 2 {
		t.Errorf("%d JoinGroups of two members", joins)
	}
}

// Trace 13: the leader dies between JoinGroup and SyncGroup.
func TestTrace13_LeaderDiesBeforeSync(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one := s.join("one", nil)
	s.owned(10*time.Second, one)
	two := s.join("two", nil)
	s.before = func(from *simMember, c Call, _ func(response, error)) bool {
		_, ok := c.Request.(*syncRequest)
		if ok && from == one {
			one.kill()
			return true
		}
		return false
	}
	s.until("the leader is dead", 10*time.Second, func() bool { return one.dead })
	s.owned(time.Minute, two)
}

// Trace 14: the answer to SyncGroup is lost. It is asked for again.
func TestTrace14_SyncAnswerLost(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one := s.join("one", nil)
	s.owned(10*time.Second, one)
	lost, syncs := false, 0
	s.before = func(from *simMember, c Call, reply func(response, error)) bool {
		r, ok := c.Request.(*syncRequest)
		if !ok || from.name != "two" {
			return false
		}
		if syncs++; lost {
			return false
		}
		lost = true
		s.after(s.latency, func() {
			s.group.syncGroup(r, func(*syncResponse) { reply(nil, errClosed) })
		})
		return true
	}
	two := s.join("two", nil)
	s.owned(10*time.Second, one, two)
	if s.group.rebalances != 2 || syncs < 2 || s.group.generation != 2 {
		t.Errorf("%d rebalances, %d SyncGroups, generation %d", s.group.rebalances, syncs, s.group.generation)
	}
}

// A SyncGroup that is lost, or its answer, while the connection stands is sent again long
// before a JoinGroup would be given up.
func TestTrace14_SyncIsLostWithoutAnError(t *testing.T) {
	t.Parallel()
	for name, arrives := range map[string]bool{"the request": false, "the answer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t)
			one := s.join("one", nil)
			s.owned(10*time.Second, one)
			lost := false
			s.before = func(from *simMember, c Call, _ func(response, error)) bool {
				r, ok := c.Request.(*syncRequest)
				if !ok || from.name != "two" || lost {
					return false
				}
				lost = true
				if arrives {
					s.after(s.latency, func() { s.group.syncGroup(r, func(*syncResponse) {}) })
				}
				return true
			}
			two := s.join("two", nil)
			s.owned(15*time.Second, one, two)
			if s.group.rebalances != 2 || s.group.generation != 2 {
				t.Errorf("%d rebalances, generation %d", s.group.rebalances, s.group.generation)
			}
		})
	}
}

// A leader that takes minutes to assign is waited for, by the same SyncGroup again and
// again, and not by joining.
func TestTrace14_SyncIsHeld(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	patient := func(c *Config) { c.Rebalance = 5 * time.Minute }
	one := s.join("one", patient)
	s.owned(10*time.Second, one)
	two := s.join("two", patient)
	syncs, joins := 0, 0
	slow := s.now.Add(4 * time.Minute)
	s.before = func(from *simMember, c Call, _ func(response, error)) bool {
		switch c.Request.(type) {
		case *joinRequest:
			joins++
		case *syncRequest:
			if from == two {
				syncs++
			}
			return from == one && s.now.Before(slow)
		}
		return false
	}
	s.until("both share", 5*time.Minute, func() bool { return len(one.owns()) == 3 && len(two.owns()) == 3 })
	if s.group.rebalances != 2 || joins != 3 || syncs < 20 {
		t.Errorf("%d rebalances, %d JoinGroups, %d SyncGroups of the other member", s.group.rebalances, joins, syncs)
	}
}

// Trace 23: the leader's first look at the topic is stale; the next one heals it.
func TestTrace23_StaleMetadata(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	stale := true
	s.before = func(_ *simMember, c Call, reply func(response, error)) bool {
		if _, ok := c.Request.(*metadataRequest); ok && stale {
			reply(&metadataResponse{topics: []topicMetadata{{name: "a", id: TopicID{1}, partitions: 4}}}, nil)
			return true
		}
		return false
	}
	one := s.join("one", nil)
	s.until("an assignment", 10*time.Second, func() bool { return len(one.owns()) == 4 })
	stale = false
	s.owned(15*time.Second, one)
	// One stale answer later on costs nothing.
	rebalances, once := s.group.rebalances, false
	s.before = func(_ *simMember, c Call, reply func(response, error)) bool {
		if _, ok := c.Request.(*metadataRequest); ok && !once {
			once = true
			reply(&metadataResponse{}, nil)
			return true
		}
		return false
	}
	s.run(time.Minute)
	if !once || s.group.rebalances != rebalances {
		t.Errorf("%d rebalances for one stale answer", s.group.rebalances-rebalances)
	}
}

// Trace 22: topics of another member that this leader cannot see are left out; the
// rest is assigned, and what appears later is added.
func TestTrace22_TopicsOfOthers(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one := s.join("one", nil)
	s.owned(10*time.Second, one)
	two := s.join("two", func(c *Config) { c.Topics = []string{"a", "later", "never"} })
	s.owned(10*time.Second, one, two)
	if !slices.Equal(one.m.watch.others, []string{"a", "later", "never"}) {
		t.Errorf("the leader looks at %v", one.m.watch.others)
	}
	s.topics["later"] = Topic{TopicID{2}, 2}
	s.owned(15*time.Second, one, two)
	// A topic that is deleted takes nothing else with it.
	delete(s.topics, "later")
	s.owned(20*time.Second, one, two)
	if _, ok := two.held.Topics["later"]; ok {
		t.Error("a deleted topic is still known")
	}
}

// Trace 27: what only an operator can mend is told, costs the others nothing, and
// heals without a restart.
func TestTrace27_Refusals(t *testing.T) {
	t.Parallel()
	for code, cause := range map[Code]func(s *sim, on bool){
		codeGroupFull: func(s *sim, on bool) { s.group.maxSize = map[bool]int{true: 1}[on] },
		codeSessionTimeout: func(s *sim, on bool) {
			s.refuse(on, codeSessionTimeout)
		},
		CodeGroupForbidden:       func(s *sim, on bool) { s.refuse(on, CodeGroupForbidden) },
		codeInconsistentProtocol: func(s *sim, on bool) { s.refuse(on, codeInconsistentProtocol) },
		Code(1234):               func(s *sim, on bool) { s.refuse(on, Code(1234)) },
	} {
		t.Run(fmt.Sprint(int(code)), func(t *testing.T) {
			t.Parallel()
			s := newSim(t)
			one := s.join("one", nil)
			s.owned(10*time.Second, one)
			cause(s, true)
			two := s.join("two", nil)
			s.run(2 * time.Minute)
			troubles := 0
			for _, e := range two.events {
				if tr, ok := e.(Trouble); ok && errors.Is(tr.Err, code) {
					troubles++
				}
			}
			if troubles < 3 || troubles > 12 {
				t.Errorf("told %d times in two minutes", troubles)
			}
			if len(one.owns()) != 6 || one.count("Assigned") != 1 {
				t.Errorf("another member was disturbed\n%s", s.story())
			}
			cause(s, false)
			s.owned(time.Minute, one, two)
		})
	}
}

// refuse answers the joins of all but the first member with a code.
func (s *sim) refuse(on bool, code Code) {
	s.before = func(from *simMember, c Call, reply func(response, error)) bool {
		if _, ok := c.Request.(*joinRequest); ok && on && from != s.members[0] {
			reply(&joinResponse{code: code}, nil)
			return true
		}
		return false
	}
}

// Trace 28: what was never committed is told as such.
func TestTrace28_NothingCommitted(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one := s.join("one", nil)
	s.owned(10*time.Second, one)
	one.do(func() { one.m.Fetch(one.held.Number, one.held.Partitions, s.now.Add(time.Second)) })
	s.run(100 * time.Millisecond)
	d := one.results[""]
	if d.Err != nil || len(d.Offsets) != 6 || d.Offsets[5].Offset != -1 || d.Offsets[5].LeaderEpoch != -1 {
		t.Errorf("%+v", d)
	}
}
