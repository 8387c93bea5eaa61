package group

import (
	"errors"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/progress"
)

// worldGeneration is one assignment in the hands of a replica: consumer.generation.
type worldGeneration struct {
	r        *replica
	assigned Assigned
	state    int
	fetchers []*worldFetcher
	lost     bool
	over     bool // nothing of it goes on

	began   time.Time             // when it was told the committed offsets
	open    map[*worldContact]int // the first state of each contact that it has read as open
	deleted map[*worldContact]int // the last delete of each that it has read

	ticket   int // of the fetch or commit that is waited for; 0 for none
	failures int
	commits  []worldCommit // that are waited for
	lastBy   time.Time     // of the last commit
}

type worldCommit struct {
	f      *worldFetcher
	commit progress.Commit
}

const (
	genFetching   = iota // asks for the committed offsets
	genRunning           // reads, sends, commits
	genDraining          // waits for what is in flight
	genCommitting        // the last commit
	genOver
)

// worldFetcher reads one partition during one generation: consumer.fetcher.
type worldFetcher struct {
	g        *worldGeneration
	log      *worldLog
	claim    contactsync.Claim
	tracker  *progress.Tracker
	source   progress.Log
	topic    TopicID   // of it
	before   time.Time // nothing is sent before
	start    int64     // where it began to read
	position int64
	read     int64 // up to where the broker has told it what there is
	told     bool  // something was committed since it was assigned
	lost     bool  // the topic was deleted and created again
	beyond   time.Time
	target   int64 // catch-up ends there; -1 until known
	caughtUp bool
	cut      bool // before the target was reached
	located  bool
}

func (g *worldGeneration) fetch(failures int) {
	if len(g.assigned.Partitions) == 0 {
		g.begin(nil)
		return
	}
	g.r.ask(func(m *Member) { g.ticket = m.Fetch(g.assigned.Number, g.assigned.Partitions, g.r.w.now.Add(askTime)) })
}

// begin starts to work on the partitions.
func (g *worldGeneration) begin(offsets []Offset) {
	r, w := g.r, g.r.w
	g.ticket, g.state, g.began = 0, genRunning, w.now
	g.open, g.deleted = map[*worldContact]int{}, map[*worldContact]int{}
	var claims []contactsync.Claim
	for _, o := range offsets {
		claim := contactsync.Claim{TopicPartition: o.TopicPartition, Generation: g.assigned.Number}
		f := &worldFetcher{g: g, log: w.logs[o.Partition], claim: claim, tracker: progress.NewTracker(), target: -1}
		f.resume(o)
		g.fetchers = append(g.fetchers, f)
		claims = append(claims, claim)
	}
	r.window.Assign(w.now, claims, true)
	for i, f := range g.fetchers {
		committed := offsets[i].Offset
		r.in(w.latency, func() { f.run(committed) })
		r.in(worldCatchUp, func() { f.checkCaughtUp(true) })
	}
	g.commitLoop()
}

// take hands what was fetched to the window.
func (f *worldFetcher) take(records []*worldRecord, next, end int64, leader int32) {
	if !f.runs() || f.isCutOff(records) {
		return
	}
	r := f.g.r
	if r.window.Full() {
		r.in(50*time.Millisecond, func() { f.take(records, next, end, leader) })
		return
	}
	if f.target < 0 {
		f.target = end
	}
	offsets := make([]int64, len(records))
	for i, rec := range records {
		offsets[i] = rec.offset
	}
	if !f.tracker.Opened(offsets) {
		r.w.fail("I3", "%s reads %v twice", r, f.claim)
	}
	for _, rec := range records {
		if rec.deletes {
			f.g.deleted[rec.contact] = rec.n
		}
		ev := r.w.decoder.Decode(contactsync.Record{
			Position: contactsync.Position{TopicPartition: f.claim.TopicPartition, Offset: rec.offset}, Generation: f.claim.Generation,
			Time: r.w.now, Value: rec.value,
		})
		ev.Before = f.tracker.Inherited(rec.offset, rec.epoch)
		if ev.Before != contactsync.Open {
			r.w.inherited++
		} else if _, ok := f.g.open[rec.contact]; !ok {
			f.g.open[rec.contact] = rec.n
		}
		r.window.Add(r.w.now, &ev)
	}
	if next > f.position {
		f.tracker.Passed(next, leader)
	}
	f.position = next
	f.checkCaughtUp(false)
	if len(records) == 0 {
		f.next(200 * time.Millisecond)
		return
	}
	f.next(0)
}

func (f *worldFetcher) checkCaughtUp(late bool) {
	if !f.runs() || f.caughtUp || !late && (f.target < 0 || f.position < f.target) {
		return
	}
	if wait := f.before.Sub(f.g.r.w.now); wait > 0 {
		f.g.r.in(wait, func() { f.checkCaughtUp(late) })
		return
	}
	f.caughtUp = true
	f.cut = late
	f.g.r.window.CaughtUp(f.g.r.w.now, f.claim)
}

// cutShort notes that the window ends catch-up because it is full.
func (g *worldGeneration) cutShort() {
	for _, f := range g.fetchers {
		f.cut = f.cut || !f.caughtUp
	}
}

