package batcher_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// simT is what a simulation needs of a test.
type simT interface {
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// simRun lets a Window live in a world, in virtual time, and holds all that it does
// against a model.
type simRun struct {
	*simWorld

	t              simT
	cfg            batcher.Config
	start          time.Time
	decoder        *event.Decoder
	pcg            *rand.PCG
	overhead       int // bytes that a contact is charged besides its record
	streamOverhead int // and its stream

	window  *batcher.Window
	metrics *metrics.Set
	model   *simModel
	apis    map[string]*simAPI

	generation int32
	owned      []int
	read       []int // next offset to read, by partition
	committed  []int
	ended      []map[int]bool
	catchEnd   []int // read position at which a partition has caught up
	again      []simAgain
	gone       []map[int]bool // offsets that the log does not have any more, by partition

	requests []*simRequest // in flight
	wake     time.Time     // as the Window said when nothing could start
	still    bool          // nothing has happened since

	state     map[simKey]simState // of the API
	late      []simApply
	deletes   map[string]int  // of contacts, by id
	unordered map[simKey]bool // contacts of which an event was taken after a newer one
	overlap   bool            // this generation may send what is older than what the last one sent
	quiet     bool            // no more faults
	kafkaDown bool            // no dead letter is acknowledged
}

func newSimRun(t simT, p simPlan, cfg batcher.Config) *simRun {
	ec := event.DefaultConfig()
	ec.Validation = event.Lenient
	s := &simRun{
		simWorld: newSimWorld(p), t: t, cfg: cfg, pcg: rand.NewPCG(0, 0), apis: map[string]*simAPI{},
		read: make([]int, p.partitions), committed: make([]int, p.partitions), catchEnd: make([]int, p.partitions),
		state: map[simKey]simState{}, deletes: map[string]int{}, unordered: map[simKey]bool{},
	}
	s.start, s.rand = s.now, rand.New(s.pcg)
	var err error
	s.decoder, err = event.NewDecoder(ec, func(stream, _ string) (string, bool) {
		account, ok := s.account[stream]
		return account, ok
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	for i := range p.accounts {
		name := fmt.Sprint("a", i)
		s.apis[name] = &simAPI{run: s, account: name, mood: simFine, streams: map[string]simMood{}, calls: 1 << 30}
	}
	s.measureOverhead()
	for range p.partitions {
		s.ended, s.gone = append(s.ended, map[int]bool{}), append(s.gone, map[int]bool{})
	}
	s.process()
	s.assign()
	return s
}

// logf writes a line of the trace, which is printed when the world has failed.
func (s *simRun) logf(format string, args ...any) {
	s.t.Logf("%9.3fs "+format, append([]any{s.now.Sub(s.start).Seconds()}, args...)...)
}

// fail says which promise is broken.
func (s *simRun) fail(promise, format string, args ...any) {
	s.t.Fatalf("%9.3fs %s: %s", s.now.Sub(s.start).Seconds(), promise, fmt.Sprintf(format, args...))
}

// process starts the service anew: nothing is remembered.
func (s *simRun) process() {
	s.again = make([]simAgain, s.plan.partitions)
	s.metrics = metrics.New(prometheus.NewRegistry())
	s.model = newSimModel(s.cfg, s.simWorld)
	for _, a := range s.apis {
		a.again, a.spare, a.admitted, a.reports = time.Time{}, time.Time{}, 0, 0
	}
	s.window = batcher.NewWindow(s.cfg, func(account string) (batcher.Gate, bool) { return s.apis[account], true }, &s.metrics.Batcher, 7)
}

func (s *simRun) claim(p int) contactsync.Claim {
	return contactsync.Claim{TopicPartition: simPartition(p), Generation: s.generation}
}

// fetch gives the next event of a partition to the Window.
func (s *simRun) fetch(p int) {
	if !slices.Contains(s.owned, p) || s.read[p] >= len(s.logs[p]) || s.window.Full() && !s.chance(10) {
		return
	}
	e := s.logs[p][s.read[p]]
	s.read[p]++
	if o := s.read[p] - 1; s.gone[p][o] {
		s.ended[p][o] = true
		return
	}
	if s.chance(50) { // the rest of a fetch of the last generation
		last := s.claim(p)
		last.Generation--
		s.add(e, last, false)
	}
	s.add(e, s.claim(p), false)
	if !s.plan.slowCatchUp || s.chance(3) {
		s.caughtUp(p, false)
	}
}

// add gives an event to the Window, for the first time or again.
func (s *simRun) add(e *simEvent, claim contactsync.Claim, again bool) {
	s.logf("read %v, again %v", e, again)
	rec := e.record
	rec.Generation = claim.Generation
	ev := s.decoder.Decode(rec)
	if ev.Kind != e.kind {
		s.fail("test", "%v was decoded as %v: %v", e, ev.Kind, ev.Err)
	}
	s.still, ev.Again = false, again
	cl, fate := s.model.claims[claim], simTaken
	full := s.fullOfHolds()
	var must string
	var may []string
	if cl != nil && cl.first < 0 {
		cl.first = e.record.Offset
	}
	if ordered := e.kind == event.Update || e.kind == event.Delete; cl != nil && ordered {
		must, may = s.model.fate(e, cl)
		fate = must
	}
	stale, letters := s.skippedStale(may != nil), s.window.DeadLettersPending()
	s.window.Add(s.now, &ev)
	if cl != nil && s.checkLeft(e, cl, again, full) {
		s.model.leave(e, cl, fate, again)
		if e.kind != event.Update {
			s.deletes[e.key.id]++
		}
		s.sync()
		return
	}
	if may != nil { // not everything is remembered
		switch fate = simTaken; {
		case s.skippedStale(true) > stale:
			fate = simStale
		case s.window.DeadLettersPending() > letters:
			fate = simUnverifiable
		}
		if fate != must && !slices.Contains(may, fate) {
			s.fail("I3", "%v was %s, and must be %s or one of %v", e, fate, must, may)
		}
	}
	s.model.add(e, claim, fate, again)
	if c := s.model.cells[e.key]; c != nil && again && cl.parked[e.key.stream] != nil && cl.parked[e.key.stream].tried {
		c.next = true
	}
	if again && cl != nil && int(e.record.Offset) < s.catchEnd[e.record.Partition] {
		s.overlap = true
	}
	if fate == simTaken && cl != nil {
		s.unordered[e.key] = s.unordered[e.key] || e.late && !e.order.replayed
		if e.kind != event.Update {
			s.deletes[e.key.id]++
		}
	}
	s.sync()
}

// send starts requests that may start: all, or one.
func (s *simRun) send(all bool) {
	for {
		quiet, wake := s.still, s.wake
		q := s.window.Next(s.now)
		if q == nil {
			s.nothingToSend()
			return
		}
		if quiet && (wake.IsZero() || s.now.Before(wake)) {
			s.fail("I9", "a request starts although the Window said that none would before %v", wake)
		}
		s.started(q)
		if !all {
			return
		}
	}
}

// settle gives the answer to a request to the Window.
func (s *simRun) settle(i int, r contactsync.Result) {
	q := s.requests[i]
	s.requests = slices.Delete(s.requests, i, i+1)
	s.logf("answer for %s %v: %v %d ambiguous=%v %v", q.stream.name, simRows(q.req.Batch.Rows), r.Kind, r.Status, r.Ambiguous, r.Rows)
	s.still = false
	letters := s.window.DeadLettersPending()
	s.window.Settle(s.now, q.req, r)
	throttled := r.Kind == contactsync.Throttled
	r.Kind = s.apis[q.req.Batch.Account].reported // another one where the request was throttled for itself
	s.checkLearned(q, r)
	s.model.settle(s, q, r, throttled, s.window.DeadLettersPending() == letters)
	s.sync()
	s.checkWake()
}

// acknowledge lets Kafka take some of the dead letters that were handed to it.
func (s *simRun) acknowledge() {
	for _, l := range s.model.letters {
		l.taken = l.taken || l.found != nil
	}
	s.window.TakeDeadLetters()
	if s.kafkaDown {
		return
	}
	var acked []*batcher.DeadLetter
	for _, l := range slices.Clone(s.model.letters) {
		if !l.taken || !s.quiet && s.chance(4) {
			continue
		}
		acked = append(acked, l.found)
		s.written = append(s.written, l.found.DeadLetter)
		s.model.acked(l)
	}
	s.logf("%d dead letters are acknowledged", len(acked))
	s.still = false
	s.window.DeadLettersAcked(s.now, acked)
	s.sync()
}

// commit moves the committed offsets up to the first event that has not ended.
func (s *simRun) commit() {
	for _, p := range s.owned {
		for s.ended[p][s.committed[p]] {
			s.committed[p]++
		}
	}
}

// tick is what the loop does every second.
func (s *simRun) tick() {
	s.window.Expire(s.now)
	waiting := map[contactsync.Position]bool{}
	for _, l := range s.window.DeadLettersWaiting() {
		waiting[l.Record.Position] = true
	}
	s.isParked(nil)
	s.model.expired(func(c *simCell) bool { return waiting[c.newest().record.Position] })
	s.sync()
	s.checkShed()
	s.window.Observe(s.now)
	s.checkMetrics()
	s.still = false
}

// pass lets time go by.
func (s *simRun) pass(d time.Duration) {
	s.now = s.now.Add(d)
	s.model.now = s.now
	s.applyLate(s.now)
}

// round is one turn of the loop around the Window.
func (s *simRun) round() {
	if s.window.Full() {
		for _, p := range s.owned {
			if cl := s.model.claims[s.claim(p)]; cl != nil && cl.catching && s.read[p] < s.catchEnd[p] {
				s.overlap = true
			}
		}
		s.still = false
		s.window.StopCatchingUp(s.now)
		for _, p := range s.owned {
			s.model.caughtUp(s.claim(p))
		}
		s.sync()
	}
	s.send(true)
}
