package batcher

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/metrics"
)

// Window holds every contact from fetch to outcome. It decides what is sent, and when;
// it does nothing itself: it has no goroutine, clock or lock, every method takes the
// time, and the same calls with the same seed give the same answers. Not safe for
// concurrent use.
type Window struct {
	cfg Config
	m   series
	now time.Time // the latest time that any call brought

	claims   claims
	pending  pending
	schedule schedule
	health   health
	outbox   outbox
	seen     seen
	log      eventLog
	history  history
	requests map[*Request]struct{} // in flight
	draining bool                  // nothing is started any more
	observed time.Time             // last
	atWork   time.Time             // until when requests without a usable answer may be applied
}

// NewWindow returns an empty window. gates is asked once for each account.
func NewWindow(cfg Config, gates func(account string) (Gate, bool), m *metrics.Batcher, seed uint64) *Window {
	m.BytesLimit.Set(float64(cfg.WindowBytes))
	w := &Window{
		cfg: cfg, m: newSeries(m), claims: newClaims(), seen: newSeen(cfg.RememberContacts), log: newEventLog(),
		requests: map[*Request]struct{}{},
	}
	w.schedule = schedule{cfg: &w.cfg, gates: gates, m: &w.m, streams: map[streamKey]*stream{}, quiet: map[*stream]struct{}{}, givers: newGivers()}
	w.health = health{cfg: &w.cfg, rand: rand.New(rand.NewPCG(seed, seed)), m: &w.m, log: &w.log, schedule: &w.schedule}
	w.outbox = outbox{m: &w.m, seen: &w.seen, inFlight: map[*DeadLetter]struct{}{}}
	w.pending = pending{
		m: &w.m, schedule: &w.schedule, outbox: &w.outbox, seen: &w.seen, index: index{schedule: &w.schedule, byID: map[string]*contact{}},
		late: newDeadlines(), alone: newDeadlines(),
	}
	w.pending.catchUp = catchUp{start: w.pending.start, room: mostPlaced}
	return w
}

// clock keeps the latest time: a caller's clock never turns decisions back.
func (w *Window) clock(now time.Time) {
	if now.After(w.now) {
		w.now, w.outbox.now = now, now
	}
}

// Full reports whether the window holds what it may. Fetching pauses then.
// However much is charged for events to be read again, contacts may take a quarter, or these
// could not be.
func (w *Window) Full() bool { return free(w) <= 0 }

// free is how much more it may hold.
func free(w *Window) int64 {
	most := int64(w.cfg.WindowBytes)
	return max(most-w.claims.parkedBytes, most/4) - (charged(&w.pending) - Parking{w}.over() + w.outbox.bytes)
}

func (w *Window) bytes() int64 { return charged(&w.pending) + w.outbox.bytes + w.claims.parkedBytes }

// Assign makes claims known, all of one generation: what came before it has been
// dropped by Forget. With catchUp their contacts are only collected until
// CaughtUp, so that what the previous owner had sent is not followed by an older
// state. Events of unknown claims are not taken.
func (w *Window) Assign(now time.Time, claims []contactsync.Claim, catchUp bool) {
	w.clock(now)
	w.claims.assign(w.now, claims, catchUp)
	w.schedule.collect(w.claims.catchingUp > 0)
}

// CaughtUp says that a claim's read position has passed the end seen at
// assignment, or that it must not be waited for any longer.
func (w *Window) CaughtUp(now time.Time, c contactsync.Claim) {
	w.clock(now)
	cl := w.claims.caughtUp(c)
	if cl == nil {
		return
	}
	w.outbox.caughtUp(cl)
	w.pending.catchUp.ended(w.now, cl)
	w.pending.catchUp.letGo(w.now)
	w.schedule.collect(w.claims.catchingUp > 0)
}

// StopCatchingUp ends catch-up for all claims: the window is full, and only
// sending makes room.
func (w *Window) StopCatchingUp(now time.Time) {
	for _, c := range w.claims.sorted() {
		w.CaughtUp(now, c)
	}
}

