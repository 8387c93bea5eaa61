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

// TestRun_ARefusedRecordFailsAlone: the topic no longer takes records as large as one of
// them.
func TestRun_ARefusedRecordFailsAlone(t *testing.T) {
	t.Parallel()
	topic := newTestTopic(t)
	large := topic.event("c2", 1, `,"more":"`+strings.Repeat("x", 8000)+`"`)
	small := []contactsync.Record{topic.event("c1", 1, ""), topic.event("c3", 1, "")}
	most := "4000"
	set := kadm.AlterConfig{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &most}
	if _, err := kadm.NewClient(topic.client).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{set}, "contacts"); err != nil {
		t.Fatal(err)
	}
	run, outcomes := topic.run(replay.Options{}, nil)
	sum, err := run.Run(t.Context(), deadLetters([]contactsync.Record{small[0], large, small[1]}))
	if got := outcomes[large.Position]; err != nil || sum[replay.Replayed] != 2 || got.Result != replay.Failed || got.Detail == "" {
		t.Errorf("%v, %v, %+v", sum, err, got)
	}
	topic.once(small)
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
