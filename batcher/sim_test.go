package batcher

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/setting"
	"github.com/contactsync/contactsync/metrics"
)

// world is everything around a Window, in virtual time: partitions with events,
// an API with a state for each contact, a dead-letter topic and the consumer's
// bookkeeping. It checks the invariants at every step.
type world struct {
	t       *rapid.T
	w       *Window
	now     time.Time
	cfg     Config
	gate    *simGate
	decoder *event.Decoder
	rand    *rand.Rand

	logs      [][]simEvent // per partition
	read      []int        // next offset to hand over
	committed []int
	ended     []map[int]bool
	gen       int32
	catchEnd  []int // read position at which a partition has caught up; -1 when it has

	seq      map[string]int            // last seq produced, per contact
	api      map[string]map[string]int // what the API holds, per contact
	applied  map[string]int            // highest seq applied, per contact
	letters  []contactsync.DeadLetter
	flights  []*Request
	inFlight map[string]bool
	restarts bool            // a takeover is by another process, which remembers nothing
	versions bool            // events carry their seq as version, and some come late
	valid    map[string]int  // last seq of an update, per contact
	removed  map[string]bool // contacts with a delete or tombstone
	quiet    bool            // no more faults
}

type simEvent struct {
	contact string
	value   string
	seq     int
	kind    event.Kind
	late    bool // a newer event of the contact came before it
	headers []contactsync.Header
}

// simGate admits at most left requests until it is filled again.
type simGate struct {
	left    int
	again   time.Duration
	reports int
	out     int
}

func (g *simGate) Admit(now time.Time) (func(time.Time, contactsync.Result), time.Time) {
	if g.left == 0 {
		return nil, now.Add(g.again)
	}
	g.left--
	g.out++
	return func(time.Time, contactsync.Result) { g.out--; g.reports++ }, time.Time{}
}

const simPartitions = 3

func newWorld(t *rapid.T) *world {
	cfg := DefaultConfig()
	cfg.MaxRows = rapid.IntRange(1, 7).Draw(t, "max rows")
	cfg.MaxBytes = setting.Size(rapid.IntRange(40, 600).Draw(t, "max bytes"))
	cfg.MaxInFlight = rapid.IntRange(1, 4).Draw(t, "max in flight")
	cfg.Linger = time.Duration(rapid.IntRange(0, 900).Draw(t, "linger")) * time.Millisecond
	cfg.RowAttempts = rapid.IntRange(1, 4).Draw(t, "row attempts")
	cfg.AmbiguousRetryDelay = time.Duration(rapid.IntRange(0, 5000).Draw(t, "ambiguous retry delay")) * time.Millisecond
	cfg.HoldProbeMax = time.Duration(rapid.IntRange(500, 20_000).Draw(t, "probe max")) * time.Millisecond
	cfg.HoldMax = time.Duration(rapid.SampledFrom([]int{0, 0, 1, 5000}).Draw(t, "hold max")) * time.Millisecond
	cfg.DeadLetterMaxPerMinute = rapid.IntRange(0, 6).Draw(t, "dead letter max per minute")
	cfg.DeadLetterMaxRatio = rapid.Float64Range(0, 1).Draw(t, "dead letter max ratio")
	ec := event.DefaultConfig()
	ec.Validation = "lenient"
	dec, err := event.NewDecoder(ec, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &world{
		t: t, cfg: cfg, now: time.Unix(1_700_000_000, 0), gate: &simGate{left: 1000, again: time.Second}, decoder: dec,
		rand: rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed"))),
		seq:  map[string]int{}, api: map[string]map[string]int{}, applied: map[string]int{}, inFlight: map[string]bool{},
		versions: rapid.Bool().Draw(t, "versions"), removed: map[string]bool{}, valid: map[string]int{},
	}
	for range simPartitions {
		s.logs = append(s.logs, nil)
		s.ended = append(s.ended, map[int]bool{})
		s.catchEnd = append(s.catchEnd, -1)
	}
	s.read, s.committed = make([]int, simPartitions), make([]int, simPartitions)
	s.restarts = !s.versions && rapid.Bool().Draw(t, "restarts")
	s.begin()
	s.assign()
	return s
}

// begin starts the process: nothing is remembered.
func (s *world) begin() {
	s.w = NewWindow(s.cfg, func(string) (Gate, bool) { return s.gate, true }, &metrics.New(prometheus.NewRegistry()).Batcher, 7)
}

func (s *world) claims() []contactsync.Claim {
	var all []contactsync.Claim
	for p := range simPartitions {
		all = append(all, contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: int32(p)}, Generation: s.gen})
	}
	return all
}

