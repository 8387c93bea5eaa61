//go:build e2e

package e2e

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// fastHolds are waits scaled to a test's length.
const fastHolds = "batcher: {backoff_min: 100ms, backoff_max: 1s, hold_probe_max: 2s, ambiguous_retry_delay: 200ms, dead_letter_max_per_minute: 2}\n"

// credentialsRefused has the API refuse every call for twice the session time-out
// while events arrive: nothing is set aside (I6), no replica loses its partitions,
// and all drains by itself (I9).
func credentialsRefused(t *testing.T, cluster *kafka.Cluster) {
	r := newRig(t, cluster, rigOptions{extra: fastHolds})
	put(t, r, stub.Rule{Name: "refused", Off: true, Answer: &stub.Answer{Status: 401}})
	replicas := r.pair()
	generations := series(replicas[0], "consumer_rebalances_total")
	r.api.Turn("refused", true)
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams, c.Rate = 12_000, 3_000, 10, 1_000 }) // twelve seconds
	if rows := r.api.Stats().AppliedRows; rows != 0 {
		t.Fatalf("the API took %d rows although it refused every call", rows)
	}
	for _, p := range replicas {
		if series(p, "batcher_streams_on_hold") == 0 || series(p, "batcher_accounts_on_hold") != 1 {
			t.Errorf("%s does not say what is on hold: %v streams, %v accounts", p.name, series(p, "batcher_streams_on_hold"), series(p, "batcher_accounts_on_hold"))
		}
		if n := series(p, "upstream_requests_total"); n > 60 {
			t.Errorf("%s made %v calls to be refused", p.name, n)
		}
	}
	r.api.Turn("refused", false)
	r.drained()
	if now := series(replicas[0], "consumer_rebalances_total"); now != generations {
		t.Errorf("%v generations, %v before: a heartbeat was missed", now, generations)
	}
	stopAll(replicas)
	if report := r.verify(nil); report.DeadLetters != 0 {
		t.Errorf("I6: %d dead letters", report.DeadLetters)
	}
}

// oneStreamGone has a tenth of the events belong to a stream that the API does not
// know: the others, of the same partitions, are delivered beside it.
func oneStreamGone(t *testing.T, cluster *kafka.Cluster) {
	r := newRig(t, cluster, rigOptions{extra: fastHolds})
	gone := feed.StreamName(3)
	put(t, r, stub.Rule{Name: "gone", Match: stub.Match{Streams: []string{gone}}, Answer: &stub.Answer{Status: 404}})
	replicas := r.pair()
	r.feed(func(c *feed.Config) { c.Events, c.Contacts, c.Streams = 20_000, 4_000, 10 })
	delivered := func() (contacts int) {
		for _, state := range r.api.State() {
			contacts += len(state)
		}
		return contacts
	}
	others := 0
	for stream, n := range r.manifest.Sum().Contacts {
		if stream != gone {
			others += n
		}
	}
	until(t, "every other stream to be delivered", func() bool { return delivered() == others })
	if n := len(r.api.State()[gone]); n != 0 {
		t.Fatalf("the API has %d contacts of a stream that it does not know", n)
	}
	r.api.Turn("gone", false)
	r.drained()
	stopAll(replicas)
	if report := r.verify(nil); report.DeadLetters != 0 {
		t.Errorf("I6: %d dead letters", report.DeadLetters)
	}
}

func put(t *testing.T, r *rig, rule stub.Rule) {
	t.Helper()
	if err := r.api.Put(rule); err != nil {
		t.Fatal(err)
	}
}

// series is the sum of one of a replica's series over its labels.
func series(p *replica, name string) (sum float64) {
	p.t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + p.address() + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if key, _, _ = strings.Cut(key, "{"); key == "contactsync_"+name {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}
