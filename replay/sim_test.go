package replay_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"pgregory.net/rapid"

	"contactsync"
	"contactsync/deadletter"
	"contactsync/event"
	"contactsync/kafkalog"
	"contactsync/lab/stub"
	"contactsync/metrics"
	"contactsync/replay"
	"contactsync/upstream"
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
	if w.decoder, err = event.NewDecoder(cfg); err != nil {
		t.Fatal(err)
	}
	dlq := deadletter.DefaultConfig()
	dlq.Topic, dlq.EnvelopeBytes = "dlq", 0
	w.letters = deadletter.New(dlq, deadletter.Deps{Transport: w.kafka, Brokers: []string{"sim:1"}, Log: slog.New(slog.DiscardHandler), Metrics: &metrics.New(prometheus.NewRegistry()).DeadLetter})
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
		Position: contactsync.Position{Claim: contactsync.Claim{Topic: "t", Partition: int32(p)}}, Time: e.time, Key: []byte(key.stream + "/" + key.id),
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
		if order := e.order(&w.events[seq]); order > 0 || order == 0 && e.at.Claim != w.events[seq].at.Claim {
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
	switch same := old.at.Claim == now.at.Claim; {
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

// simRun is one run of a replay: a process that may be killed at any request.
type simRun struct {
	w        *simWorld
	quiet    bool // nothing happens meanwhile, and nothing fails
	killAt   int  // the number of the request in which it is killed; 0: not
	stopAt   int  // likewise, for Ctrl-C
	stop     context.CancelFunc
	dead     bool
	calls    int
	seen     []int64 // the ends of the partitions when the log was last looked at
	opts     replay.Options
	chosen   []*deadletter.Found
	own      map[int]*deadletter.Found       // the chosen letters by the seq of their own state
	before   map[contactsync.Position]string // what the progress file said of them at the start
	seqs     map[*deadletter.Found]int       // and the other way round
	begins   []int64                         // from where on the partitions are read
	outcomes map[contactsync.Position]replay.Outcome
	warned   bool
}

// simKilled is what a killed process panics with.
type simKilled struct{}

// request begins a request: the world goes on, and the process may end. The result
// says that the request fails, before or after it has had its effect.
func (r *simRun) request() (fails, after bool) {
	if r.dead {
		panic(simKilled{})
	}
	if r.calls++; r.calls > 3000 {
		r.w.t.Fatalf("(e) the run does not come to an end")
	}
	if r.calls == r.stopAt {
		r.stop()
	}
	if r.calls == r.killAt {
		r.dead = true
		r.w.note("  killed")
		if after = r.w.draw(2, "killed after") == 0; !after {
			panic(simKilled{})
		}
		return true, true
	}
	if r.quiet {
		return false, false
	}
	for range pick(r.w, "meanwhile", 0, 0, 0, 0, 0, 1, 2, 8) {
		r.w.step()
	}
	switch r.w.draw(24, "fault") {
	case 0:
		return true, false
	case 1:
		return true, true
	}
	return false, false
}

// RoundTrip is Kafka as the run sees it.
func (r *simRun) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	fails, after := r.request()
	if fails && !after {
		return nil, errors.New("the connection is cut")
	}
	if l, ok := req.(*listoffsets.Request); ok {
		if l.Topics[0].Partitions[0].Timestamp >= 0 {
			r.begins = r.w.begins(r.own)
		}
		for p := range r.seen {
			r.seen[p] = r.w.source[p].end()
		}
	}
	res, err := r.w.kafka.RoundTrip(ctx, addr, req)
	if fails {
		err = errors.New("the answer is lost")
	}
	return res, err
}

// wrote checks a record that is written back.
func (r *simRun) wrote(rec contactsync.Record) {
	re, err := event.ReadReplay(rec.Headers)
	if err != nil || re == nil {
		r.w.t.Fatalf("(a) %v is written back as no replay: %v", rec.Position, err)
	}
	seq, ok := seqOf(rec.Value)
	if !ok || r.own[seq] == nil || rec.Partition != re.Of.Partition || re.Origin != r.w.events[seq].at || re.Checked != r.seen[rec.Partition] {
		r.w.t.Fatalf("(a) seq %d of %v says %+v of itself, seen %v", seq, re.Of, re, r.seen)
	}
	r.w.note("  %v is a replay of %v, seq %d, checked %d", rec.Position, re.Of, seq, re.Checked)
	r.isNewest(seq, re.Of)
	if r.w.back[re.Of]++; r.w.back[re.Of] > 1 && !r.w.forgets() {
		r.w.t.Fatalf("(c) letter %v is written back %d times", re.Of, r.w.back[re.Of])
	}
}

// forgets reports whether a replay may be gone from the topic, and another one of
// its letter is what was asked for: "--unproven replays such letters all the same".
func (w *simWorld) forgets() bool { return w.trimmed }

// isNewest checks that a letter's own state may be sent now: nothing newer of its
// contact is in the log where the run has looked at it.
func (r *simRun) isNewest(seq int, of contactsync.Position) {
	w := r.w
	key, less := w.events[seq].keys[0], false // less: than another selection has made a run see
	w.newerThan(key, seq, func(n int, e *simEvent, _ int) {
		switch {
		case e.at.Offset >= r.seen[e.at.Partition]:
			return
		case r.givesWay(e, &w.events[seq]), r.unseen(e, w.events[seq].at):
			less, w.unseen[[2]int{seq, n}] = true, true
			return
		}
		w.t.Fatalf("(a) contact %v: letter %v, seq %d (%+v) is replayed over seq %d (%+v)", key, of, seq, w.events[seq], n, *e)
	})
	if was := w.told[of]; (was == replay.Newer && !less || was == replay.Already) && !w.forgets() {
		w.t.Fatalf("(c) letter %v was %s, and is replayed", of, was)
	}
}

// givesWay reports whether an event is part of a chosen letter that is not newer than
// another one, or older than such a part. "What a chosen letter stands for goes by that
// letter, as far as only the records' times tell".
func (r *simRun) givesWay(e, letter *simEvent) bool {
	if e.says(letter) > 0 {
		return false
	}
	for l, seq := range r.seqs {
		if l.Stream != letter.keys[0].stream || l.Contact != letter.keys[0].id || r.w.events[seq].order(letter) > 0 {
			continue
		}
		for n := 1; n < len(r.w.events); n++ {
			part := &r.w.events[n]
			if (n == seq || slices.Contains(l.Positions, part.at)) && (part == e || part.order(e) > 0) && part.says(letter) <= 0 {
				return true
			}
		}
	}
	return false
}

// stands returns the chosen letter that stands for an event, its own one before one
// into which it was merged.
func (r *simRun) stands(at contactsync.Position) *deadletter.Found {
	var merged *deadletter.Found
	for _, l := range r.chosen {
		origin, err := event.ReadOrigin(l.Record)
		switch {
		case err == nil && origin.Origin == at:
			return l
		case slices.Contains(l.Positions, at):
			merged = l
		}
	}
	return merged
}

// simAPI is the API as the run sees it.
type simAPI struct{ *simRun }

func (r simAPI) RoundTrip(req *http.Request) (*http.Response, error) {
	w := r.w
	stream := strings.Split(req.URL.Path, "/")[5]
	var rows []struct {
		ID  string
		Seq int
	}
	text, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close(), json.Unmarshal(text, &rows)); err != nil {
		return nil, err
	}
	for _, row := range rows {
		r.sends(simKey{stream, row.ID}, row.Seq)
	}
	fails, after := r.request()
	if fails && !after {
		return nil, errors.New("the connection is cut")
	}
	status := 200
	defer func() { w.note("  answered %d, lost %v: %s", status, fails, text) }()
	if !r.quiet {
		status = pick(w, "status", 200, 200, 200, 200, 200, 200, 207, 400, 401, 403, 404, 413, 429, 500, 502)
	}
	applies := status/100 == 2 || status/100 == 5 && w.draw(2, "applied all the same") == 0
	good, bad := []string{}, []string{}
	for _, row := range rows {
		switch {
		case !applies:
		case !r.quiet && w.draw(6, "row refused") == 0:
			bad = append(bad, fmt.Sprintf(`{"id":%q,"reason":"no"}`, row.ID))
		default:
			w.applied(simKey{stream, row.ID}, row.Seq, true, r.simRun)
			if status == 207 && w.draw(3, "not named") == 0 {
				continue
			}
			good = append(good, fmt.Sprintf(`{"id":%q}`, row.ID))
			if l := r.own[row.Seq]; l != nil && !fails && status/100 == 2 {
				w.sent[l.Record.Position]++
			}
		}
	}
	if fails {
		return nil, errors.New("the answer is lost")
	}
	answer := ""
	if status/100 == 2 {
		answer = fmt.Sprintf(`{"totalRequested":%d,"successful":%d,"failed":%d,"successfulRecords":[%s],"failedRecords":[%s]}`,
			len(rows), len(good), len(bad), strings.Join(good, ","), strings.Join(bad, ","))
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: req}, nil
}

