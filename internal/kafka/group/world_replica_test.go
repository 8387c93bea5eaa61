package group

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
)

// replica is one process: a member, a window, and what lies between them. It does what
// consumer/generation.go and batcher/batcher.go do with goroutines, one step at a time.
type replica struct {
	w        *world
	number   int
	life     int
	member   *simMember
	window   *batcher.Window
	gate     worldGate
	gen      *worldGeneration // nil while nothing is owned
	stopping bool
	cut      bool      // nothing comes from Kafka
	atWork   time.Time // until when requests that were given up may be applied
	left     func()    // called once the process has ended in order

	requests  []*worldRequest // in the order of their starts
	publishes bool            // dead letters are being written
	missed    []func()        // while frozen
	wake      int             // counts, so that an old alarm is not heard
}

// works reports whether the process runs, and nobody has told it to stop.
func (r *replica) works() bool { return !r.member.dead && !r.member.frozen && !r.stopping }

func (r *replica) String() string { return fmt.Sprintf("replica %d.%d", r.number, r.life) }

// start begins a process in a replica's place.
func (w *world) start(number int) *replica {
	r := &replica{w: w, number: number}
	if number < len(w.replicas) {
		r.life = w.replicas[number].life + 1
		w.replicas[number] = r
	} else {
		w.replicas = append(w.replicas, r)
	}
	w.processes = append(w.processes, r)
	r.gate.r = r
	r.window = batcher.NewWindow(w.batcherConfig(), func(string) (batcher.Gate, bool) { return &r.gate, true }, w.metrics, w.rand.Uint64())
	r.member = w.join(r.String(), func(c *Config) {
		c.Rebalance = w.rebalance
		c.Session, c.LeaseMargin, c.Watch, c.Seed = worldSession, worldLeaseMargin, worldPartitionCheck, w.rand.Uint64()
		if w.static {
			c.InstanceID = fmt.Sprint("i", number)
		}
	})
	r.member.owner = r.on
	w.logf("%s starts", r)
	r.tick()
	return r
}

// do lets the process do something to its window, later if it is frozen.
func (r *replica) do(f func()) {
	switch {
	case r.member.dead:
	case r.member.frozen:
		r.missed = append(r.missed, f)
	default:
		f()
		r.round()
	}
}

// in does something a while later.
func (r *replica) in(d time.Duration, f func()) { r.w.after(d, func() { r.do(f) }) }

// ask does something to the member, from outside of its own step.
func (r *replica) ask(f func(m *Member)) {
	r.w.after(0, func() { r.member.do(func() { f(r.member.m) }) })
}

// tick lets holds and the like expire.
func (r *replica) tick() {
	r.w.after(time.Second, func() {
		if r.member.dead {
			return
		}
		r.do(func() { r.window.Expire(r.w.now) })
		r.tick()
	})
}

// freeze stops the process as SIGSTOP does.
func (r *replica) freeze() { r.member.freeze() }

// thaw lets it go on. What it has missed happens now: that of the member and that of the
// window in any order to each other.
func (r *replica) thaw() {
	if !r.member.frozen {
		return
	}
	r.member.frozen = false
	members, windows := r.member.missed, r.missed
	r.member.missed, r.missed = nil, nil
	for len(members)+len(windows) > 0 {
		if len(windows) == 0 || len(members) > 0 && r.w.chance(2) {
			f := members[0]
			members = members[1:]
			r.member.do(f)
			continue
		}
		f := windows[0]
		windows = windows[1:]
		r.do(f)
	}
	r.member.do(func() {})
	r.do(func() {})
}

// kill ends the process without a word.
func (r *replica) kill() {
	r.member.kill()
	r.end()
}

// end notes that nothing of the process goes on.
func (r *replica) end() {
	r.member.dead = true
	if r.gen != nil {
		r.gen.over = true
	}
}

// stop ends the process in order, as App.Run does: the generation is given back, then the
// group is left.
func (r *replica) stop(left func()) {
	r.in(0, func() {
		r.stopping, r.left = true, left
		if r.gen != nil {
			r.gen.release("stopping")
			return
		}
		r.leave(0)
	})
}

