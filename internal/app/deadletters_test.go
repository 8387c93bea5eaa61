package app_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/replay"
)

// TestDeadLetters_TheRunningServiceTakesThemBack: refused, fixed at the API,
// replayed; contacts that have changed since stay as they are.
func TestDeadLetters_TheRunningServiceTakesThemBack(t *testing.T) {
	t.Parallel()
	const contacts, changed = 15, 5
	l := newLab(t)
	if err := l.api.Put(stub.Rule{Name: "refusing", Rows: &stub.Rows{Fail: []string{"c*"}, Reason: "Unknown salutation"}}); err != nil {
		t.Fatal(err)
	}
	l.start()
	var first, second []event
	for i := range contacts {
		first = append(first, event{stream: "st-1", id: fmt.Sprint("c", i), seq: 1}, event{stream: "st-1", id: fmt.Sprint("fine", i), seq: 1}) // beside others, so that it is not for the stream
		if i < changed {
			second = append(second, event{stream: "st-1", id: fmt.Sprint("c", i), seq: 2})
		}
	}
	l.put(first...)
	l.drain()
	l.api.Turn("refusing", false)
	l.put(second...)
	l.drain()

	d, err := app.OpenDeadLetters(l.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for round, want := range []replay.Summary{{replay.Replayed: contacts - changed, replay.Superseded: changed}, {replay.AlreadyReplayed: contacts - changed, replay.Superseded: changed}} {
		c, err := d.Read(t.Context(), deadletter.Selection{Reasons: []contactsync.Reason{contactsync.ReasonRejected}}, true)
		if err != nil || len(c.Entries) != contacts {
			t.Fatalf("%d dead letters, %v", len(c.Entries), err)
		}
		run, err := d.Replayer(replay.Options{MaxReplays: 3}, nil)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := run.Run(t.Context(), c.Entries)
		if err != nil || sum[replay.Replayed] != want[replay.Replayed] || sum[replay.AlreadyReplayed] != want[replay.AlreadyReplayed] || sum[replay.Superseded] != want[replay.Superseded] {
			t.Errorf("round %d: %v, %v: want %v", round, sum, err, want)
		}
		l.drain()
	}
	l.stop()
	state := l.api.State()["st-1"]
	for i := range contacts {
		want := int64(1)
		if i < changed {
			want = 2
		}
		if got := state[fmt.Sprint("c", i)]; got != want {
			t.Errorf("contact c%d has seq %d, want %d", i, got, want)
		}
	}
	if st := l.api.Stats(); st.OutOfOrder != 0 || st.Duplicates != 0 || st.Overlaps != 0 {
		t.Errorf("violations: %+v", st)
	}
}
