package group

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// stable returns three members that share the partitions, the first one leading.
func stable(t *testing.T, change func(i int, c *Config)) (*sim, []*simMember) {
	t.Helper()
	s := newSim(t)
	var members []*simMember
	for i := range 3 {
		members = append(members, s.join(fmt.Sprint("m", i), func(c *Config) {
			if change != nil {
				change(i, c)
			}
		}))
		s.owned(time.Minute, members...)
	}
	return s, members
}

// assignments counts them, over all members.
func assignments(members []*simMember) (assigned, lost int) {
	for _, m := range members {
		assigned += m.count("Assigned")
		lost += m.count("Lost")
	}
	return assigned, lost
}

// Trace 9: the coordinator dies while the group is stable; the next one loads for
// ten seconds and answers heartbeats blindly. Nobody loses anything.
func TestTrace09_CoordinatorDiesWhileStable(t *testing.T) {
	t.Parallel()
	for _, scala := range []bool{false, true} {
		for _, death := range []string{"killed", "frozen", "moved"} {
			t.Run(fmt.Sprint(death, " scala ", scala), func(t *testing.T) {
				t.Parallel()
				s, members := stable(t, func(_ int, c *Config) { c.Session = 30 * time.Second })
				s.scala = scala
				s.run(10 * time.Second)
				assigned, _ := assignments(members)
				switch death {
				case "killed":
					s.kill("b1:1")
				case "frozen":
					s.brokers["b1:1"].frozen = true
					s.run(9 * time.Second) // until the cluster notices
				}
				s.failover("b2:2", 10*time.Second)
				lease := members[0].m.LeaseUntil()
				s.run(9 * time.Second)
				if now := members[0].m.LeaseUntil(); now.After(lease) {
					t.Errorf("the lease was renewed by %v by answers that prove nothing", now.Sub(lease))
				}
				s.run(10 * time.Second)
				if now := members[0].m.LeaseUntil(); !now.After(s.now.Add(20 * time.Second)) {
					t.Errorf("the lease ends in %v although the coordinator answers", now.Sub(s.now))
				}
				s.thaw("b1:1")
				s.run(time.Minute)
				if n, lost := assignments(members); n != assigned || lost != 0 {
					t.Errorf("%d assignments, and %d were lost\n%s", n-assigned, lost, s.story())
				}
			})
		}
	}
}

// The same without a coordinator for longer than a session: what nobody confirms is
// lost, and comes back.
func TestTrace09_NoCoordinatorForASession(t *testing.T) {
	t.Parallel()
	s, members := stable(t, nil)
	s.run(10 * time.Second)
	s.brokers["b1:1"].frozen = true
	s.run(15 * time.Second)
	if _, lost := assignments(members); lost != 3 {
		t.Errorf("%d of 3 members lost what nobody confirmed\n%s", lost, s.story())
	}
	s.failover("b3:3", time.Second)
	s.owned(20*time.Second, members...)
	s.thaw("b1:1")
	s.run(time.Minute)
	s.owned(time.Second, members...)
}

// The coordinator dies in the join phase, and between JoinGroup and SyncGroup.
func TestTrace09_CoordinatorDiesInARebalance(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"Preparing", "Completing"} {
		for _, death := range []string{"killed", "frozen", "moved"} {
			t.Run(state+" "+death, func(t *testing.T) {
				t.Parallel()
				s, members := stable(t, nil)
				s.before = func(_ *simMember, c Call, _ func(response, error)) bool {
					_, sync := c.Request.(*syncRequest)
					return sync && state == "Completing" && s.coord == "b1:1"
				}
				fourth := s.join("m3", nil)
				members = append(members, fourth)
				s.until(state, 10*time.Second, func() bool { return s.group.state == state })
				switch death {
				case "killed":
					s.kill("b1:1")
				case "frozen":
					s.brokers["b1:1"].frozen = true
				}
				s.failover("b2:2", 2*time.Second)
				s.before = nil
				s.owned(30*time.Second, members...)
				s.thaw("b1:1")
				s.run(time.Minute)
				s.owned(time.Second, members...)
				if len(s.group.members) != 4 || len(s.group.pending) != 0 {
					t.Errorf("%d members, %d pending", len(s.group.members), len(s.group.pending))
				}
			})
		}
	}
}

// Trace 10: evicted while the coordinator loads, which answers as if nothing were.
func TestTrace10_EvictedWhileLoading(t *testing.T) {
	t.Parallel()
	s, members := stable(t, func(_ int, c *Config) { c.Session = 30 * time.Second })
	s.run(5 * time.Second)
	s.kill("b1:1")
	s.failover("b2:2", 8*time.Second)
	s.at(s.loading, func() { s.group.remove(s.group.members[members[2].held.Member]) })
	s.until("it is told", 20*time.Second, func() bool { return members[2].count("Lost") == 1 })
	s.owned(20*time.Second, members...)
}