// leave leaves the group; number is the assignment that is given up with it, 0 for none.
func (r *replica) leave(number int32) {
	r.ask(func(m *Member) {
		m.Stop(r.w.now)
		m.Released(r.w.now, number)
	})
	r.in(worldDrain, r.exit)
}

func (r *replica) exit() {
	r.w.logf("%s has ended", r)
	r.end()
	if left := r.left; left != nil {
		r.left = nil
		left()
	}
}

// on takes an event of the membership.
func (r *replica) on(e Event) {
	w := r.w
	if _, done := e.(Done); !done || w.traced {
		w.logf("%s: %T %+v", r, e, e)
	}
	switch e := e.(type) {
	case Assigned:
		for _, p := range e.Partitions {
			w.owner[p] = ownership{r, e.Number}
		}
		r.in(0, func() { r.assigned(e) })
	case Release:
		r.in(0, func() { r.ended(e.Number, false, e.Cause) })
	case Lost:
		r.in(0, func() { r.ended(e.Number, true, e.Cause) })
	case Done:
		r.in(0, func() { r.done(e) })
	case Left, Fenced:
		r.in(0, r.exit)
	}
}

// assigned takes an assignment: first what is committed for it is asked for.
func (r *replica) assigned(a Assigned) {
	if r.gen != nil {
		r.w.fail("I4", "%s is assigned again before it has given back", r)
	}
	r.gen = &worldGeneration{r: r, assigned: a}
	if r.stopping {
		r.gen.finish()
		return
	}
	r.gen.fetch(1)
}

// ended is the end of a generation, in order or by loss.
func (r *replica) ended(number int32, lost bool, cause error) {
	g := r.gen
	if g == nil || g.assigned.Number != number {
		return
	}
	g.lost = g.lost || lost
	switch {
	case g.state == genFetching:
		g.finish()
	case g.state == genRunning:
		g.release(cause.Error())
	case lost:
		g.giveUp()
	}
}

// done is the outcome of a commit or a fetch.
func (r *replica) done(d Done) {
	g := r.gen
	switch {
	case g == nil || d.Ticket != g.ticket:
	case g.state == genFetching && errors.Is(d.Err, ErrRetry):
		failures := g.failures
		g.failures++
		r.in(min(firstRetry<<min(failures, 10), lastRetry), func() {
			if r.gen == g && g.state == genFetching {
				g.fetch(0)
			}
		})
	case g.state == genFetching && d.Err != nil:
		g.finish()
	case g.state == genFetching:
		g.begin(d.Offsets)
	default:
		g.committed(d)
	}
}

// mayStart is Deps.MayStart as app wires it.
func (r *replica) mayStart() bool {
	return !r.w.now.Add(worldTimeout).After(r.member.m.LeaseUntil())
}

