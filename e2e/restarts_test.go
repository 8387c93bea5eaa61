//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/contactsync/contactsync/e2e/kafka"
	"github.com/contactsync/contactsync/internal/lab/check"
	"github.com/contactsync/contactsync/internal/lab/feed"
	"github.com/contactsync/contactsync/internal/lab/stub"
)

// The size of the backlog that replicas are restarted in. 200,000 contacts are 2,000
// calls.
var restartContacts = flag.Int("restarts", 20_000, "contacts of the tests of restarts")

// long runs what takes too long for every change.
var long = flag.Bool("long", false, "run the long tests too")

const restartBudget = 30 // calls a second

// TestRestarts works off a backlog with three replicas and counts the calls: what was
// done before a restart must not be done again.
func TestRestarts(t *testing.T) {
	cluster := startKafka(t, kafka.Options{Nodes: 1})
	for _, feeds := range []struct {
		name   string
		change func(*feed.Config)
		three  bool // events a contact
		topic  bool // for progress
	}{
		{"keyed by stream", func(c *feed.Config) { c.KeyByStream = true }, false, false},
		{"keyed by contact", func(*feed.Config) {}, false, false},
		{"three events a contact", func(c *feed.Config) { c.KeyByStream, c.InTurn, c.Events = true, false, 3*c.Contacts }, true, false},
		{"three events a contact and a progress topic", func(c *feed.Config) { c.KeyByStream, c.InTurn, c.Events = true, false, 3*c.Contacts }, true, true},
	} {
		t.Run(feeds.name, func(t *testing.T) {
			many := *restartContacts >= 100_000
			if feeds.topic && !many {
				t.Skip("so few contacts fit the commit: make restarts")
			}
			if feeds.three && !feeds.topic && many {
				t.Skip("so many events do not fit the commit: that is what the progress topic is for, below")
			}
			undisturbed := restarts(t, cluster, feeds.change, feeds.topic, "undisturbed", func(*run, []*process) (allowed, again int) { return 0, 0 })
			restarts(t, cluster, feeds.change, feeds.topic, "each restarted in order", func(r *run, all []*process) (allowed, again int) {
				for i := range all {
					until(t, "some calls", r.moreCalls(undisturbed/10))
					all[i].stop()
					all[i] = r.start(1)[0]
				}
				return undisturbed + undisturbed/50 + 1, 0
			})
			restarts(t, cluster, feeds.change, feeds.topic, "one killed", func(r *run, all []*process) (allowed, again int) {
				until(t, "some calls", r.moreCalls(undisturbed/3))
				before := r.api.Stats().Calls
				time.Sleep(time.Second) // the bound is what was sent since the last commit, and that is rarely older
				all[1].kill()
				since := int(r.api.Stats().Calls - before)
				all[1] = r.start(1)[0]
				return 0, since
			})
		})
	}
}

// moreCalls says when the API has got so many calls more than now.
func (r *run) moreCalls(n int) func() bool {
	from := r.api.Stats().Calls
	return func() bool { return int(r.api.Stats().Calls-from) >= n }
}

// restarts makes one run, and returns its calls. disturb returns how many are allowed, 0
// for no bound, and how many calls a crash may have made for nothing.
func restarts(t *testing.T, cluster *kafka.Cluster, change func(*feed.Config), topic bool, name string, disturb func(*run, []*process) (allowed, again int)) (calls int) {
	t.Run(name, func(t *testing.T) {
		o := runOptions{
			partitions: 12, requests: restartBudget,
			api: func(c *stub.Config) { c.Latency = 50 * time.Millisecond },
		}
		if topic {
			o.extra = "  progress_topic: " + progressTopic(t, cluster)
		}
		r := newRun(t, cluster, o)
		r.feed(func(c *feed.Config) {
			c.Contacts, c.Streams, c.Events, c.InTurn = *restartContacts, max(20, *restartContacts/1000), *restartContacts, true
			change(c)
		})
		all := r.start(3)
		allowed, again := disturb(r, all)
		r.drain()
		var cut, ignored float64
		for _, p := range all {
			cut += p.series("consumer_progress_cut_total")
			ignored += p.series("consumer_progress_ignored_total")
		}
		stopAll(all)
		report := r.verify(func(in *check.Input) {
			in.MaxDuplicates, in.MaxRepeated = 100*again, again
			if allowed > 0 { // judged by calls
				in.MaxDuplicates = *restartContacts
			}
		})
		calls = report.Calls
		t.Logf("RESTARTS %-40s calls %d, floor %d, sent again %d, commits without all progress %.0f, ignored %.0f",
			t.Name(), calls, report.Floor, report.Duplicates, cut, ignored)
		if allowed > 0 && calls > allowed {
			t.Errorf("%d calls, at most %d are promised", calls, allowed)
		}
	})
	return calls
}

// TestComesAndGoes has one of two replicas stop and come back every six seconds, under a
// budget that leaves a minute's work: it must get on, and send nothing twice.
func TestComesAndGoes(t *testing.T) {
	if !*long {
		t.Skip("takes three minutes: make e2e-all")
	}
	cluster := startKafka(t, kafka.Options{Nodes: 1})
	took := map[bool]time.Duration{}
	for _, disturbed := range []bool{false, true} {
		t.Run(fmt.Sprint("disturbed ", disturbed), func(t *testing.T) {
			r := newRun(t, cluster, runOptions{partitions: 6, requests: 120, window: "60s"})
			r.feed(func(c *feed.Config) {
				c.Contacts, c.Streams, c.Events, c.InTurn, c.KeyByStream = 12_000, 40, 12_000, true, true
			})
			both := r.start(2)
			began := time.Now()
			for r.uncommitted(t.Context()) != 0 && time.Since(began) < 4*time.Minute {
				if !disturbed {
					time.Sleep(time.Second)
					continue
				}
				time.Sleep(3 * time.Second)
				both[1].stop()
				time.Sleep(3 * time.Second)
				both[1] = r.start(1)[0]
			}
			took[disturbed] = time.Since(began)
			r.drain()
			stopAll(both)
			report := r.verify(nil)
			t.Logf("COMES AND GOES disturbed %v: %v, calls %d, floor %d, sent again %d", disturbed, took[disturbed].Round(time.Second), report.Calls, report.Floor, report.Duplicates)
		})
	}
	t.Logf("COMES AND GOES: %.1f times as long as undisturbed", took[true].Seconds()/took[false].Seconds())
}

// progressTopic creates one.
func progressTopic(t *testing.T, cluster *kafka.Cluster) (name string) {
	t.Helper()
	name = strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())) + "-progress"
	if err := cluster.CreateTopic(t.Context(), name, 3, 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	return name
}
