//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// TestReplay has ten thousand dead letters put back by a program that is killed
// twice meanwhile, while the service runs and contacts change.
func TestReplay(t *testing.T) {
	const contacts = 10_000
	r := newRun(t, startKafka(t, kafka.Options{Nodes: 1}), runOptions{extra: "batcher: {dead_letter_max_per_minute: 1000000}\n"})
	if err := r.api.Put(stub.Rule{Name: "refusing", Rows: &stub.Rows{Fail: []string{refusedPrefix + "*"}, Reason: "Unknown salutation"}}); err != nil {
		t.Fatal(err)
	}
	replicas := r.start(2)
	first := r.states(0, contacts, 1)
	r.drain()
	r.api.Turn("refusing", false)
	r.states(0, contacts/3, 2)
	r.drain()

	// The last hundred change while the replay is under way.
	const late = 100
	for attempt := 1; attempt <= 2; attempt++ {
		out := filepath.Join(r.dir, fmt.Sprint("replay-", attempt))
		cmd, file := r.replay(out, "--rate", "1500")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "some dead letters to be replayed", func() bool { return count(out, replayedLine) >= 400*attempt })
		_ = cmd.Process.Kill() // it has not ended by itself: the replay lasts longer
		if err := cmd.Wait(); err == nil {
			t.Error("the replay had ended before it was killed")
		}
		file.Close()
		if attempt == 1 {
			r.states(contacts-late, contacts, 2)
		}
	}
	out := filepath.Join(r.dir, "replay-3")
	cmd, file := r.replay(out)
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("the last replay: %v\n%s", err, tail(out+".err", 20))
	}
	file.Close()
	t.Logf("the last replay took %v: %s", time.Since(begun), tail(out+".err", 1))
	r.drain()
	stopAll(replicas)

	times := r.replays()
	counts := map[string]int{}
	for _, o := range outcomes(t, out) {
		counts[o.Result]++
		if n := times[o.Position]; o.Result == "superseded" && n > 0 || o.Result != "superseded" && n != 1 {
			t.Errorf("dead letter %s is %s and was replayed %d times", o.Position, o.Result, n)
		}
		delete(times, o.Position)
	}
	if len(times) > 0 {
		t.Errorf("%d replays are of no dead letter", len(times))
	}
	if got := counts["superseded"] + counts["replayed"] + counts["already_replayed"]; got != contacts || counts["superseded"] < contacts/3 || counts["already_replayed"] < 800 || counts["replayed"] == 0 {
		t.Errorf("outcomes: %v", counts)
	}
	state := r.api.State()
	for i, c := range first {
		want := int64(1)
		if i < contacts/3 || i >= contacts-late {
			want = 2
		}
		if got := state[c.Stream][c.ID]; got != want {
			t.Errorf("contact %d has seq %d, want %d", i, got, want)
		}
	}
	t.Logf("outcomes of the last run: %v; stub: %+v", counts, r.api.Stats())
	if got := r.api.Stats(); got.OutOfOrder != 0 || got.Overlaps != 0 {
		t.Errorf("stub: %+v", got)
	}
}

// refusedPrefix begins the ids of the contacts that are refused at first.
const refusedPrefix = "6964af60"

// states produces a state of each contact from one number up to another, and of others beside and behind them that are never refused: what a stream gets
// of which nothing is accepted is about the stream, and half of these contacts are refused, so a few of them alone could come last.
func (r *run) states(from, to int, seq int64) (refused []feed.Contact) {
	r.t.Helper()
	const streams, behind = 20, 10 // of each stream
	all := 2*(to-from) + streams*behind
	contacts, events := make([]feed.Contact, all), make([]feed.Event, all)
	for i := range contacts {
		prefix, n := refusedPrefix, from+i/2
		if i >= 2*(to-from) {
			prefix, n = "1a57af60", i
		} else if i%2 > 0 {
			prefix = "ce11af60"
		}
		contacts[i] = feed.Contact{Stream: feed.StreamName(n % streams), ID: fmt.Sprintf("%s%016x", prefix, n)}
		events[i] = feed.NewUpdate(contacts[i], i, seq, feed.Update)
	}
	if _, err := r.Put(r.t.Context(), contacts, events); err != nil {
		r.t.Fatal(err)
	}
	for i := range to - from {
		refused = append(refused, contacts[2*i])
	}
	return refused
}

// replay is the command as a process of its own; it prints its outcomes to the file out.
func (r *run) replay(out string, more ...string) (*exec.Cmd, *os.File) {
	r.t.Helper()
	path, err := binary()
	if err != nil {
		r.t.Fatal(err)
	}
	file, err := os.Create(out)
	if err != nil {
		r.t.Fatal(err)
	}
	errs, err := os.Create(out + ".err")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { errs.Close() })
	cmd := exec.CommandContext(r.t.Context(), path, append([]string{"dlq", "replay", "--config", r.settings, "--output", "json", "--reason", "rejected"}, more...)...)
	cmd.Env = []string{"HOME=" + r.dir}
	cmd.Stdout, cmd.Stderr = file, errs
	return cmd, file
}

var replayedLine = []byte(`"result":"replayed"`)

func count(path string, what []byte) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return bytes.Count(text, what)
}

type outcome struct{ Position, Result string }

func outcomes(t *testing.T, path string) []outcome {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []outcome
	for line := range bytes.Lines(text) {
		var o outcome
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// replays counts the replays in the source topic by what they are of.
func (r *run) replays() map[string]int {
	r.t.Helper()
	records, err := broker.ReadAll(r.t.Context(), r.Brokers, r.Topic)
	if err != nil {
		r.t.Fatal(err)
	}
	found := map[string]int{}
	for _, rec := range records {
		for _, h := range rec.Headers {
			if h.Key == event.HeaderReplayOf {
				found[string(h.Value)]++
			}
		}
	}
	return found
}
