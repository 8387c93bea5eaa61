package app_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/contactsync/contactsync/internal/app"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/logbuffer"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the whole program in process: an embedded broker, the API's stand-in
// and any number of replicas.
type world struct {
	t       *testing.T
	brokers []string
	kafka   *kgo.Client
	admin   *kadm.Client
	api     *stub.Server
	cfg     config.Config
	addr    string           // admin pages of the replica that was started last
	log     logbuffer.Buffer // of all replicas
}

// logged reports whether one line of the log has all of these.
func (w *world) logged(parts ...string) bool {
	for line := range strings.Lines(w.log.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}

func newWorld(t *testing.T, apiConfig func(*stub.Config)) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(0), kfake.SeedTopics(3, "contacts"), kfake.SeedTopics(1, "contacts-dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	sc := stub.DefaultConfig()
	sc.TrackFields = true
	if apiConfig != nil {
		apiConfig(&sc)
	}
	api, err := stub.New(sc)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	t.Cleanup(func() {
		server.Close()
		if err := api.Close(); err != nil {
			t.Error(err)
		}
	})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(stub.LabSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.DefaultConfig()
	cfg.Kafka.Brokers = cluster.ListenAddrs()
	cfg.Consumer.Topics, cfg.Consumer.Group = []string{"contacts"}, "group"
	cfg.Consumer.SessionTimeout, cfg.Consumer.HeartbeatInterval, cfg.Consumer.DrainTimeout = 6*time.Second, 100*time.Millisecond, 3*time.Second
	cfg.Consumer.FetchMaxWait, cfg.Consumer.CommitInterval = 50*time.Millisecond, 50*time.Millisecond
	cfg.Batcher.Linger = 50 * time.Millisecond
	cfg.Admin.Listen = "127.0.0.1:0"
	cfg.DeadLetter.Topic = "contacts-dead"
	cfg.Upstream.Accounts = []upstream.Account{{
		ID: "acme", Host: server.URL, AllowPlaintext: true, Streams: []string{"st-*"},
		Credentials: upstream.Credentials{ClientID: stub.LabAppID, ClientSecretFile: secret},
		Budget:      upstream.Budget{Requests: new(int)},
	}}
	cfg.Upstream.SetDefaults()
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	return &world{t: t, brokers: cluster.ListenAddrs(), kafka: client, admin: kadm.NewClient(client), api: api, cfg: cfg}
}

// replica starts one service; stop ends it in order.
func (w *world) replica(o app.Options) (reg *prometheus.Registry, stop func() error) {
	w.t.Helper()
	o.Registry, o.Version = prometheus.NewRegistry(), "test"
	o.Log = slog.New(slog.NewTextHandler(io.MultiWriter(logWriter{w.t}, &w.log), nil))
	a, err := app.New(w.t.Context(), w.cfg, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = a.Addr()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()
	stopped := false
	stop = func() error {
		stopped = true
		cancel()
		return <-ran
	}
	w.t.Cleanup(func() {
		if !stopped {
			if err := stop(); err != nil {
				w.t.Error(err)
			}
		}
	})
	return o.Registry, stop
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (w *world) produce(key, value string) {
	w.t.Helper()
	rec := &kgo.Record{Topic: "contacts", Key: []byte(key), Value: []byte(value)}
	if value == "" {
		rec.Value = nil
	}
	if err := w.kafka.ProduceSync(w.t.Context(), rec).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

func contact(stream, id string, seq int) string {
	return fmt.Sprintf(`{"streamId":%q,"contact":{"id":%q,"firstName":"Jane","lastName":"Doe","fullName":"Jane Doe","salutation":"Mrs",`+
		`"cellPhone":{"extension":"+","phoneNumber":"2445671234","countryCode":"+91"},"seq":%d}}`, stream, id, seq)
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			w.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (w *world) committed() (sum int64) {
	w.t.Helper()
	all, err := w.admin.FetchOffsets(w.t.Context(), "group")
	if err != nil {
		return -1
	}
	all.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum
}

// letters reads the dead-letter topic.
func (w *world) letters(n int) []*kgo.Record {
	w.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics("contacts-dead"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n && ctx.Err() == nil {
		all = append(all, c.PollFetches(ctx).Records()...)
	}
	return all
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// TestService_DeliversSetsAsideAndCommits is the main job at its smallest.
func TestService_DeliversSetsAsideAndCommits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range 30 {
		w.produce(fmt.Sprint("c", i%10), contact("st-1", fmt.Sprint("c", i%10), i))
	}
	w.produce("x", `{"streamId":"st-1"`)
	w.produce("y", contact("other", "c1", 1))
	w.produce("bad-1", contact("st-1", "bad-1", 1))
	w.produce("st-1/gone", contact("st-1", "gone", 1))
	w.produce("st-1/gone", "")
	reg, stop := w.replica(app.Options{})
	w.until("all offsets to be committed", func() bool { return w.committed() == 35 })
	state := w.api.State()["st-1"]
	for i := range 10 {
		if got := state[fmt.Sprint("c", i)]; got != int64(20+i) {
			t.Errorf("contact c%d has seq %d, want %d", i, got, 20+i)
		}
	}
	reasons := map[string]int{}
	for _, r := range w.letters(3) {
		reasons[header(r, "contactsync-reason")]++
	}
	if len(reasons) != 3 || reasons["undecodable"] != 1 || reasons["unmapped"] != 1 || reasons["rejected"] != 1 {
		t.Errorf("dead letters by reason: %v", reasons)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	st := w.api.Stats()
	t.Logf("%+v", st)
	if st.OutOfOrder != 0 || st.Duplicates != 0 || st.Overlaps != 0 {
		t.Errorf("violations: %+v", st)
	}
	if n, err := testutil.GatherAndCount(reg, "contactsync_batcher_events_completed_total"); err != nil || n != 4 {
		t.Errorf("series of ended events: %d, %v", n, err)
	}
}

// TestService_StopInOrderLeavesNoDuplicates restarts under load: I10.
func TestService_StopInOrderLeavesNoDuplicates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *stub.Config) { c.Latency = 5 * time.Millisecond })
	total := 0
	for round := range 4 {
		_, stop := w.replica(app.Options{})
		for range 200 {
			id := fmt.Sprint("c", total%37)
			w.produce(id, contact("st-1", id, total))
			total++
		}
		if round == 3 {
			w.until("all offsets to be committed", func() bool { return w.committed() == int64(total) })
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	st := w.api.Stats()
	if st.Duplicates != 0 || st.OutOfOrder != 0 || st.Overlaps != 0 {
		t.Errorf("after restarts in order: %+v", st)
	}
}
