package batcher

// index is where pending contacts are found: by stream and id, and for tombstones that
// name no stream by the id alone.
type index struct {
	schedule *schedule
	byID     map[string]*contact // the first of each id, linked through them; nil until a tombstone names no stream
}

// put makes a contact the one of its id, however that is spelled, in its stream, and drop ends that.
func (x *index) put(c *contact) {
	c.stream.contacts[c.folded] = c
	if x.byID != nil {
		x.link(c)
	}
}

func (x *index) drop(c *contact) {
	delete(c.stream.contacts, c.folded)
	if x.byID == nil {
		return
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

func (x *index) link(c *contact) {
	first := x.byID[c.folded]
	if first != nil {
		first.sameIDPrev = c
	}
	c.sameIDNext = first
	x.byID[c.folded] = c
}

// named returns the first of the contacts of an id, in any stream. Most feeds have no
// tombstones without a stream, and pay nothing for them.
func (x *index) named(id string) *contact {
	if x.byID == nil {
		x.byID = map[string]*contact{}
		for _, st := range x.schedule.sorted(func(st *stream) bool { return len(st.contacts) > 0 }) {
			for _, c := range st.contacts {
				x.link(c)
			}
		}
	}
	return x.byID[id]
}
