package batcher

import "time"

// catchUp keeps the contacts of partitions that catch up: the previous owner may have sent what
// comes after the events that were read.
type catchUp struct {
	start  func(now time.Time, c *contact)
	caught []*claim // those that have caught up and whose contacts are not let go yet
	room   int      // how many of these may still be let go before the window is asked for a request
}

// keeps holds a contact back until the partition of its oldest event has caught
// up, and reports whether it has to. The contact must not wait anywhere else.
func (u *catchUp) keeps(c *contact) bool {
	cl := c.sources.first.claim
	if cl.catching {
		cl.deferred.pushBack(c)
	}
	return cl.catching
}

// keepsNew does so also behind contacts of partitions that have caught up, as long as these are
// not all let go.
func (u *catchUp) keepsNew(c *contact) bool {
	if u.keeps(c) {
		return true
	}
	if len(u.caught) > 0 {
		u.caught[len(u.caught)-1].deferred.pushBack(c)
	}
	return len(u.caught) > 0
}

// ended notes that a claim has caught up: its contacts are let go from now on.
func (u *catchUp) ended(now time.Time, cl *claim) {
	if cl.caughtUp = now; cl.deferred.rows > 0 {
		u.caught = append(u.caught, cl)
	}
}

// letGo starts contacts of the claims that have caught up, and reports whether that was done for all
// of them. It does so in steps, because they may be as many as the window holds.
func (u *catchUp) letGo(now time.Time) bool {
	for ; len(u.caught) > 0; u.caught = u.caught[1:] {
		cl := u.caught[0]
		for c := cl.deferred.head; c != nil; c = cl.deferred.head {
			if u.room == 0 {
				return false
			}
			u.room--
			cl.deferred.remove(c)
			c.since = later(c.since, cl.caughtUp) // it begins to linger then, not when it was read
			u.start(now, c)
		}
	}
	return true
}
