package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/contactsync/contactsync/internal/lab/harness"
	"github.com/contactsync/contactsync/internal/lab/loopback"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// watched is the program in a process of its own, which many streams wait in and some flow through.
type watched struct {
	b       *testing.B
	process *exec.Cmd
	address string
	kafka   *kgo.Client
	topic   string
}

const (
	watchedPartitions = 200
	watchedStreams    = 100_000 // that wait, for an API that is down
	watchedRate       = 2000    // events a second that flow
	watchedFor        = 5       // seconds
)

// BenchmarkWatched is the processor time of an event with everything on (metrics scraped, the status asked for and
// a page open, each once a second) and with nothing, and their ratio, where 100,000 streams wait in 200 partitions.
//
//	go test -run '^$' -bench Watched -benchtime 1x ./cmd/contactsync
func BenchmarkWatched(b *testing.B) {
	w := startWatched(b)
	for i := 0; i < watchedStreams; i += 1000 {
		w.produce(1000, func(n int) string { return fmt.Sprint("wait-", i+n) })
	}
	w.until("streams to wait", func() bool { return w.value("contactsync_batcher_active_streams") >= watchedStreams })
	scrape := w.get("/metrics")
	series := 0
	for line := range strings.Lines(scrape) {
		if !strings.HasPrefix(line, "#") {
			series++
		}
	}
	status := len(w.get("/api/status"))
	if strings.Contains(scrape, "wait-") || series > 600+17*watchedPartitions {
		b.Errorf("%d series, or one of a stream", series)
	}
	if status > 30<<10+400*watchedPartitions {
		b.Errorf("a status has %d bytes", status)
	}
	const rounds, events = 4, watchedRate * watchedFor
	off, on := time.Hour, time.Hour // the least of several rounds in turn: what else runs only adds to it
	for b.Loop() {
		w.flow() // warms up
		for range rounds {
			off = min(off, w.flow())
			stop := w.watch()
			on = min(on, w.flow())
			stop()
		}
	}
	b.ReportMetric(float64(series), "series")
	b.ReportMetric(float64(len(scrape)), "bytes/scrape")
	b.ReportMetric(float64(status), "bytes/status")
	b.ReportMetric(float64(off.Microseconds())/events, "off-cpu-µs/event")
	b.ReportMetric(float64(on.Microseconds())/events, "on-cpu-µs/event")
	b.ReportMetric((on-off).Seconds()*1000/watchedFor, "cpu-ms/s-watched")
	b.ReportMetric(on.Seconds()/off.Seconds(), "on/off")
}

func startWatched(b *testing.B) *watched {
	b.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		b.Skip("processor time of another process is read from /proc")
	}
	h, err := harness.New(watchedPartitions)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := h.Close(); err != nil {
			b.Error(err)
		}
	})
	api, err := h.AddAPI(stub.DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	addrs, err := loopback.Free(b.Context(), 1)
	if err != nil {
		b.Fatal(err)
	}
	secret, file := filepath.Join(b.TempDir(), "secret"), filepath.Join(b.TempDir(), "settings.yaml")
	account := func(id, host string) string {
		return fmt.Sprintf("    - {id: %s, host: %q, streams: [%q], allow_plaintext: true, budget: {requests: 0}, credentials: {client_id: %s, client_secret_file: %q}}\n", id, host, id+"-*", stub.LabAppID, secret)
	}
	text := fmt.Sprintf("kafka: {brokers: [%q]}\nconsumer: {topics: [%s], group: %s}\nbatcher: {window_bytes: 1GiB}\ndeadletter: {topic: %s}\nadmin: {listen: %q}\nupstream:\n  accounts:\n%s%s",
		h.Brokers[0], h.Topic, h.Group, h.DeadLetters, addrs[0], account("flow", api.URL()), account("wait", "http://127.0.0.1:1"))
	for name, text := range map[string]string{secret: stub.LabSecret, file: text} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(h.Brokers...), kgo.DefaultProduceTopic(h.Topic))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	w := &watched{b: b, process: exec.CommandContext(b.Context(), os.Args[0], "run", "--config", file), address: addrs[0], kafka: client, topic: h.Topic}
	w.process.Env = append(os.Environ(), asProgram+"=1")
	if err := w.process.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.process.Process.Kill(); _ = w.process.Wait() })
	w.until("the partitions", func() bool {
		return w.value("contactsync_consumer_assigned_partitions") == watchedPartitions && w.value("contactsync_consumer_catching_up_partitions") == 0
	})
	return w
}

// produce writes n updates.
func (w *watched) produce(n int, stream func(n int) string) {
	w.b.Helper()
	var all []*kgo.Record
	for i := range n {
		name := stream(i)
		value := fmt.Sprintf(`{"streamId":%q,"contact":{"id":"c%d","firstName":"a","lastName":"b","salutation":"Mr","cellPhone":{"extension":"+","phoneNumber":"2400000001","countryCode":"+91"}}}`, name, i)
		all = append(all, &kgo.Record{Key: fmt.Appendf(nil, "%s/c%d", name, i), Value: []byte(value)})
	}
	if err := w.kafka.ProduceSync(w.b.Context(), all...).FirstErr(); err != nil {
		w.b.Fatal(err)
	}
}

// flow has events flow for a while, and returns the processor time of the program meanwhile.
func (w *watched) flow() time.Duration {
	w.b.Helper()
	before := w.cpu()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 10 * watchedFor {
		w.produce(watchedRate/10, func(n int) string { return fmt.Sprint("flow-", n%20) })
		<-tick.C
	}
	return w.cpu() - before
}

// watch asks for everything until it is stopped.
func (w *watched) watch() (stop func()) {
	w.b.Helper()
	ctx, cancel := context.WithCancel(w.b.Context())
	var asking sync.WaitGroup
	for _, path := range []string{"/metrics", "/api/status"} {
		asking.Go(func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for ctx.Err() == nil {
				w.get(path)
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	page := make(chan struct{})
	asking.Go(func() {
		defer func() { page <- struct{}{} }()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.address+"/api/events", http.NoBody)
		if err != nil {
			w.b.Error(err)
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.b.Error(err)
			return
		}
		defer func() { _ = res.Body.Close() }()
		if _, err := bufio.NewReader(res.Body).ReadBytes('\n'); err != nil {
			w.b.Error(err)
		}
		page <- struct{}{}
		_, _ = io.Copy(io.Discard, res.Body) // until it is stopped
	})
	<-page
	return func() { cancel(); <-page; asking.Wait() }
}

func (w *watched) get(path string) string {
	res, err := http.Get("http://" + w.address + path)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

// value is that of a series without labels; -1 where there is none.
func (w *watched) value(name string) float64 {
	for line := range strings.Lines(w.get("/metrics")) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err == nil {
				return v
			}
		}
	}
	return -1
}

func (w *watched) until(what string, ok func() bool) {
	w.b.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range 300 {
		if ok() {
			return
		}
		<-tick.C
	}
	w.b.Fatalf("waited five minutes for %s", what)
}

// cpu is the processor time that the program has used.
func (w *watched) cpu() time.Duration {
	w.b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.process.Process.Pid))
	if err != nil {
		w.b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name
	fields := strings.Fields(rest)
	var ticks int64
	for _, f := range fields[11:13] { // in user mode, and in the kernel for it
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			w.b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
