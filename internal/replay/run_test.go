package replay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/replay"
)

func TestRun_WritesTheRecordBackWhereItCameFrom(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	topic.event("x", 1, "")
	rec := topic.produce(1, "c", body("c", 1, ""), contactsync.Header{Key: "trace", Value: []byte("7")})
	topic.event("x", 2, "")
	run, _ := topic.run(replay.Options{}, nil)
	if sum, err := run.Run(t.Context(), deadLetters([]contactsync.Record{rec})); err != nil || sum[replay.Replayed] != 1 {
		t.Fatalf("%v, %v", sum, err)
	}
	topic.once([]contactsync.Record{rec})
	got := topic.replays()[rec.Position][0]
	if got.Partition != 1 || string(got.Key) != "c" || string(got.Value) != string(rec.Value) || got.Headers[0].Key != "trace" {
		t.Errorf("written back as %+v", got)
	}
	re, _ := event.ReadReplay(got.Headers)
	if re.Count != 1 || re.Origin != rec.Position || !re.OriginTime.Equal(rec.Time) || re.Checked != got.Offset {
		t.Errorf("the replay is %+v", re)
	}

	// It is rejected again: its second dead letter holds the replay.
	again := deadLetter(got)
	again.Record.Headers = append(kept(*re), got.Headers[0])
	run, outcomes := topic.run(replay.Options{}, nil)
	if sum, err := run.Run(t.Context(), []*deadletter.Entry{deadLetter(rec), again}); err != nil || sum[replay.Replayed] != 1 || sum[replay.AlreadyReplayed] != 1 {
		t.Fatalf("%v, %v, %v", sum, outcomes, err)
	}
	second := topic.replays()[got.Position]
	if len(second) != 1 {
		t.Fatalf("the second dead letter was replayed %d times", len(second))
	}
	if re, err := event.ReadReplay(second[0].Headers); err != nil || re.Count != 2 || re.Origin != rec.Position || len(second[0].Headers) != 6 {
		t.Errorf("the second replay is %+v, %v, %v", re, err, second[0].Headers)
	}
	run, _ = topic.run(replay.Options{MaxReplays: 1}, nil)
	third := deadLetter(second[0])
	third.Record.Headers = again.Record.Headers
	if sum, err := run.DryRun(t.Context(), []*deadletter.Entry{third}); err != nil || sum[replay.ReplayLimit] != 1 {
		t.Errorf("replayed too often: %v, %v", sum, err)
	}
}

