package replay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

func TestToTopic_WritesTheRecordBackWhereItCameFrom(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.event("x", 1, "")
	rec := b.produce(1, "c", body("c", 1, ""), contactsync.Header{Key: "trace", Value: []byte("7")})
	b.event("x", 2, "")
	run, _ := b.run(replay.Options{}, nil)
	if sum, err := run.ToTopic(t.Context(), letters([]contactsync.Record{rec})); err != nil || sum[replay.Replayed] != 1 {
		t.Fatalf("%v, %v", sum, err)
	}
	b.once([]contactsync.Record{rec})
	got := b.replays()[rec.Position][0]
	if got.Partition != 1 || string(got.Key) != "c" || string(got.Value) != string(rec.Value) || got.Headers[0].Key != "trace" {
		t.Errorf("written back as %+v", got)
	}
	re, _ := event.ReadReplay(got.Headers)
	if re.Count != 1 || re.Origin != rec.Position || !re.OriginTime.Equal(rec.Time) || re.Checked != got.Offset {
		t.Errorf("the replay says %+v of itself", re)
	}

	// It is rejected again: its second letter holds the replay.
	again := letter(got)
	again.Record.Headers = slices.DeleteFunc(slices.Clone(got.Headers), func(h contactsync.Header) bool {
		return strings.HasPrefix(h.Key, "contactsync-") && !event.KeepsWithRecord(h.Key)
	})
	run, outcomes := b.run(replay.Options{}, nil)
	if sum, err := run.ToTopic(t.Context(), []*deadletter.Entry{letter(rec), again}); err != nil || sum[replay.Replayed] != 1 || sum[replay.Already] != 1 {
		t.Fatalf("%v, %v, %v", sum, outcomes, err)
	}
	second := b.replays()[got.Position]
	if len(second) != 1 {
		t.Fatalf("the second letter was replayed %d times", len(second))
	}
	if re, err := event.ReadReplay(second[0].Headers); err != nil || re.Count != 2 || re.Origin != rec.Position || len(second[0].Headers) != 6 {
		t.Errorf("the second replay says %+v of itself, %v, %v", re, err, second[0].Headers)
	}
	run, _ = b.run(replay.Options{MaxReplays: 1}, nil)
	third := letter(second[0])
	third.Record.Headers = again.Record.Headers
	if sum, err := run.DryRun(t.Context(), []*deadletter.Entry{third}); err != nil || sum[replay.Loop] != 1 {
		t.Errorf("replayed too often: %v, %v", sum, err)
	}
}

