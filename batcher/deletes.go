package batcher

// remove ends what is pending of a contact that was deleted. A delete that is read again is
// not about what came after it.
func (p *pending) remove(key contactKey, again bool, src source, reason counter) {
	if c := p.find(key); c != nil && (!again || c.before(src)) {
		p.discard(c, reason)
	}
}

// removeNamed does so for the contacts that a tombstone means: it names no account, and perhaps no
// stream either.
func (p *pending) removeNamed(key contactKey, v version, again bool, src source, reason counter) {
	p.seen.noteTombstone(key, v, again)
	if key.stream.name != "" {
		for _, a := range p.schedule.accounts {
			key.stream.account = a.id
			p.remove(key, again, src, reason)
		}
		return
	}
	for c, next := p.index.named(key.id), (*contact)(nil); c != nil; c = next {
		next = c.sameIDNext
		if !again || c.before(src) {
			p.discard(c, reason)
		}
	}
}

// discard ends what is pending of a contact, because a delete came after it.
func (p *pending) discard(c *contact, reason counter) {
	if c.inFlight() {
		c.deleted = reason
	} else {
		p.left(c)
		p.unlink(c)
		p.index.drop(c)
		p.skipAll(c, reason)
		p.free(c)
	}
	for newer := c.pop(); newer != nil; newer = c.pop() {
		p.skipAll(newer, reason)
		p.free(newer)
	}
}

func (p *pending) skipAll(c *contact, reason counter) {
	for _, src := range c.sources.all() {
		p.outbox.skip(src, reason)
	}
}
