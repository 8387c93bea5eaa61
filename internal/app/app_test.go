package app_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is the harness with one API and one account for the streams st-*.
type lab struct {
	*harness.Lab
	t   *testing.T
	api *stub.Server
	log logbuffer.Buffer // of all replicas
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return newLabOf(t, 3)
}

func newLabOf(t *testing.T, partitions int32) *lab {
	t.Helper()
	h, err := harness.New(partitions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	api := stub.DefaultConfig()
	api.Latency = 5 * time.Millisecond
	l := &lab{Lab: h, t: t}
	if l.api, err = l.AddAPI(api); err != nil {
		t.Fatal(err)
	}
	c := &l.Config.Consumer
	c.SessionTimeout, c.HeartbeatInterval, c.DrainTimeout = 6*time.Second, 100*time.Millisecond, 3*time.Second
	l.Config.Upstream.Timeout = 5 * time.Second
	c.FetchMaxWait, c.CommitInterval = 50*time.Millisecond, 50*time.Millisecond
	l.Config.Batcher.Linger = 50 * time.Millisecond
	l.Config.Upstream.Accounts = append(l.Config.Upstream.Accounts, l.Account("acme", l.api, 0, time.Minute, "st-*"))
	return l
}

func (l *lab) start() *harness.Replica {
	l.t.Helper()
	r, err := l.Start(l.t.Context(), app.Options{Log: slog.New(slog.NewTextHandler(io.MultiWriter(l.t.Output(), &l.log), nil))})
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *lab) stop() {
	l.t.Helper()
	if err := l.Stop(); err != nil {
		l.t.Fatal(err)
	}
}

// logged reports whether one line of the log has all of these.
func (l *lab) logged(parts ...string) bool {
	for line := range strings.Lines(l.log.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}

// event is an update of a contact unless class says otherwise.
type event struct {
	stream, id string
	seq        int64
	class      feed.Class
	key, value string // empty: as the feed makes them
}

// put produces events, in their order within a partition.
func (l *lab) put(all ...event) {
	l.t.Helper()
	contacts, events := make([]feed.Contact, len(all)), make([]feed.Event, len(all))
	for i, e := range all {
		contacts[i] = feed.Contact{Stream: e.stream, ID: e.id}
		events[i] = feed.NewUpdate(contacts[i], i, e.seq, e.class)
		if e.key != "" {
			events[i].Key = []byte(e.key)
		}
		switch {
		case e.class == feed.Tombstone:
			events[i].Value = nil
		case e.value != "":
			events[i].Value = []byte(e.value)
		}
	}
	if _, err := l.Put(l.t.Context(), contacts, events); err != nil {
		l.t.Fatal(err)
	}
}

// until waits for something that must happen within half a minute.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	if err := harness.Wait(ctx, ok); err != nil {
		l.t.Fatalf("waited half a minute for %s", what)
	}
}

// drain waits until everything that was produced is committed.
func (l *lab) drain() {
	l.t.Helper()
	l.until("everything to be committed", func() bool { return l.uncommitted() == 0 })
}

func (l *lab) uncommitted() int64 {
	n, err := l.Uncommitted(l.t.Context())
	if err != nil {
		return -1 // a test may have taken Kafka away
	}
	return n
}

// verify has the checker judge the run. The reasons are those of dead letters
// that do not follow from their event's class.
func (l *lab) verify(reasons map[contactsync.Position]contactsync.Reason) check.Report {
	l.t.Helper()
	in, err := l.Input(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	in.Reasons = reasons
	report := check.Run(in)
	if !report.OK() {
		l.t.Errorf("the checker found violations:\n%v", report)
	}
	return report
}

// get asks the admin port of a replica.
func (l *lab) get(addr, path string) string {
	l.t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + addr + path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(body)
}

// TestService_DeliversDeadLettersAndCommits is the main job at its smallest.
func TestService_DeliversDeadLettersAndCommits(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var events []event
	for i := range int64(30) {
		events = append(events, event{stream: "st-1", id: fmt.Sprint("c", i%10), seq: i + 1})
	}
	l.put(append(events,
		event{stream: "st-1", id: "x", seq: 1, class: feed.Undecodable, value: `{"streamId":"st-1"`},
		event{stream: "st-1", id: "bad-1", seq: 1, class: feed.Rejected},
		event{stream: "st-1", id: "gone", seq: 1}, event{stream: "st-1", id: "gone", seq: 2, class: feed.Tombstone},
		event{stream: "other", id: "c1", seq: 1, class: feed.Invalid},
	)...)
	unmapped := l.Manifest.Position(&l.Manifest.Records[len(l.Manifest.Records)-1])
	replica := l.start()
	l.drain()
	l.stop()
	report := l.verify(map[contactsync.Position]contactsync.Reason{unmapped: contactsync.ReasonUnmapped})
	if report.DeadLetters != 3 || report.Superseded < 20 {
		t.Errorf("%d dead letters and %d superseded, want 3 and at least 20", report.DeadLetters, report.Superseded)
	}
	series := replica.Series()
	for outcome, want := range map[string]float64{"dead_letter": 3, "delivered": 10, "superseded": 20, "skipped": 2} {
		if got := series.Value("batcher_events_completed_total{" + outcome + "}"); got != want {
			t.Errorf("%v events counted as %s, want %v", got, outcome, want)
		}
	}
}

// TestService_StopInOrderLeavesNoDuplicates restarts under load: I10.
func TestService_StopInOrderLeavesNoDuplicates(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	load := feed.DefaultConfig()
	load.Streams, load.Contacts, load.Events, load.Rate = 1, 37, 200, 1000
	for range 4 {
		l.start()
		if _, err := l.Produce(t.Context(), load); err != nil {
			t.Fatal(err)
		}
		load.SeqBase += int64(load.Events)
		if load.SeqBase == 800 {
			l.drain()
		}
		l.stop()
	}
	l.verify(nil)
}
