package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/loopback"
)

// deadLetterTopic is the dead-letter topic of a broker, and the settings for it.
type deadLetterTopic struct {
	t      *testing.T
	file   string
	client *kgo.Client
}

func newDeadLetterTopic(t *testing.T) *deadLetterTopic {
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
	return &deadLetterTopic{t, file, client}
}

func (d *deadLetterTopic) produce(rec *kgo.Record) *kgo.Record {
	d.t.Helper()
	if err := d.client.ProduceSync(d.t.Context(), rec).FirstErr(); err != nil {
		d.t.Fatal(err)
	}
	return rec
}

// event writes a contact's state to the source topic.
func (d *deadLetterTopic) event(id string, seq int) *kgo.Record {
	d.t.Helper()
	return d.produce(&kgo.Record{Topic: "contacts", Key: []byte(id), Value: fmt.Appendf(nil, `{"streamId":"st-1","contact":{"id":%q,"firstName":"Jane","lastName":"Doe",`+
		`"fullName":"Jane Doe","salutation":"Mrs","cellPhone":{"extension":"+","phoneNumber":"2445671234","countryCode":"+91"},"seq":%d}}`, id, seq)})
}

// add writes a dead letter of a record.
func (d *deadLetterTopic) add(rec *kgo.Record, id, reason string) {
	d.t.Helper()
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
	d.produce(l)
}

func (d *deadLetterTopic) run(args ...string) (code int, stdout, stderr string) {
	d.t.Helper()
	return program(d.t, append([]string{"dlq", args[0], "--config", d.file}, args[1:]...)...)
}

// What is printed as a command does what it says.
func TestDLQ_ListNamesTheCommandThatShowsTheFirst(t *testing.T) {
	t.Parallel()
	topic := newDeadLetterTopic(t)
	topic.add(topic.event("c1", 1), "c1", "rejected")
	topic.add(topic.event("c2", 1), "c2", "unresolved")
	_, stdout, stderr := topic.run("list")
	_, command, _ := strings.Cut(strings.TrimSpace(stderr), "contactsync dlq")
	words := strings.Fields(command)
	code, shown, errs := program(t, append([]string{"dlq"}, words...)...)
	first := strings.Fields(strings.Split(stdout, "\n")[1])
	if code != 0 || len(words) != 5 || words[1] != first[len(first)-3] || !strings.Contains(shown, "position       "+words[1]+"\n") {
		t.Errorf("the command is %q: exit code %d\n%s%s", words, code, shown, errs)
	}
	if _, _, stderr := topic.run("list", "-o", "json"); strings.Contains(stderr, "dlq show") {
		t.Errorf("a program is told of it: %s", stderr)
	}
}

