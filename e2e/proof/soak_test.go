//go:build proof

package proof

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/lab/harness"
)

var soakFor = flag.Duration("soak.for", 20*time.Second, "how long the soak lasts: a quarter of it in peace, two under fire, one with rebalances")

// soakMemory is the limit of the chart, and what the process keeps to of it. The windows
// are small enough for two replicas to fill theirs.
const (
	soakMemory = 768 << 20
	soakKeeps  = soakMemory / 10 * 9
	soakWindow = 64 << 20
)

// TestSoak has hostile records, answers and requests of the admin port at once beside
// healthy traffic, in a cgroup with the chart's memory where one can be made. Broker and API
// are in the same process, so the service has less than the chart gives it. Then replicas
// come and go while the window is full. At every scrape in all that time the events must add up.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("times and memory say nothing under the race detector: make soak")
	}
	before := debug.SetMemoryLimit(soakKeeps)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	within := confine(t, soakMemory)
	ctx, cancel := context.WithTimeout(t.Context(), 2*(*soakFor)+5*time.Minute)
	t.Cleanup(cancel)
	began := time.Now()
	events, answers := corpora(t)
	events = slices.DeleteFunc(events, func(e badEvent) bool { return len(e.bytes()) > 8<<20 })
	events = slices.Repeat(events, 1+int(soakFor.Seconds()/20))
	healthy := poisonScaleOf(false).healthy
	lasting := func(d time.Duration) { healthy.Events = int(healthy.Rate * d.Seconds()) }

	o := full(t)
	lasting(*soakFor / 4)
	base := newPoisonRun(ctx, t, o, nil)
	base.run(ctx, healthy, nil)
	o.change = func(cfg *config.Config) { cfg.Batcher.WindowBytes = soakWindow }
	with := newPoisonRun(ctx, t, o, answers)
	lasting(*soakFor / 2)
	seen := &scrapes{}
	stop := with.pester(t, seen)
	with.produce(ctx, healthy, with.poison(max(12, int(soakFor.Seconds()/5)), 2, events))
	must(t, harness.Wait(ctx, func() bool { return len(with.ages()) == len(with.healthy.Records) })) // what comes now costs time
	rounds := with.comeAndGo(ctx, o, *soakFor/4, seen)
	with.judge(ctx)
	requests, peak := stop()

	f := newFigures(o.out)
	f.line("", "IN PEACE", "UNDER FIRE", within)
	f.line("healthy events", len(base.healthy.Records), len(with.healthy.Records), "")
	baseAges, ages := base.ages(), with.ages()
	f.check("  delivered", len(baseAges) == len(base.healthy.Records) && len(ages) == len(with.healthy.Records), len(baseAges), len(ages), "all of them")
	a, b := quantile(baseAges, 0.99), quantile(ages, 0.99)
	f.check("  age, 99% below", a > 0 && b <= 3*a, a.Round(time.Millisecond), b.Round(time.Millisecond), "at most three times")
	f.line("other events", 0, len(with.Manifest.Records)-len(with.healthy.Records), "")
	f.line("replicas that came and went", 0, rounds, "")
	f.check("requests of the admin port", requests > 0, 0, requests, "some")
	seen.judge(f)
	f.check("most memory, in MiB", peak <= soakMemory, "", peak>>20, fmt.Sprintf("at most %d, with broker and API", soakMemory>>20))
	f.check("dead letters", len(with.deadLetters) >= len(with.reasons), 0, len(with.deadLetters), fmt.Sprintf("%d were due", len(with.reasons)))
	f.check("lost", base.report.Lost+with.report.Lost == 0, base.report.Lost, with.report.Lost, "0")
	f.faults = slices.Concat(f.faults, seen.faults, base.report.Violations, with.report.Violations)
	hold(t, f.end("%d events in %v", base.report.Truth.Events+with.report.Truth.Events, time.Since(began).Round(100*time.Millisecond)))
}

// pester asks the admin port without a break, in good form and in bad, leaves connections idle, and
// watches the memory of the process. seen looks at each scrape. stop ends that.
func (r *poisonRun) pester(t *testing.T, seen *scrapes) (stop func() (requests, peak int64)) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var asked, most atomic.Int64
	client := &http.Client{Timeout: 5 * time.Second}
	running.Go(func() { asked.Add(int64(seen.ask(ctx, client, r.replica.Addr))) })
	for i, path := range []string{"/status", "/readyz", "/livez", "/" + strings.Repeat("a", 4000)} {
		running.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, []string{http.MethodGet, http.MethodPost}[i%4/3], "http://"+r.replica.Addr+path, http.NoBody)
				if err != nil {
					return
				}
				if resp, err := client.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body) // what it says is for other tests
					_ = resp.Body.Close()
					asked.Add(1)
				}
				pause(ctx, 20*time.Millisecond)
			}
		})
	}
	running.Go(func() { // half a request each, and then nothing
		var open []net.Conn
		for ctx.Err() == nil && len(open) < 200 {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "tcp", r.replica.Addr)
			if err == nil {
				_, _ = conn.Write([]byte("GET /status HTTP/1.1\r\nHost: x\r\nX-Long: "))
				open = append(open, conn)
			}
			pause(ctx, 20*time.Millisecond)
		}
		<-ctx.Done()
		for _, conn := range open {
			_ = conn.Close()
		}
	})
	running.Go(func() {
		for ctx.Err() == nil {
			most.Store(max(most.Load(), resident(t)))
			pause(ctx, 50*time.Millisecond)
		}
	})
	return func() (int64, int64) {
		cancel()
		running.Wait()
		client.CloseIdleConnections()
		return asked.Load(), most.Load()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// resident is the memory of this process that is in use.
func resident(t *testing.T) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if errors.Is(err, os.ErrNotExist) {
		return 0 // not on this system
	}
	must(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	must(t, err)
	return pages * int64(os.Getpagesize())
}

// confine moves the process into a cgroup with so much memory, where one can be made, and says
// where it is: the kernel ends it if it takes more.
func confine(t *testing.T, memory int64) string {
	for _, version := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		own := filepath.Join(version.root, fmt.Sprintf("contactsync-soak-%d", os.Getpid()))
		if os.Mkdir(own, 0o755) != nil {
			continue
		}
		write := func(file, text string) bool { return os.WriteFile(file, []byte(text), 0o600) == nil }
		t.Cleanup(func() {
			_ = write(filepath.Join(version.root, "cgroup.procs"), strconv.Itoa(os.Getpid()))
			_ = os.Remove(own)
		})
		if write(filepath.Join(own, version.limit), strconv.FormatInt(memory, 10)) &&
			write(filepath.Join(own, "cgroup.procs"), strconv.Itoa(os.Getpid())) {
			return fmt.Sprintf("in a cgroup with %d MiB", memory>>20)
		}
	}
	return fmt.Sprintf("with GOMEMLIMIT only: no cgroup can be made; %d MiB", memory>>20)
}