func (s *world) assign() {
	s.gen++
	s.w.Assign(s.now, s.claims(), true)
	for p := range simPartitions {
		s.catchEnd[p] = len(s.logs[p])
		s.read[p] = s.committed[p]
		for o := range s.ended[p] {
			if o >= s.committed[p] {
				delete(s.ended[p], o)
			}
		}
		s.caughtUp(p)
	}
}

func (s *world) caughtUp(p int) {
	if s.catchEnd[p] >= 0 && s.read[p] >= s.catchEnd[p] {
		s.catchEnd[p] = -1
		s.w.CaughtUp(s.now, s.claims()[p])
	}
}

// produce appends an event to its contact's partition.
func (s *world) produce() {
	n := s.rand.IntN(12)
	contact := fmt.Sprintf("c%d", n)
	p := n % simPartitions
	stream := fmt.Sprintf("s%d", n%4)
	e := simEvent{contact: stream + "/" + contact, kind: event.Update}
	if newest := s.valid[contact]; s.versions && newest > 1 && !s.removed[e.contact] && s.rand.IntN(8) == 0 {
		e.late, e.seq = true, 1+s.rand.IntN(newest-1)
		e.value = s.update(stream, contact, e.seq)
		s.logs[p] = append(s.logs[p], e)
		return
	}
	s.seq[contact]++
	e.seq = s.seq[contact]
	switch s.rand.IntN(20) {
	case 0:
		e.kind, e.value = event.Broken, `{"streamId":`
	case 1:
		e.kind, e.value = event.Delete, fmt.Sprintf(`{"streamId":%q,"op":"delete","contact":{"id":%q}}`, stream, contact)
		s.removed[e.contact] = true
	case 2:
		e.kind = event.Tombstone
		s.removed[e.contact] = true
	default:
		s.valid[contact] = e.seq
		e.value = s.update(stream, contact, e.seq)
	}
	s.logs[p] = append(s.logs[p], e)
}

func (s *world) update(stream, contact string, seq int) string {
	version := ""
	if s.versions {
		version = fmt.Sprintf(`,"version":%d`, seq)
	}
	return fmt.Sprintf(`{"streamId":%q,"contact":{"id":%q,"seq":%d,"f%d":%d}%s}`, stream, contact, seq, s.rand.IntN(3), seq, version)
}

// replay puts a dead letter back as the replayer does: not over what is newer in
// the log, and with the place up to which it looked. Something may come between.
func (s *world) replay() {
	if len(s.letters) == 0 {
		return
	}
	l := s.letters[s.rand.IntN(len(s.letters))]
	var v struct{ Contact struct{ Seq int } }
	if l.Contact == "" || json.Unmarshal(l.Record.Value, &v) != nil {
		return
	}
	p := int(l.Record.Partition)
	r := event.Replay{Of: l.Record.Position, Origin: l.Record.Position, OriginTime: l.Record.Time, Checked: int64(len(s.logs[p]))}
	if old, err := event.ReadReplay(l.Record.Headers); err == nil && old != nil {
		r.Count, r.Origin, r.OriginTime = old.Count, old.Origin, old.OriginTime
	}
	r.Count++
	key := l.Stream + "/" + l.Contact
	for _, e := range s.logs[p] {
		if e.contact == key && (e.seq > v.Contact.Seq || e.kind != event.Update) {
			return
		}
	}
	for range s.rand.IntN(20) {
		s.produce()
	}
	s.logs[p] = append(s.logs[p], simEvent{
		contact: key, value: string(l.Record.Value), seq: v.Contact.Seq, kind: event.Update, late: true, headers: r.Headers(),
	})
}

