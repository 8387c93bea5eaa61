package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/loopback"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// letterWorld is a broker with a few dead letters in it, and the settings for it.
type letterWorld struct {
	t      *testing.T
	file   string
	client *kgo.Client
}

func newLetterWorld(t *testing.T) *letterWorld {
	t.Helper()
	file := settings(t, "dead")
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Kafka.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &letterWorld{t, file, client}
}

func (w *letterWorld) produce(rec *kgo.Record) *kgo.Record {
	w.t.Helper()
	if err := w.client.ProduceSync(w.t.Context(), rec).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
	return rec
}

// event writes a contact's state to the source topic.
func (w *letterWorld) event(id string, seq int) *kgo.Record {
	w.t.Helper()
	return w.produce(&kgo.Record{Topic: "contacts", Key: []byte(id), Value: fmt.Appendf(nil, `{"streamId":"st-1","contact":{"id":%q,"firstName":"Jane","lastName":"Doe",`+
		`"fullName":"Jane Doe","salutation":"Mrs","cellPhone":{"extension":"+","phoneNumber":"2445671234","countryCode":"+91"},"seq":%d}}`, id, seq)})
}

// letter writes a dead letter for a record.
func (w *letterWorld) letter(rec *kgo.Record, id, reason string) {
	w.t.Helper()
	l := &kgo.Record{Topic: "dead", Key: rec.Key, Value: rec.Value}
	for _, h := range [][2]string{
		{"form", "1"},
		{"reason", reason},
		{"topic", rec.Topic},
		{"partition", fmt.Sprint(rec.Partition)},
		{"offset", fmt.Sprint(rec.Offset)},
		{"time", rec.Timestamp.UTC().Format(time.RFC3339Nano)},
		{"stream", "st-1"},
		{"contact", id},
		{"status", "200"},
		{"positions", fmt.Sprintf("%s/%d@%d", rec.Topic, rec.Partition, rec.Offset)},
		{"last-failure", "2026-03-01T12:00:00Z"},
		{"detail", "said no"},
	} {
		l.Headers = append(l.Headers, kgo.RecordHeader{Key: "contactsync-" + h[0], Value: []byte(h[1])})
	}
	w.produce(l)
}

func (w *letterWorld) dlq(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	return program(w.t, append([]string{"dlq", args[0], "--config", w.file}, args[1:]...)...)
}

func TestDLQ_ListShowStats(t *testing.T) {
	t.Parallel()
	w := newLetterWorld(t)
	w.letter(w.event("c1", 1), "c1", "rejected")
	second := w.event("c2", 1)
	w.letter(second, "c2", "unresolved")
	w.letter(second, "c2", "unresolved")
	w.produce(&kgo.Record{Topic: "dead", Value: []byte("somebody else's")})

	code, stdout, stderr := w.dlq("list")
	if code != 0 || strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "contacts/0@1") || !strings.Contains(stderr, "1 messages of the topic are no dead letters") {
		t.Errorf("list: code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := w.dlq("list", "--output", "json", "--reason", "unresolved", "--contact", "c2", "--since", "2026-03-01T12:00:00Z"); code != 0 || strings.Count(stdout, "\n") != 1 ||
		!strings.Contains(stdout, `"position":"contacts/0@1","reason":"unresolved","stream":"st-1","contact":"c2","status":200`) || !strings.Contains(stdout, `"copies":2`) {
		t.Errorf("list as json: code %d\n%s", code, stdout)
	}
	if code, stdout, stderr := w.dlq("list", "--until", "2026-03-01T12:00:00Z"); code != 0 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "no letter is selected, of 2 in the topic") {
		t.Errorf("list until: code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := w.dlq("list", "--contact", "c1", "--contact", "c2", "--stream", "st-1,st-2"); code != 0 || strings.Count(stdout, "\n") != 3 {
		t.Errorf("list of two contacts: code %d\n%s", code, stdout)
	}
	for _, output := range []string{"table", "json"} {
		code, stdout, stderr = w.dlq("show", "contacts/0@1", "-o", output)
		if code != 0 || !strings.Contains(stdout, "said no") || strings.Contains(stdout, "Jane") {
			t.Errorf("show: code %d\n%s%s", code, stdout, stderr)
		}
		if code, stdout, _ := w.dlq("show", "contacts/0@1", "-o", output, "--value"); code != 0 || !strings.Contains(stdout, "Jane") {
			t.Errorf("show --value: code %d\n%s", code, stdout)
		}
	}
	if code, _, stderr := w.dlq("show", "contacts/0@9"); code != 1 || !strings.Contains(stderr, "no letter of the topic holds record contacts/0@9") {
		t.Errorf("show of none: code %d, %s", code, stderr)
	}
	code, stdout, _ = w.dlq("stats", "-o", "json")
	var s statsJSON
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != 0 {
		t.Fatalf("stats: code %d, %v\n%s", code, err, stdout)
	}
	if s.Letters != 2 || s.Copies != 1 || s.NonLetters != 1 || s.Reasons["rejected"] != 1 || s.Streams["st-1"] != 2 || s.Partitions["contacts/0"] != 2 || s.Last == nil {
		t.Errorf("stats: %+v", s)
	}
	w.produce(&kgo.Record{Topic: "dead", Headers: []kgo.RecordHeader{{Key: "contactsync-form", Value: []byte("1")}, {Key: "contactsync-reason", Value: []byte("rejected")}}})
	code, stdout, stderr = w.dlq("stats")
	if code != 0 || !strings.Contains(stdout, "further copies") || !strings.Contains(stdout, "unreadable letters            1\n") || !strings.Contains(stderr, "1 messages of the topic were left out, as dead/0@4: ") {
		t.Errorf("stats: code %d\n%s%s", code, stdout, stderr)
	}
}

// What cannot be asked at all is told at once, and not after minutes of trying again.
func TestDLQ_KafkaIsNotThere(t *testing.T) {
	t.Parallel()
	closed, err := loopback.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ topic, broker, want string }{
		{"no-such-topic", "", `topic "no-such-topic" does not exist: create it`},
		{"dead", closed[0], "connection refused"},
	} {
		file := settings(t, c.topic)
		var environ []string
		if c.broker != "" {
			environ = []string{"CONTACTSYNC_KAFKA_BROKERS=" + c.broker}
		}
		for _, args := range [][]string{{"list"}, {"stats"}, {"show", "contacts/0@1"}, {"replay"}, {"replay", "--dry-run"}} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // asking again takes two
			var out, errs strings.Builder
			code := run(ctx, append([]string{"dlq", args[0], "--config", file}, args[1:]...), environ, &out, &errs)
			if code != 1 || ctx.Err() != nil || !strings.Contains(errs.String(), c.want) || strings.Contains(errs.String(), "would replay") {
				t.Errorf("%v: code %d\n%s%s", args, code, &out, &errs)
			}
			cancel()
		}
	}
}