// sends checks a row that is about to be sent to the API.
func (r *simRun) sends(key simKey, seq int) {
	w := r.w
	if seq == 0 || !slices.Contains(w.events[seq].keys, key) {
		w.t.Fatalf("(a) contact %v is sent seq %d", key, seq)
	}
	if l := r.own[seq]; l != nil && r.says(l) != "done" {
		if at := l.Record.Position; r.says(l) != "begun" && !r.pays(key) || w.sent[at] > 0 && r.before[at] != "begun" {
			w.t.Fatalf("(c) letter %v is sent, the progress file says %q of it and said %q at the start, and it was delivered %d times", at, r.says(l), r.before[at], w.sent[at])
		}
		r.isNewest(seq, l.Record.Position)
		return
	}
	w.newerThan(key, seq, func(n int, e *simEvent, order int) {
		if order > 0 && e.kind == event.Update && w.visible(e, r.seen) && !w.inCircles(key) && !r.givesWay(e, &w.events[seq]) {
			w.t.Fatalf("(d) contact %v: owed, and seq %d is sent although seq %d is newer", key, seq, n)
		}
	})
}

// pays reports whether the contact is owed for the sake of another letter.
func (r *simRun) pays(key simKey) bool {
	return slices.ContainsFunc(r.chosen, func(l *deadletter.Found) bool {
		return l.Stream == key.stream && l.Contact == key.id && r.says(l) == "begun"
	})
}