// K-1: the first of the configured brokers is frozen for good.
func TestMember_FirstBrokerFrozen(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	s.brokers["b1:1"].frozen = true
	s.coord = "b2:2"
	m := s.join("m", nil)
	if d := s.owned(30*time.Second, m); d > 5*time.Second {
		t.Errorf("joined after %v", d)
	}
	// Two of three, and the third comes to coordinate.
	s.brokers["b2:2"].frozen = true
	s.run(5 * time.Second)
	s.failover("b3:3", 0)
	s.run(15 * time.Second)
	if m.count("Lost") > 1 {
		t.Errorf("lost %d times", m.count("Lost"))
	}
	s.owned(time.Second, m)
}

// While the others answer, a frozen broker is asked once in a session: each time costs as
// long as it takes to give it up, and nothing else is asked meanwhile.
func TestMember_AsksAFrozenBrokerOnce(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	s.brokers["b1:1"].frozen = true
	s.coord = "b2:2"
	elected := s.now.Add(10 * time.Second)
	finds, looks := 0, 0
	s.before = func(_ *simMember, c Call, reply func(response, error)) bool {
		switch c.Request.(type) {
		case *findRequest:
			if c.To == "b1:1" {
				finds++
			} else if s.now.Before(elected) {
				s.after(s.latency, func() { reply(&findResponse{code: codeNotAvailable}, nil) })
				return true
			}
		case *metadataRequest:
			if c.To == "b1:1" {
				looks++
			}
		}
		return false
	}
	m := s.join("m", nil)
	if d := s.owned(30*time.Second, m) - 10*time.Second; d > lastRetry*5/4 {
		t.Errorf("joined %v after there was a coordinator", d)
	}
	if finds != 1 || looks != 0 {
		t.Errorf("asked %d times for the coordinator and %d for the topics, want one and none", finds, looks)
	}
	// Where nobody else answers, it is asked again.
	s.brokers["b2:2"].frozen, s.brokers["b3:3"].frozen = true, true
	s.until("it is asked", time.Minute, func() bool { return finds > 1 })
}

// A commit that cannot wait for its answer says nothing of the coordinator.
func TestMember_AHastyCommitKeepsTheCoordinator(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	m := s.join("m", nil)
	s.owned(10*time.Second, m)
	coordinator := m.m.coordinator.epoch
	m.do(func() {
		m.m.Commit(m.held.Number, []Offset{{TopicPartition: m.held.Partitions[0]}}, s.now.Add(time.Millisecond))
	})
	s.run(10 * time.Second)
	if m.count("Done") != 1 || m.m.coordinator.epoch != coordinator {
		t.Errorf("another coordinator was looked for\n%s", s.story())
	}
	s.before = func(_ *simMember, c Call, _ func(response, error)) bool {
		_, commit := c.Request.(*commitRequest)
		return commit
	}
	m.do(func() {
		m.m.Commit(m.held.Number, []Offset{{TopicPartition: m.held.Partitions[0]}}, s.now.Add(time.Minute))
	})
	s.run(20 * time.Second)
	if m.m.coordinator.epoch == coordinator {
		t.Error("a coordinator that does not answer commits is kept")
	}
}

// K-7: a member that was frozen beyond its session starts nothing when it goes on.
func TestMember_FrozenBeyondItsSession(t *testing.T) {
	t.Parallel()
	s, members := stable(t, nil)
	s.run(5 * time.Second)
	members[0].freeze()
	s.owned(30*time.Second, members[1], members[2])
	if until := members[0].m.LeaseUntil(); s.now.Before(until) {
		t.Fatalf("its partitions have other owners, and its lease lasts for %v", until.Sub(s.now))
	}
	commits := len(s.commits)
	members[0].goOn()
	if members[0].count("Lost") != 1 || len(members[0].owns()) != 0 {
		t.Errorf("not lost at once\n%s", s.story())
	}
	s.owned(20*time.Second, members...)
	for _, c := range s.commits[commits:] {
		if c.generation < s.group.generation-1 {
			t.Errorf("a commit of generation %d, now %d", c.generation, s.group.generation)
		}
	}
}

