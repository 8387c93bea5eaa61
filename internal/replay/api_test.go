package replay_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/kafka"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/internal/replay"
	"github.com/contactsync/contactsync/metrics"
	"github.com/contactsync/contactsync/upstream"
)

// apiBench is a bench with the API's stand-in.
type apiBench struct {
	*bench

	stub     *stub.Server
	host     string
	progress string
	owed     int                         // by what the progress file said at the end of the last run
	onCall   atomic.Pointer[func(n int)] // told each call before it is worked on
}

func newAPIBench(t *testing.T) *apiBench {
	t.Helper()
	b := &apiBench{bench: newBench(t), progress: filepath.Join(t.TempDir(), "progress")}
	var err error
	if b.stub, err = stub.New(stub.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := b.onCall.Load(); f != nil {
			(*f)(int(calls.Add(1)))
		}
		b.stub.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		if err := b.stub.Close(); err != nil {
			t.Error(err)
		}
	})
	b.host = server.URL
	return b
}

func (b *apiBench) rule(r stub.Rule) {
	b.t.Helper()
	if err := b.stub.Put(r); err != nil {
		b.t.Fatal(err)
	}
}

// send replays letters to the API, as one process does.
func (b *apiBench) send(ctx context.Context, all []*deadletter.Entry, o replay.Options, each func(replay.Outcome)) (replay.Summary, map[contactsync.Position]replay.Outcome, error) {
	b.t.Helper()
	run, outcomes := b.run(o, each)
	sum, err := b.sendBy(ctx, run, all)
	return sum, outcomes, err
}

func (b *apiBench) sendBy(ctx context.Context, run *replay.Replayer, all []*deadletter.Entry) (replay.Summary, error) {
	b.t.Helper()
	secret := filepath.Join(b.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(stub.LabSecret), 0o600); err != nil {
		b.t.Fatal(err)
	}
	cfg := upstream.DefaultConfig()
	cfg.Accounts = []upstream.Account{{
		ID: "acme", Host: b.host, AllowPlaintext: true, Streams: []string{"st-*"},
		Credentials: upstream.Credentials{ClientID: stub.LabAppID, ClientSecretFile: secret},
		Budget:      upstream.Budget{Requests: new(int)},
	}}
	client, err := upstream.New(cfg, upstream.Deps{Log: slog.New(slog.DiscardHandler), Metrics: &metrics.New(prometheus.NewRegistry()).Upstream})
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	progress, err := replay.OpenProgress(b.progress)
	if err != nil {
		b.t.Fatal(err)
	}
	defer progress.Close()
	sum, err := run.ToAPI(ctx, all, replay.API{Client: client, Progress: progress, MaxRows: 10, MaxBytes: 1 << 20, Attempts: 3, Hold: 10 * time.Millisecond})
	b.owed = progress.Owed()
	return sum, err
}

func (b *apiBench) seq(id string) int64 {
	if n, ok := b.stub.State()["st-1"][id]; ok {
		return n
	}
	return -1
}

// remembers checks the last word of the progress file about a letter.
func (b *apiBench) remembers(word string, rec contactsync.Record) {
	b.t.Helper()
	text, err := os.ReadFile(b.progress)
	if err != nil {
		b.t.Fatal(err)
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if w, at, _ := strings.Cut(strings.TrimSpace(line), " "); at == rec.String() {
			last = w
		}
	}
	if last != word {
		b.t.Errorf("the progress file says %q of %v, want %q:\n%s", last, rec.Position, word, text)
	}
}

// begun notes letters as a run does that is killed with them on their way.
func (b *apiBench) begun(records ...contactsync.Record) {
	b.t.Helper()
	b.notes("begun", records...)
}