func TestDLQ_Replay(t *testing.T) {
	t.Parallel()
	w := newLetterWorld(t)
	w.letter(w.event("c1", 1), "c1", "rejected")
	w.letter(w.event("c2", 1), "c2", "rejected")
	w.event("c2", 2)

	code, stdout, stderr := w.dlq("replay", "--dry-run", "-o", "json")
	if code != 0 || !strings.Contains(stdout, `"result":"would_replay"`) || !strings.Contains(stdout, `"result":"newer","detail":"update at contacts/0@2"`) {
		t.Errorf("dry run: code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = w.dlq("replay", "--dry-run")
	if code != 0 || stdout != "newer         contacts/0@1  st-1  c2  update at contacts/0@2\nwould_replay  contacts/0@0  st-1  c1  -\n" || strings.Contains(stderr, "back in their topics") {
		t.Errorf("dry run as a table: code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = w.dlq("replay")
	if code != 0 || stdout != "newer         contacts/0@1  st-1  c2  update at contacts/0@2\n" || !strings.Contains(stderr, "replayed 1, newer 1;") ||
		!strings.Contains(stderr, "1 records are back in their topics") || !strings.Contains(stderr, "contactsync dlq list --since 20") {
		t.Errorf("replay: code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = w.dlq("replay")
	if code != 0 || !strings.Contains(stderr, "replayed 0, newer 1, already 1;") {
		t.Errorf("again: code %d\n%s%s", code, stdout, stderr)
	}
	progress := filepath.Join(t.TempDir(), "progress")
	w.letter(w.event("c3", 1), "c3", "rejected")
	code, stdout, stderr = w.dlq("replay", "--via", "api", "--progress", progress, "--contact", "c3", "--budget-share", "1")
	if code != 0 || !strings.Contains(stderr, "replayed 1;") {
		t.Errorf("via the API: code %d\n%s%s", code, stdout, stderr)
	}
	text, err := os.ReadFile(progress)
	if err != nil || !strings.HasSuffix(string(text), "begun contacts/0@4\ndone contacts/0@4\n") {
		t.Errorf("the progress file: %v\n%s", err, text)
	}
}

// A replay that could not look at the source topics has no result to sum up.
func TestDLQ_ReplayWithoutASource(t *testing.T) {
	t.Parallel()
	w := newLetterWorld(t)
	w.letter(w.event("c1", 1), "c1", "rejected")
	for _, args := range [][]string{{"--dry-run"}, {}} {
		var out, errs strings.Builder
		code := run(t.Context(), append([]string{"dlq", "replay", "--config", w.file}, args...), []string{"CONTACTSYNC_CONSUMER_TOPICS=no-such-topic"}, &out, &errs)
		if code != 1 || !strings.Contains(errs.String(), "no-such-topic") || strings.Contains(errs.String(), "would replay") {
			t.Errorf("%v: code %d\n%s%s", args, code, &out, &errs)
		}
	}
}

// TestDLQ_ReplayTellsWhatIsOwed: an earlier run was killed with letters on their way.
func TestDLQ_ReplayTellsWhatIsOwed(t *testing.T) {
	t.Parallel()
	w := newLetterWorld(t)
	for _, id := range []string{"c1", "c2"} {
		w.letter(w.event(id, 1), id, "rejected")
	}
	progress := filepath.Join(t.TempDir(), "progress")
	if err := os.WriteFile(progress, []byte("contactsync replay 1\nbegun contacts/0@1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"replay", "--via", "api", "--progress", progress, "--budget-share", "1"}
	code, stdout, stderr := w.dlq(append(args, "--contact", "c1")...)
	if code != 1 || !strings.Contains(stderr, "replayed 1;") || !strings.Contains(stderr, "like=contacts/0@1") {
		t.Errorf("without the letter that is owed: code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = w.dlq(args...)
	if code != 0 || !strings.Contains(stderr, "replayed 1, already 1;") {
		t.Errorf("with it: code %d\n%s%s", code, stdout, stderr)
	}
}

func TestDLQ_ReplayDryRunReadsTheProgressFile(t *testing.T) {
	t.Parallel()
	w := newLetterWorld(t)
	for _, id := range []string{"c1", "c2", "c3"} {
		w.letter(w.event(id, 1), id, "rejected")
	}
	w.event("c2", 2)
	progress := filepath.Join(t.TempDir(), "progress")
	args := []string{"replay", "--via", "api", "--dry-run", "--progress", progress}
	if code, stdout, stderr := w.dlq(args...); code != 0 || !strings.Contains(stderr, "would replay 2, newer 1;") {
		t.Errorf("without a file: code %d\n%s%s", code, stdout, stderr)
	}
	if _, err := os.Stat(progress); !os.IsNotExist(err) {
		t.Errorf("a dry run has made the file: %v", err)
	}
	const text = "contactsync replay 1\ndone contacts/0@0\nbegun contacts/0@1\nbeg"
	if err := os.WriteFile(progress, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := w.dlq(args...)
	if code != 0 || !strings.Contains(stderr, "would replay 1, newer 1, already 1;") || !strings.Contains(stdout, "update at contacts/0@3, which is owed and would be sent") {
		t.Errorf("with a file: code %d\n%s%s", code, stdout, stderr)
	}
	if left, err := os.ReadFile(progress); err != nil || string(left) != text {
		t.Errorf("a dry run has changed the file: %v\n%s", err, left)
	}
	if code, _, stderr := w.dlq("replay", "--via", "api", "--dry-run", "--progress", w.file); code != 1 || !strings.Contains(stderr, "it is none") {
		t.Errorf("with a file that is none: code %d, %s", code, stderr)
	}
}

func TestDLQ_RefusesFlagsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	w := newLetterWorld(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"list", "--since", "yesterday"}, "--since"},
		{[]string{"list", "--reason", "bad"}, "--reason"},
		{[]string{"list", "--output", "xml"}, "--output"},
		{[]string{"show", "contacts"}, "want topic/partition@offset"},
		{[]string{"replay", "--via", "mail"}, "--via"},
		{[]string{"replay", "--via", "api"}, "--progress"},
		{[]string{"replay", "--via", "api", "--progress", "p", "--budget-share", "0"}, "--budget-share"},
		{[]string{"replay", "--max-replays", "0"}, "--max-replays"},
		{[]string{"replay", "--via", "topic", "--progress", "p"}, "--progress"},
		{[]string{"replay", "--limit", "-1"}, "--limit"},
		{[]string{"replay", "--budget-share", "0.5"}, "--budget-share is for --via api"},
		{[]string{"list", "--limit", "-1"}, "--limit"},
		{[]string{"list", "--since", "1h", "--until", "2h"}, "--since 1h is not before --until 2h"},
		{[]string{"list", "more"}, "takes no argument"},
		{[]string{"show"}, "topic/partition@offset"},
		{[]string{"lst"}, `unknown command "lst": did you mean list?`},
	} {
		if code, _, stderr := w.dlq(c.args...); code != 2 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: code %d, %s", c.args, code, stderr)
		}
	}
	if code, _, stderr := w.dlq("replay", "--via", "api", "--progress", w.file); code != 1 || !strings.Contains(stderr, "progress file") {
		t.Errorf("a file that is no progress file: code %d, %s", code, stderr)
	}
	if secret, err := os.ReadFile(w.file); err != nil || !strings.Contains(string(secret), stub.LabAppID) {
		t.Errorf("a file that is no progress file was changed: %v", err)
	}
}