// fetch hands the next event of a partition to the window.
func (s *world) fetch(p int) {
	if s.read[p] >= len(s.logs[p]) || s.w.Full() {
		return
	}
	e := s.logs[p][s.read[p]]
	rec := contactsync.Record{Position: contactsync.Position{TopicPartition: s.claims()[p].TopicPartition, Offset: int64(s.read[p])}, Generation: s.claims()[p].Generation, Time: s.now, Key: []byte(e.contact), Headers: e.headers}
	if e.kind != event.Tombstone {
		rec.Value = []byte(e.value)
	}
	ev := s.decoder.Decode(rec)
	if ev.Kind != e.kind {
		s.t.Fatalf("event %q decoded as %v, want %v (%v)", e.value, ev.Kind, e.kind, ev.Err)
	}
	ev.Contact.Account = "a"
	s.read[p]++
	s.w.Add(s.now, &ev)
	s.caughtUp(p)
	s.settleEnded()
}

// start takes every request that may start now.
func (s *world) start() {
	for f := s.w.Next(s.now); f != nil; f = s.w.Next(s.now) {
		s.flights = append(s.flights, f)
		if len(f.Batch.Rows) == 0 || len(f.Batch.Rows) > s.cfg.MaxRows {
			s.t.Fatalf("a request of %d rows, at most %d allowed", len(f.Batch.Rows), s.cfg.MaxRows)
		}
		if l := s.w.schedule.streams[f.Batch.Stream]; l.health.hold != nil {
			if l.inFlight > 1 {
				s.t.Fatalf("%d requests of a stream that is on hold", l.inFlight)
			}
			if l.health.hold.kind == holdRejecting && len(f.Batch.Rows) > 1 {
				s.t.Fatalf("a request of %d rows of a stream whose rows are refused", len(f.Batch.Rows))
			}
		}
		if a := s.w.schedule.accounts[0]; a.health.held && a.inFlight > 1 {
			s.t.Fatalf("%d requests of an account that is on hold", a.inFlight)
		}
		for _, row := range f.Batch.Rows {
			key := f.Batch.Stream + "/" + row.ID
			if s.inFlight[key] {
				s.t.Fatalf("I3: contact %s is in two requests", key)
			}
			s.inFlight[key] = true
		}
		if f.cancel = func() {}; s.gate.out > s.cfg.MaxInFlight {
			s.t.Fatalf("%d requests on their way, at most %d allowed", s.gate.out, s.cfg.MaxInFlight)
		}
	}
}

// apply makes the API take a row, and checks I3.
func (s *world) apply(stream string, row contactsync.Row) {
	key := stream + "/" + row.ID
	var body map[string]any
	if err := json.Unmarshal(row.Body, &body); err != nil {
		s.t.Fatalf("row body %q: %v", row.Body, err)
	}
	seq := int(body["seq"].(float64))
	if seq < s.applied[key] {
		s.t.Fatalf("I3: contact %s: seq %d after %d", key, seq, s.applied[key])
	}
	s.applied[key] = seq
	if s.api[key] == nil {
		s.api[key] = map[string]int{}
	}
	for k, v := range body {
		if n, ok := v.(float64); ok {
			s.api[key][k] = int(n)
		}
	}
}