// track takes in what has ended.
func (g *worldGeneration) track(ended []contactsync.Ended) {
	for _, f := range g.fetchers {
		f.tracker.Done(slices.DeleteFunc(slices.Clone(ended), func(e contactsync.Ended) bool { return e.Claim != f.claim }))
	}
}

// commitLoop commits at an interval.
func (g *worldGeneration) commitLoop() {
	g.r.in(worldCommitInterval, func() {
		if g.r.gen != g || g.state != genRunning {
			return
		}
		if g.ticket == 0 {
			g.commit(g.r.w.now.Add(worldAskTimeout), false)
		}
		g.commitLoop()
	})
}

// commit commits every watermark that has moved. It reports whether there is one.
func (g *worldGeneration) commit(until time.Time, last bool) bool {
	r := g.r
	g.commits = nil
	var offsets []Offset
	for _, f := range g.fetchers {
		if f.located && (f.tracker.Changed() || last && (r.w.static || f.atWork() > 0)) {
			c := f.tracker.ToCommit(progress.TextRuns)
			g.commits = append(g.commits, worldCommit{f, c})
			c.Log, c.Released, c.AtWork = f.source, last, f.atWork()
			text, whole := c.Text(r.w.room)
			r.w.snapshots[worldCommitKey{f.claim.TopicPartition, c.Offset, text}] = worldSnapshot{at: r.w.now, of: f, whole: whole, last: last, atWork: c.AtWork, leader: c.Leader}
			offsets = append(offsets, Offset{TopicPartition: f.claim.TopicPartition, Offset: c.Offset, LeaderEpoch: -1, Metadata: text})
		}
	}
	if len(offsets) == 0 {
		return false
	}
	g.ticket = -1
	g.r.ask(func(m *Member) { g.ticket = m.Commit(g.assigned.Number, offsets, until) })
	return true
}

// committed takes the outcome of a commit.
func (g *worldGeneration) committed(d Done) {
	g.ticket = 0
	failed := d.Err != nil
	if d.Err == nil {
		for _, o := range d.Offsets {
			for _, c := range g.commits {
				if c.f.claim.TopicPartition == o.TopicPartition && o.Code == codeOK {
					c.f.tracker.Committed(c.commit)
					c.f.told = true
				}
			}
			failed = failed || o.Code != codeOK
		}
	}
	switch {
	case errors.Is(d.Err, ErrNotOwned) && g.state == genRunning:
		g.release(d.Err.Error())
	case g.state == genCommitting && (errors.Is(d.Err, ErrNotOwned) || !failed):
		g.finish()
	case g.state == genCommitting:
		g.failures++
		g.r.in(min(firstRetry<<min(g.failures, 10), lastRetry), g.lastCommit)
	}
}

// release begins to give the generation back.
func (g *worldGeneration) release(cause string) {
	if g.state == genFetching {
		g.finish()
		return
	}
	if g.state != genRunning {
		return
	}
	r := g.r
	r.w.logf("%s gives generation %d back: %s", r, g.assigned.Number, cause)
	g.state, g.ticket = genDraining, 0
	if g.lost {
		g.giveUp()
		return
	}
	r.window.Drain(r.w.now)
	r.in(r.w.drain, func() {
		if r.gen == g && g.state == genDraining {
			g.giveUp()
		}
	})
}

// giveUp ends the requests in flight and drops everything else: batcher.giveUp.
func (g *worldGeneration) giveUp() {
	r := g.r
	if g.state == genCommitting { // it is lost before the last commit is done
		g.finish()
		return
	}
	r.w.logf("%s gives up %d requests", r, len(r.requests))
	for _, q := range r.requests {
		q.givenUp = true
		r.atWork = maxTime(r.atWork, maxTime(q.started.Add(worldTimeout), r.w.now.Add(worldAmbiguous)))
		r.w.after(time.Millisecond, func() { r.answer(q, contactsync.Result{Kind: contactsync.Canceled}) })
	}
	r.window.Forget(r.w.now)
}

// finishRelease goes on with the last commit when nothing is in flight.
func (g *worldGeneration) finishRelease() {
	r := g.r
	if g.state != genDraining || !r.window.Drained() {
		return
	}
	if len(r.requests) > 0 {
		r.w.fail("I4", "%s gives its partitions back with %d requests in flight", r, len(r.requests))
	}
	r.window.Forget(r.w.now)
	r.atWork = maxTime(r.atWork, r.window.AtWorkUntil())
	g.state, g.failures, g.lastBy = genCommitting, 0, r.w.now.Add(worldDrain/2)
	g.lastCommit()
}

// lastCommit commits what has ended in the drain, until it is taken or its time is over.
func (g *worldGeneration) lastCommit() {
	if g.r.gen != g || g.state != genCommitting {
		return
	}
	if g.lost || !g.r.w.now.Before(g.lastBy) || !g.commit(g.lastBy, true) {
		g.finish()
	}
}

// finish lets the membership go on.
func (g *worldGeneration) finish() {
	r := g.r
	g.state, g.over = genOver, true
	r.gen = nil
	if r.stopping {
		r.leave(g.assigned.Number)
		return
	}
	r.ask(func(m *Member) { m.Released(r.w.now, g.assigned.Number) })
}
