package replay_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/replay"
	"github.com/contactsync/contactsync/metrics"
)

// simulation is a source topic, the service, an API with a state for each contact, a
// dead-letter topic, and replays that are killed and run again. It checks what
// replay/doc.go and docs/deadletters.md promise at every step.
type simulation struct {
	t       *rapid.T
	kafka   *fakeKafka
	source  []*fakePartition
	clock   time.Time
	decoder *event.Decoder
	writer  *deadletter.Writer
	service *fakeService

	remember   int                 // contacts that the service remembers
	partitions map[contactID][]int // of a contact
	declares   string              // what events declare of their order
	refuse     int                 // of a hundred rows, how many the API refuses
	trimmed    bool                // retention or compaction has removed something
	compacted  bool                // compaction has

	events      []sourceEvent                          // by seq, from 1
	state       map[contactID]int                      // the seq that the API has
	writtenBack map[contactsync.Position]int           // how often, by the record of the dead letter
	results     map[contactsync.Position]replay.Result // of the last run that ended
	unseen      map[[2]int]bool                        // by a replay's seq and that of a newer event: it could not be seen
}

// simContacts are the contacts; one tombstone can mean two of them.
var simContacts = []contactID{{"s1", "a"}, {"s1", "b"}, {"s2", "a"}, {"s2", "c"}, {"s1", "d"}}

func newSimulation(t *rapid.T) *simulation {
	sim := &simulation{
		t: t, clock: time.Now().Truncate(time.Millisecond), partitions: map[contactID][]int{},
		events: make([]sourceEvent, 1), state: map[contactID]int{},
		writtenBack: map[contactsync.Position]int{}, results: map[contactsync.Position]replay.Result{}, unseen: map[[2]int]bool{},
	}
	sim.remember = pick(sim, "remember", 100, 100, 100, 1)
	sim.declares = pick(sim, "declares", "none", "none", "version", "occurredAt", "mixed")
	sim.refuse = pick(sim, "refused rows", 30, 50, 70) // of a stream that gets all refused nothing ends
	partitions := 1 + sim.draw(3, "partitions")
	for range partitions {
		sim.source = append(sim.source, &fakePartition{most: 1 << 20})
	}
	sim.kafka = &fakeKafka{topics: map[string][]*fakePartition{"t": sim.source, "dlq": {{most: 1500}}}, now: func() time.Time { return sim.clock.Truncate(time.Millisecond) }, wrote: func(contactsync.Record) {}}
	for _, c := range simContacts[:2+sim.draw(len(simContacts)-1, "contacts")] {
		sim.partitions[c] = []int{sim.draw(partitions, "partition")}
		if sim.draw(3, "moves") == 0 {
			sim.partitions[c] = append(sim.partitions[c], sim.draw(partitions, "partition"))
		}
	}
	cfg := event.DefaultConfig()
	cfg.Validation = event.Lenient
	var err error
	if sim.decoder, err = event.NewDecoder(cfg, nil); err != nil {
		t.Fatal(err)
	}
	dlq := deadletter.DefaultConfig()
	dlq.Topic, dlq.EnvelopeBytes = "dlq", 0
	sim.writer = deadletter.New(dlq, deadletter.Deps{Kafka: kafka.NewOn(sim.kafka, []string{"sim:1"}, 5*time.Second, slog.New(slog.DiscardHandler)), Log: slog.New(slog.DiscardHandler), Metrics: &metrics.New(prometheus.NewRegistry()).DeadLetter})
	sim.service = newFakeService(sim, partitions, sim.remember)
	return sim
}

// draw returns one of the numbers below n, each as likely: rapid's own ranges prefer
// small ones, and then everything would be faults.
func (sim *simulation) draw(n int, what string) int {
	return rapid.Custom(func(t *rapid.T) int {
		const bits = 8
		at := 0
		for range bits {
			at *= 2
			if rapid.Bool().Draw(t, "bit") {
				at++
			}
		}
		return at * n >> bits
	}).Draw(sim.t, what)
}

// pick returns one of some values.
func pick[V any](sim *simulation, what string, from ...V) V { return from[sim.draw(len(from), what)] }

func (sim *simulation) contacts() []contactID {
	var all []contactID
	for _, c := range simContacts {
		if sim.partitions[c] != nil {
			all = append(all, c)
		}
	}
	return all
}

// step produces an event or lets the service work.
func (sim *simulation) step() {
	switch n := sim.draw(20, "step"); {
	case n < 6:
		sim.produce()
	case n < 11:
		p := sim.draw(len(sim.source), "fetched partition")
		for range 1 + sim.draw(6, "fetched records") {
			sim.service.fetch(p)
		}
	case n < 14:
		sim.service.send(sim.draw(4, "hold") == 0)
	case n < 18:
		sim.service.writeDeadLetters(sim.draw(10, "crash between dead letters and commit") != 0)
	default:
		sim.service.restart(sim.draw(2, "process") == 0)
	}
}

// answer is the API's answer about a row.
func (sim *simulation) answer() contactsync.Outcome {
	if sim.draw(100, "refused") >= 100-sim.refuse { // rapid likes small numbers
		return contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
	}
	return contactsync.Outcome{Verdict: contactsync.Delivered}
}

