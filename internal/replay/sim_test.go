package replay_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/replay"
	"github.com/contactsync/contactsync/metrics"
)

// simWorld is a small world: a source topic, the service, an API with a state for
// each contact, a dead-letter topic, and replays that are killed and run again. It
// checks what replay/doc.go and docs/deadletters.md promise at every step.
type simWorld struct {
	t        *rapid.T
	kafka    *simKafka
	source   []*simPartition
	clock    time.Time
	decoder  *event.Decoder
	letters  *deadletter.Writer
	service  *simService
	secret   string
	progress string

	api       bool // the way of all replays of this world: to the API, or to the topic
	remember  int
	home      map[simKey][]int // the partitions of a contact
	style     string           // what events say of their order
	refuse    int              // of a hundred rows, how many the API refuses
	trimmed   bool             // retention or compaction was here
	compacted bool             // the latter

	events  []simEvent // by seq, from 1
	state   map[simKey]simState
	history map[simKey][]int                       // every seq that the API was given
	back    map[contactsync.Position]int           // how often a letter was written back
	told    map[contactsync.Position]replay.Result // what the last run said of a letter that it did not replay
	unseen  map[[2]int]bool                        // by a replay's seq and that of a newer event: that it could not be seen
	sent    map[contactsync.Position]int           // how often the API confirmed a letter's own state
}

// simKeys are the contacts; one tombstone can mean two of them.
var simKeys = []simKey{{"s1", "a"}, {"s1", "b"}, {"s2", "a"}, {"s2", "c"}, {"s1", "d"}}

// simState is what the API holds of a contact.
type simState struct {
	seq int
	by  *simRun // nil: the service
}

func newSimWorld(t *rapid.T, dir, secret string) *simWorld {
	w := &simWorld{
		t: t, clock: time.Now().Truncate(time.Millisecond), secret: secret, progress: filepath.Join(dir, "progress"),
		api:  rapid.Bool().Draw(t, "to the API"),
		home: map[simKey][]int{}, events: make([]simEvent, 1), state: map[simKey]simState{}, history: map[simKey][]int{},
		back: map[contactsync.Position]int{}, told: map[contactsync.Position]replay.Result{}, sent: map[contactsync.Position]int{}, unseen: map[[2]int]bool{},
	}
	w.remember = pick(w, "remember", 100, 100, 100, 1)
	w.style = pick(w, "style", "none", "none", "version", "occurredAt", "mixed")
	w.refuse = pick(w, "refused rows", 30, 70, 100)
	partitions := 1 + w.draw(3, "partitions")
	for range partitions {
		w.source = append(w.source, &simPartition{most: 1 << 20})
	}
	w.kafka = &simKafka{topics: map[string][]*simPartition{"t": w.source, "dlq": {{most: 1500}}}, now: func() time.Time { return w.clock }, wrote: func(contactsync.Record) {}}
	for _, k := range simKeys[:2+w.draw(len(simKeys)-1, "contacts")] {
		w.home[k] = []int{w.draw(partitions, "partition")}
		if w.draw(3, "moves") == 0 {
			w.home[k] = append(w.home[k], w.draw(partitions, "partition"))
		}
	}
	cfg := event.DefaultConfig()
	cfg.Validation = "lenient"
	var err error
	if w.decoder, err = event.NewDecoder(cfg, nil); err != nil {
		t.Fatal(err)
	}
	dlq := deadletter.DefaultConfig()
	dlq.Topic, dlq.EnvelopeBytes = "dlq", 0
	w.letters = deadletter.New(dlq, deadletter.Deps{Kafka: kafka.NewOn(w.kafka, []string{"sim:1"}, 5*time.Second, slog.New(slog.DiscardHandler)), Log: slog.New(slog.DiscardHandler), Metrics: &metrics.New(prometheus.NewRegistry()).DeadLetter})
	w.service = newSimService(w, partitions, w.remember)
	return w
}

// note tells what happens, for whoever reads of a failure.
func (w *simWorld) note(format string, args ...any) {
	w.t.Logf(format, args...)
}

// draw returns one of the numbers below n, each as likely: rapid's own ranges prefer
// small ones, and a world of those is all faults.
func (w *simWorld) draw(n int, what string) int {
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
	}).Draw(w.t, what)
}

// pick returns one of some values.
func pick[V any](w *simWorld, what string, from ...V) V { return from[w.draw(len(from), what)] }

