package replay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/internal/deadletter"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/replay"
)

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
	expect("a newer update of the stream's other account", deadLetter(topic.event("c3", 1, "")), replay.Replayed)
	topic.event("c3", 2, `,"accountId":"other"`)
	expect("a newer delete of the stream's other account", deadLetter(topic.event("c5", 1, "")), replay.Replayed)
	topic.produce(0, "c5", []byte(`{"op":"delete","streamId":"st-1","contact":{"id":"c5"},"accountId":"other"}`))
	expect("a newer update with the id in other case", deadLetter(topic.event("6964af60450340957c61a2b3", 1, "")), replay.Superseded)
	topic.event("6964AF60450340957C61A2B3", 2, "")
	expect("a newer tombstone with the id in other case", deadLetter(topic.event("6964af60450340957c61a2b4", 1, "")), replay.Superseded)
	topic.produce(0, "6964AF60450340957C61A2B4", nil)
	expect("a newer tombstone of a stream in two accounts", deadLetter(topic.event("c4", 1, `,"accountId":"other"`)), replay.Superseded)
	topic.produce(0, "st-1/c4", nil)

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
	topic.removeBefore(0, 5)
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

// TestRun_SkipsReplaysWhoseOriginIsGone: the replay that failed again is in the log, but
// not all that came after its event.
func TestRun_SkipsReplaysWhoseOriginIsGone(t *testing.T) {
	t.Parallel()
	for name, origin := range map[string]int64{"removed by retention": 0, "beyond the end": 1 << 40} {
		topic := newTestTopic(t)
		first := topic.events(20, 1)[0]
		re := event.Replay{Count: 1, Of: first.Position, Origin: first.Position, OriginTime: first.Time}
		re.Origin.Offset = origin
		rec := topic.produce(first.Partition, "c0000", first.Value, re.Headers()...)
		rec.Headers = kept(re)
		topic.removeBefore(first.Partition, 5)
		run, outcomes := topic.run(replay.Options{}, nil)
		if _, err := run.DryRun(t.Context(), deadLetters([]contactsync.Record{rec})); err != nil {
			t.Fatal(err)
		}
		if got := outcomes[rec.Position]; got.Result != replay.Unverifiable {
			t.Errorf("%s: %s (%s), want unverifiable", name, got.Result, got.Detail)
		}
	}
}

// TestRun_NoticesRetentionDuringTheRun: events may have been removed before they were read.
func TestRun_NoticesRetentionDuringTheRun(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	records := topic.events(1200, 1)
	removed := false
	run, outcomes := topic.run(replay.Options{}, func(replay.Outcome) {
		if !removed {
			removed = true
			topic.produce(0, "zz", body("zz", 1, ""))
			topic.removeBefore(0, topic.produce(0, "zz", body("zz", 2, "")).Offset)
		}
	})
	if _, err := run.Run(t.Context(), deadLetters(records)); err != nil {
		t.Fatal(err)
	}
	for _, r := range records[500:] { // behind the first chunk
		want := replay.Replayed
		if r.Partition == 0 {
			want = replay.Unverifiable
		}
		if got := outcomes[r.Position].Result; got != want {
			t.Fatalf("%v: %s, want %s", r.Position, got, want)
		}
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
