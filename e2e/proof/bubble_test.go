//go:build proof

package proof

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/contactsync/contactsync"
	"github.com/contactsync/contactsync/batcher"
	"github.com/contactsync/contactsync/internal/config"
	"github.com/contactsync/contactsync/internal/event"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
	"github.com/contactsync/contactsync/metrics"
	"github.com/contactsync/contactsync/upstream"
)

// bubble is the service without Kafka, and a model of the API, in virtual time: the loop, the
// window, the budget and the real HTTP client, over connections in memory to a real HTTP server.
type bubble struct {
	t       *testing.T
	network *memory
	client  *upstream.Client
	reg     *prometheus.Registry
	decoder *event.Decoder
	batcher *batcher.Batcher
	truth   feed.Manifest // of what was put in
	note    string        // that each contact of it has besides

	mu      sync.Mutex
	logs    [2][]contactsync.Record // of each partition, as far as it was read
	parked  [2]map[int64]bool       // offsets of these that are to be read again
	opened  map[contactsync.Position]time.Time
	ages    []aged // of what was not set aside, in the first partition
	letters []contactsync.DeadLetter
}

// aged is an event that has ended.
type aged struct {
	opened time.Time
	age    time.Duration
}

// newBubble starts the service with its defaults, and one account of a host with the handler. It must be called in a
// bubble, which ends with the test.
func newBubble(t *testing.T, api http.Handler, change func(*config.Config)) *bubble {
	t.Helper()
	b := &bubble{t: t, reg: prometheus.NewRegistry(), opened: map[contactsync.Position]time.Time{}}
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte(stub.LabSecret), 0o600))
	cfg := config.DefaultConfig()
	cfg.Upstream.Accounts = []upstream.Account{{
		ID: "a", Host: "http://api.test", AllowPlaintext: true, Streams: []string{"*"},
		Credentials: upstream.Credentials{ClientID: stub.LabAppID, ClientSecretFile: secret}, Budget: upstream.Budget{Share: upstream.ShareFull},
	}}
	if change != nil {
		change(&cfg)
	}
	set, discard := metrics.New(b.reg), slog.New(slog.DiscardHandler)
	network := &memory{conns: make(chan net.Conn), done: make(chan struct{}), open: map[net.Conn]bool{}}
	b.network = network
	server := &http.Server{Handler: api, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), ReadHeaderTimeout: time.Minute}
	client, err := upstream.New(cfg.Upstream, upstream.Deps{Log: discard, Metrics: &set.Upstream, Version: "lab", Dial: network.dial})
	must(t, err)
	b.client = client
	b.decoder, err = event.NewDecoder(cfg.Event, client.Route)
	must(t, err)
	b.batcher = batcher.New(cfg.Batcher, batcher.Deps{
		Sender: client, Publisher: b, Acker: b, Log: discard, Metrics: &set.Batcher, DeadLetters: &set.DeadLetter, Seed: 1, RequestTimeout: cfg.Upstream.Timeout,
		Gates: func(account string) (batcher.Gate, bool) { return client.Gate(account) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(network) })
	running.Go(func() { must(t, b.batcher.Run(ctx)) })
	t.Cleanup(func() {
		cancel()
		client.Close()
		_ = server.Close()
		running.Wait()
	})
	b.batcher.Assign([]contactsync.Claim{b.claim(0), b.claim(1)}, false)
	return b
}

func (b *bubble) claim(partition int32) contactsync.Claim {
	return contactsync.Claim{TopicPartition: contactsync.TopicPartition{Topic: "contacts", Partition: partition}, Generation: 1}
}

// add lets the service read an event. Those of the first partition are the healthy ones.
func (b *bubble) add(partition int32, ev feed.Event) {
	b.t.Helper()
	must(b.t, b.batcher.Add(b.t.Context(), []event.Event{b.decoder.Decode(b.append(partition, ev))}))
}

// append is the record of an event at the end of a log.
func (b *bubble) append(partition int32, ev feed.Event) contactsync.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := contactsync.Position{TopicPartition: b.claim(partition).TopicPartition, Offset: int64(len(b.logs[partition]))}
	if partition == 0 {
		b.opened[at] = time.Now()
	}
	rec := contactsync.Record{Position: at, Generation: 1, Time: time.Now(), Key: ev.Key, Value: ev.Value}
	b.logs[partition] = append(b.logs[partition], rec)
	return rec
}