// Trace 24: every connection ends after five seconds, at its next request, while the
// group is stable, while it joins and while it gives back. The generation stays.
func TestTrace24_Reauthentication(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	var last time.Time
	s.before = func(_ *simMember, c Call, reply func(response, error)) bool {
		if s.now.Sub(last) < 5*time.Second {
			return false
		}
		last = s.now
		s.after(s.latency, func() { reply(nil, errClosed) })
		return true
	}
	one := s.join("one", nil)
	two := s.join("two", nil)
	s.owned(30*time.Second, one, two)
	rebalances := s.group.rebalances
	s.run(5 * time.Minute)
	if s.group.rebalances != rebalances || one.count("Lost")+two.count("Lost") != 0 {
		t.Errorf("%d rebalances\n%s", s.group.rebalances-rebalances, s.story())
	}
	one.drain = 7 * time.Second
	three := s.join("three", nil)
	s.owned(time.Minute, one, two, three)
	if n := s.group.rebalances - rebalances; n != 1 {
		t.Errorf("%d rebalances for one more member", n)
	}
	if one.count("Lost")+two.count("Lost")+three.count("Lost") != 0 {
		t.Errorf("lost\n%s", s.story())
	}
}

// Trace 25: the topic is deleted and created again with as many partitions. Nothing
// is committed into the new one, by ids where the brokers know them, and by what
// the metadata says where they do not.
func TestTrace25_RecreatedTopic(t *testing.T) {
	t.Parallel()
	for _, ids := range []bool{true, false} {
		t.Run(fmt.Sprint("ids ", ids), func(t *testing.T) {
			t.Parallel()
			s := newSim(t)
			s.checkIDs = ids
			one, two := s.join("one", nil), s.join("two", nil)
			s.owned(10*time.Second, one, two)
			one.commits(time.Second)
			s.run(10 * time.Second)
			born, rebalances := s.now, s.group.rebalances
			s.topics["a"] = Topic{TopicID{2}, 6}
			s.until("it is noticed", 20*time.Second, func() bool { return one.count("Recreated") == 1 })
			noticed := s.now
			s.run(50 * time.Millisecond)
			one.do(func() { one.commit("into the new one") })
			s.run(50 * time.Millisecond)
			if d := one.results["into the new one"]; d.Err != nil || d.Offsets[0].Code != codeUnknownTopicID {
				t.Errorf("the owner is told %+v", d)
			}
			s.run(30 * time.Second)
			into, of := 0, 0
			for _, c := range s.commits {
				switch {
				case c.offset.TopicID == TopicID{2}:
					of++
				case c.at.After(noticed), ids && c.at.After(born):
					into++
				}
			}
			if into > 0 || of == 0 {
				t.Errorf("%d commits of the old topic into the new one, %d of the new one", into, of)
			}
			if one.count("Lost")+two.count("Lost") != 0 || s.group.rebalances != rebalances+1 {
				t.Errorf("%d rebalances\n%s", s.group.rebalances-rebalances, s.story())
			}
			if one.held.Topics["a"].ID != (TopicID{2}) || two.held.Topics["a"].ID != (TopicID{2}) {
				t.Error("not assigned as the new topic")
			}
		})
	}
}

// A topic is recreated before a rebalance, and only the leader learns of that: it plans with
// the new one, and sees no change. The member that has not learned of it joins again.
func TestMember_TopicRecreatedBeforeTheAssignment(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	one := s.join("one", nil)
	s.owned(10*time.Second, one)
	two := s.join("two", nil)
	s.owned(30*time.Second, one, two)
	s.topics["a"] = Topic{TopicID{2}, 6}
	blind := true
	s.before = func(from *simMember, c Call, reply func(response, error)) bool {
		_, look := c.Request.(*metadataRequest)
		if !look || from.name != "two" || !blind {
			return false
		}
		s.after(s.latency, func() { reply(nil, errClosed) })
		return true
	}
	s.join("three", nil)
	s.until("two is assigned, and knows the old topic", time.Minute, func() bool {
		return two.held != nil && two.count("Assigned") >= 2 && two.held.Topics["a"].ID == TopicID{1} && s.group.state == "Stable"
	})
	blind = false
	s.until("two is assigned partitions of the new one", time.Minute, func() bool {
		return two.held != nil && two.held.Topics["a"].ID == TopicID{2}
	})
}

// A partition that is added is assigned, by one rebalance however many members look.
func TestMember_PartitionsAreAdded(t *testing.T) {
	t.Parallel()
	s, members := stable(t, nil)
	rebalances := s.group.rebalances
	s.topics["a"] = Topic{TopicID{1}, 9}
	s.owned(20*time.Second, members...)
	s.run(time.Minute)
	if n := s.group.rebalances - rebalances; n != 1 {
		t.Errorf("%d rebalances", n)
	}
	var shares []int
	for _, m := range members {
		shares = append(shares, len(m.owns()))
	}
	if !slices.Equal(shares, []int{3, 3, 3}) {
		t.Errorf("shares of %v", shares)
	}
}