// says returns the last word of the progress file about a letter.
func (r *simRun) says(l *deadletter.Found) string {
	text, err := os.ReadFile(r.w.progress)
	if err != nil {
		return ""
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if word, at, _ := strings.Cut(strings.TrimSpace(line), " "); at == l.Record.String() {
			last = word
		}
	}
	return last
}

// begin reads the letters that a selection chooses.
func (w *simWorld) begin(sel deadletter.Selection, o replay.Options) *simRun {
	r := &simRun{w: w, opts: o, stop: func() {}, seen: make([]int64, len(w.source)), begins: make([]int64, len(w.source)), own: map[int]*deadletter.Found{}, seqs: map[*deadletter.Found]int{}, before: map[contactsync.Position]string{}, outcomes: map[contactsync.Position]replay.Outcome{}}
	log := kafkalog.New(w.kafka, []string{"sim:1"}, 5*time.Second, slog.New(slog.DiscardHandler))
	c, err := deadletter.Read(context.Background(), log, "dlq", sel, true)
	if err != nil || c.Others > 0 || len(c.Problems) > 0 {
		w.t.Fatalf("the letters cannot be read: %v, %+v", err, c)
	}
	r.chosen = c.Letters
	for _, l := range c.Letters {
		value := l.Record.Value
		if at := l.Record.Position; l.Envelope != nil && w.source[at.Partition].has(at.Offset) {
			value = w.source[at.Partition].log[at.Offset].Value
			if hash := sha256.Sum256(value); hex.EncodeToString(hash[:]) != l.Envelope.SHA256 {
				value = nil // of a merged one
			}
		}
		if seq, ok := seqOf(value); ok {
			r.own[seq], r.seqs[l] = l, seq
		}
	}
	for _, l := range r.chosen {
		r.before[l.Record.Position] = r.says(l)
	}
	return r
}