// populate makes contacts, of streams in turn, for put.
func (b *bubble) populate(streams, contacts int) {
	b.truth = feed.Manifest{Topics: []string{b.claim(0).Topic}}
	for i := range contacts {
		b.truth.Contacts = append(b.truth.Contacts, feed.Contact{Stream: feed.StreamName(i % streams), ID: healthyID(i)})
	}
}

// put lets the service read a state of the n-th contact.
func (b *bubble) put(n int, seq int64) {
	b.t.Helper()
	b.truth.Records = append(b.truth.Records, feed.Record{Offset: int64(len(b.logs[0])), Seq: seq, Contact: int32(n)})
	ev := feed.NewUpdate(b.truth.Contacts[n], n, seq, feed.Update)
	if b.note != "" {
		ev.Value = fmt.Appendf(bytes.TrimSuffix(ev.Value, []byte("}}")), `,"note":%q}}`, b.note)
	}
	b.add(0, ev)
}

// judge has the checker compare what was put in with what an API has applied. So many states may be applied again.
func (b *bubble) judge(api check.API, again int) (check.Input, check.Report) {
	in := check.Input{Manifest: &b.truth, MaxDuplicates: again}
	in.APIs(api)
	return in, check.Run(in)
}

// Done implements batcher.Acker.
func (b *bubble) Done(ended []contactsync.Ended) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range ended {
		if at, ok := b.opened[e.Position()]; ok && !e.SetAside {
			b.ages = append(b.ages, aged{at, time.Since(at)})
			delete(b.opened, e.Position())
		}
	}
}

// Park implements batcher.Acker.
func (b *bubble) Park(left []contactsync.Parked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range left {
		of := &b.parked[e.Partition]
		if *of == nil {
			*of = map[int64]bool{}
		}
		(*of)[e.Offset] = true
	}
}

// Publish implements batcher.Publisher.
func (b *bubble) Publish(_ context.Context, letters []contactsync.DeadLetter) ([]contactsync.DeadLetter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.letters = append(b.letters, letters...)
	return nil, nil
}

// took returns how old healthy events that came since a time were when they were completed, youngest first, and
// how many were not.
func (b *bubble) took(since time.Time) (ages []time.Duration, left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.ages {
		if !e.opened.Before(since) {
			ages = append(ages, e.age)
		}
	}
	for _, at := range b.opened {
		if !at.Before(since) {
			left++
		}
	}
	slices.SortFunc(ages, cmp.Compare)
	return ages, left
}

// completed are the events of the first partition that have ended, and were not set aside.
func (b *bubble) completed() []aged {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ages)
}

// left is how many of them have not ended.
func (b *bubble) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.opened)
}

// deadLetters are those that were written.
func (b *bubble) deadLetters() []contactsync.DeadLetter {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.letters)
}

// purposes are the requests by purpose.
func (b *bubble) purposes() map[contactsync.Purpose]float64 {
	all := map[contactsync.Purpose]float64{}
	for _, p := range contactsync.Purposes() {
		all[p] = b.calls(p.String())
	}
	return all
}

// calls are the requests, of one purpose or all.
func (b *bubble) calls(purpose string) float64 {
	return b.sum("upstream_requests_total", "purpose", purpose)
}

// spent are the calls of the budget: those of requests that were made once more as well.
func (b *bubble) spent() float64 { return b.calls("") + b.sum("upstream_redials_total", "account", "") }

// sum is a series, of those that have a value of a label, or of all with it.
func (b *bubble) sum(name, label, value string) (n float64) {
	families, err := b.reg.Gather()
	must(b.t, err)
	for _, f := range families {
		if f.GetName() != metrics.Namespace+"_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == label && (value == "" || l.GetValue() == value) {
					n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return n
}

// spread is a time that is mean on the average, as between events that know nothing of each other.
func spread(random *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(random.ExpFloat64() * float64(mean))
}
