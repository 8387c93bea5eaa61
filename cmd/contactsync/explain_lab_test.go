package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/internal/lab/loopback"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// explainLab is the program in processes of its own, between a broker and an API.
type explainLab struct {
	*harness.Lab
	t      *testing.T
	api    *stub.Server
	kafka  *kgo.Client
	dir    string
	secret string
	stop   func() // the program that was started last, in order
	starts int
}

const folded = "6964af60450340957c61a2b3"

func newExplainLab(t *testing.T, rules ...stub.Rule) *explainLab {
	t.Helper()
	h, err := harness.New(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &explainLab{Lab: h, t: t, dir: t.TempDir()}
	if l.api, err = h.AddAPI(stub.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		l.must(l.api.Put(r))
	}
	l.secret = filepath.Join(l.dir, "secret")
	l.must(os.WriteFile(l.secret, []byte(stub.LabSecret), 0o600))
	l.connect()
	return l
}

// connect connects to Kafka, also anew: a client keeps the id of a topic that it has seen.
func (l *explainLab) connect() {
	l.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	l.must(err)
	l.t.Cleanup(client.Close)
	l.kafka = client
}

func (l *explainLab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// start starts the program, with more settings of the batcher, and returns its settings and where it answers.
func (l *explainLab) start(batcher string) (file, address string) {
	l.t.Helper()
	addrs, err := loopback.Free(l.t.Context(), 1)
	l.must(err)
	l.starts++
	file = filepath.Join(l.dir, fmt.Sprintf("settings-%d.yaml", l.starts))
	text := fmt.Sprintf(`
kafka: {brokers: [%q]}
consumer: {topics: [%s], group: %s, session_timeout: 6s, heartbeat_interval: 200ms, fetch_max_wait: 50ms, commit_interval: 100ms, drain_timeout: 1s, on_unreadable_feed: "off"}
batcher: {linger: 50ms, backoff_min: 50ms, backoff_max: 500ms, ambiguous_retry_delay: 100ms, dead_letter_max_per_minute: 1000%s}
deadletter: {topic: %s}
admin: {listen: %q}
upstream:
  timeout: 2s
  accounts:
    - {id: acme, host: %q, allow_plaintext: true, budget: {requests: 0}, credentials: {client_id: %s, client_secret_file: %q}}
`, l.Brokers[0], l.Topic, l.Group, batcher, l.DeadLetters, addrs[0], l.api.URL(), stub.LabAppID, l.secret)
	l.must(os.WriteFile(file, []byte(text), 0o600))
	var log logbuffer.Buffer
	p := exec.CommandContext(l.t.Context(), os.Args[0], "run", "--config", file)
	p.Env = append(os.Environ(), asProgram+"=1")
	p.Stdout, p.Stderr = &log, &log
	l.must(p.Start())
	stop := sync.OnceFunc(func() {
		_ = p.Process.Signal(syscall.SIGTERM)
		_ = p.Wait() // the test's end may have killed it
	})
	l.stop = stop
	l.t.Cleanup(stop)
	return file, addrs[0]
}

// put writes an update to a partition; members are more of the event.
func (l *explainLab) put(partition int32, stream, id, members string) {
	l.t.Helper()
	value := fmt.Sprintf(`{"streamId":%q,%s"contact":{"id":%q,"firstName":"Zebulon","lastName":"Oppenheimer","fullName":"Zebulon Oppenheimer","salutation":"Mr","cellPhone":{"extension":"+","phoneNumber":"2400000001","countryCode":"+91"}}}`, stream, members, id)
	l.record(partition, stream+"/"+id, []byte(value))
}

func (l *explainLab) record(partition int32, key string, value []byte) {
	l.t.Helper()
	l.must(l.kafka.ProduceSync(l.t.Context(), &kgo.Record{Topic: l.Topic, Partition: partition, Key: []byte(key), Value: value}).FirstErr())
}

// explained waits until what is printed of a contact has every part, and returns it.
func (l *explainLab) explained(want []string, args ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	text := ""
	if harness.Wait(ctx, func() bool {
		_, stdout, stderr := program(l.t, append([]string{"explain"}, args...)...)
		text = stdout + stderr
		for _, part := range want {
			if !strings.Contains(text, part) {
				return false
			}
		}
		return true
	}) != nil {
		l.t.Errorf("of %q want %q:\n%s", args, want, text)
	}
	for _, secret := range []string{"Zebulon", "Oppenheimer", "2400000001", stub.LabSecret, "duplicate of Jane"} {
		if strings.Contains(text, secret) {
			l.t.Errorf("what is told of %q has %q:\n%s", args, secret, text)
		}
	}
	return text
}

// One contact of each fate, as the service's own process tells it.
func TestExplain_AsksARunningReplica(t *testing.T) {
	t.Parallel()
	l := newExplainLab(t,
		stub.Rule{Name: "gone", Match: stub.Match{Streams: []string{"st-gone"}}, Answer: &stub.Answer{Status: 404}},
		stub.Rule{Name: "refused", Rows: &stub.Rows{Fail: []string{"refused"}, Reason: "duplicate of Jane"}},
	)
	file, _ := l.start("")
	l.put(0, "st-good", folded, `"version":7,`)
	l.put(0, "st-good", "refused", "")
	l.put(1, "st-gone", "c1", `"occurredAt":"2026-03-01T12:00:00Z",`)
	l.explained([]string{
		"contact " + strings.ToUpper(folded) + " of stream st-good", "\ncontacts/0@0: update, version 7, recorded ",
		"accepted by the API in request ", "(delivery, contacts: ", ": answered after ", "status 200", "\n  committed: the offset is 2\n", " owns contacts/0 contacts/1\n",
	}, "st-good", strings.ToUpper(folded), "--config", file)
	l.explained([]string{"\ncontacts/0@1\n  dead letter: rejected, status 200, after 2 requests, written ", "\n  contactsync dlq show contacts/0@1 --config " + file + "\n", "committed"}, "st-good", "refused", "--config", file)
	l.explained([]string{
		"\ncontacts/1@0: update, occurred 2026-03-01T12:00:00Z, recorded ", "waits: for the hold of its stream: stream_gone since ", "the last status 404", "it is tried again at ",
		"sent ", "not committed: ",
	}, "st-gone", "c1", "--config", file)
	l.explained([]string{"remembers nothing of the contact; it has run since "}, "st-good", "nobody", "--config", file)
	if text := l.explained([]string{`"state":"delivered"`, `"version":7`, `"kind":"answered"`, `"committed":true`}, "st-good", folded, "--config", file, "-o", "json"); strings.Count(text, "\n") != 1 {
		t.Errorf("JSON in lines:\n%s", text)
	}
}

// What no process remembers is told by the topics: of contacts that are done, also where the
// service is down, and of those that are not.
func TestExplain_ReadsTheTopics(t *testing.T) {
	t.Parallel()
	l := newExplainLab(t,
		stub.Rule{Name: "gone", Match: stub.Match{Streams: []string{"st-gone"}}, Answer: &stub.Answer{Status: 404}},
		stub.Rule{Name: "refused", Rows: &stub.Rows{Fail: []string{"refused"}, Reason: "duplicate of Jane"}},
	)
	file, _ := l.start("")
	done := func(id, want string) {
		t.Helper()
		l.explained([]string{want}, "st-good", id, "--config", file)
	}
	l.put(0, "st-good", folded, `"version":7,`)
	done(folded, "contacts/0@0: update, version 7")
	l.put(0, "st-good", strings.ToUpper(folded), `"version":8,"occurredAt":"2026-03-01T12:00:00Z",`)
	l.put(0, "st-good", folded, `"version":5,`)
	l.put(0, "st-good", "refused", "")
	l.put(0, "st-good", "deleted", "")
	l.record(0, "st-good/deleted", nil)
	l.record(0, "x", []byte("{Zebulon"))
	done(folded, "contacts/0@1: update, version 8")
	done("refused", "dead letter: rejected")
	done("deleted", "contacts/0@5: ")
	l.put(1, "st-gone", "c1", "")
	l.explained([]string{
		"\ncontacts/1@0: update, recorded ", "waits: for the hold of its stream", "looked at 8 records of contacts, in 2 of 2 partitions: 8 of 8 offsets, back to ", "; 1 of them cannot be assigned to a contact", "\nlooked at 2 dead letters in contacts-dead\n",
	}, "st-gone", "c1", "--config", file, "--topics")
	l.explained([]string{"\ncontacts/0@1: update, version 8, occurred 2026-03-01T12:00:00Z, recorded ", "\n  accepted by the API in request "}, "st-good", folded, "--config", file, "--topics")
	l.explained([]string{"contacts/1 is owned by a replica that did not answer or was not asked: client contactsync at ", "\n  not completed: ask the replica that owns its partition, by --admin\n"}, "st-gone", "c1", "--config", file, "--topics", "--admin", "127.0.0.1:1")

	l.stop()
	const looked = "\nlooked at 8 records of contacts, in 2 of 2 partitions: 8 of 8 offsets, back to "
	down := func(id string, want ...string) {
		t.Helper()
		l.explained(append(want, looked, "did not answer"), "st-good", id, "--config", file)
	}
	down(folded,
		"\ncontacts/0@0: update, version 7, recorded ", "\n  accepted by the API, by itself or as a part of contacts/0@1: it is completed, and has no dead letter\n  committed: the offset is 7\n",
		"\ncontacts/0@1: update, version 8, occurred 2026-03-01T12:00:00Z, recorded ", "\n  accepted by the API\n",
		"\ncontacts/0@2: update, version 5, recorded ", "\n  dropped: it is older than contacts/0@1, which was read before it\n")
	down("refused", "\ncontacts/0@3: update, recorded ", "\n  dead letter: rejected, status 200, after 2 requests, written ", " at contacts-dead/0@", "\n  contactsync dlq show contacts/0@3 --config "+file+"\n")
	down("deleted", "\ncontacts/0@5: tombstone, recorded ", "\n  completed: nothing is sent for a tombstone\n")
	down("nobody", "contact nobody of stream st-good\n\nno event of the contact is known\nlooked at ")
	l.explained([]string{"\ncontacts/1@0: update, recorded ", "\n  not completed: ask the replica that owns its partition, by --admin\n  not committed: the offset is 0\n"}, "st-gone", "c1", "--config", file)

	l.explained([]string{`"state":"stale"`, `"into":"contacts/0@1"`, `"commit":7`, `"offsets_read":8`}, "st-good", folded, "--config", file, "-o", "json")
	l.explained([]string{"looked at 4 records of contacts, in 2 of 2 partitions: 4 of 8 offsets", "(--records, --since, --key)"}, "st-good", "nobody", "--config", file, "--records", "7")
	l.explained([]string{"looked at 0 records of contacts", ": 0 of 8 offsets;"}, "st-good", folded, "--config", file, "--since", "1ns")
	l.explained([]string{"contacts/0@2: update", "2 older events of the contact are not shown (--events)"}, "st-good", folded, "--config", file, "--events", "1")
	l.explained([]string{"in 1 of 2 partitions"}, "st-good", folded, "--config", file, "--key", "st-good")

	admin := kadm.NewClient(l.kafka)
	stored, err := admin.FetchOffsets(t.Context(), l.Group)
	l.must(err)
	for _, topic := range []string{l.DeadLetters, l.Topic} {
		_, err := admin.DeleteTopics(t.Context(), topic)
		l.must(err)
		l.explained([]string{topic, "cannot be read: it does not exist, or may not be described\n"}, "st-good", folded, "--config", file)
	}
	_, err = admin.CreateTopics(t.Context(), 2, 1, nil, l.Topic)
	l.must(err)
	l.connect()
	l.put(0, "st-good", folded, `"version":9,`)
	l.explained([]string{"\ncontacts/0@0: update, version 9, recorded ", "\n  not completed: ", "\n  not committed: nothing of the partition is yet\n"}, "st-good", folded, "--config", file)
	l.must(kadm.NewClient(l.kafka).CommitAllOffsets(t.Context(), l.Group, stored.Offsets())) // as tools copy them
	l.explained([]string{
		"\ncontacts/0@0: update, version 9, recorded ", "\n  whether it is completed is not known\n  whether it is committed is not known\n",
		"\nwhat is committed is not known of all: of contacts/0: ", "other_log",
	}, "st-good", folded, "--config", file)
}

// Each of two replicas knows of its own partitions, and which these are.
func TestExplain_AsksSeveralReplicas(t *testing.T) {
	t.Parallel()
	l := newExplainLab(t, stub.Rule{Name: "gone", Match: stub.Match{Streams: []string{"st-gone"}}, Answer: &stub.Answer{Status: 404}})
	file, first := l.start("")
	_, second := l.start("")
	both := []string{"--admin", first, "--admin", second}
	for partition := range int32(2) {
		l.put(partition, "st-gone", fmt.Sprint("c", partition), "")
	}
	owner := func(id string) string {
		t.Helper()
		text := l.explained([]string{"waits: for the hold of its stream: stream_gone", "remembers nothing of the contact", first + " owns contacts/", second + " owns contacts/"}, append([]string{"st-gone", id}, both...)...)
		if strings.Contains(text, "replica "+first+" remembers nothing") {
			return second
		}
		return first
	}
	of := []string{owner("c0"), owner("c1")}
	if of[0] == of[1] {
		t.Fatalf("both partitions are %s's", of[0])
	}
	l.explained([]string{"no event of the contact is known\nreplica " + of[0] + " remembers nothing of the contact", of[0] + " owns contacts/0\n"}, "st-gone", "c1", "--admin", of[0])
	l.explained([]string{
		"\ncontacts/1@0: update, recorded ", "\n  not completed: ask the replica that owns its partition, by --admin\n", "contacts/1 is owned by a replica that did not answer or was not asked: client contactsync at ",
	}, "st-gone", "c1", "--admin", of[0], "--config", file)
}

// What a hold has left in Kafka is in no memory.
func TestExplain_TellsWhatAHoldHasLeft(t *testing.T) {
	t.Parallel()
	l := newExplainLab(t, stub.Rule{Name: "gone", Match: stub.Match{Streams: []string{"st-gone"}}, Answer: &stub.Answer{Status: 404}})
	var all []*kgo.Record
	for i := range 3000 {
		all = append(all, &kgo.Record{Topic: l.Topic, Partition: 0, Value: fmt.Appendf(nil,
			`{"streamId":"st-gone","contact":{"id":"c%d","firstName":"Zebulon","lastName":"Oppenheimer","fullName":"Zebulon Oppenheimer","salutation":"Mr","cellPhone":{"extension":"+","phoneNumber":"2400000001","countryCode":"+91"}}}`, i)})
	}
	l.must(l.kafka.ProduceSync(t.Context(), all...).FirstErr())
	file, _ := l.start(", window_bytes: 1MiB, max_bytes: 64KiB")
	l.explained([]string{
		"\ncontacts/0@2999: update, recorded ", "\n  left in Kafka: what is on hold has its part of the window, and it is read again when its stream is no longer on hold, or in turn where only contacts of it are\n  not committed: the offset is 0\n",
		" events of the stream in contacts/0 are left to be read again",
	}, "st-gone", "c2999", "--config", file)
}
