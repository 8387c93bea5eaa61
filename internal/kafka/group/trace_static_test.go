package group

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// statics returns three static members, of which the first leads.
func statics(t *testing.T, joinVersion int16) (*sim, []*simMember) {
	t.Helper()
	s := newSim(t)
	s.group.joinVersion = joinVersion
	var members []*simMember
	for i := range 3 {
		members = append(members, s.joinStatic(i, nil))
		s.owned(time.Minute, members...)
	}
	s.run(time.Minute)
	return s, members
}

func (s *sim) joinStatic(i int, change func(*Config)) *simMember {
	return s.join(fmt.Sprint("pod-", i), func(c *Config) {
		c.InstanceID = fmt.Sprint("pod-", i)
		if change != nil {
			change(c)
		}
	})
}

// leading is the member that watches the partitions.
func leading(members []*simMember) int {
	return slices.IndexFunc(members, func(m *simMember) bool { return !m.dead && m.held != nil && m.held.Leader })
}

// Trace 15: a static member that is back within its session costs no rebalance,
// whether it leads or not, and whether it was stopped or killed.
func TestTrace15_StaticRestart(t *testing.T) {
	t.Parallel()
	for _, version := range []int16{7, 9} {
		for _, orderly := range []bool{true, false} {
			t.Run(fmt.Sprint("v", version, " orderly ", orderly), func(t *testing.T) {
				t.Parallel()
				s, members := statics(t, version)
				rebalances := s.group.rebalances
				for i, m := range members {
					before := m.held.Partitions
					if orderly {
						m.stop()
						s.until("it has stopped", 5*time.Second, func() bool { return m.count("Left") == 1 })
					} else {
						m.kill()
					}
					s.run(3 * time.Second)
					members[i] = s.joinStatic(i, nil)
					s.until("it is back", 5*time.Second, func() bool { return members[i].held != nil })
					if !slices.Equal(members[i].held.Partitions, before) || !members[i].replaced {
						t.Errorf("%v becomes %+v", before, *members[i].held)
					}
					s.run(time.Minute)
				}
				if s.group.rebalances != rebalances {
					t.Errorf("%d rebalances for three restarts\n%s", s.group.rebalances-rebalances, s.story())
				}
				s.owned(time.Second, members...)
				// A partition that is added now is noticed, although the leader is not the
				// one that made the plan.
				s.topics["a"] = Topic{TopicID{1}, 7}
				s.owned(30*time.Second, members...)
				s.run(time.Minute)
				if n := s.group.rebalances - rebalances; n != 1 {
					t.Errorf("%d rebalances for one more partition", n)
				}
			})
		}
	}
}

// A partition that is added while the leader is away is noticed when it is back.
func TestTrace15_PartitionAddedWhileTheLeaderIsAway(t *testing.T) {
	t.Parallel()
	for _, version := range []int16{7, 9} {
		t.Run(fmt.Sprint("v", version), func(t *testing.T) {
			t.Parallel()
			s, members := statics(t, version)
			rebalances := s.group.rebalances
			i := leading(members)
			members[i].kill()
			s.topics["a"] = Topic{TopicID{1}, 8}
			s.run(3 * time.Second)
			members[i] = s.joinStatic(i, nil)
			s.owned(30*time.Second, members...)
			if n := s.group.rebalances - rebalances; n != 1 {
				t.Errorf("%d rebalances", n)
			}
		})
	}
}

// A rolling restart changes the topics: the new one is assigned, though the
// coordinator answers each restarted member with its old assignment.
func TestTrace15_TopicsChangeByRollingRestart(t *testing.T) {
	t.Parallel()
	s, members := statics(t, 9)
	s.topics["b"] = Topic{TopicID{2}, 6}
	for i, m := range members {
		m.stop()
		s.until("it has stopped", 5*time.Second, func() bool { return m.count("Left") == 1 })
		members[i] = s.joinStatic(i, func(c *Config) { c.Topics = []string{"b", "a"} })
		s.run(time.Minute)
	}
	s.owned(time.Minute, members...)
	for _, m := range members {
		if len(m.owns()) != 4 {
			t.Errorf("%s owns %v", m.name, m.owns())
		}
	}
	// And away again.
	for i, m := range members {
		m.kill()
		members[i] = s.joinStatic(i, func(c *Config) { c.Topics = []string{"b"} })
		s.run(time.Minute)
	}
	delete(s.topics, "a")
	s.owned(time.Second, members...)
}