// notes writes a word about letters to the progress file.
func (b *apiBench) notes(word string, records ...contactsync.Record) {
	b.t.Helper()
	text, err := os.ReadFile(b.progress)
	if errors.Is(err, os.ErrNotExist) {
		text, err = []byte("contactsync replay 1\n"), nil
	}
	for _, r := range records {
		text = append(text, word+" "+r.String()+"\n"...)
	}
	if err == nil {
		err = os.WriteFile(b.progress, text, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestToAPI_DeliversAndRemembers(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	all := letters(b.events(35, 1))
	bad := letter(b.event("bad1", 1, ""))
	all = append(all, bad)
	b.event("c0003", 2, "")
	sum, outcomes, err := b.send(t.Context(), all, replay.Options{}, nil)
	if err != nil || sum[replay.Replayed] != 34 || sum[replay.Newer] != 1 || sum[replay.Failed] != 1 {
		t.Fatalf("%v, %v", sum, err)
	}
	if got := outcomes[bad.Record.Position]; got.Result != replay.Failed || got.Detail == "" || strings.Contains(got.Detail, "Jane") {
		t.Errorf("the refused one: %+v", got)
	}
	if b.seq("c0000") != 1 || b.seq("c0034") != 1 || b.seq("c0003") != -1 {
		t.Errorf("the API has %v", b.stub.State())
	}
	calls := b.stub.Stats().Calls
	sum, _, err = b.send(t.Context(), all[:35], replay.Options{}, nil)
	if err != nil || sum[replay.Already] != 34 || sum[replay.Newer] != 1 || b.stub.Stats().Calls != calls {
		t.Errorf("again: %v, %v, %d calls more", sum, err, b.stub.Stats().Calls-calls)
	}
}

// TestToAPI_SendsWhatArrivesMeanwhile: a contact changes while the letter's older
// state is on its way, which may land behind what the service sends.
func TestToAPI_SendsWhatArrivesMeanwhile(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	records := b.events(3, 1)
	on := func(n int) {
		if n <= 2 {
			b.produce(records[0].Partition, "c0000", body("c0000", 1+n, ""))
		}
		if n == 1 {
			b.produce(records[1].Partition, "st-1/c0001", nil)
		}
	}
	b.onCall.Store(&on)
	sum, _, err := b.send(t.Context(), letters(records), replay.Options{}, nil)
	if err != nil || sum[replay.Replayed] != 3 {
		t.Errorf("%v, %v", sum, err)
	}
	if got := b.seq("c0000"); got != 3 {
		t.Errorf("the contact that changed has seq %d, want its newest, 3", got)
	}
	if got := b.stub.Stats(); got.Calls != 3 || got.AppliedRows != 5 || got.OutOfOrder != 0 {
		t.Errorf("%+v", got)
	}
}

// TestToAPI_OwesTheNewestState: a run that was killed with a request on its way has
// perhaps put an older state over a newer one. The next run puts that right.
func TestToAPI_OwesTheNewestState(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	records := b.events(2, 1)
	text := "contactsync replay 1\nbegun " + records[0].String() + "\nbegun " + records[1].String() + "\ndone " // torn
	if err := os.WriteFile(b.progress, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.produce(records[0].Partition, "c0000", body("c0000", 2, ""))
	sum, outcomes, err := b.send(t.Context(), letters(records), replay.Options{}, nil)
	if err != nil || outcomes[records[0].Position].Result != replay.Newer || outcomes[records[1].Position].Result != replay.Replayed {
		t.Errorf("%v, %v, %v", sum, outcomes, err)
	}
	if b.seq("c0000") != 2 || b.seq("c0001") != 1 {
		t.Errorf("the API has %v", b.stub.State())
	}
	text2, err := os.ReadFile(b.progress)
	if err != nil || strings.Count(string(text2), "\ndone contacts/") != 2 {
		t.Errorf("the progress file: %v\n%s", err, text2)
	}
}

func TestToAPI_StopsAndGoesOn(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	all := letters(b.events(95, 1))
	left := -1
	for round := 0; left != 0; round++ {
		if round > 10 {
			t.Fatal("no end")
		}
		ctx, cancel := context.WithCancel(t.Context())
		sum, _, err := b.send(ctx, all, replay.Options{}, func(o replay.Outcome) {
			if o.Result == replay.Replayed {
				cancel()
			}
		})
		cancel()
		if left = sum[replay.Left]; left > 0 && !errors.Is(err, context.Canceled) || sum[replay.Replayed] > 10 {
			t.Fatalf("round %d: %v, %v", round, sum, err)
		}
	}
	if got := b.stub.Stats(); got.AppliedRows != 95 || got.Duplicates != 0 {
		t.Errorf("%+v", got)
	}
}

// TestToAPI_RemembersWhatWasDeliveredBeforeTheStop: the run is stopped while it waits to
// repeat a request of which some rows have been delivered.
func TestToAPI_RemembersWhatWasDeliveredBeforeTheStop(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	records := b.events(3, 1)
	b.rule(stub.Rule{Name: "drop", First: 1, Last: 1, Rows: &stub.Rows{Drop: []string{"c0002"}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	on := func(int) { cancel() }
	b.onCall.Store(&on)
	if sum, _, err := b.send(ctx, letters(records), replay.Options{}, nil); !errors.Is(err, context.Canceled) || sum[replay.Replayed] != 2 || sum[replay.Left] != 1 {
		t.Errorf("%v, %v", sum, err)
	}
	b.remembers("done", records[1])
	b.remembers("begun", records[2])
	if sum, _, err := b.send(t.Context(), letters(records), replay.Options{}, nil); err != nil || sum[replay.Already] != 2 || b.stub.Stats().Duplicates != 0 {
		t.Errorf("the next run: %v, %v, %+v", sum, err, b.stub.Stats())
	}
}

func TestToAPI_WaitsOutAnAPIThatIsAway(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	b.rule(stub.Rule{Name: "reset", First: 1, Last: 1, Answer: &stub.Answer{Fault: stub.Reset}})
	b.rule(stub.Rule{Name: "away", First: 1, Last: 1, Answer: &stub.Answer{Status: 503, Body: stub.HTML}})
	b.rule(stub.Rule{Name: "late", First: 1, Last: 1, Answer: &stub.Answer{Status: 429, Headers: map[string]string{"Retry-After": "1"}}})
	sum, _, err := b.send(t.Context(), letters(b.events(25, 1)), replay.Options{}, nil)
	if err != nil || sum[replay.Replayed] != 25 {
		t.Errorf("%v, %v", sum, err)
	}
	if got := b.stub.Stats(); got.OutOfOrder != 0 || len(b.stub.State()["st-1"]) != 25 {
		t.Errorf("%+v", got)
	}
}

func TestToAPI_FindsTheBadRow(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	b.rule(stub.Rule{Name: "poison", Match: stub.Match{IDs: []string{"c0004"}}, Answer: &stub.Answer{Status: 412}})
	records := b.events(10, 1)
	sum, outcomes, err := b.send(t.Context(), letters(records), replay.Options{}, nil)
	if err != nil || sum[replay.Replayed] != 9 || outcomes[records[4].Position].Result != replay.Failed {
		t.Errorf("%v, %v", sum, err)
	}
}

// TestToAPI_RefusedStreamDoesNotStopTheOthers: whether it is unknown or not ours.
func TestToAPI_RefusedStreamDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	for status, most := range map[int]int64{401: 3, 404: 1} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			b := newAPIBench(t)
			b.rule(stub.Rule{Name: "no", Match: stub.Match{Streams: []string{"st-1"}}, Answer: &stub.Answer{Status: status}})
			records := b.events(15, 1) // more than one request
			other := b.produce(0, "dd", bytes.Replace(body("dd", 1, ""), []byte("st-1"), []byte("st-2"), 1))
			decoder, err := event.NewDecoder(event.DefaultConfig(), nil)
			if err != nil {
				t.Fatal(err)
			}
			details := map[string]int{}
			run := replay.New(replay.Deps{
				Log:    kafka.NewOn(b.transport, b.broker.Addrs(), 5*time.Second, slog.New(slog.DiscardHandler)),
				Topics: []string{"contacts"}, Decode: decoder.Decode, Logger: slog.New(slog.DiscardHandler),
				Route: func(string, string) (string, bool) { return "acme", true },
				Each:  func(o replay.Outcome) { details[o.Detail]++ },
			}, replay.Options{MaxReplays: 3})
			sum, err := b.sendBy(t.Context(), run, letters(append(records, other)))
			if err != nil || sum[replay.Failed] != 15 || sum[replay.Replayed] != 1 || len(details) != 2 {
				t.Errorf("%v, %v, %v", sum, err, details)
			}
			if got := b.stub.Stats().Calls; got != most+1 {
				t.Errorf("%d calls, want %d of the stream that is refused and 1 of the other", got, most)
			}
			b.remembers("done", other)
			b.remembers("given-up", records[0])
		})
	}
}

// TestToAPI_OwesWhatCouldNotBeRepaired: the letter's state has landed, a newer event
// has arrived meanwhile, and the API does not take that one.
func TestToAPI_OwesWhatCouldNotBeRepaired(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	records := b.events(1, 1)
	b.rule(stub.Rule{Name: "drop", First: 2, Last: 4, Rows: &stub.Rows{Drop: []string{"c0000"}}})
	on := func(n int) {
		if n == 1 {
			b.produce(records[0].Partition, "c0000", body("c0000", 2, ""))
		}
	}
	b.onCall.Store(&on)
	sum, outcomes, err := b.send(t.Context(), letters(records), replay.Options{}, nil)
	if got := outcomes[records[0].Position]; err != nil || got.Result != replay.Failed || !strings.Contains(got.Detail, "owed is the state at contacts/0@1") {
		t.Errorf("%v, %v, %+v", sum, err, got)
	}
	b.remembers("begun", records[0])
	if sum, _, err = b.send(t.Context(), letters(records), replay.Options{}, nil); err != nil || b.seq("c0000") != 2 {
		t.Errorf("the next run: %v, %v: the API has seq %d, want the newest, 2", sum, err, b.seq("c0000"))
	}
	b.remembers("done", records[0])
}

// TestToAPI_GivesUpOnlyWhatWasRefused: a letter of which the API may have some state
// is tried by the next run, too, with the newest.
func TestToAPI_GivesUpOnlyWhatWasRefused(t *testing.T) {
	t.Parallel()
	drop := stub.Rule{Name: "drop", First: 1, Last: 3, Rows: &stub.Rows{Drop: []string{"c0000"}}}
	refuse := stub.Rule{Name: "refuse", First: 1, Last: 1, Rows: &stub.Rows{Fail: []string{"c0000"}, Reason: "Unknown salutation"}}
	cut := stub.Rule{Name: "cut", First: 1, Last: 1, Answer: &stub.Answer{Fault: stub.CloseMidBody}}
	for _, c := range []struct {
		name  string
		begun bool // by an earlier run
		rules []stub.Rule
		want  string
	}{
		{"refused", false, []stub.Rule{refuse}, "given-up"},
		{"refused, begun earlier", true, []stub.Rule{refuse}, "begun"},
		{"no answer about it", false, []stub.Rule{drop}, "begun"},
		{"cut connection, then refused", false, []stub.Rule{cut, refuse}, "begun"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newAPIBench(t)
			for _, r := range c.rules {
				b.rule(r)
			}
			records := b.events(1, 1)
			if c.begun {
				b.begun(records[0])
			}
			sum, outcomes, err := b.send(t.Context(), letters(records), replay.Options{}, nil)
			if got := outcomes[records[0].Position]; err != nil || got.Result != replay.Failed || strings.Contains(got.Detail, "owed") != (c.want == "begun") {
				t.Errorf("%v, %v, %+v", sum, err, got)
			}
			b.remembers(c.want, records[0])
			b.produce(records[0].Partition, "c0000", body("c0000", 2, ""))
			want := int64(2)
			if c.want != "begun" {
				want = -1 // the service sends it
			}
			if sum, _, err := b.send(t.Context(), letters(records), replay.Options{}, nil); err != nil || sum[replay.Newer] != 1 || b.seq("c0000") != want {
				t.Errorf("the next run: %v, %v: the API has seq %d, want %d", sum, err, b.seq("c0000"), want)
			}
		})
	}
}

// TestToAPI_NewerLetterPaysTheDebtOfAnOlder: the older letter was on its way when an
// earlier run was killed.
func TestToAPI_NewerLetterPaysTheDebtOfAnOlder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		changed bool // behind the newer letter, too
		more    string
		want    int64
	}{
		{"changed since", true, "", 3},
		{"the newer letter is the newest", false, "", 2},
		{"the newer letter is done", false, "done", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newAPIBench(t)
			older, newer := b.event("cc", 1, ""), b.event("cc", 2, "")
			if c.changed {
				b.event("cc", 3, "")
			}
			b.begun(older)
			if c.more != "" {
				b.notes(c.more, newer)
			}
			sum, _, err := b.send(t.Context(), letters([]contactsync.Record{older, newer}), replay.Options{}, nil)
			if err != nil || b.seq("cc") != c.want {
				t.Errorf("%v, %v: the API has seq %d, want %d", sum, err, b.seq("cc"), c.want)
			}
			b.remembers("done", older)
			b.remembers("done", newer)
		})
	}
}