func (w *simWorld) contacts() []simKey {
	var keys []simKey
	for _, k := range simKeys {
		if w.home[k] != nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// step lets the world go on: mostly events, and the service at work.
func (w *simWorld) step() {
	switch n := w.draw(20, "step"); {
	case n < 6:
		w.produce()
	case n < 11:
		p := w.draw(len(w.source), "fetched partition")
		for range 1 + w.draw(6, "fetched records") {
			w.service.fetch(p)
		}
	case n < 14:
		w.service.send(w.answer, w.draw(4, "hold") == 0)
	case n < 18:
		w.service.bury(w.draw(10, "crash between letters and commit") != 0)
	default:
		w.service.restart(w.draw(2, "process") == 0)
	}
}

// answer is the API's to a row of the service.
func (w *simWorld) answer(simKey, int) contactsync.Outcome {
	if w.draw(100, "refused") < w.refuse {
		return contactsync.Outcome{Verdict: contactsync.Failed, Reason: "no"}
	}
	return contactsync.Outcome{Verdict: contactsync.Delivered}
}

// produce appends an event of some contact.
func (w *simWorld) produce() {
	w.clock = w.clock.Add(pick(w, "later", 0, 0, time.Millisecond, time.Second))
	key := pick(w, "contact", w.contacts()...)
	p := pick(w, "of its partitions", w.home[key]...)
	seq := len(w.events)
	e := simEvent{keys: []simKey{key}, kind: event.Update, time: w.clock}
	if w.draw(6, "clock behind") == 0 {
		e.time = e.time.Add(-pick(w, "behind", time.Millisecond, time.Second, time.Minute))
	}
	more := ""
	if w.style == "version" || w.style == "mixed" && w.draw(2, "has version") == 0 {
		e.said = int64(seq - w.draw(3, "late")*w.draw(4, "by"))
		e.said = max(1, e.said)
		more += fmt.Sprintf(`,"version":%d`, e.said)
	}
	if w.style == "occurredAt" || w.style == "mixed" && w.draw(2, "has occurredAt") == 0 {
		e.heard = e.time.Add(-time.Duration(w.draw(3, "late")) * time.Second).UTC()
		more += fmt.Sprintf(`,"occurredAt":%q`, e.heard.Format(time.RFC3339Nano))
	}
	member := fmt.Sprintf(`,"f%d":1`, w.draw(2, "member"))
	if w.draw(12, "large") == 0 {
		member += `,"pad":"` + strings.Repeat("x", 2000) + `"`
	}
	rec := contactsync.Record{
		Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "t", Partition: int32(p)}}, Time: e.time, Key: []byte(key.stream + "/" + key.id),
		Value: fmt.Appendf(nil, `{"streamId":%q,"contact":{"id":%q,"seq":%d%s}%s}`, key.stream, key.id, seq, member, more),
	}
	switch w.draw(14, "kind") {
	case 0:
		e.kind, rec.Value = event.Delete, fmt.Appendf(nil, `{"streamId":%q,"op":"delete","contact":{"id":%q}%s}`, key.stream, key.id, more)
	case 1:
		e.kind, rec.Value, e.said, e.heard = event.Tombstone, nil, 0, time.Time{}
		if w.draw(2, "without its stream") == 0 {
			rec.Key = []byte(key.id)
			e.keys = slices.DeleteFunc(w.contacts(), func(k simKey) bool { return k.id != key.id })
		}
	case 2:
		e.kind, e.keys, rec.Value = event.Broken, nil, rec.Value[:len(rec.Value)-1]
	}
	e.at = w.source[p].add(rec).Position
	w.events = append(w.events, e)
	w.note("event %d: %v of %v at %v, version %d, occurredAt %v, time %v, key %s", seq, e.kind, e.keys, e.at, e.said, e.heard, e.time, rec.Key)
}

// trim is retention or compaction, of what the service has read.
func (w *simWorld) trim() {
	w.trimmed = true
	p := w.draw(len(w.source), "trimmed partition")
	part := w.source[p]
	if w.draw(2, "retention") == 0 {
		part.first = max(part.first, int64(w.draw(int(w.service.committed[p])+1, "new first")))
		return
	}
	w.compacted = true
	last := map[string]int64{}
	for offset, rec := range part.log {
		if rec != nil {
			last[string(rec.Key)] = int64(offset)
		}
	}
	for offset, rec := range part.log[:w.service.committed[p]] {
		if rec != nil && last[string(rec.Key)] > int64(offset) && offset < len(part.log)-1 {
			part.log[offset] = nil
		}
	}
}