// TestToTopic_Skips names a case for each reason.
func TestToTopic_Skips(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	type want struct {
		name   string
		letter *deadletter.Entry
		result replay.Result
	}
	var cases []want
	expect := func(name string, l *deadletter.Entry, r replay.Result) { cases = append(cases, want{name, l, r}) }
	stood := func(rec contactsync.Record, headers ...contactsync.Header) *deadletter.Entry {
		rec.Headers = headers
		return letter(rec)
	}

	expect("nothing newer", letter(b.event("a1", 1, "")), replay.Replayed)
	expect("a newer update", letter(b.event("a2", 1, "")), replay.Newer)
	b.event("a2", 2, "")
	expect("a newer update in another partition", letter(b.event("a3", 1, "")), replay.Newer)
	b.produce(1, "a3", body("a3", 2, ""))
	expect("a newer delete", letter(b.event("a4", 1, "")), replay.Newer)
	b.produce(0, "a4", []byte(`{"op":"delete","streamId":"st-1","contact":{"id":"a4"}}`))
	expect("a newer tombstone", letter(b.event("a5", 1, "")), replay.Newer)
	b.produce(0, "st-1/a5", nil)
	expect("a newer tombstone with the id alone", letter(b.event("a6", 1, "")), replay.Newer)
	b.produce(0, "a6", nil)
	expect("a later event with a lower version", letter(b.event("a7", 1, `,"version":5`)), replay.Replayed)
	b.event("a7", 0, `,"version":4`)
	b.event("a8", 2, `,"version":6`)
	expect("an earlier event with a higher version", letter(b.event("a8", 1, `,"version":5`)), replay.Newer)
	expect("a newer event that cannot be read", letter(b.event("a9", 1, "")), replay.Replayed)
	b.produce(0, "a9", []byte(`{"streamId":"st-1","contact":{"id":"a9"}}`))
	expect("the older of two letters", letter(b.event("b1", 1, "")), replay.Newer)
	expect("the newer of two letters", letter(b.event("b1", 2, "")), replay.Replayed)
	broken := b.event("b2", 1, "")
	broken.Value = []byte("{")
	expect("not readable", letter(broken), replay.Broken)
	unmapped := b.event("b3", 1, "")
	unmapped.Value = []byte(strings.Replace(string(unmapped.Value), "st-1", "st-2", 1))
	expect("no account", letter(unmapped), replay.Broken)
	expect("half of an origin", stood(b.event("b4", 1, ""), contactsync.Header{Key: event.HeaderReplays, Value: []byte("1")}), replay.Broken)
	expect("an envelope whose record is there", cut(letter(b.event("b5", 1, ""))), replay.Replayed)
	merged := letter(b.event("b6", 1, ""))
	merged.Record.Value = body("b6", 1, `,"version":1`)
	expect("an envelope of a merged record", cut(merged), replay.Incomplete)
	foreign := b.event("b7", 1, "")
	foreign.Topic = "foreign"
	expect("a topic that the service does not read", letter(foreign), replay.Elsewhere)
	gone := b.event("b8", 1, "")
	gone.Partition = 7
	expect("a partition that is not there", letter(gone), replay.Elsewhere)
	beyond := b.event("b9", 1, "")
	beyond.Offset = 1 << 40
	expect("a topic made anew", letter(beyond), replay.Unverifiable)
	// A replay in the log stands where its event first stood, not where it is.
	first := b.event("d1", 1, "")
	expect("newer than a replay that is behind it", letter(b.event("d1", 2, "")), replay.Replayed)
	b.produce(0, "d1", first.Value, event.Replay{Count: 1, Of: first.Position, Origin: first.Position, OriginTime: first.Time}.Headers()...)
	expect("the one that was replayed", letter(first), replay.Already)

	var all []*deadletter.Entry
	for _, c := range cases {
		all = append(all, c.letter)
	}
	check := func(outcomes map[contactsync.Position]replay.Outcome) {
		t.Helper()
		for _, c := range cases {
			if got := outcomes[c.letter.Record.Position]; got.Result != c.result {
				t.Errorf("%s: %s (%s), want %s", c.name, got.Result, got.Detail, c.result)
			}
		}
	}
	run, outcomes := b.run(replay.Options{}, nil)
	if _, err := run.DryRun(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	check(outcomes)
	if n := len(b.replays()); n != 1 {
		t.Errorf("after a dry run there are %d replays, want the one from before", n)
	}
	run, outcomes = b.run(replay.Options{}, nil)
	if _, err := run.ToTopic(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	check(outcomes)
	if rec := b.replays()[cases[14].letter.Record.Position]; len(rec) != 1 || string(rec[0].Value) != string(body("b5", 1, "")) {
		t.Errorf("%s: replayed as %v", cases[14].name, rec)
	}
}

func TestToTopic_LeavesWhatTheLogNoLongerProves(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	records := b.events(20, 1)
	cut := kadm.Offsets{}
	cut.AddOffset("contacts", 0, 5, -1)
	if _, err := kadm.NewClient(b.client).DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	run, outcomes := b.run(replay.Options{}, nil)
	if _, err := run.DryRun(t.Context(), letters(records)); err != nil {
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
	run, _ = b.run(replay.Options{Unverifiable: true}, nil)
	if sum, err := run.ToTopic(t.Context(), letters(records)); err != nil || sum[replay.Replayed] != 20 {
		t.Errorf("asked for: %v, %v", sum, err)
	}
}

// TestToTopic_StopsAndGoesOn cuts a run at every write, once with the write in the
// log and its answer lost, and starts it again as a new process would.
func TestToTopic_StopsAndGoesOn(t *testing.T) {
	t.Parallel()
	for at := 1; at <= 6; at++ {
		t.Run(fmt.Sprint("write ", at), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			records := b.events(1200, 1)
			ctx, cancel := context.WithCancel(t.Context())
			b.transport.onWrite = func(n int) (bool, bool) { return false, n == at }
			b.transport.afterCut = cancel
			run, _ := b.run(replay.Options{}, nil)
			sum, err := run.ToTopic(ctx, letters(records))
			if !errors.Is(err, context.Canceled) || sum[replay.Replayed]+sum[replay.Left] != 1200 || sum[replay.Left] == 0 {
				t.Fatalf("cut off: %v, %v", sum, err)
			}
			b.connect()
			run, _ = b.run(replay.Options{}, nil)
			sum, err = run.ToTopic(t.Context(), letters(records))
			if err != nil || sum[replay.Replayed]+sum[replay.Already] != 1200 || sum[replay.Already] == 0 {
				t.Errorf("again: %v, %v", sum, err)
			}
			b.once(records)
		})
	}
}

func TestToTopic_ALostAnswerIsNoSecondReplay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	records := b.events(1200, 1)
	b.transport.onWrite = func(n int) (bool, bool) { return n%2 == 0, false }
	run, _ := b.run(replay.Options{}, nil)
	if sum, err := run.ToTopic(t.Context(), letters(records)); err != nil || sum[replay.Replayed] != 1200 {
		t.Errorf("%v, %v", sum, err)
	}
	b.once(records)
}

// TestToTopic_StopsBetweenChunks: what is under way is finished.
func TestToTopic_StopsBetweenChunks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	records := b.events(1200, 1)
	why := errors.New("signal: interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	run, _ := b.run(replay.Options{}, func(replay.Outcome) { cancel(why) })
	sum, err := run.ToTopic(ctx, letters(records))
	if !errors.Is(err, why) || sum[replay.Replayed] != 500 || sum[replay.Left] != 700 {
		t.Errorf("%v, %v: want the first chunk", sum, err)
	}
}

// TestToTopic_SeesWhatArrivesMeanwhile: a contact of the last chunk changes while
// the first one is written.
func TestToTopic_SeesWhatArrivesMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	records := b.events(1200, 1)
	last := records[1199]
	changed := false
	run, outcomes := b.run(replay.Options{}, func(replay.Outcome) {
		if !changed {
			changed = true
			b.produce(last.Partition, "c1199", body("c1199", 2, ""))
		}
	})
	if sum, err := run.ToTopic(t.Context(), letters(records)); err != nil || sum[replay.Replayed] != 1199 {
		t.Errorf("%v, %v", sum, err)
	}
	if got := outcomes[last.Position].Result; got != replay.Newer {
		t.Errorf("the letter of the contact that changed: %s", got)
	}
	b.once(records[:1199])
}

