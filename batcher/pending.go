package batcher

import (
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// pending is the contacts that have not ended, each once: a newer event is merged into
// the state that waits. Nothing else touches a contact, and every stream that it
// changes is placed again.
type pending struct {
	m        *series
	schedule *schedule
	outbox   *outbox
	seen     *seen

	// late is until when a request may still be applied of a contact that a delete has
	// removed meanwhile: what comes after the delete waits for that.
	late deadlines
	// alone is until when a contact goes alone because an earlier state of it was set aside.
	alone deadlines

	index   index
	catchUp catchUp

	arrived  uint64 // contacts so far
	bytes    int64  // what the window charges for all of them
	contacts int    // those in flight, and what arrived behind them, included
}

// find returns a contact, or nil where it is not pending.
func (p *pending) find(key contactKey) *contact {
	if st := p.schedule.streams[key.stream]; st != nil {
		return st.contacts[key.id]
	}
	return nil
}

// update takes in a newer state of a contact; c is what is pending of it, or nil.
func (p *pending) update(now time.Time, c *contact, ev *event.Event, src source, as admission) {
	switch {
	case c == nil:
		st := p.schedule.stream(ev.Contact.Stream, ev.Contact.Account)
		c = p.add(now, st, ev, src)
		p.index.put(c)
		if as == asAlone {
			p.schedule.keep(c, true)
		}
		if p.enter(now, c); as == asNext && c.in == &st.queue {
			st.queue.remove(c)
			st.queue.pushFront(c)
		}
	case c.takes(ev.Contact.ID) && c.last().mergeable(ev.Contact.Body, ev.Contact.Shape, p.schedule.cfg.MaxBytes):
		p.merge(now, c.last(), ev, src)
	default:
		newer := p.add(now, c.stream, ev, src)
		c.push(newer)
		p.schedule.keep(newer, c.kept)
	}
	c.last().aside = c.last().aside || as == asAside
}

func (p *pending) add(now time.Time, st *stream, ev *event.Event, src source) *contact {
	c := &contact{
		id: ev.Contact.ID, folded: keyOf(ev).id, stream: st, record: ev.Record, body: ev.Contact.Body, shape: ev.Contact.Shape, copied: ev.Contact.Copied,
		version: versionOf(ev), sources: sources{first: src, n: 1},
		rank: rank{src.claim.rank(now, ev), p.arrived}, since: now,
	}
	p.arrived++
	p.contacts++
	p.recharge(c)
	return c
}

// merge lays a newer event over a contact, which keeps its place.
func (p *pending) merge(now time.Time, c *contact, ev *event.Event, src source) {
	before := rowBytes(c)
	p.overlay(now, c, ev.Contact.Body, ev.Contact.Shape, false)
	c.record, c.version = ev.Record, versionOf(ev)
	c.copied = c.copied || ev.Contact.Copied
	c.sources.add(src)
	if c.in != nil {
		c.in.bytes += rowBytes(c) - before
		p.schedule.touch(c.stream)
	}
	p.recharge(c)
}

// mergeNewer lays the state that arrived behind a request over its contact.
func (p *pending) mergeNewer(now time.Time, c, newer *contact) {
	if c.sources.n == 0 {
		c.id = newer.id
		c.body, c.shape, c.merged = newer.body, newer.shape, newer.merged
		c.rank, c.since, c.attempts, c.sends, c.firstFail, c.contradicted = newer.rank, newer.since, 0, 0, time.Time{}, time.Time{}
		c.suspicion, c.throttlings, c.gone, c.beside, c.refusal = suspicion{}, throttlings{}, nil, false, nil // it was not this body that failed
	} else {
		p.overlay(now, c, newer.body, newer.shape, newer.merged)
	}
	c.record, c.version = newer.record, newer.version
	for _, src := range newer.sources.all() {
		c.sources.add(src)
	}
	c.copied = c.copied || newer.copied
	c.aside = c.aside || newer.aside
	p.free(newer)
}

// overlay lays newer members over a contact. A body with the same members replaces it.
// Both were valid objects when they were decoded, so merging does not fail; if it does,
// the older state is set aside as a dead letter and the newer one goes on: nothing is
// lost.
func (p *pending) overlay(now time.Time, c *contact, body []byte, shape uint64, merged bool) {
	c.suspicion.alone, c.gone, c.beside = 0, nil, false // it was not this body that failed
	if c.shape == shape {
		c.body, c.merged = body, merged
		return
	}
	both, bothShape, err := event.Merge(c.body, body)
	if err != nil {
		p.setAside(now, c, contactsync.ReasonUndecodable, said{detail: "a newer event of the contact cannot be merged into it"}, 0)
		c.sources = sources{}
		c.body, c.shape, c.merged = body, shape, merged
		return
	}
	c.body, c.shape, c.merged = both, bothShape, true
}

// enqueue lets a contact wait behind the others of its stream, or where its partition
// catches up, for the end of that.
func (p *pending) enqueue(c *contact) {
	if !p.catchUp.keepsNew(c) {
		p.queue(c)
	}
}

func (p *pending) queue(c *contact) {
	c.stream.queue.pushBack(c)
	p.schedule.touch(c.stream)
}

// take makes the next request of a stream, with at most so many rows and bytes: of the
// rows of a group that is due, with regular of one that is not apart, or of the first of the
// queue. One row that is larger than the limit by itself goes alone.
func (p *pending) take(now time.Time, st *stream, most int, mostBytes int64, regular bool) *Request {
	req := &Request{stream: st}
	if c := st.untried(); c != nil {
		p.unlink(c)
		req.rows, req.Reason = []*contact{c}, BatchRetry
	} else if req.group = st.retries.take(now, regular); req.group != nil {
		req.group.cut(most, &st.health)
		req.rows, req.Reason = req.group.takeAll(), BatchRetry
		if req.group.suspect {
			st.retries.inFlight++
		}
	} else {
		req.rows, req.Reason = p.takeQueue(st, most, mostBytes)
	}
	req.Batch = contactsync.Batch{Stream: st.name, Account: st.account.id, Rows: make([]contactsync.Row, len(req.rows))}
	for i, c := range req.rows {
		if c.kept {
			p.schedule.keep(c, false)
		}
		c.sends++
		req.bytes += rowBytes(c)
		req.Batch.Rows[i] = contactsync.Row{ID: c.id, Body: c.body}
	}
	p.schedule.touch(st)
	return req
}

// upNext is the next contact of the queue. Of a stream of which nothing is accepted it is the one that came last, if it was never
// sent, which tells more than those before it: these were refused, or failed, and may be many.
func (st *stream) upNext() *contact {
	if tail := st.queue.tail; tail != nil && tail.sends == 0 && st.health.fruitless() {
		return tail
	}
	return st.queue.head
}

func (p *pending) takeQueue(st *stream, most int, mostBytes int64) ([]*contact, BatchReason) {
	rows := make([]*contact, 0, min(most, st.queue.rows))
	var bytes int64
	for c := st.upNext(); c != nil; c = st.upNext() {
		if len(rows) == most {
			return rows, BatchRows
		}
		if bytes += rowBytes(c); bytes > mostBytes && len(rows) > 0 {
			return rows, BatchBytes
		}
		st.queue.remove(c)
		rows = append(rows, c)
	}
	if len(rows) == most {
		return rows, BatchRows
	}
	return rows, BatchLinger
}

// reclaim brings a row back from a request that did not settle it, with what arrived
// meanwhile merged into it, unless the id is spelled otherwise there. It reports whether the caller has to put the contact
// somewhere; otherwise nothing of it is left, or it is deferred.
func (p *pending) reclaim(now time.Time, c *contact) bool {
	if c.deleted != nil {
		p.skipAll(c, c.deleted)
		c.sources, c.deleted = sources{}, nil
	}
	if !c.sources.live() {
		c.sources = sources{}
	}
	if newer := c.newer; newer != nil && (c.sources.n == 0 || newer.id == c.id && c.mergeable(newer.body, newer.shape, p.schedule.cfg.MaxBytes)) {
		p.mergeNewer(now, c, c.pop())
	}
	if c.sources.n == 0 {
		p.left(c)
		p.index.drop(c)
		p.free(c)
		return false
	}
	p.recharge(c)
	return !p.catchUp.keeps(c)
}

// putBack lets rows wait in front of the others of their stream, in their order.
func (p *pending) putBack(st *stream, g *group) {
	for c := g.tail; c != nil; c = g.tail {
		g.remove(c)
		st.queue.pushFront(c)
	}
	p.schedule.touch(st)
}

// sendApart lets a group wait to be sent. Suspect rows count as on hold: they may wait for long, however many they are.
func (p *pending) sendApart(st *stream, g *group) {
	if st.retries.add(g); g != nil && g.suspect {
		for c := g.head; c != nil; c = c.next {
			p.schedule.keep(c, true)
		}
	}
	p.schedule.touch(st)
}

// dissolve puts the rows back of groups that are due and need not stay together, or
// with all, of every one that is due: suspect ones behind the others then. It reports whether there were any, or some that are not due any more.
func (p *pending) dissolve(now time.Time, st *stream, all bool) (any bool) {
	h := &st.account.health
	next := func() *group {
		if st.retries.postpone(now, st.account) {
			p.schedule.touch(st)
			any = true
		}
		return st.retries.dissolve(now, &h.size, h.acquitted, all)
	}
	for g := next(); g != nil; g = next() {
		acquitted := g.acquitted(h.acquitted)
		for c := g.head; c != nil; c = c.next {
			if p.schedule.keep(c, false); acquitted {
				c.suspicion = suspicion{}
			}
		}
		if all && g.suspect {
			for _, c := range g.takeAll() {
				p.queue(c)
			}
		}
		p.putBack(st, g)
		p.sendApart(st, g.then)
		any = true
	}
	return any
}

// deliver ends a row that the API has accepted. All but the last of its events were
// superseded before they were sent.
func (p *pending) deliver(c *contact) {
	if !c.sources.live() {
		p.m.Late.Inc()
	}
	for i, src := range c.sources.all() {
		outcome := metrics.Superseded
		if i == c.sources.n-1 {
			outcome = metrics.Delivered
		}
		p.outbox.end(src, outcome)
	}
	switch {
	case c.deleted != nil: // what came after it is known already
	case c.sources.live():
		p.seen.noteSent(c.key(), c.version, c.sources.newest().claim.Generation, c.request)
	case !c.refused: // else older states are read again
		p.seen.noteSent(c.key(), c.version, -1, c.request)
	}
	if misfits := c.stream.account.strangers.misfits; misfits.Len() > 0 {
		misfits.Remove(c.key())
	}
	p.end(c)
}

// deadLetter ends a contact as a dead letter.
func (p *pending) deadLetter(now time.Time, c *contact, reason contactsync.Reason, why said, status int) {
	if c.in != nil {
		p.unlink(c)
	}
	p.setAside(now, c, reason, why, status)
	p.end(c)
}

// setAside makes a dead letter of a contact's present state and of every event behind
// it. The contact itself is left to the caller.
func (p *pending) setAside(now time.Time, c *contact, reason contactsync.Reason, why said, status int) {
	var applied *remembered
	if c.maybeApplied && c.sources.live() { // whatever the API says now: nothing older may come after it
		r := p.seen.noteUnwritten(c.key(), c.version, c.sources.first.claim.Generation)
		applied = &r
	}
	record := c.record
	if c.merged {
		// The newest event alone would not bring back what older ones had set.
		record.Value = event.Native(event.Contact{
			Stream: c.stream.name, ID: c.id, Body: c.body, Account: c.stream.account.id,
			Version: c.version.Number, HasVersion: c.version.HasNumber, OccurredAt: c.version.OccurredAt,
		})
	}
	first := c.firstFail
	if first.IsZero() {
		first = now
	}
	p.outbox.add(&DeadLetter{
		DeadLetter: contactsync.DeadLetter{
			Record: record, Stream: c.stream.name, Contact: c.id, Reason: reason, Detail: why.detail, Answer: why.text,
			Status: status, Attempts: c.sends, First: first, Last: now,
		},
		sources: c.sources.all(), key: c.key(), applied: applied,
	})
}

// forget drops every contact. Those in flight go when their requests come back; of those in refused a dead letter was not written.
func (p *pending) forget(inFlight map[*Request]struct{}, refused map[contactKey]bool) {
	p.late = newDeadlines() // the next generation waits for all that may be applied
	p.catchUp.caught, p.bytes, p.contacts = nil, 0, 0
	p.index.byID = map[string]*contact{}
	p.schedule.each(func(st *stream) {
		st.contacts, st.queue, st.retries = map[string]*contact{}, list{}, retries{inFlight: st.retries.inFlight}
		st.bytes, st.kept = 0, 0
		p.schedule.countHeld(st)
		p.schedule.quiet[st] = struct{}{}
		p.schedule.touch(st)
	})
	for req := range inFlight {
		for g := req.group; g != nil; g = g.then {
			g.list = list{group: g}
		}
		for _, c := range req.rows {
			c.newer, c.newest, c.charge = nil, nil, 0
			c.refused = c.refused || refused[c.key()]
			p.contacts++
			p.index.put(c)
			p.recharge(c)
		}
	}
}

// unlink takes a contact that is not in flight out of where it waits.
func (p *pending) unlink(c *contact) {
	in := c.in
	if in.remove(c); in.rows == 0 && in.group != nil {
		c.stream.retries.emptied(in.group)
	}
	p.schedule.touch(c.stream)
}

// end ends a contact that waits nowhere any more. The state behind it takes its place.
func (p *pending) end(c *contact) {
	p.index.drop(c)
	if newer := c.pop(); newer != nil {
		newer.newer, newer.newest = c.newer, c.newest
		c.newer, c.newest = nil, nil
		p.schedule.keep(newer, false)
		p.index.put(newer)
		p.enqueue(newer)
	}
	p.free(c)
}

func (p *pending) free(c *contact) {
	p.bytes += p.schedule.charge(c, 0)
	p.contacts--
}

// recharge brings what the window charges for a contact up to date.
func (p *pending) recharge(c *contact) {
	n := contactOverhead + int64(len(c.id)) + recordBytes(&c.record) + sourceBytes*int64(c.sources.n)
	if c.merged || c.copied {
		n += int64(len(c.body))
	}
	p.bytes += p.schedule.charge(c, n)
}