// Trace 16: while one static member is dead another one joins. The rebalance waits
// for the dead one's session at most, and its partitions come back to the living.
func TestTrace16_StaticDeadWhileAnotherJoins(t *testing.T) {
	t.Parallel()
	s, members := statics(t, 9)
	members[1].kill()
	s.run(time.Second)
	dynamic := s.join("new", nil)
	if d := s.owned(2*time.Minute, members[0], members[2], dynamic); d > 45*time.Second {
		t.Errorf("all partitions are owned after %v", d)
	}
}

// Trace 17: a static member is stopped, another process takes its id, and the first
// one goes on: it starts nothing, commits nothing and stays out.
func TestTrace17_StaticReplacedWhileFrozen(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{3 * time.Second, 30 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			t.Parallel()
			s, members := statics(t, 9)
			old := members[1]
			member := old.held.Member
			old.freeze()
			s.run(time.Second)
			members[1] = s.joinStatic(1, nil)
			s.run(pause)
			commits, assigned := len(s.commits), old.count("Assigned")
			old.goOn()
			s.until("it is told", 3*time.Second, func() bool { return old.count("Lost") == 1 })
			s.until("the new one may begin", 20*time.Second, func() bool { return len(members[1].owns()) == 2 })
			s.run(time.Minute)
			if old.count("Fenced") != 1 || old.count("Assigned") != assigned || old.m.phase != phaseOut {
				t.Errorf("%v", old.log)
			}
			for _, c := range s.commits[commits:] {
				if c.member == member {
					t.Errorf("the replaced one commits %+v", c)
				}
			}
			s.owned(time.Second, members...)
		})
	}
}

// Trace 18: two processes have one instance id. One of them works, and they do not
// fence each other in turn.
func TestTrace18_TwoOfOneInstance(t *testing.T) {
	t.Parallel()
	s, members := statics(t, 9)
	twin := s.joinStatic(1, nil)
	ids := s.group.ids
	s.run(10 * time.Minute)
	if n := s.group.ids - ids; n > 1 {
		t.Errorf("%d member ids for one instance", n)
	}
	out := 0
	for _, m := range []*simMember{members[1], twin} {
		out += m.count("Fenced")
	}
	if out != 1 {
		t.Errorf("%d of the two stay out\n%s", out, s.story())
	}
	s.owned(time.Second, members[0], members[2], twin)
	// The one that stays out sends nothing.
	fenced := members[1]
	s.before = func(from *simMember, c Call, _ func(response, error)) bool {
		if from == fenced {
			t.Errorf("%T from the one that stays out", c.Request)
		}
		return false
	}
	s.run(time.Minute)
	fenced.stop()
	s.run(time.Second)
	if fenced.count("Left") != 1 {
		t.Error("it does not stop")
	}
}

// Trace 19: a JoinGroup of this process is given up, and carried out after the next
// one, which it fences. That is no other process.
func TestTrace19_OwnAbandonedJoin(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	var late func()
	s.before = func(_ *simMember, c Call, reply func(response, error)) bool {
		if r, ok := c.Request.(*joinRequest); ok && r.member == "" && late == nil {
			late = func() { s.serve(c, func(response, error) {}) }
			reply(nil, errClosed)
			return true
		}
		return false
	}
	m := s.joinStatic(0, nil)
	s.until("an assignment", 20*time.Second, func() bool { return m.held != nil })
	late()
	s.run(time.Minute)
	if m.count("Fenced") != 0 || len(m.owns()) != 6 {
		t.Errorf("out for good by its own request\n%s", s.story())
	}
	// The same again, an hour later, is somebody else.
	s.run(time.Hour)
	twin := s.joinStatic(0, nil)
	s.run(time.Minute)
	if m.count("Fenced") != 1 || len(twin.owns()) != 6 {
		t.Errorf("not out although another process has the id\n%s", s.story())
	}
}

// A static member that stays away longer than a session costs one rebalance when it
// is missed, and one when it is back.
func TestMember_StaticAwayForLong(t *testing.T) {
	t.Parallel()
	s, members := statics(t, 9)
	rebalances := s.group.rebalances
	members[2].kill()
	s.owned(30*time.Second, members[0], members[1])
	members[2] = s.joinStatic(2, nil)
	s.owned(60*time.Second, members...)
	if n := s.group.rebalances - rebalances; n != 2 {
		t.Errorf("%d rebalances", n)
	}
}
