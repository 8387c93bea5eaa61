package batcher_test

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/event"
)

// What the simulation has found and what is not mended. Each test asserts what happens,
// and says what should: whoever mends it turns the test around, and takes out what the
// simulation leaves unchecked for it.

// newSimScript returns a world in which nothing happens by chance.
func newSimScript(t *testing.T, streams int) *simRun {
	t.Helper()
	c := batcher.DefaultConfig()
	c.Linger, c.BackoffMin, c.BackoffMax = 0, 100*time.Millisecond, 100*time.Millisecond
	s := newSimRun(t, simPlan{accounts: 1, streams: streams, contacts: 2, partitions: 1}, c)
	s.quiet = true
	return s
}

// put appends an event of a contact and reads it.
func (s *simRun) put(k simKey, kind event.Kind, version int64, name string) {
	s.last[k]++
	e := &simEvent{key: k, kind: kind, n: s.last[k], order: simOrder{version: version}}
	e.record.Key = []byte(k.stream + "/" + k.id)
	if kind == event.Update {
		e.body = clean(map[string]any{"id": k.id, "n": e.n, name: e.n})
	}
	if kind != event.Tombstone {
		e.record.Value = e.value()
	}
	s.append(0, e)
	s.readAll()
}

func (s *simRun) readAll() {
	for s.read[0] < len(s.logs[0]) {
		s.fetch(0)
	}
}

// reassign loses the membership and gets it back: everything is read again.
func (s *simRun) reassign() {
	s.forget()
	s.assign()
	s.readAll()
}

// What is in a request of the last generation makes no event stale: should the request
// fail, nobody else would send what the event set.
func TestSim_ARequestOfTheLastGenerationMakesNothingStale(t *testing.T) {
	t.Parallel()
	s, k := newSimScript(t, 1), simKey{"s0", "c0"}
	s.put(k, event.Update, 1, "first")
	s.put(k, event.Update, 2, "second")
	s.send(true)
	s.reassign()
	s.settle(0, contactsync.Result{Kind: contactsync.BadRequest, Status: 400})
	s.send(true)
	s.settle(0, s.answer(s.requests[0]))
	if got := s.state[k].members; got["second"] != 2.0 || got["first"] != 1.0 {
		t.Errorf("I1: the API holds %v", got)
	}
}

// The same for a state whose dead letter was never written, although a request with it may
// have been applied.
func TestSim_ADeadLetterThatWasNeverWrittenMakesNothingStale(t *testing.T) {
	t.Parallel()
	s, k := newSimScript(t, 1), simKey{"s0", "c0"}
	s.put(k, event.Update, 1, "first")
	s.put(k, event.Update, 2, "second")
	s.send(true)
	s.settle(0, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
	s.pass(time.Minute)
	s.send(true)
	refused := contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
	for range 2 { // nothing else is taken for a minute
		s.settle(0, contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{refused}})
		if s.pass(time.Minute); len(s.model.letters) == 0 {
			s.send(true)
		}
	}
	s.reassign()
	s.send(true)
	s.settle(0, s.answer(s.requests[0]))
	if got := s.state[k].members; got["second"] != 2.0 || got["first"] != 1.0 {
		t.Errorf("I1: the API holds %v", got)
	}
}

// After an ambiguous answer a contact waits, so that the API can be done with the request.
// The delay belongs to the contact, not to the row: what comes after a delete waits too.
func TestSim_DeleteDoesNotEndTheDelay(t *testing.T) {
	t.Parallel()
	s, k := newSimScript(t, 1), simKey{"s0", "c0"}
	s.put(k, event.Update, 0, "first")
	s.send(true)
	s.settle(0, contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: true})
	s.put(k, event.Tombstone, 0, "")
	s.put(k, event.Update, 0, "second")
	s.pass(time.Second)
	s.send(true)
	if len(s.requests) != 0 {
		t.Errorf("%d requests before the delay of %v is over", len(s.requests), s.cfg.AmbiguousRetryDelay)
	}
	s.pass(s.cfg.AmbiguousRetryDelay)
	s.send(true)
	if len(s.requests) != 1 {
		t.Errorf("%d requests after it", len(s.requests))
	}
}

