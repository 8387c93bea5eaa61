package replay_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/replay"
)

// simRun is a replay by a process that may be killed at any request.
type simRun struct {
	sim      *simulation
	quiet    bool // nothing happens during the run, and nothing fails
	killAt   int  // the number of the request at which it is killed; 0: not
	stopAt   int  // likewise, for Ctrl-C
	stop     context.CancelFunc
	dead     bool
	calls    int
	seen     []int64 // the ends of the partitions when the log was last looked at
	starts   []int64 // from where on the partitions are read
	opts     replay.Options
	chosen   []*deadletter.Entry
	bySeq    map[int]*deadletter.Entry // the chosen dead letters by the seq of their own state
	seqs     map[*deadletter.Entry]int // and the other way round
	outcomes map[contactsync.Position]replay.Outcome
}

// processKilled is the panic of a killed process.
type processKilled struct{}

// begin reads the dead letters that a selection chooses.
func (sim *simulation) begin(sel deadletter.Selection, o replay.Options) *simRun {
	r := &simRun{
		sim: sim, opts: o, stop: func() {}, seen: make([]int64, len(sim.source)), starts: make([]int64, len(sim.source)),
		bySeq: map[int]*deadletter.Entry{}, seqs: map[*deadletter.Entry]int{}, outcomes: map[contactsync.Position]replay.Outcome{},
	}
	log := kafka.NewOn(sim.kafka, []string{"sim:1"}, 5*time.Second, slog.New(slog.DiscardHandler))
	c, err := deadletter.Read(context.Background(), log, "dlq", sel, true)
	if err != nil || c.Others > 0 || len(c.Problems) > 0 {
		sim.t.Fatalf("the dead letters cannot be read: %v, %+v", err, c)
	}
	r.chosen = c.Entries
	for _, e := range c.Entries {
		value := e.Record.Value
		if at := e.Record.Position; e.Envelope != nil && sim.source[at.Partition].has(at.Offset) {
			value = sim.source[at.Partition].log[at.Offset].Value
			if hash := sha256.Sum256(value); hex.EncodeToString(hash[:]) != e.Envelope.SHA256 {
				value = nil // of a merged one
			}
		}
		if seq, ok := seqOf(value); ok {
			r.bySeq[seq], r.seqs[e] = e, seq
		}
	}
	return r
}

// run draws a run and plays it.
func (sim *simulation) run() {
	o := replay.Options{
		MaxReplays: sim.draw(4, "max replays"), AllowUnverifiable: sim.draw(4, "allow unverifiable") == 0,
		Limit: max(0, sim.draw(8, "limit")-4), Rate: pick(sim, "rate", 0., 0, 0, 1, 2),
	}
	sel := deadletter.Selection{}
	switch sim.draw(6, "filter") {
	case 0:
		sel.Streams = []string{"s1"}
	case 1:
		sel.Contacts = []string{"a"}
	case 2:
		sel.Reasons = []contactsync.Reason{contactsync.ReasonRejected}
	case 3:
		sel.Until = sim.clock
	}
	r := sim.begin(sel, o)
	switch sim.draw(5, "fate") {
	case 0:
		r.killAt = 1 + sim.draw(25, "killed at")
	case 1:
		r.stopAt = 1 + sim.draw(25, "stopped at")
	case 2:
		r.playQuietly()
		return
	}
	r.play()
}

// finish lets everything come to rest, and replays what is left.
func (sim *simulation) finish() {
	for round := range 5 {
		if sim.refuse = 0; round == 0 {
			sim.refuse = 70
		}
		sim.service.drain()
		r := sim.begin(deadletter.Selection{}, replay.Options{MaxReplays: 1 << 20, AllowUnverifiable: true})
		r.playQuietly()
		r.leavesNothingOpen()
	}
}