// answer settles one request in a random way.
func (s *world) answer(i int) {
	f := s.flights[i]
	s.flights = slices.Delete(s.flights, i, i+1)
	for _, row := range f.Batch.Rows {
		delete(s.inFlight, f.Batch.Stream+"/"+row.ID)
	}
	r := contactsync.Result{Kind: contactsync.Answered, Status: 200}
	roll := s.rand.IntN(12)
	if s.quiet {
		roll = 11
	}
	switch roll {
	case 0:
		r = contactsync.Result{Kind: contactsync.Unavailable, Ambiguous: s.rand.IntN(2) == 0}
		if r.Ambiguous && s.rand.IntN(2) == 0 { // it was applied, and nobody heard
			for _, row := range f.Batch.Rows {
				s.apply(f.Batch.Stream, row)
			}
		}
	case 1:
		r.Kind = contactsync.Throttled
	case 2:
		r.Kind = contactsync.BadRequest
	case 3:
		r.Kind = contactsync.TooLarge
	case 4:
		r.Kind = contactsync.Unauthorized
	case 5:
		r.Kind = contactsync.StreamGone
	case 6:
		r.Kind = contactsync.Canceled
	default:
		for _, row := range f.Batch.Rows {
			o := contactsync.Outcome{Verdict: contactsync.Delivered}
			if !s.quiet {
				switch s.rand.IntN(8) {
				case 0:
					o = contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no", Transient: s.rand.IntN(2) == 0}
				case 1:
					o = contactsync.Outcome{}
				}
			}
			if o.Verdict == contactsync.Delivered {
				s.apply(f.Batch.Stream, row)
			}
			r.Rows = append(r.Rows, o)
		}
	}
	s.w.Settle(s.now, f, r)
	s.settleEnded()
}

// bury acknowledges the dead letters that wait.
func (s *world) bury() {
	letters := s.w.TakeDeadLetters()
	for _, b := range letters {
		s.letters = append(s.letters, b.DeadLetter)
	}
	s.w.DeadLettersAcked(s.now, letters)
	s.settleEnded()
}

func (s *world) settleEnded() {
	for _, p := range s.w.TakeEnded() {
		if p.Generation != s.gen {
			s.t.Fatalf("I4: %v ended in generation %d, present is %d", p, p.Generation, s.gen)
		}
		if s.ended[p.Partition][int(p.Offset)] {
			s.t.Fatalf("%v ended twice", p)
		}
		s.ended[p.Partition][int(p.Offset)] = true
	}
}

func (s *world) commit() {
	for p := range simPartitions {
		for s.ended[p][s.committed[p]] {
			s.committed[p]++
		}
	}
}

// takeover ends the generation, in order or by force, and begins the next.
func (s *world) takeover() {
	force := s.rand.IntN(2) == 0
	s.w.Drain(s.now)
	for range 200 {
		s.start()
		if !force {
			s.bury()
		}
		if force || len(s.flights) == 0 && s.w.Drained(s.now) {
			break
		}
		if len(s.flights) > 0 {
			s.answer(0)
		} else {
			s.now = s.now.Add(100 * time.Millisecond)
		}
	}
	s.commit()
	w, late, charge := s.w, s.w.TakeDeadLetters(), int64(0) // Kafka has these when the next generation has begun
	for _, b := range late {
		s.letters = append(s.letters, b.DeadLetter)
		charge += b.charge
	}
	w.Forget(s.now)
	for len(s.flights) > 0 { // those that were given up land as canceled
		f := s.flights[0]
		s.flights = s.flights[1:]
		for _, row := range f.Batch.Rows {
			delete(s.inFlight, f.Batch.Stream+"/"+row.ID)
		}
		s.w.Settle(s.now, f, contactsync.Result{Kind: contactsync.Canceled})
	}
	s.settleEnded()
	if s.w.bytes() != charge || s.w.pending.contacts != 0 || !s.w.Drained(s.now) {
		s.t.Fatalf("after Forget: %d bytes, %d contacts", s.w.bytes(), s.w.pending.contacts)
	}
	for _, l := range s.w.schedule.streams {
		if len(l.contacts) > 0 || l.empty(s.now) {
			s.t.Fatalf("after Forget stream %s has %d contacts and is not forgotten", l.name, len(l.contacts))
		}
	}
	if s.restarts {
		s.begin()
	}
	s.assign()
	w.DeadLettersAcked(s.now, late)
	s.settleEnded()
}