// produce appends an event of some contact.
func (sim *simulation) produce() {
	sim.clock = sim.clock.Add(pick(sim, "later", 0, 0, time.Millisecond, time.Second))
	contact := pick(sim, "contact", sim.contacts()...)
	p := pick(sim, "of its partitions", sim.partitions[contact]...)
	seq := len(sim.events)
	// Kafka keeps milliseconds, and the clock is also set to when the service wants to be woken.
	e := sourceEvent{contacts: []contactID{contact}, kind: event.Update, time: sim.clock.Truncate(time.Millisecond)}
	if sim.draw(6, "clock behind") == 0 {
		e.time = e.time.Add(-pick(sim, "behind", time.Millisecond, time.Second, time.Minute))
	}
	more := ""
	if sim.declares == "version" || sim.declares == "mixed" && sim.draw(2, "has version") == 0 {
		e.version = max(1, int64(seq-sim.draw(3, "late")*sim.draw(4, "by")))
		more += fmt.Sprintf(`,"version":%d`, e.version)
	}
	if sim.declares == "occurredAt" || sim.declares == "mixed" && sim.draw(2, "has occurredAt") == 0 {
		e.occurredAt = e.time.Add(-time.Duration(sim.draw(3, "late")) * time.Second).UTC()
		more += fmt.Sprintf(`,"occurredAt":%q`, e.occurredAt.Format(time.RFC3339Nano))
	}
	member := fmt.Sprintf(`,"f%d":1`, sim.draw(2, "member"))
	if sim.draw(12, "large") == 0 {
		member += `,"pad":"` + strings.Repeat("x", 2000) + `"`
	}
	rec := contactsync.Record{
		Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: int32(p)}}, Time: e.time, Key: []byte(contact.stream + "/" + contact.id),
		Value: fmt.Appendf(nil, `{"streamId":%q,"contact":{"id":%q,"seq":%d%s}%s}`, contact.stream, contact.id, seq, member, more),
	}
	switch sim.draw(14, "kind") {
	case 0:
		e.kind, rec.Value = event.Delete, fmt.Appendf(nil, `{"streamId":%q,"op":"delete","contact":{"id":%q}%s}`, contact.stream, contact.id, more)
	case 1:
		e.kind, rec.Value, e.version, e.occurredAt = event.Tombstone, nil, 0, time.Time{}
		if sim.draw(2, "without its stream") == 0 {
			rec.Key = []byte(contact.id)
			e.contacts = slices.DeleteFunc(sim.contacts(), func(c contactID) bool { return c.id != contact.id })
		}
	case 2:
		e.kind, e.contacts, rec.Value = event.Broken, nil, rec.Value[:len(rec.Value)-1]
	}
	e.at = sim.source[p].add(rec).Position
	sim.events = append(sim.events, e)
	sim.t.Logf("event %d: %v of %v at %v, version %d, occurredAt %v, time %v, key %s", seq, e.kind, e.contacts, e.at, e.version, e.occurredAt, e.time, rec.Key)
}

// trim is retention or compaction, of what the service has read.
func (sim *simulation) trim() {
	sim.trimmed = true
	p := sim.draw(len(sim.source), "trimmed partition")
	part := sim.source[p]
	if sim.draw(2, "retention") == 0 {
		part.first = max(part.first, int64(sim.draw(int(sim.service.committed[p])+1, "new first")))
		return
	}
	sim.compacted = true
	last := map[string]int64{}
	for offset, rec := range part.log {
		if rec != nil {
			last[string(rec.Key)] = int64(offset)
		}
	}
	for offset, rec := range part.log[:sim.service.committed[p]] {
		if rec != nil && last[string(rec.Key)] > int64(offset) && offset < len(part.log)-1 {
			part.log[offset] = nil
		}
	}
}

// applied notes what the API was given, and checks that it is no older state. replayed
// is whether the service took it from a replay.
func (sim *simulation) applied(contact contactID, seq int, replayed bool) {
	before := sim.state[contact]
	sim.state[contact] = seq
	sim.t.Logf("  the API is given seq %d of %v, replayed %v", seq, contact, replayed)
	old, now := &sim.events[before], &sim.events[seq]
	if before == 0 || old.compare(now) <= 0 || sim.cyclic(contact, seq, before) {
		return
	}
	switch same := old.at.TopicPartition == now.at.TopicPartition; {
	case !replayed && (!same || now.version > 0 || !now.occurredAt.IsZero()):
		// design.md, 6: "Events of one contact in two partitions have no order"; and 5:
		// the window knows versions only "for the contacts seen last".
		return
	case replayed && sim.unseen[[2]int{seq, before}]:
		return // the run that wrote it back could not see that one, or it is a part of it
	case replayed && !same && (sim.remember < 100 || !sim.service.knows(before)):
		return // the window that took the replay has not seen the other, or may have forgotten it
	}
	sim.t.Fatalf("(a) I3: contact %v: the API is given seq %d (%+v, replayed %v) after seq %d (%+v)", contact, seq, *now, replayed, before, *old)
}

// TestSimulation_KeepsItsPromises simulates events, dead letters, and replays that are
// killed at any point. It fails where a promise is broken.
func TestSimulation_KeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(*testing.T) { // so that waits take no time
			defer func() { failed = recover() }()
			simulate(rt)
		})
		// Two places, because rapid takes panics of one place for the same failure, and
		// would reduce a real one to a run that ran out of random numbers.
		if strings.Contains(fmt.Sprintf("%T", failed), "invalidData") {
			panic(failed)
		}
		if failed != nil {
			panic(failed)
		}
	})
}

func simulate(t *rapid.T) {
	sim := newSimulation(t)
	defer sim.writer.Close()
	for range 2 + sim.draw(5, "runs") {
		for range sim.draw(20, "steps") {
			sim.step()
		}
		if sim.draw(4, "the service is up to date") > 0 {
			sim.service.drain()
		}
		if sim.draw(8, "trims") == 0 {
			sim.trim()
		}
		sim.run()
	}
	sim.finish()
}
