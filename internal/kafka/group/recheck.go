package group

import (
	"fmt"
	"slices"
	"time"
)

// recheck is whether the group's assignment fits, asked once after a static member
// has come back: the coordinator has answered it with the assignment that its
// predecessor had, whatever topics and partitions there are now.
type recheck struct {
	*base
	state   checkState
	at      time.Time
	tries   int
	members []groupMember // with what they are assigned
}

// checkState is how far the check is.
type checkState int

const (
	checkNone    checkState = iota
	checkAsk                // the coordinator is to describe the group
	checkCompare            // the partitions of the group's topics are to be looked at
)

// begin wants the check to be made.
func (c *recheck) begin(now time.Time) { c.state, c.at, c.tries = checkAsk, now, 0 }

func (c *recheck) ask(now time.Time, to *coordinator) {
	if c.state == checkAsk && c.idle(kindDescribe) && to.ready(now) && c.due(now, c.at) {
		c.send(now, kindDescribe, to.address, &describeRequest{c.cfg.Group}, c.cfg.short())
	}
}

// take takes the description in. It reports whether there is one that can be compared.
func (c *recheck) take(now time.Time, protocol string, res response, err error) bool {
	if c.state != checkAsk {
		return false
	}
	c.at = now.Add(c.cfg.Heartbeat)
	if c.tries++; c.tries >= 10 {
		c.state = checkNone
	}
	if err != nil { // whether the coordinator lives is the heartbeat's business
		c.trouble(fmt.Errorf("describe group %q: %w", c.cfg.Group, err))
		return false
	}
	r := res.(*describeResponse)
	if r.code != codeOK || r.state != "Stable" || r.protocol != protocol {
		return false
	}
	var joined []joinedMember
	assigned := map[string][]byte{}
	for _, d := range r.members {
		joined = append(joined, joinedMember{d.id, d.instance, d.metadata})
		assigned[d.id] = d.assignment
	}
	c.members, _ = readMembers(joined)
	for i := range c.members {
		m := &c.members[i]
		m.owned, _ = readAssignment(assigned[m.id])
		m.generation = c.id.generation
	}
	c.state = checkCompare
	return true
}

// fits reports whether the group's assignment is one that a leader would make now:
// the same for ranges, and for the sticky ones one that need not be changed.
func (c *recheck) fits(protocol string, counts map[string]int) bool {
	var want assignment
	if protocol == ranges {
		want = assignRanges(c.members, counts)
	} else {
		want = assignSticky(c.members, ownedClaims(c.members), counts)
	}
	return !slices.ContainsFunc(c.members, func(m groupMember) bool { return !slices.Equal(want[m.id], m.owned) })
}
