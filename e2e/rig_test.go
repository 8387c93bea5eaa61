//go:build e2e

package e2e

import (
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
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// rig is one run: topics on a real Kafka, the API's stand-in, service processes,
// and what was fed to them.
type rig struct {
	t        *testing.T
	cluster  *kafka.Cluster
	api      *stub.Server
	dir      string
	topic    string
	letters  string
	group    string
	config   string
	manifest *feed.Manifest
	started  int
}

type rigOptions struct {
	partitions   int32
	topicConfigs map[string]string
	api          func(*stub.Config)
	extra        string // YAML lines under their sections, added to the settings
	requests     int    // budget per second; 0 for none
}

func newRig(t *testing.T, cluster *kafka.Cluster, o rigOptions) *rig {
	t.Helper()
	name := "e2e-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ",", "").Replace(t.Name()))
	r := &rig{t: t, cluster: cluster, dir: t.TempDir(), topic: name, letters: name + "-dead", group: name + "-group"}
	if o.partitions == 0 {
		o.partitions = 6
	}
	replication := int16(min(3, len(cluster.Brokers())))
	for topic, partitions := range map[string]int32{r.topic: o.partitions, r.letters: 1} {
		configs := o.topicConfigs
		if topic == r.letters {
			configs = nil
		}
		if err := cluster.CreateTopic(t.Context(), topic, partitions, replication, configs); err != nil {
			t.Fatal(err)
		}
	}
	sc := stub.DefaultConfig()
	sc.Terse = true
	sc.Latency = 5 * time.Millisecond
	if o.api != nil {
		o.api(&sc)
	}
	api, err := stub.New(sc)
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Close(); err != nil {
			t.Error(err)
		}
	})
	r.api = api
	secret := filepath.Join(r.dir, "secret")
	if err := os.WriteFile(secret, []byte(stub.LabSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	r.config = filepath.Join(r.dir, "contactsync.yaml")
	text := fmt.Sprintf(`
kafka: {brokers: [%s]}
deadletter: {topic: %s}
admin: {listen: "127.0.0.1:0"}
upstream:
  accounts:
    - id: lab
      host: %s
      allow_plaintext: true
      streams: ["st-*"]
      credentials: {client_id: %s, client_secret_file: %s}
      budget: {requests: %d, window: 1s}
consumer:
  topics: [%s]
  group: %s
  session_timeout: 12s
  heartbeat_interval: 500ms
  drain_timeout: 5s
  commit_interval: 200ms
  partition_check_interval: 1s
%s`, quoted(cluster.Brokers()), r.letters, api.URL(), stub.LabAppID, secret, o.requests, r.topic, r.group, o.extra)
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func quoted(brokers []string) string { return `"` + strings.Join(brokers, `", "`) + `"` }

// replicas starts n service processes.
func (r *rig) replicas(n int) []*replica {
	r.t.Helper()
	var all []*replica
	for range n {
		r.started++
		all = append(all, startReplica(r.t, fmt.Sprint("replica-", r.started), r.config, r.dir))
	}
	for _, p := range all {
		p.address()
	}
	return all
}

// pair starts two service processes and waits until each has half of the partitions.
// While contacts cannot be delivered, what ends behind them is not committed: a
// replica that joined then would read it again, and rightly end it a second time.
func (r *rig) pair() []*replica {
	r.t.Helper()
	both := r.replicas(2)
	until(r.t, "both replicas to own partitions", func() bool {
		return series(both[0], "consumer_assigned_partitions") == 3 && series(both[1], "consumer_assigned_partitions") == 3
	})
	return both
}

// feed produces events and waits until Kafka has them.
func (r *rig) feed(change func(*feed.Config)) {
	r.t.Helper()
	if err := r.produce(change); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) produce(change func(*feed.Config)) error {
	cfg := feed.DefaultConfig()
	cfg.Topic, cfg.Seed = r.topic, uint64(r.started+1)
	if r.manifest != nil {
		cfg.SeqBase = 1 << 20 * int64(len(r.manifest.Records)/1000+1)
	}
	if change != nil {
		change(&cfg)
	}
	m, err := feed.Produce(r.t.Context(), r.cluster.Brokers(), cfg, nil)
	if err != nil {
		return err
	}
	if r.manifest == nil {
		r.manifest = m
	} else {
		r.manifest.Append(m)
	}
	return nil
}

// feedInBackground produces at a rate while the test goes on; the returned
// function waits for its end.
func (r *rig) feedInBackground(change func(*feed.Config)) (wait func()) {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- r.produce(change) }()
	return func() {
		r.t.Helper()
		if err := <-done; err != nil {
			r.t.Fatal(err)
		}
	}
}

// deliveredNotCommitted is how many states the API has that a crash of every
// replica at this moment would have sent again: the bound of I10. All events must
// be in the manifest.
func (r *rig) deliveredNotCommitted() int {
	r.t.Helper()
	committed, err := broker.Committed(r.t.Context(), r.cluster.Brokers(), r.group)
	if err != nil {
		r.t.Fatal(err)
	}
	state := r.api.State() // asked for last: it can only hold more
	again := map[feed.Contact]bool{}
	for _, rec := range r.manifest.Records {
		contact := r.manifest.Contacts[rec.Contact]
		at := r.manifest.Position(&rec)
		if rec.Offset >= committed[at.TopicPartition] && state[contact.Stream][contact.ID] >= rec.Seq {
			again[contact] = true
		}
	}
	return len(again)
}

// drained waits until everything produced is committed.
func (r *rig) drained() {
	r.t.Helper()
	var lag int64
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(r.t.Context(), 4*time.Minute)
	defer cancel()
	for {
		lag = r.lag(ctx)
		if lag == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("I9: not drained after four minutes: %d offsets are not committed; stub: %+v", lag, r.api.Stats())
		}
	}
}

func (r *rig) lag(ctx context.Context) int64 {
	ends, err := broker.EndOffsets(ctx, r.cluster.Brokers(), r.topic)
	if err != nil {
		return -1 // Kafka is being broken by the test
	}
	committed, err := broker.Committed(ctx, r.cluster.Brokers(), r.group)
	if err != nil {
		return -1
	}
	var lag int64
	for p, end := range ends {
		lag += end - committed[p]
	}
	return lag
}

// verify has the checker judge the run. change may allow what the run's faults
// make unavoidable.
func (r *rig) verify(change func(*check.Input)) check.Report {
	r.t.Helper()
	in := check.Input{Manifest: r.manifest, MaxRows: 100}
	in.Stub(r.api)
	if err := in.Kafka(r.t.Context(), r.cluster.Brokers(), r.group, r.letters); err != nil {
		r.t.Fatal(err)
	}
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