func TestDLQ_ListShowStats(t *testing.T) {
	t.Parallel()
	topic := newDeadLetterTopic(t)
	topic.add(topic.event("c1", 1), "c1", "rejected")
	second := topic.event("c2", 1)
	topic.add(second, "c2", "unresolved")
	topic.add(second, "c2", "unresolved")
	topic.produce(&kgo.Record{Topic: "dead", Value: []byte("somebody else's")})

	code, stdout, stderr := topic.run("list")
	if code != 0 || strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "contacts/0@1") || !strings.Contains(stderr, "1 messages of the topic are not dead letters") {
		t.Errorf("list: code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := topic.run("list", "--output", "json", "--reason", "unresolved", "--contact", "c2", "--since", "2026-03-01T12:00:00Z"); code != 0 || strings.Count(stdout, "\n") != 1 ||
		!strings.Contains(stdout, `"position":"contacts/0@1","reason":"unresolved","stream":"st-1","contact":"c2","status":200`) || !strings.Contains(stdout, `"copies":2`) {
		t.Errorf("list as json: code %d\n%s", code, stdout)
	}
	if code, stdout, stderr := topic.run("list", "--until", "2026-03-01T12:00:00Z"); code != 0 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "none of 2 dead letters is selected") {
		t.Errorf("list until: code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := topic.run("list", "--contact", "c1", "--contact", "c2", "--stream", "st-1,st-2"); code != 0 || strings.Count(stdout, "\n") != 3 {
		t.Errorf("list of two contacts: code %d\n%s", code, stdout)
	}
	for _, output := range []string{"table", "json"} {
		code, stdout, stderr = topic.run("show", "contacts/0@1", "-o", output)
		if code != 0 || !strings.Contains(stdout, "said no") || strings.Contains(stdout, "Jane") {
			t.Errorf("show: code %d\n%s%s", code, stdout, stderr)
		}
		if code, stdout, _ := topic.run("show", "contacts/0@1", "-o", output, "--value"); code != 0 || !strings.Contains(stdout, "Jane") {
			t.Errorf("show --value: code %d\n%s", code, stdout)
		}
	}
	if code, _, stderr := topic.run("show", "contacts/0@9"); code != 1 || !strings.Contains(stderr, "no dead letter holds record contacts/0@9") || strings.Contains(stderr, "is selected") {
		t.Errorf("show of none: code %d, %s", code, stderr)
	}
	code, stdout, _ = topic.run("stats", "-o", "json")
	var s statsJSON
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != 0 {
		t.Fatalf("stats: code %d, %v\n%s", code, err, stdout)
	}
	if s.Entries != 2 || s.Copies != 1 || s.Others != 1 || s.Reasons["rejected"] != 1 || s.Streams["st-1"] != 2 || s.Partitions["contacts/0"] != 2 || s.Last == nil {
		t.Errorf("stats: %+v", s)
	}
	topic.produce(&kgo.Record{Topic: "dead", Headers: []kgo.RecordHeader{{Key: "contactsync-form", Value: []byte("1")}, {Key: "contactsync-reason", Value: []byte("rejected")}}})
	code, stdout, stderr = topic.run("stats")
	if code != 0 || !strings.Contains(stdout, "further copies") || !strings.Contains(stdout, "unreadable messages  1\n") || !strings.Contains(stderr, "1 messages of the topic cannot be read, such as dead/0@4: ") {
		t.Errorf("stats: code %d\n%s%s", code, stdout, stderr)
	}
}

// A wrong topic or address is reported immediately, and not after minutes of retries.
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
	topic := newDeadLetterTopic(t)
	topic.add(topic.event("c1", 1), "c1", "rejected")
	topic.add(topic.event("c2", 1), "c2", "rejected")
	topic.event("c2", 2)

	code, stdout, stderr := topic.run("replay", "--dry-run", "-o", "json")
	if code != 0 || !strings.Contains(stdout, `"result":"would_replay"`) || !strings.Contains(stdout, `"result":"superseded","detail":"update at contacts/0@2"`) {
		t.Errorf("dry run: code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = topic.run("replay", "--dry-run")
	if code != 0 || stdout != "superseded        contacts/0@1  st-1  c2  update at contacts/0@2\nwould_replay      contacts/0@0  st-1  c1  -\n" || strings.Contains(stderr, "written back") {
		t.Errorf("dry run as a table: code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = topic.run("replay")
	if code != 0 || stdout != "superseded        contacts/0@1  st-1  c2  update at contacts/0@2\n" || !strings.Contains(stderr, "replayed 1, superseded 1;") ||
		!strings.Contains(stderr, "1 records were written back") || !strings.Contains(stderr, "contactsync dlq list --since 20") {
		t.Errorf("replay: code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = topic.run("replay")
	if code != 0 || !strings.Contains(stderr, "replayed 0, superseded 1, already replayed 1;") {
		t.Errorf("again: code %d\n%s%s", code, stdout, stderr)
	}
}

// A replay that could not look at the source topics has no result to sum up.
func TestDLQ_ReplayWithoutASource(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds, until the client gives the topic up")
	}
	t.Parallel()
	topic := newDeadLetterTopic(t)
	topic.add(topic.event("c1", 1), "c1", "rejected")
	for _, args := range [][]string{{"--dry-run"}, {}} {
		var out, errs strings.Builder
		code := run(t.Context(), append([]string{"dlq", "replay", "--config", topic.file}, args...), []string{"CONTACTSYNC_CONSUMER_TOPICS=no-such-topic"}, &out, &errs)
		if code != 1 || !strings.Contains(errs.String(), "no-such-topic") || strings.Contains(errs.String(), "would replay") {
			t.Errorf("%v: code %d\n%s%s", args, code, &out, &errs)
		}
	}
}

func TestDLQ_RefusesFlagsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	topic := newDeadLetterTopic(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"list", "--since", "yesterday"}, "--since"},
		{[]string{"list", "--reason", "bad"}, "--reason"},
		{[]string{"list", "--output", "xml"}, "--output"},
		{[]string{"show", "contacts"}, "want topic/partition@offset"},
		{[]string{"replay", "--max-replays", "0"}, "--max-replays"},
		{[]string{"replay", "--limit", "-1"}, "--limit"},
		{[]string{"replay", "--rate", "NaN"}, "--rate"},
		{[]string{"list", "--limit", "-1"}, "--limit"},
		{[]string{"list", "--since", "1h", "--until", "2h"}, "--since 1h is not before --until 2h"},
		{[]string{"list", "more"}, "takes no argument"},
		{[]string{"show"}, "topic/partition@offset"},
		{[]string{"lst"}, `unknown command "lst": did you mean list?`},
	} {
		if code, _, stderr := topic.run(c.args...); code != 2 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: code %d, %s", c.args, code, stderr)
		}
	}
}