// Streams whose rows were refused are on hold already when the API begins to refuse the
// credentials of all: the account is on hold then.
func TestSim_StrikesCountWhateverTheHoldWasBefore(t *testing.T) {
	t.Parallel()
	s := newSimScript(t, simStrikes)
	s.cfg.DeadLetterMaxPerMinute, s.cfg.DeadLetterMaxRatio = 0, 0
	s.process()
	s.generation--
	s.assign()
	for _, stream := range s.streams {
		s.put(simKey{stream, "c0"}, event.Update, 0, "f")
	}
	answer := func(r contactsync.Result) {
		s.send(true)
		for len(s.requests) > 0 {
			s.settle(0, r)
		}
		s.pass(time.Minute)
	}
	refused := contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
	for range 2 { // it is believed after a minute
		answer(contactsync.Result{Kind: contactsync.Answered, Status: 200, Rows: []contactsync.Outcome{refused}})
	}
	for range 2 {
		answer(contactsync.Result{Kind: contactsync.Unauthorized, Status: 401})
	}
	status := s.window.Status(s.now)
	if holds := status.Holds; len(holds) != simStrikes || holds[0].Kind != "unauthorized" || status.Accounts[0].HeldSince.IsZero() {
		t.Errorf("holds %+v, account %+v: want the account on hold", status.Holds, status.Accounts[0])
	}
}

// Of the rows of a refused request the first half is deleted. What is left counts for the age of
// the oldest contact, and goes after the regular work of other streams.
func TestSim_WhatIsLeftOfARefusedRequestIsTriedApart(t *testing.T) {
	t.Parallel()
	s := newSimScript(t, 2)
	s.put(simKey{"s0", "c0"}, event.Update, 0, "f")
	s.put(simKey{"s0", "c1"}, event.Update, 0, "f")
	s.send(true)
	s.settle(0, contactsync.Result{Kind: contactsync.BadRequest, Status: 400})
	s.put(simKey{"s0", "c0"}, event.Tombstone, 0, "")
	s.pass(time.Minute)
	s.put(simKey{"s1", "c0"}, event.Update, 0, "f")
	s.window.Observe(s.now)
	if age := testutil.ToFloat64(s.metrics.Batcher.OldestPendingAge.WithLabelValues("active")); age != 60 {
		t.Errorf("the oldest contact has age %v, want 60", age)
	}
	s.send(false)
	if stream := s.requests[0].stream.name; stream != "s1" {
		t.Errorf("%s goes first, want s1", stream)
	}
}

// A tombstone that names only an id has deleted contacts of every stream, although retention takes
// it before it is read again.
func TestSim_ATombstoneThatIsGoneHasDeleted(t *testing.T) {
	t.Parallel()
	s, k := newSimScript(t, 1), simKey{"s0", "c0"}
	s.put(k, event.Update, 0, "first")
	e := &simEvent{key: simKey{"", k.id}, kind: event.Tombstone}
	e.record.Key = []byte(k.id)
	s.append(0, e)
	s.readAll()
	s.gone[0][int(e.record.Offset)] = true
	s.put(k, event.Update, 0, "second")
	s.send(true)
	s.settle(0, s.answer(s.requests[0]))
	if got := s.state[k].members; got["second"] == nil || got["first"] != nil {
		t.Errorf("the API holds %v", got)
	}
	s.checkState()
}

// A delete that is left to be read again, and is older than what waits, ends nothing.
func TestSim_AnOlderDeleteThatIsLeftEndsNothing(t *testing.T) {
	t.Parallel()
	s, k := newSimScript(t, 1), simKey{"s0", "c0"}
	s.cfg.WindowBytes = 1600
	s.process()
	s.generation--
	s.assign()
	s.put(k, event.Update, 2, "first")
	for range 2 { // the first one does not put a stream on hold
		s.send(true)
		s.settle(0, contactsync.Result{Kind: contactsync.Unauthorized, Status: 401})
		s.pass(time.Minute)
	}
	s.put(k, event.Delete, 1, "")
	if !s.again[0].parked[1] {
		t.Fatal("the delete was not left")
	}
	if s.ended[0][0] {
		t.Error("it has ended a newer state")
	}
}

// A tombstone that is read again hides none that lies behind it in the log: what lies in front of
// that one may still be older than what is known.
func TestSim_ATombstoneThatIsReadAgainHidesNoLaterOne(t *testing.T) {
	t.Parallel()
	s, k := newSimScript(t, 1), simKey{"s0", "c0"}
	named := simKey{"", k.id}
	first, sent, late, last := &simEvent{key: named, kind: event.Tombstone}, &simEvent{key: k, order: simOrder{version: 2}}, &simEvent{key: k, order: simOrder{version: 1}}, &simEvent{key: named, kind: event.Tombstone}
	for _, e := range []*simEvent{first, sent, late, last} {
		s.append(0, e)
	}
	m, cl := s.model, s.model.claims[s.claim(0)]
	m.remember(k, sent.order)
	m.tombstone(simRead{cl, last}, true)
	m.tombstone(simRead{cl, first}, true)
	if must, may := m.fate(late, cl); must != simStale && !slices.Contains(may, simStale) {
		t.Errorf("it must be %s, or may be one of %v", must, may)
	}
	if got := m.gone[named].origin; got != last.record.Position {
		t.Errorf("the newest tombstone is at %v, want %v", got, last.record.Position)
	}
}