func TestToTopic_Limit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	records := b.events(30, 1)
	for want := range 3 {
		run, _ := b.run(replay.Options{Limit: 10}, nil)
		sum, err := run.ToTopic(t.Context(), letters(records))
		if err != nil || sum[replay.Replayed] != 10 || sum[replay.Already] != 10*want || sum[replay.Left] != 20-10*want {
			t.Errorf("run %d: %v, %v", want, sum, err)
		}
	}
	b.once(records)
}

// TestToTopic_StopsWhereTheTopicIsMadeAnew: what was read says nothing any more.
func TestToTopic_StopsWhereTheTopicIsMadeAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	records := b.events(1200, 1)
	admin := kadm.NewClient(b.client)
	made := false
	run, _ := b.run(replay.Options{}, func(replay.Outcome) {
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
	sum, err := run.ToTopic(t.Context(), letters(records))
	if err == nil || !strings.Contains(err.Error(), "made anew") || sum[replay.Left] != 700 {
		t.Errorf("%v, %v", sum, err)
	}
}

// TestToTopic_Rate: what goes at once is what a second lets through, and the rest waits.
func TestToTopic_Rate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	records := b.events(150, 1)
	start := time.Now()
	run, _ := b.run(replay.Options{Rate: 100}, nil)
	if sum, err := run.ToTopic(t.Context(), letters(records)); err != nil || sum[replay.Replayed] != 150 {
		t.Errorf("%v, %v", sum, err)
	}
	if took := time.Since(start); took < 450*time.Millisecond {
		t.Errorf("150 letters at 100 a second took %v", took)
	}
}

// TestToTopic_UndatedLetters: a record may have no time, or one before 1970, which
// must not keep the other partitions from being read.
func TestToTopic_UndatedLetters(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{{}, time.UnixMilli(-1)} {
		b := newBench(t)
		rec := b.event("c", 1, `,"version":1`) // in partition 1
		rec.Time = at
		b.produce(0, "c", body("c", 2, `,"version":2`))
		run, _ := b.run(replay.Options{}, nil)
		if sum, err := run.ToTopic(t.Context(), letters([]contactsync.Record{rec})); err != nil || sum[replay.Newer] != 1 {
			t.Errorf("record time %v: %v, %v", at, sum, err)
		}
	}
}

