//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/lab/broker"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// run is one run on Apache Kafka: topics, a stub of the API, service processes,
// and what was produced for them.
type run struct {
	harness.Run

	t        *testing.T
	cluster  *kafka.Cluster
	api      *stub.Server
	dir      string
	settings string // file
	started  int    // processes so far
	other    string // the second topic, where there is one
}

// userPassword is the password of each user of the brokers.
const userPassword = "kafka-secret"

type runOptions struct {
	partitions   int32
	topicConfigs map[string]string
	api          func(*stub.Config)
	extra        string // YAML lines under their sections, added to the settings
	requests     int    // budget per window; 0 for none
	window       string // a second where it is empty
	other        string // a second topic, named by its suffix, with as many partitions
	user         string // to log in as, with userPassword; empty for none
}

func newRun(t *testing.T, cluster *kafka.Cluster, o runOptions) *run {
	t.Helper()
	name := "e2e-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ",", "").Replace(t.Name()))
	r := &run{
		Run: harness.Run{Brokers: cluster.Brokers(), Topic: name, DeadLetters: name + "-dead", Group: name + "-group"},
		t:   t, cluster: cluster, dir: t.TempDir(),
	}
	if o.partitions == 0 {
		o.partitions = 6
	}
	replication := int16(min(3, len(r.Brokers)))
	create := func(topic string, partitions int32, configs map[string]string) {
		if err := cluster.CreateTopic(t.Context(), topic, partitions, replication, configs); err != nil {
			t.Fatal(err)
		}
	}
	create(r.Topic, o.partitions, o.topicConfigs)
	create(r.DeadLetters, 1, nil)
	topics := []string{r.Topic}
	if o.other != "" {
		r.other = name + o.other
		create(r.other, o.partitions, nil)
		topics = append(topics, r.other)
	}
	brokers, login := r.Brokers, ""
	api := stub.DefaultConfig()
	api.Terse = true
	api.Latency = 5 * time.Millisecond
	if o.api != nil {
		o.api(&api)
	}
	var err error
	if r.api, err = r.AddAPI(api); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.CloseAPIs(); err != nil {
			t.Error(err)
		}
	})
	secret := filepath.Join(r.dir, "secret")
	if err := os.WriteFile(secret, []byte(stub.LabSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.user != "" {
		brokers = cluster.Secured()
		login = fmt.Sprintf(", sasl: {mechanism: PLAIN, allow_plaintext: true, username: %s, password_file: %s}", o.user, r.login())
	}
	r.settings = filepath.Join(r.dir, "contactsync.yaml")
	text := fmt.Sprintf(`
kafka: {brokers: [%s]%s}
deadletter: {topic: %s}
admin: {listen: "127.0.0.1:0"}
upstream:
  timeout: 5s
  accounts:
    - id: lab
      host: %s
      allow_plaintext: true
      streams: ["st-*"]
      credentials: {client_id: %s, client_secret_file: %s}
      budget: {requests: %d, window: %s}
consumer:
  topics: [%s]
  group: %s
  session_timeout: 12s
  heartbeat_interval: 500ms
  drain_timeout: 5s
  commit_interval: 200ms
  partition_check_interval: 1s
%s`, quoted(brokers), login, r.DeadLetters, r.api.URL(), stub.LabAppID, secret, o.requests, cmp.Or(o.window, "1s"), strings.Join(topics, ", "), r.Group, o.extra)
	if err := os.WriteFile(r.settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func quoted(brokers []string) string { return `"` + strings.Join(brokers, `", "`) + `"` }

// start starts n service processes.
func (r *run) start(n int) []*process {
	r.t.Helper()
	var all []*process
	for range n {
		r.started++
		all = append(all, startProcess(r.t, fmt.Sprint("replica-", r.started), r.settings, r.dir))
	}
	for _, p := range all {
		p.address()
	}
	return all
}

// startWith starts one service process with settings from the environment, and does not
// wait for it.
func (r *run) startWith(env ...string) *process {
	r.t.Helper()
	r.started++
	return startProcess(r.t, fmt.Sprint("replica-", r.started), r.settings, r.dir, env...)
}

// login writes the password of the users that tests log in as.
func (r *run) login() (file string) {
	r.t.Helper()
	file = filepath.Join(r.dir, "password")
	if err := os.WriteFile(file, []byte(userPassword), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file
}

// startPair starts two service processes and waits until each has half of the
// partitions. While contacts cannot be delivered, what has ended behind them is not
// committed: a process that joined then would read it again, and rightly end it a
// second time.
func (r *run) startPair() []*process {
	r.t.Helper()
	both := r.start(2)
	until(r.t, "both processes to own partitions", func() bool {
		return both[0].series("consumer_assigned_partitions") == 3 && both[1].series("consumer_assigned_partitions") == 3
	})
	return both
}

// feed produces events and waits until Kafka has them.
func (r *run) feed(change func(*feed.Config)) {
	r.t.Helper()
	r.feedInBackground(change)()
}

// feedInBackground produces events while the test goes on; the returned function
// waits for the last one.
func (r *run) feedInBackground(change func(*feed.Config)) (wait func()) {
	r.t.Helper()
	cfg := feed.DefaultConfig()
	cfg.Seed = uint64(r.started + 1)
	if n := len(r.Manifest.Records); n > 0 {
		cfg.SeqBase = 1 << 20 * int64(n/1000+1)
	}
	change(&cfg)
	done := r.ProduceInBackground(r.t.Context(), cfg)
	return func() {
		r.t.Helper()
		if err := <-done; err != nil {
			r.t.Fatal(err)
		}
	}
}

// deliveredNotCommitted counts the states that the API has and that would be sent
// again if every process crashed now: the bound of I10. All events must be in the
// manifest.
func (r *run) deliveredNotCommitted() int {
	r.t.Helper()
	committed, err := broker.Committed(r.t.Context(), r.Brokers, r.Group)
	if err != nil {
		r.t.Fatal(err)
	}
	state := r.api.State() // read last: it can only hold more
	again := map[feed.Contact]bool{}
	for _, rec := range r.Manifest.Records {
		contact := r.Manifest.Contacts[rec.Contact]
		at := r.Manifest.Position(&rec)
		if rec.Offset >= committed[at.TopicPartition] && state[contact.Stream][contact.ID] >= rec.Seq {
			again[contact] = true
		}
	}
	return len(again)
}

// drain waits until everything that was produced is committed.
func (r *run) drain() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 4*time.Minute)
	defer cancel()
	for n := r.uncommitted(ctx); n != 0; n = r.uncommitted(ctx) {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			r.t.Fatalf("I9: not drained after four minutes: %d offsets are not committed; stub: %+v", n, r.api.Stats())
		}
	}
}

// uncommitted counts the offsets that are not committed; -1 while Kafka does not
// answer, because a test breaks it. It bounds the events that a process can have
// delivered without having committed them (I10).
func (r *run) uncommitted(ctx context.Context) int {
	n, err := r.Uncommitted(ctx)
	if err != nil {
		return -1
	}
	return int(n)
}

// verify has the checker judge the run. change may allow what the run's faults
// make unavoidable.
func (r *run) verify(change func(*check.Input)) check.Report {
	r.t.Helper()
	in, err := r.Input(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	in.MaxRows = 100
	if change != nil {
		change(&in)
	}
	report := check.Run(in)
	r.t.Logf("\n%v", report)
	if !report.OK() {
		r.t.Error("the checker found violations")
	}
	return report
}