func TestToAPI_OwedGoesFirst(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	records := b.events(20, 1)
	b.begun(records[17], records[19])
	sum, outcomes, err := b.send(t.Context(), letters(records), replay.Options{Limit: 2}, nil)
	if err != nil || outcomes[records[17].Position].Result != replay.Replayed || outcomes[records[19].Position].Result != replay.Replayed || sum[replay.Left] != 18 {
		t.Errorf("%v, %v", sum, err)
	}
}

// TestToAPI_TellsWhatIsStillOwed: a letter was begun and is not among those chosen.
func TestToAPI_TellsWhatIsStillOwed(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	records := b.events(3, 1)
	b.begun(records[2])
	if sum, _, err := b.send(t.Context(), letters(records[:2]), replay.Options{}, nil); err != nil || sum[replay.Replayed] != 2 {
		t.Errorf("%v, %v", sum, err)
	}
	if b.owed != 1 {
		t.Errorf("%d letters are owed, want 1", b.owed)
	}
	if sum, _, err := b.send(t.Context(), letters(records), replay.Options{}, nil); err != nil || sum[replay.Replayed] != 1 || b.owed != 0 {
		t.Errorf("with all letters: %v, %v: %d are owed", sum, err, b.owed)
	}
}

// TestToAPI_LooksAfterTheWait: a contact changes while its letter waits for the budget.
func TestToAPI_LooksAfterTheWait(t *testing.T) {
	t.Parallel()
	b := newAPIBench(t)
	records := b.events(1, 1)
	b.rule(stub.Rule{Name: "late", First: 1, Last: 1, Answer: &stub.Answer{Status: 429, Headers: map[string]string{"Retry-After": "3"}}})
	on := func(n int) {
		if n == 1 { // the letter's own state is refused; what arrives then is the service's
			time.AfterFunc(300*time.Millisecond, func() { b.produce(records[0].Partition, "c0000", body("c0000", 2, "")) })
		}
	}
	b.onCall.Store(&on)
	sum, _, err := b.send(t.Context(), letters(records), replay.Options{}, nil)
	if got := b.stub.Stats(); err != nil || sum[replay.Newer] != 1 || got.AppliedRows != 0 || got.Calls != 1 {
		t.Errorf("%v, %v, %+v: want nothing sent after the 429", sum, err, got)
	}
	b.remembers("given-up", records[0])
}
