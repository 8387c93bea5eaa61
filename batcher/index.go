package batcher

// index is where pending contacts are found: by stream and id, and for tombstones that
// name no stream by the id alone.
type index struct {
	schedule *schedule
	byID     map[string]*contact // the first of each id, linked through them
}

// put makes a contact the one of its id, however that is spelled, in its stream, and drop ends that.
func (x *index) put(c *contact) {
	c.stream.contacts[c.folded] = c
	first := x.byID[c.folded]
	if first != nil {
		first.sameIDPrev = c
	}
	c.sameIDPrev, c.sameIDNext = nil, first
	x.byID[c.folded] = c
}

func (x *index) drop(c *contact) {
	delete(c.stream.contacts, c.folded)
	if len(c.stream.contacts) == 0 {
		x.schedule.quiet[c.stream] = struct{}{}
	}
	if c.sameIDNext != nil {
		c.sameIDNext.sameIDPrev = c.sameIDPrev
	}
	switch {
	case c.sameIDPrev != nil:
		c.sameIDPrev.sameIDNext = c.sameIDNext
	case c.sameIDNext != nil:
		x.byID[c.folded] = c.sameIDNext
	default:
		delete(x.byID, c.folded)
	}
	c.sameIDPrev, c.sameIDNext = nil, nil
}

// named returns the first of the contacts of an id, in any stream.
func (x *index) named(id string) *contact { return x.byID[id] }