// A newer event may be in any topic that the service reads.
func TestReplay_LooksAtEveryTopic(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p := b.produce(0, "cc", body("cc", 1, `,"version":1`))
	newer := &kgo.Record{Topic: "foreign", Key: []byte("cc"), Value: body("cc", 2, `,"version":2`)}
	if err := b.client.ProduceSync(t.Context(), newer).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b.topics = append(b.topics, "foreign")
	run, _ := b.run(replay.Options{}, nil)
	sum, err := run.DryRun(t.Context(), letters([]contactsync.Record{p}))
	if err != nil || sum[replay.Newer] != 1 {
		t.Errorf("%v, %v: want it skipped as newer", sum, err)
	}
}

// Compaction may remove a letter's record together with the tombstone behind it. A
// hole in the log is what is left of both.
func TestReplay_RecordThatIsGoneProvesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addrs()...), kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
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
	run, _ := b.run(replay.Options{}, nil)
	if sum, err := run.DryRun(t.Context(), letters([]contactsync.Record{gone})); err != nil || sum[replay.Unverifiable] != 1 {
		t.Errorf("%v, %v: want it unverifiable", sum, err)
	}
}

// Behind an open transaction a replay could not be found again by the next run.
func TestReplay_WaitsForAnOpenTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p := b.produce(0, "cc", body("cc", 1, ""))
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addrs()...), kgo.TransactionalID("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
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
	run, _ := b.run(replay.Options{}, nil)
	if sum, err := run.ToTopic(ctx, letters([]contactsync.Record{p})); err == nil || sum[replay.Replayed] != 0 {
		t.Fatalf("%v, %v: want nothing written while the transaction is open", sum, err)
	}
	if err := producer.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	run, _ = b.run(replay.Options{}, nil)
	if sum, err := run.ToTopic(t.Context(), letters([]contactsync.Record{p})); err != nil || sum[replay.Replayed] != 1 {
		t.Fatalf("%v, %v: want it written once the transaction has ended", sum, err)
	}
	b.once([]contactsync.Record{p})
}

// A letter in a partition must not hide what lies before it there and is newer than
// another letter.
func TestReplay_ALetterDoesNotHideWhatLiesBeforeIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	old := b.produce(0, "cc", body("cc", 1, `,"version":1`))
	time.Sleep(5 * time.Millisecond)
	b.produce(1, "cc", body("cc", 2, `,"version":2`))
	time.Sleep(5 * time.Millisecond)
	other := b.produce(1, "d", body("d", 1, ""))
	for _, chosen := range [][]contactsync.Record{{old}, {old, other}} {
		run, outcomes := b.run(replay.Options{}, nil)
		if _, err := run.DryRun(t.Context(), letters(chosen)); err != nil {
			t.Fatal(err)
		}
		if got := outcomes[old.Position].Result; got != replay.Newer {
			t.Errorf("with %d letters chosen: the older state is %q, want newer", len(chosen), got)
		}
	}
}

// TestDryRun_LettersOfTwoPartitions: where only the records' times tell the order of a
// contact's events, they must not make each of its letters older than the other, or one
// older than itself.
func TestDryRun_LettersOfTwoPartitions(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_700_000_000_000)
	for _, test := range []struct {
		name   string
		other  time.Time // of the event in partition 0; that of the letter in partition 1 is at
		chosen bool      // the one in partition 0 is a chosen letter, too
		merged bool      // the letter in partition 1 stands for it
		more   string    // what it says of the order
		want   replay.Result
	}{
		{"equally old, and a letter", at, true, false, "", replay.Replayed},
		{"equally old, and no letter", at, false, false, "", replay.Newer},
		{"a newer letter", at.Add(time.Second), true, false, "", replay.Newer},
		{"merged, and its record is younger", at.Add(time.Second), false, true, "", replay.Replayed},
		{"merged, and newer by its version", at, false, true, `,"version":2`, replay.Newer},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			other := b.produceAt(test.other, 0, "c", body("c", 1, test.more))
			main := letter(b.produceAt(at, 1, "c", body("c", 2, `,"version":1`)))
			all := []*deadletter.Entry{main}
			if test.chosen {
				all = append(all, letter(other))
			}
			if test.merged {
				main.Positions = []contactsync.Position{other.Position, main.Record.Position}
			}
			run, outcomes := b.run(replay.Options{}, nil)
			sum, err := run.DryRun(t.Context(), all)
			if got := outcomes[main.Record.Position]; err != nil || got.Result != test.want {
				t.Errorf("%s (%s), want %s; %v", got.Result, got.Detail, test.want, err)
			}
			if test.chosen && (sum[replay.Replayed] != 1 || sum[replay.Newer] != 1) {
				t.Errorf("of the two letters %v, want one", sum)
			}
		})
	}
}
