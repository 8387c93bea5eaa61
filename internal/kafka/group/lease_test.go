package group

import (
	"testing"
	"time"
)

// onBeat answers the heartbeats of a member instead of its coordinator, until it returns
// false.
func (s *sim) onBeat(of *simMember, answer func(c Call, reply func(response, error)) bool) {
	s.before = func(from *simMember, c Call, reply func(response, error)) bool {
		_, beat := c.Request.(*heartbeatRequest)
		return beat && from == of && answer(c, reply)
	}
}

// TestLease_CountsFromTheSending: the coordinator's session began when it took the
// heartbeat, however long the answer took.
func TestLease_CountsFromTheSending(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	m := s.join("m", nil)
	s.owned(10*time.Second, m)
	s.run(time.Minute)
	var sent time.Time
	s.onBeat(m, func(c Call, reply func(response, error)) bool {
		if sent.IsZero() {
			sent = s.now
			s.after(900*time.Millisecond, func() { reply(&heartbeatResponse{}, nil) })
			return true
		}
		return s.now.Before(sent.Add(5 * time.Second)) // is not answered
	})
	s.until("a heartbeat", 10*time.Second, func() bool { return !sent.IsZero() })
	s.run(time.Second)
	if want := sent.Add(m.m.cfg.Session - m.m.cfg.LeaseMargin); !m.m.lease.until.Equal(want) {
		t.Errorf("the lease ends %v later than a session, less the margin, after the sending", m.m.lease.until.Sub(want))
	}
}

// TestLease_EndsBeforeAJoinPhaseThatTheMemberMisses: a rebalance may begin as soon as a
// heartbeat is confirmed, and whoever does not join in time is out, before its session ends.
func TestLease_EndsBeforeAJoinPhaseThatTheMemberMisses(t *testing.T) {
	t.Parallel()
	s := newSim(t)
	short := func(c *Config) { c.Rebalance = 6 * time.Second }
	one := s.join("one", short)
	s.owned(10*time.Second, one)
	s.before = func(from *simMember, _ Call, _ func(response, error)) bool { return from == one } // cut off
	two := s.join("two", short)
	s.until("the other one owns all", time.Minute, func() bool { return len(two.owns()) == 6 }) // no two own one: see checkOwners
}

// TestLease_IsNotProlongedDuringAJoinPhase: while a member hears nothing of a rebalance, or
// late, its commits are taken all the same; it is out when the join phase is over.
func TestLease_IsNotProlongedDuringAJoinPhase(t *testing.T) {
	t.Parallel()
	for name, deaf := range map[string]time.Duration{"commits": time.Hour, "a heartbeat that says so late": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t)
			short := func(c *Config) { c.Rebalance = 6 * time.Second }
			one := s.join("one", short)
			one.drain = time.Hour
			one.commits(500 * time.Millisecond)
			s.owned(10*time.Second, one)
			begin := s.now
			s.onBeat(one, func(Call, func(response, error)) bool { return s.now.Before(begin.Add(deaf)) })
			two := s.join("two", short)
			taken := len(s.commits)
			s.until("the other one owns some", time.Minute, func() bool { return len(two.owns()) > 0 }) // no two own one: see checkOwners
			if len(s.commits) == taken {
				t.Error("no commit was taken in the join phase")
			}
		})
	}
}

// TestMember_ReactsToTheCodesOfAHeartbeat tells each from the others.
func TestMember_ReactsToTheCodesOfAHeartbeat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		code   Code
		joins  bool // it joins again
		keeps  bool // with the id that it had
		static bool
		lost   bool // the assignment is lost at once
	}{
		{"another generation", codeIllegalGeneration, true, true, false, true},
		{"an unknown member", codeUnknownMember, true, false, false, true},
		{"a rebalance", codeRebalance, true, true, false, false},
		{"fenced by another process with its instance id", codeFencedInstance, false, false, true, true},
		{"the coordinator loads", codeLoading, false, false, false, false},
		{"no coordinator any more", codeNotCoordinator, false, false, false, false},
		{"a code that nobody knows", 12345, false, false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t)
			m := s.join("m", func(cfg *Config) {
				if c.static {
					cfg.InstanceID = "pod-0"
				}
			})
			s.until("an assignment", 10*time.Second, func() bool { return m.held != nil })
			s.run(time.Minute)
			id := m.m.id.member
			answered := false
			s.before = func(from *simMember, call Call, reply func(response, error)) bool {
				if _, beat := call.Request.(*heartbeatRequest); beat && !answered {
					answered = true
					s.after(time.Millisecond, func() { reply(&heartbeatResponse{code: c.code}, nil) })
					return true
				}
				if r, join := call.Request.(*joinRequest); join {
					if !c.joins {
						t.Errorf("it joins again")
					} else if keeps := r.member == id; r.member != "" && keeps != c.keeps || r.member == "" && c.keeps {
						t.Errorf("it joins again as %q, it was %q", r.member, id)
					}
					c.keeps, id = true, r.member // what comes after that is another matter
					s.before = nil
				}
				return false
			}
			before := m.count("Lost")
			s.until("a heartbeat", 10*time.Second, func() bool { return answered })
			s.run(20 * time.Second)
			if lost := m.count("Lost") > before; lost != c.lost {
				t.Errorf("the assignment is lost: %v", lost)
			}
		})
	}
}
