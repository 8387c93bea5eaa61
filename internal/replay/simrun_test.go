package replay_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/replay"
	"github.com/contactsync/contactsync/metrics"
	"github.com/contactsync/contactsync/upstream"
)

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
	chosen   []*deadletter.Entry
	own      map[int]*deadletter.Entry       // the chosen letters by the seq of their own state
	before   map[contactsync.Position]string // what the progress file said of them at the start
	seqs     map[*deadletter.Entry]int       // and the other way round
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
func (r *simRun) RoundTrip(ctx context.Context, addr net.Addr, req kafkago.Request) (kafkago.Response, error) {
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
// its letter is what was asked for: "--unverifiable replays such letters all the same".
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
		case r.givesWay(e, &w.events[seq]), r.unseen(e, w.events[seq].at), w.inCircles(key):
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
func (r *simRun) stands(at contactsync.Position) *deadletter.Entry {
	var merged *deadletter.Entry
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

// begin reads the letters that a selection chooses.
func (w *simWorld) begin(sel deadletter.Selection, o replay.Options) *simRun {
	r := &simRun{w: w, opts: o, stop: func() {}, seen: make([]int64, len(w.source)), begins: make([]int64, len(w.source)), own: map[int]*deadletter.Entry{}, seqs: map[*deadletter.Entry]int{}, before: map[contactsync.Position]string{}, outcomes: map[contactsync.Position]replay.Outcome{}}
	log := kafka.NewOn(w.kafka, []string{"sim:1"}, 5*time.Second, slog.New(slog.DiscardHandler))
	c, err := deadletter.Read(context.Background(), log, "dlq", sel, true)
	if err != nil || c.Others > 0 || len(c.Problems) > 0 {
		w.t.Fatalf("the letters cannot be read: %v, %+v", err, c)
	}
	r.chosen = c.Entries
	for _, l := range c.Entries {
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
func (w *simWorld) begins(own map[int]*deadletter.Entry) []int64 {
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
// seen"; where the log no longer has it, "--unverifiable replays such letters all the same";
// "what retention has removed of another partition is not seen"; and "on a compacted
// topic a newer record of its key could be removed in favour of" a replay.
func (r *simRun) unseen(e *simEvent, from contactsync.Position) bool {
	if e.at.Offset < r.begins[e.at.Partition] {
		return true
	}
	behind := e.at.TopicPartition == from.TopicPartition && e.at.Offset > from.Offset
	return !r.w.source[e.at.Partition].has(e.at.Offset) && (r.opts.Unverifiable || !behind || r.w.compacted)
}

func (r *simRun) deps() replay.Deps {
	return replay.Deps{
		Log: kafka.NewOn(r, []string{"sim:1"}, 5*time.Second, slog.New(slog.DiscardHandler)), Topics: []string{"t"},
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