// Add takes one event. The event's slices are the window's from then on. An
// event of a claim that is not known is counted as released and left out.
func (w *Window) Add(now time.Time, ev *event.Event) {
	w.clock(now)
	cl := w.claims.of(ev.Record.Claim())
	if cl == nil {
		w.outbox.total.Consumed++
		w.outbox.total.Released++
		return
	}
	src := cl.source(w.now, &ev.Record)
	if !ev.Again {
		w.outbox.opened(cl, &ev.Record)
		if ev.Contact.Ignored != 0 && ev.Kind != event.Broken {
			w.noteHints(ev)
		}
	}
	left, as := Parking{w}.leaves(cl, ev, src)
	cl.next = max(cl.next, src.offset+1)
	if left || w.resume(ev, src) {
		return
	}
	switch ev.Kind {
	case event.Update:
		if c := w.pending.find(keyOf(ev)); w.acceptable(c, ev, src) {
			w.noteSpelling(c, ev)
			w.pending.update(w.now, c, ev, src, as)
		}
	case event.Delete:
		if c := w.pending.find(keyOf(ev)); w.acceptable(c, ev, src) {
			w.pending.remove(keyOf(ev), ev.Again, src, w.m.skippedDelete)
			w.seen.note(keyOf(ev), versionOf(ev))
			w.outbox.skip(src, w.m.skippedDelete)
		}
	case event.Tombstone:
		reason := w.m.skippedTombstone
		if ev.Replay != nil && !w.seen.verifiable(ev, src.claim.first) {
			w.outbox.refuse(w.now, ev, src, unverified)
			return
		}
		if ev.Contact.ID == "" {
			reason = w.m.skippedUnnamed
			w.log.unnamed(w.now, ev)
		} else {
			w.pending.removeNamed(keyOf(ev), versionOf(ev), ev.Again, src, reason)
			if (Parking{w}).leavesTombstone(cl, ev, src) {
				return
			}
		}
		w.outbox.skip(src, reason)
	case event.Broken:
		fallthrough
	default:
		w.outbox.refuse(w.now, ev, src, ev.Err)
	}
}

// noteSpelling counts an event whose contact is pending with the id in other case.
func (w *Window) noteSpelling(c *contact, ev *event.Event) {
	if c != nil && c.last().id != ev.Contact.ID {
		w.m.ContactsRespelled.Inc()
		w.log.respelled(w.now, ev)
	}
}

// noteHints counts the order hints of an event that are not used.
func (w *Window) noteHints(ev *event.Event) {
	ignored := ev.Contact.Ignored.Names()
	for _, name := range ignored {
		w.m.HintsIgnored.WithLabelValues(name).Inc()
	}
	w.log.hints(w.now, ev, ignored)
}

// Next returns the best request that may start now, and nil where none may, or the
// window drains.
// Among the ready streams the one with the oldest pending event goes first. The
// caller must hand every request back through Settle exactly once.
func (w *Window) Next(now time.Time) *Request {
	w.clock(now)
	if w.draining {
		return nil
	}
	if w.pending.catchUp.room = mostPlaced; !w.pending.catchUp.letGo(w.now) {
		return nil
	}
	for st := w.schedule.next(w.now); st != nil; st = w.schedule.next(w.now) {
		w.health.review(w.now, st)
		if w.pending.dissolve(w.now, st, st.health.hold != nil) {
			continue // it may not be due any more
		}
		standing := w.schedule.standing(st, w.now)
		spare := st.spares(standing)
		report, again := st.account.gate.Admit(w.now, st.name, spare)
		if report == nil {
			st.account.refused(w.now, again, spare)
			continue
		}
		most, mostBytes := w.health.limits(w.now, st)
		req := w.pending.take(w.now, st, most, mostBytes, w.schedule.regularFirst(st, standing))
		req.Batch.Purpose = req.purpose()
		req.started, req.spare = w.now, spare
		w.history.start(req)
		req.report, req.warned = report, st.health.credentialsRefused
		req.accepts = st.health.accepts
		if size := &st.account.health.size; req.group == nil && len(req.rows) > 1 && size.larger(int64(len(req.rows)), req.bytes) {
			req.trial, size.trying = true, true
		}
		w.schedule.started(req, standing)
		w.requests[req] = struct{}{}
		w.m.started(req)
		return req
	}
	return nil
}

// Wake returns when Next may answer differently although nothing else happens,
// and the zero time where only an event or a result can change it.
func (w *Window) Wake() time.Time {
	if w.draining {
		return time.Time{}
	}
	if len(w.pending.catchUp.caught) > 0 {
		return w.now
	}
	return w.schedule.wake(w.now)
}

