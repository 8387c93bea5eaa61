package app_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/replay"
	"github.com/contactsync/contactsync/upstream"
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
		first = append(first, event{stream: "st-1", id: fmt.Sprint("c", i), seq: 1})
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
	for round, want := range []replay.Summary{{replay.Replayed: contacts - changed, replay.Newer: changed}, {replay.Already: contacts - changed, replay.Newer: changed}} {
		c, err := d.Read(t.Context(), deadletter.Selection{Reasons: []contactsync.Reason{contactsync.ReasonRejected}}, true)
		if err != nil || len(c.Entries) != contacts {
			t.Fatalf("%d letters, %v", len(c.Entries), err)
		}
		run, err := d.Replayer(replay.Options{MaxReplays: 3}, nil)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := run.ToTopic(t.Context(), c.Entries)
		if err != nil || sum[replay.Replayed] != want[replay.Replayed] || sum[replay.Already] != want[replay.Already] || sum[replay.Newer] != want[replay.Newer] {
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

// TestDeadLetters_APITakesItsShareOnly: also of an account whose service takes the
// whole budget for itself.
func TestDeadLetters_APITakesItsShareOnly(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, share := range []string{upstream.ShareSplit, upstream.ShareFull} {
		sixty := 60
		l.Config.Upstream.Accounts[0].Budget = upstream.Budget{Requests: &sixty, Window: time.Minute, Share: share}
		d, err := app.OpenDeadLetters(l.Config, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		api, err := d.API(0.1, nil)
		if err != nil {
			t.Fatal(err)
		}
		gate, _ := api.Client.Gate("acme")
		if got := gate.State(time.Now()).Share; got != 6 {
			t.Errorf("with share %s: %v requests a minute, want 6", share, got)
		}
		if err := api.Client.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := l.Config.Upstream.Accounts[0].Budget.Share; got != upstream.ShareFull {
		t.Errorf("the service's own settings were changed to %s", got)
	}
}
