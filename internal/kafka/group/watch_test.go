package group

import (
	"testing"
	"time"
)

// A look at the topics that was sent while the leader held its assignment is answered while
// it joins. It must look again: without that it never made a plan, and the group waited for
// the rebalance time-out.
func TestMember_PlansAfterALookThatWasAnsweredWhileItJoined(t *testing.T) {
	t.Parallel()
	for look := 200 * time.Millisecond; look < 600*time.Millisecond; look += 50 * time.Millisecond { // one of them is open then
		s := newSim(t)
		one := s.join("one", func(c *Config) { c.Watch = 100 * time.Millisecond })
		one.drain = 10 * time.Millisecond
		s.owned(20*time.Second, one)
		s.before = func(from *simMember, c Call, reply func(response, error)) bool {
			delay := time.Duration(0)
			switch c.Request.(type) {
			case *metadataRequest:
				delay = look
			case *joinRequest:
				delay = time.Second
			}
			if from != one || delay == 0 {
				return false
			}
			s.after(delay, func() { s.serve(c, reply) })
			return true
		}
		s.run(5 * time.Second)
		two := s.join("two", nil)
		s.owned(10*time.Second, one, two)
	}
}