// begins returns from where on the partitions are read for some letters: "from the
// time of the oldest chosen event on, or from the oldest chosen event in it where
// that lies before".
func (w *simWorld) begins(own map[int]*deadletter.Found) []int64 {
	since, begins := w.clock, make([]int64, len(w.source))
	for seq := range own {
		if e := w.events[seq]; e.time.Before(since) {
			since = e.time
		}
	}
	for p, part := range w.source {
		if begins[p] = part.offsetAt(since.UnixMilli()); begins[p] < 0 {
			begins[p] = part.end()
		}
	}
	for seq := range own {
		at := w.events[seq].at
		begins[at.Partition] = min(begins[at.Partition], at.Offset)
	}
	return begins
}

// unseen reports whether an event could not be seen from a letter's place: "An event
// that lies before that, and is newer all the same by its version or occurredAt, is not
// seen"; where the log no longer has it, "--unproven replays such letters all the same";
// "what retention has removed of another partition is not seen"; and "on a compacted
// topic a newer record of its key could be removed in favour of" a replay.
func (r *simRun) unseen(e *simEvent, from contactsync.Position) bool {
	if e.at.Offset < r.begins[e.at.Partition] {
		return true
	}
	behind := e.at.Claim == from.Claim && e.at.Offset > from.Offset
	return !r.w.source[e.at.Partition].has(e.at.Offset) && (r.opts.Unproven || !behind || r.w.compacted)
}

func (r *simRun) deps() replay.Deps {
	return replay.Deps{
		Log: kafkalog.New(r, []string{"sim:1"}, 5*time.Second, slog.New(slog.DiscardHandler)), Topics: []string{"t"},
		Decode: r.w.decoder.Decode, Route: func(string, string) (string, bool) { return "acme", true },
		Logger: slog.New(slog.NewTextHandler(simWarnings{r}, nil)),
		Each: func(o replay.Outcome) {
			at := o.Letter.Record.Position
			if other, twice := r.outcomes[at]; twice {
				r.w.t.Fatalf("(b) letter %v ends twice: %s and %s", at, other.Result, o.Result)
			}
			r.outcomes[at] = o
			r.settles(simKey{o.Letter.Stream, o.Letter.Contact})
			r.w.note("  letter %v, positions %v: %s (%s)", at, o.Letter.Positions, o.Result, o.Detail)
		},
	}
}

// settles checks a contact that the run has given a state to the API, and is done with:
// there is no newer update where the log was looked at, or it is owed.
func (r *simRun) settles(key simKey) {
	w := r.w
	s := w.state[key]
	if s.by != r || r.pays(key) {
		return
	}
	w.newerThan(key, s.seq, func(n int, e *simEvent, order int) {
		if order <= 0 || e.kind != event.Update || !w.visible(e, r.seen) || r.unseen(e, w.events[s.seq].at) || r.givesWay(e, &w.events[s.seq]) {
			return
		}
		gone := w.inCircles(key) // or a delete came after it
		w.newerThan(key, n, func(_ int, e *simEvent, _ int) { gone = gone || e.kind != event.Update })
		if !gone {
			w.t.Fatalf("(d) contact %v: the run has left seq %d at the API, not %d, and it is not owed", key, s.seq, n)
		}
	})
}

// simWarnings notes that a run said that something is owed.
type simWarnings struct{ *simRun }

func (r simWarnings) Write(line []byte) (int, error) {
	r.warned = r.warned || bytes.Contains(line, []byte("older state at the API"))
	return len(line), nil
}

// dry returns what a dry run says of each letter.
func (r *simRun) dry() map[contactsync.Position]replay.Outcome {
	dry := r.w.begin(deadletter.Selection{}, r.opts)
	dry.chosen, dry.own, dry.quiet = r.chosen, r.own, true
	run := replay.New(dry.deps(), r.opts)
	var err error
	if r.w.api {
		var progress *replay.Progress
		if progress, err = replay.ReadProgress(r.w.progress); err == nil {
			_, err = run.DryRunToAPI(context.Background(), r.chosen, progress)
		}
	} else {
		_, err = run.DryRun(context.Background(), r.chosen)
	}
	if err != nil || len(dry.outcomes) != len(r.chosen) {
		r.w.t.Fatalf("(b) the dry run has %d outcomes for %d letters: %v", len(dry.outcomes), len(r.chosen), err)
	}
	return dry.outcomes
}