// Settle takes the result of a request: rows that are done end, rows that were refused
// become dead letters, and the others wait to be sent again. What each kind of answer
// leads to is decided in policy.go.
func (w *Window) Settle(now time.Time, req *Request, r contactsync.Result) {
	w.clock(now)
	if req.noteThrottling(r) {
		r.Kind = contactsync.Unavailable
	}
	delete(w.requests, req)
	w.history.settle(w.now, req, r)
	st := req.stream
	st.account.throttle(w.now, req.report(w.now, r))
	w.schedule.settled(req)
	st.account.latency.note(w.now.Sub(req.started), r.Kind)
	contradicts, refusesAll := req.noteContradictions(w.now, &r), req.refusesAll(r, w.cfg.RowAttempts)
	if refusesAll {
		first := firstReason(r.Rows)
		r.Detail, r.Text = first.detail, first.text
	}
	d := decide(answer{
		contradicts: contradicts, refusesAll: refusesAll, searched: req.group != nil && req.group.search != nil, alike: st.onHold() || len(req.rows) == 1 && st.account.breaksContract(),
		kind: r.Kind, single: len(req.rows) == 1, warned: req.warned || st.signer.held,
		trial: req.trial && (mayBeRows(r) || r.Kind == contactsync.TooLarge), applied: slices.ContainsFunc(r.Rows, delivered),
		suspected: req.suspected(w.now, w.cfg.HoldProbeMax), blame: req.blame(w.now, w.cfg.HoldProbeMax),
	})
	if misfits(r) {
		st.account.misfitAt = w.now
	}
	w.log.answer(w.now, req.Batch, d, r, func(name string) bool {
		other := w.schedule.streams[streamKey{st.account.id, name}]
		return other != nil && other.health.failures > 0 && other.health.hold == nil
	})
	w.health.onAnswer(w.now, req, d, r)
	(&settlement{Window: w, request: req, stream: st, decision: d, result: r}).settle()
	Parking{w}.shed()
	if len(st.contacts) == 0 && st.health.onHold(holdRejecting) && st.health.hold.asideBelow == 0 {
		w.health.endHold(w.now, st, endedEmpty)
	}
	if st.empty(w.now) {
		w.schedule.drop(st)
	}
}

// Drain has Next start nothing more until Forget. What ended is kept with the commit, so a
// request that starts now would save the next owner nothing, and might not finish.
func (w *Window) Drain(now time.Time) {
	w.clock(now)
	w.draining = true
	for _, a := range w.schedule.accounts {
		a.countBusy(w.now, false)
	}
}

// Drained reports whether nothing is in flight any more that somebody waits for.
func (w *Window) Drained() bool { return len(w.requests) == 0 && w.outbox.drained() }

// Forget drops everything that has not ended, and every claim. Nobody commits that,
// so the next owner reads it again. Results that come later end nothing. It is
// all or nothing because a generation ends as a whole: were one claim dropped
// alone, contacts would be left with events of some claims and not of others.
func (w *Window) Forget(now time.Time) {
	w.clock(now)
	decisions{w}.end()
	behind := w.seen.forgetUnwritten(w.outbox.unwritten(&w.claims))
	w.outbox.released(w.claims.end())
	w.outbox.forget()
	w.pending.forget(w.requests, behind)
	w.schedule.collect(false)
	w.draining = false
	w.schedule.dropEmpty(w.now)
}

// Expire ends what has lasted long enough: contacts that have waited for hold_max in a
// stream whose hold has lasted as long, or that an operator sets aside, become dead letters, holds of which nothing is
// left end, and streams of which nothing is known any more are dropped. Call it every
// second or so.
func (w *Window) Expire(now time.Time) {
	w.clock(now)
	most := expireAtOnce
	if w.cfg.HoldMax > 0 {
		for _, st := range w.schedule.holding(func(st *stream) bool { return st.kept > 0 || w.health.expired(w.now, st) }) {
			n := w.pending.expire(w.now, st, most, w.health.lasted(w.now, st))
			w.health.countExpired(w.now, st, n)
			most -= n
		}
	}
	for _, st := range slices.Clone(decisions{w}.undone()) {
		most -= decisions{w}.goOn(st, most)
	}
	Parking{w}.endEmpty()
	Parking{w}.shed()
	w.pending.late.expire(w.now)
	w.pending.alone.expire(w.now)
	for idle := w.schedule.dropEmpty(w.now); len(idle) > 0; idle = w.schedule.dropEmpty(w.now) {
		for _, st := range idle {
			w.health.endHold(w.now, st, endedEmpty) // deletes or hold_max have left nothing to probe with
		}
	}
}

// TakeEnded returns the positions that ended since the last call.
func (w *Window) TakeEnded() []contactsync.Ended { return w.outbox.takeEnded() }

// DeadLettersWaiting returns the dead letters that may be published, oldest first.
func (w *Window) DeadLettersWaiting() []*DeadLetter { return w.outbox.waiting }

// TakeDeadLetters returns the same and leaves them to the caller: each must come
// back through DeadLettersAcked.
func (w *Window) TakeDeadLetters() []*DeadLetter { return w.outbox.take() }

// DeadLettersAcked says that Kafka has acknowledged these dead letters: their events end.
func (w *Window) DeadLettersAcked(now time.Time, letters []*DeadLetter) {
	w.clock(now)
	w.outbox.acked(letters)
	w.log.acked(letters)
}

// DeadLettersPending is the number of dead letters that Kafka has not acknowledged.
func (w *Window) DeadLettersPending() int { return w.outbox.pending() }

// TakeLogEvents returns the lines for the log since the last call.
func (w *Window) TakeLogEvents() []LogEvent { return w.log.take() }