// finish ends all faults and lets everything drain, then checks I1, I2 and I9.
func (s *world) finish() {
	s.quiet, s.gate.left = true, 1<<30
	for range 20_000 {
		for p := range simPartitions {
			s.fetch(p)
		}
		if s.w.Full() {
			s.w.StopCatchingUp(s.now)
		}
		s.start()
		for len(s.flights) > 0 {
			s.answer(0)
			s.start()
		}
		s.w.Expire(s.now)
		s.w.Observe(s.now)
		s.bury()
		s.commit()
		if s.done() {
			break
		}
		if wake := s.w.Wake(); wake.After(s.now) {
			s.now = wake
		} else {
			s.now = s.now.Add(10 * time.Millisecond)
		}
	}
	if !s.done() {
		s.t.Fatalf("I9: not drained: committed %v of %d, %d, %d; %d pending, wake %v", s.committed, len(s.logs[0]), len(s.logs[1]), len(s.logs[2]), s.w.pending.contacts, s.w.Wake())
	}
	if s.w.bytes() != 0 || s.w.pending.contacts != 0 || len(s.w.requests) != 0 || s.w.DeadLettersPending() != 0 || s.w.outbox.staleInFlight != 0 || s.gate.out != 0 {
		s.t.Fatalf("I8: drained, but %d bytes, %d contacts, %d requests, %d dead letters (%d of nobody), %d permits are held",
			s.w.bytes(), s.w.pending.contacts, len(s.w.requests), s.w.DeadLettersPending(), s.w.outbox.staleInFlight, s.gate.out)
	}
	s.checkState()
}

func (s *world) done() bool {
	for p := range simPartitions {
		if s.committed[p] < len(s.logs[p]) {
			return false
		}
	}
	return true
}

// checkState compares the API's state with the fold of all events, for contacts
// of which nothing was set aside or deleted.
func (s *world) checkState() {
	skip := map[string]bool{}
	for _, l := range s.letters {
		if l.Contact != "" {
			skip[l.Stream+"/"+l.Contact] = true
		}
	}
	want := map[string]map[string]int{}
	for _, log := range s.logs {
		for _, e := range log {
			switch e.kind {
			case event.Delete, event.Tombstone:
				skip[e.contact] = true
			case event.Update:
				if e.late {
					continue
				}
				var v struct{ Contact map[string]any }
				if err := json.Unmarshal([]byte(e.value), &v); err != nil {
					s.t.Fatal(err)
				}
				if want[e.contact] == nil {
					want[e.contact] = map[string]int{}
				}
				for k, n := range v.Contact {
					if f, ok := n.(float64); ok {
						want[e.contact][k] = int(f)
					}
				}
			}
		}
	}
	for contact, state := range want {
		if !skip[contact] && !maps.Equal(state, s.api[contact]) {
			s.t.Fatalf("I1: contact %s: the API holds %v, want %v", contact, s.api[contact], state)
		}
	}
}

// TestWindow_KeepsItsPromises lives through random days: events, faults of every
// kind, deletes, dead letters, takeovers. It fails where an invariant breaks.
func TestWindow_KeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newWorld(t)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch s.rand.IntN(17) {
			case 0, 1, 2, 3, 4:
				s.produce()
			case 5, 6, 7, 8:
				s.fetch(s.rand.IntN(simPartitions))
			case 9, 10:
				s.start()
			case 11, 12:
				if len(s.flights) > 0 {
					s.answer(s.rand.IntN(len(s.flights)))
				}
			case 13:
				s.now = s.now.Add(time.Duration(s.rand.IntN(3000)) * time.Millisecond)
				s.w.Expire(s.now)
				s.w.Observe(s.now)
			case 14:
				s.bury()
				s.commit()
				s.gate.left = s.rand.IntN(10)
			case 15:
				if s.rand.IntN(6) == 0 {
					s.takeover()
				}
			case 16:
				s.replay()
			}
		}
		s.finish()
	})
}