// playQuietly plays a run during which nothing happens, and compares it with its dry run.
func (r *simRun) playQuietly() {
	r.quiet = true
	dry := r.sim.begin(deadletter.Selection{}, r.opts)
	dry.chosen, dry.bySeq, dry.quiet = r.chosen, r.bySeq, true
	if _, err := replay.New(dry.deps(), r.opts).DryRun(context.Background(), r.chosen); err != nil || len(dry.outcomes) != len(r.chosen) {
		r.sim.t.Fatalf("(b) the dry run has %d outcomes for %d dead letters: %v", len(dry.outcomes), len(r.chosen), err)
	}
	r.play()
	for at, o := range r.outcomes {
		if other := dry.outcomes[at]; other.Result != o.Result {
			r.sim.t.Fatalf("(b) dead letter %v: %s (%s) in the dry run, %s (%s) in the run", at, other.Result, other.Detail, o.Result, o.Detail)
		}
	}
}

// play plays a run to its end, or until it is killed, and checks its outcomes.
func (r *simRun) play() {
	sim := r.sim
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.stop = cancel
	sim.kafka.wrote = r.wrote
	sim.t.Logf("run: %d dead letters, %+v, killed at %d, stopped at %d, quiet %v", len(r.chosen), r.opts, r.killAt, r.stopAt, r.quiet)
	killed, err := r.process(ctx)
	sim.kafka.wrote = func(contactsync.Record) {}
	if killed {
		return
	}
	if len(r.outcomes) != len(r.chosen) {
		sim.t.Fatalf("(b) %d outcomes for %d dead letters", len(r.outcomes), len(r.chosen))
	}
	for at, o := range r.outcomes {
		if o.Result == replay.NotAttempted && err == nil && r.opts.Limit == 0 {
			sim.t.Fatalf("(b) dead letter %v was not attempted, without a reason", at)
		}
		sim.results[at] = o.Result
	}
}

func (r *simRun) process(ctx context.Context) (killed bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			if _, killed = p.(processKilled); !killed {
				panic(p)
			}
		}
	}()
	_, err = replay.New(r.deps(), r.opts).Run(ctx, r.chosen)
	return false, err
}

func (r *simRun) deps() replay.Deps {
	return replay.Deps{
		Log: kafka.NewOn(r, []string{"sim:1"}, 5*time.Second, slog.New(slog.DiscardHandler)), Topics: []string{"t"},
		Decoder: r.sim.decoder, Route: func(string, string) (string, bool) { return "acme", true },
		Logger: slog.New(slog.DiscardHandler),
		OnOutcome: func(o replay.Outcome) {
			at := o.Entry.Record.Position
			if other, twice := r.outcomes[at]; twice {
				r.sim.t.Fatalf("(b) dead letter %v ends twice: %s and %s", at, other.Result, o.Result)
			}
			r.outcomes[at] = o
			r.sim.t.Logf("  dead letter %v, positions %v: %s (%s)", at, o.Entry.Positions, o.Result, o.Detail)
		},
	}
}

// RoundTrip is Kafka for the process.
func (r *simRun) RoundTrip(ctx context.Context, addr net.Addr, req kafkago.Request) (kafkago.Response, error) {
	fails, after := r.request()
	if fails && !after {
		return nil, errors.New("the connection is cut")
	}
	if l, ok := req.(*listoffsets.Request); ok {
		if l.Topics[0].Partitions[0].Timestamp >= 0 {
			r.starts = r.scanStarts()
		}
		for p := range r.seen {
			r.seen[p] = r.sim.source[p].end()
		}
	}
	res, err := r.sim.kafka.RoundTrip(ctx, addr, req)
	if fails {
		err = errors.New("the answer is lost")
	}
	return res, err
}

// request begins a request: other things happen meanwhile, and the process may end. It
// returns whether the request fails, before or after it has had its effect.
func (r *simRun) request() (fails, after bool) {
	if r.dead {
		panic(processKilled{})
	}
	if r.calls++; r.calls > 3000 {
		r.sim.t.Fatalf("(e) the run does not end")
	}
	if r.calls == r.stopAt {
		r.stop()
	}
	if r.calls == r.killAt {
		r.dead = true
		r.sim.t.Logf("  killed")
		if after = r.sim.draw(2, "killed after") == 0; !after {
			panic(processKilled{})
		}
		return true, true
	}
	if r.quiet {
		return false, false
	}
	for range pick(r.sim, "meanwhile", 0, 0, 0, 0, 0, 1, 2, 8) {
		r.sim.step()
	}
	switch r.sim.draw(24, "fault") {
	case 0:
		return true, false
	case 1:
		return true, true
	}
	return false, false
}