// visible reports whether an event was in the log below the given ends.
func (w *simWorld) visible(e *simEvent, ends []int64) bool {
	return e.at.Offset < ends[e.at.Partition] && w.source[e.at.Partition].has(e.at.Offset)
}

// ofContact yields the events of a contact that are newer than one of them, or may be.
func (w *simWorld) newerThan(key simKey, seq int, each func(n int, e *simEvent, order int)) {
	for n := 1; n < len(w.events); n++ {
		e := &w.events[n]
		if n == seq || !slices.Contains(e.keys, key) {
			continue
		}
		if order := e.order(&w.events[seq]); order > 0 || order == 0 && e.at.TopicPartition != w.events[seq].at.TopicPartition {
			each(n, e, order)
		}
	}
}

// cyclic reports whether a third event of the contact makes the order of two a
// circle, in which none is the newest: where some events have a version and others
// not, or where the times of a partition's records go back.
func (w *simWorld) cyclic(key simKey, older, newer int) bool {
	found := false
	w.newerThan(key, newer, func(n int, e *simEvent, _ int) {
		found = found || n != older && w.events[older].order(e) >= 0
	})
	return found
}

// crossed reports whether a letter that is the older one by its own event also stands
// for one that is newer than the other letter: "two such letters can each have
// something newer than the other, and are skipped then".
func (r *simRun) crossed() bool {
	for l, seq := range r.seqs {
		for other, than := range r.seqs {
			if l == other || l.Stream != other.Stream || l.Contact != other.Contact {
				continue
			}
			for n := range r.w.events {
				part := &r.w.events[n]
				if n != seq && slices.Contains(l.Positions, part.at) && part.order(&r.w.events[than]) > 0 && r.w.events[seq].order(&r.w.events[than]) <= 0 {
					return true
				}
			}
		}
	}
	return false
}

// inCircles reports whether a contact has such events at all.
func (w *simWorld) inCircles(key simKey) bool {
	for older := 1; older < len(w.events); older++ {
		if !slices.Contains(w.events[older].keys, key) {
			continue
		}
		found := false
		w.newerThan(key, older, func(newer int, _ *simEvent, _ int) { found = found || w.cyclic(key, older, newer) })
		if found {
			return true
		}
	}
	return false
}

// applied notes what the API was given, and checks that it is no older state. run is
// nil where the service gave it; replayed says that the service took it from a replay.
func (w *simWorld) applied(key simKey, seq int, replayed bool, run *simRun) {
	before := w.state[key]
	w.state[key] = simState{seq, run}
	w.history[key] = append(w.history[key], seq)
	w.note("  the API is given seq %d of %v, replayed %v, by a run %v", seq, key, replayed, run != nil)
	old, now := &w.events[before.seq], &w.events[seq]
	if before.seq == 0 || old.order(now) <= 0 || w.cyclic(key, seq, before.seq) {
		return
	}
	switch same := old.at.TopicPartition == now.at.TopicPartition; {
	case run != nil:
		// "After each answer the log is read to its end again, and a contact that has
		// changed meanwhile gets its newest state too": checked by settled.
		return
	case !replayed && (!same || before.by != nil || now.said > 0 || !now.heard.IsZero()):
		// design.md, 6: "Events of one contact in two partitions have no order"; and 5:
		// the window knows versions only "for the contacts seen last". It does not know
		// what was sent past it.
		return
	case replayed && w.unseen[[2]int{seq, before.seq}]:
		return // the run that wrote it back could not see that one, or it stands for it
	case replayed && !same && (w.remember < 100 || !w.knows(before.seq)):
		return // the same: the window that took the replay has not seen the other, or may have forgotten it
	}
	w.t.Fatalf("(a) I3: contact %v: the API is given seq %d (%+v, replayed %v) after seq %d (%+v)", key, seq, *now, replayed, before.seq, *old)
}

// knows reports whether the service's process was given an event.
func (w *simWorld) knows(seq int) bool {
	_, ok := w.service.fed[seq]
	return ok
}