// TestRun_Skips names a case for each reason.
func TestRun_Skips(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	type want struct {
		name   string
		entry  *deadletter.Entry
		result replay.Result
	}
	var cases []want
	expect := func(name string, e *deadletter.Entry, r replay.Result) { cases = append(cases, want{name, e, r}) }
	withHeaders := func(rec contactsync.Record, headers ...contactsync.Header) *deadletter.Entry {
		rec.Headers = headers
		return deadLetter(rec)
	}

	expect("nothing newer", deadLetter(topic.event("a1", 1, "")), replay.Replayed)
	expect("a newer update", deadLetter(topic.event("a2", 1, "")), replay.Superseded)
	topic.event("a2", 2, "")
	expect("a newer update in another partition", deadLetter(topic.event("a3", 1, "")), replay.Superseded)
	topic.produce(1, "a3", body("a3", 2, ""))
	expect("a newer delete", deadLetter(topic.event("a4", 1, "")), replay.Superseded)
	topic.produce(0, "a4", []byte(`{"op":"delete","streamId":"st-1","contact":{"id":"a4"}}`))
	expect("a newer tombstone", deadLetter(topic.event("a5", 1, "")), replay.Superseded)
	topic.produce(0, "st-1/a5", nil)
	expect("a newer tombstone with the id alone", deadLetter(topic.event("a6", 1, "")), replay.Superseded)
	topic.produce(0, "a6", nil)
	expect("a later event with a lower version", deadLetter(topic.event("a7", 1, `,"version":5`)), replay.Replayed)
	topic.event("a7", 0, `,"version":4`)
	topic.event("a8", 2, `,"version":6`)
	expect("an earlier event with a higher version", deadLetter(topic.event("a8", 1, `,"version":5`)), replay.Superseded)
	expect("a newer event that cannot be read", deadLetter(topic.event("a9", 1, "")), replay.Replayed)
	topic.produce(0, "a9", []byte(`{"streamId":"st-1","contact":{"id":"a9"}}`))
	expect("the older of two dead letters", deadLetter(topic.event("b1", 1, "")), replay.Superseded)
	expect("the newer of two dead letters", deadLetter(topic.event("b1", 2, "")), replay.Replayed)
	broken := topic.event("b2", 1, "")
	broken.Value = []byte("{")
	expect("not readable", deadLetter(broken), replay.Undeliverable)
	unmapped := topic.event("b3", 1, "")
	unmapped.Value = []byte(strings.Replace(string(unmapped.Value), "st-1", "st-2", 1))
	expect("no account", deadLetter(unmapped), replay.Undeliverable)
	expect("half of an origin", withHeaders(topic.event("b4", 1, ""), contactsync.Header{Key: event.HeaderReplays, Value: []byte("1")}), replay.Undeliverable)
	elsewhere := topic.event("c1", 1, "")
	elsewhere.Partition = 1
	expect("an origin in another partition", withHeaders(topic.event("c2", 1, ""), kept(event.Replay{Count: 1, Origin: elsewhere.Position})...), replay.Undeliverable)
	expect("an envelope whose record is there", cut(deadLetter(topic.event("b5", 1, ""))), replay.Replayed)
	merged := deadLetter(topic.event("b6", 1, ""))
	merged.Record.Value = body("b6", 1, `,"version":1`)
	expect("an envelope of a merged record", cut(merged), replay.Truncated)
	foreign := topic.event("b7", 1, "")
	foreign.Topic = "foreign"
	expect("a topic that the service does not read", deadLetter(foreign), replay.NotConsumed)
	gone := topic.event("b8", 1, "")
	gone.Partition = 7
	expect("a partition that is not there", deadLetter(gone), replay.NotConsumed)
	beyond := topic.event("b9", 1, "")
	beyond.Offset = 1 << 40
	expect("a topic that was recreated", deadLetter(beyond), replay.Unverifiable)
	// A replay is as old as the event that it repeats.
	first := topic.event("d1", 1, "")
	expect("newer than a replay that is behind it", deadLetter(topic.event("d1", 2, "")), replay.Replayed)
	topic.produce(0, "d1", first.Value, event.Replay{Count: 1, Of: first.Position, Origin: first.Position, OriginTime: first.Time}.Headers()...)
	expect("the one that was replayed", deadLetter(first), replay.AlreadyReplayed)

	var all []*deadletter.Entry
	for _, c := range cases {
		all = append(all, c.entry)
	}
	check := func(outcomes map[contactsync.Position]replay.Outcome) {
		t.Helper()
		for _, c := range cases {
			if got := outcomes[c.entry.Record.Position]; got.Result != c.result {
				t.Errorf("%s: %s (%s), want %s", c.name, got.Result, got.Detail, c.result)
			}
		}
	}
	run, outcomes := topic.run(replay.Options{}, nil)
	if _, err := run.DryRun(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	check(outcomes)
	if n := len(topic.replays()); n != 1 {
		t.Errorf("after a dry run there are %d replays, want the one from before", n)
	}
	run, outcomes = topic.run(replay.Options{}, nil)
	if _, err := run.Run(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	check(outcomes)
	if rec := topic.replays()[cases[15].entry.Record.Position]; len(rec) != 1 || string(rec[0].Value) != string(body("b5", 1, "")) {
		t.Errorf("%s: replayed as %v", cases[15].name, rec)
	}
}

func TestRun_SkipsWhatTheLogCannotVerify(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	records := topic.events(20, 1)
	cut := kadm.Offsets{}
	cut.AddOffset("contacts", 0, 5, -1)
	if _, err := kadm.NewClient(topic.client).DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	run, outcomes := topic.run(replay.Options{}, nil)
	if _, err := run.DryRun(t.Context(), deadLetters(records)); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		want := replay.Replayed
		if r.Partition == 0 && r.Offset < 4 { // behind the event at 4 everything is there
			want = replay.Unverifiable
		}
		if got := outcomes[r.Position].Result; got != want {
			t.Errorf("%v: %s, want %s", r.Position, got, want)
		}
	}
	run, _ = topic.run(replay.Options{AllowUnverifiable: true}, nil)
	if sum, err := run.Run(t.Context(), deadLetters(records)); err != nil || sum[replay.Replayed] != 20 {
		t.Errorf("asked for: %v, %v", sum, err)
	}
}

// TestRun_ContinuesAfterACut cuts a run at every write, with the write in the log and
// its answer lost, and starts it again as a new process would.
func TestRun_ContinuesAfterACut(t *testing.T) {
	t.Parallel()
	for at := 1; at <= 6; at++ {
		t.Run(fmt.Sprint("write ", at), func(t *testing.T) {
			t.Parallel()
			topic := newTestTopic(t)
			records := topic.events(1200, 1)
			ctx, cancel := context.WithCancel(t.Context())
			topic.transport.onWrite = func(n int) (bool, bool) { return false, n == at }
			topic.transport.afterCut = cancel
			run, _ := topic.run(replay.Options{}, nil)
			sum, err := run.Run(ctx, deadLetters(records))
			if !errors.Is(err, context.Canceled) || sum[replay.Replayed]+sum[replay.NotAttempted] != 1200 || sum[replay.NotAttempted] == 0 {
				t.Fatalf("cut off: %v, %v", sum, err)
			}
			topic.connect()
			run, _ = topic.run(replay.Options{}, nil)
			sum, err = run.Run(t.Context(), deadLetters(records))
			if err != nil || sum[replay.Replayed]+sum[replay.AlreadyReplayed] != 1200 || sum[replay.AlreadyReplayed] == 0 {
				t.Errorf("again: %v, %v", sum, err)
			}
			topic.once(records)
		})
	}
}

func TestRun_ALostAnswerCausesNoSecondReplay(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	records := topic.events(1200, 1)
	topic.transport.onWrite = func(n int) (bool, bool) { return n%2 == 0, false }
	run, _ := topic.run(replay.Options{}, nil)
	if sum, err := run.Run(t.Context(), deadLetters(records)); err != nil || sum[replay.Replayed] != 1200 {
		t.Errorf("%v, %v", sum, err)
	}
	topic.once(records)
}

// TestRun_StopsBetweenChunks: the present chunk is finished.
func TestRun_StopsBetweenChunks(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	records := topic.events(1200, 1)
	why := errors.New("signal: interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	run, _ := topic.run(replay.Options{}, func(replay.Outcome) { cancel(why) })
	sum, err := run.Run(ctx, deadLetters(records))
	if !errors.Is(err, why) || sum[replay.Replayed] != 500 || sum[replay.NotAttempted] != 700 {
		t.Errorf("%v, %v: want the first chunk", sum, err)
	}
}

// TestRun_SeesWhatArrivesDuringTheRun: a contact of the last chunk changes while
// the first one is written.
func TestRun_SeesWhatArrivesDuringTheRun(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	records := topic.events(1200, 1)
	last := records[1199]
	changed := false
	run, outcomes := topic.run(replay.Options{}, func(replay.Outcome) {
		if !changed {
			changed = true
			topic.produce(last.Partition, "c1199", body("c1199", 2, ""))
		}
	})
	if sum, err := run.Run(t.Context(), deadLetters(records)); err != nil || sum[replay.Replayed] != 1199 {
		t.Errorf("%v, %v", sum, err)
	}
	if got := outcomes[last.Position].Result; got != replay.Superseded {
		t.Errorf("the dead letter of the contact that changed: %s", got)
	}
	topic.once(records[:1199])
}

func TestRun_Limit(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	records := topic.events(30, 1)
	for want := range 3 {
		run, _ := topic.run(replay.Options{Limit: 10}, nil)
		sum, err := run.Run(t.Context(), deadLetters(records))
		if err != nil || sum[replay.Replayed] != 10 || sum[replay.AlreadyReplayed] != 10*want || sum[replay.NotAttempted] != 20-10*want {
			t.Errorf("run %d: %v, %v", want, sum, err)
		}
	}
	topic.once(records)
}

// TestRun_StopsWhenTheTopicIsRecreated: what was read proves nothing any more.
func TestRun_StopsWhenTheTopicIsRecreated(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds, until the client asks for the topic again")
	}
	t.Parallel()
	topic := newTestTopic(t)
	records := topic.events(1200, 1)
	admin := kadm.NewClient(topic.client)
	made := false
	run, _ := topic.run(replay.Options{}, func(replay.Outcome) {
		if made {
			return
		}
		made = true
		if _, err := admin.DeleteTopics(t.Context(), "contacts"); err != nil {
			t.Error(err)
		}
		if _, err := admin.CreateTopics(t.Context(), 2, 1, nil, "contacts"); err != nil {
			t.Error(err)
		}
	})
	sum, err := run.Run(t.Context(), deadLetters(records))
	if err == nil || !strings.Contains(err.Error(), "recreated") || sum[replay.NotAttempted] != 700 {
		t.Errorf("%v, %v", sum, err)
	}
}

// TestRun_Rate: the first chunk is what a second lets through, and the rest waits.
func TestRun_Rate(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	records := topic.events(150, 1)
	start := time.Now()
	run, _ := topic.run(replay.Options{Rate: 100}, nil)
	if sum, err := run.Run(t.Context(), deadLetters(records)); err != nil || sum[replay.Replayed] != 150 {
		t.Errorf("%v, %v", sum, err)
	}
	if took := time.Since(start); took < 450*time.Millisecond {
		t.Errorf("150 dead letters at 100 a second took %v", took)
	}
}

// TestRun_UndatedRecords: a record may have no time, or one before 1970, which
// must not keep the other partitions from being read.
func TestRun_UndatedRecords(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{{}, time.UnixMilli(-1)} {
		topic := newTestTopic(t)
		rec := topic.event("c", 1, `,"version":1`) // in partition 1
		rec.Time = at
		topic.produce(0, "c", body("c", 2, `,"version":2`))
		run, _ := topic.run(replay.Options{}, nil)
		if sum, err := run.Run(t.Context(), deadLetters([]contactsync.Record{rec})); err != nil || sum[replay.Superseded] != 1 {
			t.Errorf("record time %v: %v, %v", at, sum, err)
		}
	}
}

// A newer event may be in any topic that the service reads.
func TestRun_LooksAtEveryTopic(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	p := topic.produce(0, "cc", body("cc", 1, `,"version":1`))
	newer := &kgo.Record{Topic: "foreign", Key: []byte("cc"), Value: body("cc", 2, `,"version":2`)}
	if err := topic.client.ProduceSync(t.Context(), newer).FirstErr(); err != nil {
		t.Fatal(err)
	}
	topic.topics = append(topic.topics, "foreign")
	run, _ := topic.run(replay.Options{}, nil)
	sum, err := run.DryRun(t.Context(), deadLetters([]contactsync.Record{p}))
	if err != nil || sum[replay.Superseded] != 1 {
		t.Errorf("%v, %v: want it skipped as newer", sum, err)
	}
}

// Compaction may remove a dead letter's record together with the tombstone behind it. A
// gap in the log is what is left of both.
func TestRun_ARecordThatIsGoneVerifiesNothing(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	producer, err := kgo.NewClient(kgo.SeedBrokers(topic.broker.Addrs()...), kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	r := &kgo.Record{Topic: "contacts", Key: []byte("cc"), Value: body("cc", 1, "")}
	if err := producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := producer.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	gone := contactsync.Record{ // at the marker's offset
		Position: contactsync.Position{TopicPartition: contactsync.TopicPartition{Topic: "contacts"}, Offset: 1}, Time: r.Timestamp, Key: []byte("ee"), Value: body("ee", 1, ""),
	}
	run, _ := topic.run(replay.Options{}, nil)
	if sum, err := run.DryRun(t.Context(), deadLetters([]contactsync.Record{gone})); err != nil || sum[replay.Unverifiable] != 1 {
		t.Errorf("%v, %v: want it unverifiable", sum, err)
	}
}

// Behind an open transaction a replay could not be found again by the next run.
func TestRun_WaitsForAnOpenTransaction(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	p := topic.produce(0, "cc", body("cc", 1, ""))
	producer, err := kgo.NewClient(kgo.SeedBrokers(topic.broker.Addrs()...), kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "contacts", Key: []byte("zz"), Value: body("zz", 1, "")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	run, _ := topic.run(replay.Options{}, nil)
	if sum, err := run.Run(ctx, deadLetters([]contactsync.Record{p})); err == nil || sum[replay.Replayed] != 0 {
		t.Fatalf("%v, %v: want nothing written while the transaction is open", sum, err)
	}
	if err := producer.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	run, _ = topic.run(replay.Options{}, nil)
	if sum, err := run.Run(t.Context(), deadLetters([]contactsync.Record{p})); err != nil || sum[replay.Replayed] != 1 {
		t.Fatalf("%v, %v: want it written once the transaction has ended", sum, err)
	}
	topic.once([]contactsync.Record{p})
}

// A dead letter in a partition must not hide what precedes it there and is newer than
// another dead letter.
func TestRun_ADeadLetterHidesNothingBeforeIt(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	at := time.UnixMilli(1_700_000_000_000)
	old := topic.produceAt(at, 0, "cc", body("cc", 1, `,"version":1`))
	topic.produceAt(at.Add(1*time.Second), 1, "cc", body("cc", 2, `,"version":2`))
	other := topic.produceAt(at.Add(2*time.Second), 1, "d", body("d", 1, ""))
	for _, chosen := range [][]contactsync.Record{{old}, {old, other}} {
		run, outcomes := topic.run(replay.Options{}, nil)
		if _, err := run.DryRun(t.Context(), deadLetters(chosen)); err != nil {
			t.Fatal(err)
		}
		if got := outcomes[old.Position].Result; got != replay.Superseded {
			t.Errorf("with %d dead letters chosen: the older state is %q, want superseded", len(chosen), got)
		}
	}
}

// TestDryRun_DeadLettersOfTwoPartitions: where only the records' times tell the order of a
// contact's events, they must not make each of its dead letters older than the other, or one
// older than itself.
func TestDryRun_DeadLettersOfTwoPartitions(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_700_000_000_000)
	for _, test := range []struct {
		name   string
		other  time.Time // of the event in partition 0; that of the dead letter in partition 1 is at
		chosen bool      // the one in partition 0 is a chosen dead letter, too
		merged bool      // it is part of the dead letter in partition 1
		more   string    // its version, if any
		want   replay.Result
	}{
		{"equally old, and a dead letter", at, true, false, "", replay.Replayed},
		{"equally old, and no dead letter", at, false, false, "", replay.Superseded},
		{"a newer dead letter", at.Add(time.Second), true, false, "", replay.Superseded},
		{"merged, and its record is younger", at.Add(time.Second), false, true, "", replay.Replayed},
		{"merged, and newer by its version", at, false, true, `,"version":2`, replay.Superseded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			topic := newTestTopic(t)
			other := topic.produceAt(test.other, 0, "c", body("c", 1, test.more))
			main := deadLetter(topic.produceAt(at, 1, "c", body("c", 2, `,"version":1`)))
			all := []*deadletter.Entry{main}
			if test.chosen {
				all = append(all, deadLetter(other))
			}
			if test.merged {
				main.Positions = []contactsync.Position{other.Position, main.Record.Position}
			}
			run, outcomes := topic.run(replay.Options{}, nil)
			sum, err := run.DryRun(t.Context(), all)
			if got := outcomes[main.Record.Position]; err != nil || got.Result != test.want {
				t.Errorf("%s (%s), want %s; %v", got.Result, got.Detail, test.want, err)
			}
			if test.chosen && (sum[replay.Replayed] != 1 || sum[replay.Superseded] != 1) {
				t.Errorf("of the two dead letters %v, want one", sum)
			}
		})
	}
}

// TestDryRun_EventsOlderThanAPart: what is older than a part of a dead letter is older
// than the dead letter, unless it is declared newer.
func TestDryRun_EventsOlderThanAPart(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_700_000_000_000)
	for version, want := range map[string]replay.Result{"": replay.Replayed, `,"version":2`: replay.Superseded} {
		topic := newTestTopic(t)
		topic.produceAt(at.Add(time.Second), 0, "c", body("c", 1, version))
		part := topic.produceAt(at.Add(2*time.Second), 0, "c", body("c", 2, ""))
		main := deadLetter(topic.produceAt(at, 1, "c", body("c", 3, `,"version":1`)))
		main.Positions = []contactsync.Position{part.Position, main.Record.Position}
		run, outcomes := topic.run(replay.Options{}, nil)
		_, err := run.DryRun(t.Context(), []*deadletter.Entry{main})
		if got := outcomes[main.Record.Position]; err != nil || got.Result != want {
			t.Errorf("event with %q: %s (%s), want %s; %v", version, got.Result, got.Detail, want, err)
		}
	}
}

func TestDryRun_NamesTheNewestEvent(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	rec := topic.event("c", 1, `,"version":1`)
	newest := topic.event("c", 2, `,"version":3`)
	topic.event("c", 3, `,"version":2`)
	run, outcomes := topic.run(replay.Options{}, nil)
	if _, err := run.DryRun(t.Context(), deadLetters([]contactsync.Record{rec})); err != nil {
		t.Fatal(err)
	}
	if got, want := outcomes[rec.Position].Detail, "update at "+newest.String(); got != want {
		t.Errorf("superseded by %q, want %q", got, want)
	}
}