// play plays a run to its end, or its death, and checks what it has left.
func (r *simRun) play() {
	w := r.w
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.stop = cancel
	w.kafka.wrote = r.wrote
	w.note("run: %d letters, %+v, killed at %d, stopped at %d, quiet %v", len(r.chosen), r.opts, r.killAt, r.stopAt, r.quiet)
	err, killed := r.alive(ctx)
	w.kafka.wrote = func(contactsync.Record) {}
	if w.api {
		r.owes(killed)
	}
	if killed {
		return
	}
	if len(r.outcomes) != len(r.chosen) {
		w.t.Fatalf("(b) %d outcomes for %d letters", len(r.outcomes), len(r.chosen))
	}
	for at, o := range r.outcomes {
		if o.Result == replay.Left && err == nil && r.opts.Limit == 0 {
			w.t.Fatalf("(b) letter %v is left, and nothing says why", at)
		}
		w.told[at] = o.Result
	}
}

// alive runs until the run's end or its death.
func (r *simRun) alive(ctx context.Context) (err error, killed bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, killed = p.(simKilled); !killed {
				panic(p)
			}
		}
	}()
	run := replay.New(r.deps(), r.opts)
	if !r.w.api {
		_, err = run.ToTopic(ctx, r.chosen)
		return err, false
	}
	cfg := upstream.DefaultConfig()
	cfg.Accounts = []upstream.Account{{
		ID: "acme", Host: "http://api.test", AllowPlaintext: true, Streams: []string{"*"}, Budget: upstream.Budget{Requests: new(int)},
		Credentials: upstream.Credentials{ClientID: stub.LabAppID, ClientSecretFile: r.w.secret},
	}}
	client, err := upstream.New(cfg, upstream.Deps{Log: slog.New(slog.DiscardHandler), Metrics: &metrics.New(prometheus.NewRegistry()).Upstream, Transport: simAPI{r}})
	if err != nil {
		r.w.t.Fatal(err)
	}
	progress, err := replay.OpenProgress(r.w.progress)
	if err != nil {
		r.w.t.Fatal(err)
	}
	defer progress.Close()
	_, err = run.ToAPI(ctx, r.chosen, replay.API{Client: client, Progress: progress, MaxRows: 2, MaxBytes: 4000, Attempts: 2, Hold: time.Second})
	if owed := progress.Owed(); owed > 0 != r.warned {
		r.w.t.Fatalf("(d) %d letters are owed, and that it was said is %v", owed, r.warned)
	}
	return err, false
}

// owes checks that the progress file holds each contact of which the API has an
// older state after a newer one.
func (r *simRun) owes(killed bool) {
	w := r.w
	for key, s := range w.state {
		if s.by != r {
			continue
		}
		owed := r.pays(key)
		// "Where the newest of a contact is a delete or a tombstone, nothing more is sent".
		w.newerThan(key, s.seq, func(_ int, e *simEvent, _ int) { owed = owed || e.kind != event.Update })
		for _, before := range w.history[key] {
			e := &w.events[before]
			if e.order(&w.events[s.seq]) <= 0 || owed || w.cyclic(key, s.seq, before) || !w.visible(e, r.seen) || r.unseen(e, w.events[s.seq].at) || r.givesWay(e, &w.events[s.seq]) {
				continue
			}
			w.t.Fatalf("(d) contact %v: the API has seq %d after seq %d, killed %v, and it is not owed", key, s.seq, before, killed)
		}
	}
}

// run draws a run and plays it.
func (w *simWorld) run() {
	o := replay.Options{
		MaxReplays: w.draw(4, "max replays"), Unproven: w.draw(4, "unproven") == 0,
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
		r := w.begin(deadletter.Selection{}, replay.Options{MaxReplays: 1 << 20, Unproven: true})
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
		case replay.Unproven, replay.Elsewhere, replay.Loop, replay.Failed, replay.Left:
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