// round is one turn of the batcher's loop.
func (r *replica) round() {
	if r.member.dead {
		return
	}
	now, win := r.w.now, r.window
	if win.Full() {
		if r.gen != nil {
			r.gen.cutShort()
		}
		win.StopCatchingUp(now)
	}
	owned := r.mayStart()
	if owned {
		for req := win.Next(now); req != nil; req = win.Next(now) {
			r.startRequest(req)
		}
	}
	win.TakeLogEvents()
	r.publish()
	ended := win.TakeEnded()
	if r.gen != nil {
		r.gen.track(ended)
		r.gen.finishRelease()
	}
	wake := win.Wake()
	if !owned && !wake.IsZero() && wake.Before(now.Add(100*time.Millisecond)) {
		wake = now.Add(100 * time.Millisecond)
	}
	r.wake++
	if wake.IsZero() {
		return
	}
	n := r.wake
	r.w.at(maxTime(wake, now), func() {
		if r.wake == n {
			r.do(func() {})
		}
	})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// startRequest sends a request, if this replica may.
func (r *replica) startRequest(req *batcher.Request) {
	w, g := r.w, r.gen
	q := &worldRequest{g: g, started: w.now, req: req, rows: w.rowsOf(req.Batch)}
	if w.traced {
		w.logf("%s sends %s", r, q.describe())
	}
	if g == nil {
		w.fail("I4", "%s sends without an assignment", r)
	}
	for _, other := range w.foreign {
		for _, p := range other.owns() {
			for _, row := range q.rows {
				if row.contact.log.partition == p {
					w.fail("I4", "%s sends %v of %v, which another client owns", r, row.contact, p)
				}
			}
		}
	}
	for _, other := range w.processes {
		if other == r || other.gen == nil {
			continue
		}
		if r.number == other.number && w.faults["topic recreated"] > 0 {
			continue // nothing is committed, so there seems to be nobody to wait for
		}
		if told := r.life < other.life && g.told(q) || r.life > other.life && other.gen.told(q); r.number == other.number && !told {
			continue // where the last commit says that it was released, the new process believes that
		}
		if other.gen.began.Before(g.began) && g.assigned.Generation < other.gen.assigned.Generation {
			continue // the group's log was cut off, and nothing of the other's generation is left in it
		}
		if other == r || other.gen == nil || !w.now.Before(other.member.m.LeaseUntil()) || other.member.dead {
			continue
		}
		for _, row := range q.rows {
			if other.gen.state == genRunning && slices.ContainsFunc(other.gen.fetchers, func(f *worldFetcher) bool { return f.log == row.contact.log && f.caughtUp }) {
				w.fail("I4", "%s sends %v, which %s may send too", r, row.contact, other)
			}
		}
	}
	for _, row := range q.rows {
		c := row.contact
		if of := w.owner[c.log.partition]; (of.replica != r || of.number != g.assigned.Number) && !of.replica.waitsFor(r, c.log) {
			w.fail("I4", "%s sends %v of %v, which %s was assigned", r, c, c.log.partition, of.replica)
		}
		if g.lost {
			w.fail("I4", "%s sends %v after it has lost its partitions", r, c)
		}
		w.checkAgain(q, row)
	}
	r.checkLease()
	r.requests = append(r.requests, q)
	w.api.send(q)
}

// answer settles a request, once.
func (r *replica) answer(q *worldRequest, result contactsync.Result) {
	r.do(func() {
		if q.answered {
			return
		}
		q.answered = true
		for i := range r.requests {
			if r.requests[i] == q {
				r.requests = append(r.requests[:i], r.requests[i+1:]...)
				break
			}
		}
		for i, o := range result.Rows {
			if o.Verdict == contactsync.Delivered {
				c := q.rows[i].contact
				if n := q.rows[i].n; n >= c.answered {
					c.answered, c.answeredAt, c.answeredTo = n, r.w.now, q.g
				}
			}
		}
		r.window.Settle(r.w.now, q.req, result)
	})
}

// publish writes dead letters, one batch after the other.
func (r *replica) publish() {
	if r.publishes || len(r.window.DeadLettersWaiting()) == 0 {
		return
	}
	r.publishes = true
	r.write(r.window.TakeDeadLetters())
}

// write writes dead letters, again and again until they are taken.
func (r *replica) write(letters []*batcher.DeadLetter) {
	w := r.w
	w.after(w.between(time.Millisecond, 50*time.Millisecond), func() {
		if r.member.dead {
			return
		}
		if w.noLetters || r.cut {
			r.in(500*time.Millisecond, func() { r.write(letters) })
			return
		}
		for _, d := range letters {
			row := w.rowOf(d.Contact, d.Record.Value)
			if d.Reason != contactsync.ReasonRejected || !row.bad && !row.contact.refused[row.n] {
				w.fail("I6", "a dead letter of %v: %s %s", d.Record.Position, d.Reason, d.Detail)
			}
			for _, e := range row.contact.records {
				if slices.ContainsFunc(d.Positions, func(p contactsync.Position) bool { return p.Offset == e.offset }) && e.n <= row.n {
					e.dead = true
				}
			}
		}
		r.in(w.latency, func() {
			r.publishes = false
			r.window.DeadLettersAcked(w.now, letters)
		})
	})
}