// run draws a run and plays it.
func (w *simWorld) run() {
	o := replay.Options{
		MaxReplays: w.draw(4, "max replays"), Unverifiable: w.draw(4, "unverifiable") == 0,
		Limit: max(0, w.draw(8, "limit")-4), Rate: pick(w, "rate", 0., 0, 0, 1, 2),
	}
	sel := deadletter.Selection{}
	switch w.draw(6, "filter") {
	case 0:
		sel.Streams = []string{"s1"}
	case 1:
		sel.Contacts = []string{"a"}
	case 2:
		sel.Reasons = []contactsync.Reason{contactsync.ReasonRejected}
	case 3:
		sel.Until = w.clock
	}
	r := w.begin(sel, o)
	switch w.draw(5, "fate") {
	case 0:
		r.killAt = 1 + w.draw(25, "killed at")
	case 1:
		r.stopAt = 1 + w.draw(25, "stopped at")
	case 2:
		w.undisturbed(r)
		return
	}
	r.play()
}

// undisturbed plays a run in which nothing happens, and compares it with its dry run.
func (w *simWorld) undisturbed(r *simRun) {
	r.quiet = true
	dry := r.dry()
	r.play()
	for at, o := range r.outcomes {
		if dry[at].Result != o.Result {
			w.t.Fatalf("(b) letter %v: the dry run says %s (%s), the run %s (%s)", at, dry[at].Result, dry[at].Detail, o.Result, o.Detail)
		}
	}
}

// finish lets everything come to rest, and replays what is left.
func (w *simWorld) finish() {
	for round := range 5 {
		if w.refuse = 0; round == 0 {
			w.refuse = 100
		}
		w.service.drain(w.answer)
		r := w.begin(deadletter.Selection{}, replay.Options{MaxReplays: 1 << 20, Unverifiable: true})
		w.undisturbed(r)
		r.settled()
	}
}

// settled checks that a complete run has left no letter open.
func (r *simRun) settled() {
	w := r.w
	for at, o := range r.outcomes {
		seq, _ := seqOf(o.Letter.Record.Value)
		// "What the file holds as begun and the run did not settle is told at the end":
		// that is one of which a newer copy has lost the record.
		if w.api && o.Result != replay.Incomplete && r.says(o.Letter) == "begun" {
			w.t.Fatalf("(d) letter %v is %s, and still owed", at, o.Result)
		}
		switch o.Result {
		case replay.Replayed, replay.Already, replay.Newer, replay.Broken, replay.Incomplete:
		case replay.Unverifiable, replay.Elsewhere, replay.Loop, replay.Failed, replay.Left:
			w.t.Fatalf("(d) letter %v is %s (%s) in a run that takes all", at, o.Result, o.Detail)
		}
		if o.Result != replay.Newer || seq == 0 {
			continue
		}
		key := w.events[seq].keys[0]
		// Something stands over it that is no letter, or a letter that is not newer itself.
		newer := false
		w.newerThan(key, seq, func(_ int, e *simEvent, _ int) {
			l := r.stands(e.at)
			newer = newer || l == nil || e.says(&w.events[seq]) > 0 || r.outcomes[l.Record.Position].Result != replay.Newer
		})
		if !newer && !w.trimmed && !w.inCircles(key) && !r.crossed() {
			w.t.Fatalf("(d) letter %v is newer (%s), and so is all that is newer than it", at, o.Detail)
		}
	}
}

// TestReplay_KeepsItsPromises lives through small worlds: events, dead letters,
// replays that are killed at any point. It fails where a promise breaks.
func TestReplay_KeepsItsPromises(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(stub.LabSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(*testing.T) { // so that waits take no time
			defer func() { failed = recover() }()
			simulate(rt, dir, secret)
		})
		// Two places, because rapid takes panics of one place for the same fault, and
		// would reduce a real one to a world that ran out of random numbers.
		if strings.Contains(fmt.Sprintf("%T", failed), "invalidData") {
			panic(failed)
		}
		if failed != nil {
			panic(failed)
		}
	})
}

func simulate(t *rapid.T, dir, secret string) {
	w := newSimWorld(t, dir, secret)
	defer w.letters.Close()
	if err := os.RemoveAll(w.progress); err != nil {
		t.Fatal(err)
	}
	for range 2 + w.draw(5, "days") {
		for range w.draw(20, "steps") {
			w.step()
		}
		if w.draw(4, "the service is up to date") > 0 {
			w.service.drain(w.answer)
		}
		if w.draw(8, "trims") == 0 {
			w.trim()
		}
		w.run()
	}
	w.finish()
}
